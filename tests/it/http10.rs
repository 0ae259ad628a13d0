//! Apps and upstreams that speak HTTP/1.0.

use crate::support::wire::Farewell;
use crate::support::{Origin, Sidecar, Upstream, configuration};

#[test]
fn an_app_of_http_1_0_may_omit_host_and_its_connection_ends_with_the_answer() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let app = bearerd.app();
    for head in ["GET /api/x HTTP/1.0\r\n\r\n", "GET /api/x HTTP/1.0\r\nHost: localhost\r\n\r\n"] {
        let mut connection = app.connect();
        connection.send(head);
        assert_eq!(connection.answer().text(), "hello");
        connection.assert_ends();
    }
    let mut connection = app.connect();
    connection.send("POST /api/x HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(connection.answer().text(), "hello");
    connection.assert_ends();
    for seen in upstream.requests() {
        assert!(seen.start_line().ends_with(" HTTP/1.1"), "{}", seen.head());
        assert_eq!(seen.field("host"), Some(upstream.address().to_string()));
        assert!(
            seen.field("via")
                .is_some_and(|via| via.starts_with("1.0 bearerd-") || via.starts_with("1.1 bearerd-"))
        );
    }
    let answer = app.raw(b"GET /api/x HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert!(answer.contains(" 403 "), "{answer}");
}

#[test]
fn a_chunked_answer_reaches_an_app_of_http_1_0_piece_by_piece_without_chunks() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    app.send("GET /api/x HTTP/1.0\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = app.head();
    assert_eq!((head.field("transfer-encoding"), head.field("content-length")), (None, None));
    for piece in ["one", "two", "three"] {
        upstream.send_chunk(piece);
        app.expect(piece);
    }
    upstream.send("0\r\nX-Late: 1\r\n\r\n");
    let (rest, farewell) = app.rest_in_bytes();
    assert_eq!((rest.as_slice(), farewell), (b"".as_slice(), Farewell::Finished));
}

#[test]
fn a_broken_answer_does_not_look_whole_to_an_app_of_http_1_0() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for framing in ["Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n", "\r\nxyz"] {
        let mut app = bearerd.app().connect();
        app.send("GET /api/x HTTP/1.0\r\n\r\n");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        app.head();
        app.expect("xyz");
        upstream.reset();
        // Only the way in which its connection ends can tell.
        let (rest, farewell) = app.rest_in_bytes();
        assert_eq!((rest.as_slice(), farewell), (b"".as_slice(), Farewell::Reset));
    }
}

#[test]
fn an_app_of_http_1_0_may_ask_for_the_head_alone() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    app.send("HEAD /api/x HTTP/1.0\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    assert_eq!(app.head().field("content-length").as_deref(), Some("1234"));
    app.assert_ends();
}

#[test]
fn a_coding_in_http_1_0_is_faulty_framing() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let answer = bearerd.app().raw(b"POST /api/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(answer.contains(" 400 "), "{answer}");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_app_of_http_1_0_is_not_told_to_continue() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    app.send("POST /api/x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    let mut upstream = origin.accept();
    assert_eq!(upstream.request().text(), "body");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let answer = app.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
}

#[test]
fn an_answer_in_http_1_0_passes_and_ends_as_it_says() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (answer, body) in [
        ("HTTP/1.0 200 OK\r\n\r\nto the end", "to the end"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ] {
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(answer);
        upstream.finish();
        let answer = app.answer();
        assert_eq!((answer.start_line().as_str(), answer.text().as_str()), ("HTTP/1.1 200 OK", body));
        // The app's own connection is HTTP/1.1, and stays.
        app.assert_quiet();
    }
}
