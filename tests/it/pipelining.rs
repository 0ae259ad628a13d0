//! Several requests sent at once on one connection are answered in order, each for itself.

use crate::support::{Origin, Reply, Sidecar, Upstream, configuration};

fn echoing() -> (Sidecar, Upstream) {
    let upstream = Upstream::answering(|request| {
        Reply::text(&format!("{} {} {}", request.method(), request.target(), request.text()))
    });
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    (bearerd, upstream)
}

#[test]
fn a_hundred_requests_at_once_are_answered_in_order() {
    let (bearerd, upstream) = echoing();
    let app = bearerd.app();
    let mut connection = app.connect();
    let mut bytes = Vec::new();
    for number in 0..100 {
        let body = "b".repeat(number * 3);
        match number % 3 {
            0 => bytes.extend(app.head("GET", &format!("/api/{number}"), "", 0)),
            1 => {
                bytes.extend(app.head("POST", &format!("/api/{number}"), "", body.len()));
                bytes.extend(body.as_bytes());
            }
            _ => {
                let fields = "Transfer-Encoding: chunked\r\n";
                bytes.extend(app.head("PUT", &format!("/api/{number}"), fields, 0));
                bytes.extend(format!("{:x}\r\n{body}\r\n0\r\nX-Late: 1\r\n\r\n", body.len()).as_bytes());
            }
        }
    }
    connection.send(&bytes);
    for number in 0..100 {
        let body = if number % 3 == 0 { String::new() } else { "b".repeat(number * 3) };
        let method = ["GET", "POST", "PUT"][number % 3];
        assert_eq!(connection.answer().text(), format!("{method} /{number} {body}"));
    }
    assert_eq!(upstream.requests().len(), 100);
}

#[test]
fn requests_are_found_wherever_the_stream_is_cut() {
    let (bearerd, _upstream) = echoing();
    let app = bearerd.app();
    let mut bytes = app.head("POST", "/api/1", "X-A: b\r\n", 5);
    bytes.extend(b"first");
    bytes.extend(app.head("POST", "/api/2", "Transfer-Encoding: chunked\r\n", 0));
    bytes.extend(b"3;ext=\"1\"\r\nsec\r\n00003\r\nond\r\n0\r\nX-Late: 1\r\n\r\n");
    bytes.extend(app.head("GET", "/api/3", "", 0));
    let mut connection = app.connect();
    for cut in 1..bytes.len() {
        connection.send(&bytes[..cut]);
        // An answer in between is the sign that what was sent has been looked at.
        assert_eq!(app.get("/api/else").text(), "GET /else ");
        connection.send(&bytes[cut..]);
        for expected in ["POST /1 first", "POST /2 second", "GET /3 "] {
            assert_eq!(connection.answer().text(), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_request_that_arrives_byte_by_byte_passes_whole() {
    let (bearerd, _upstream) = echoing();
    let app = bearerd.app();
    let mut connection = app.connect();
    let mut bytes = app.head("POST", "/api/slow", "Transfer-Encoding: chunked\r\n", 0);
    bytes.extend(b"a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n");
    for byte in &bytes {
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().text(), "POST /slow 0123456789abc");
}

#[test]
fn an_answer_that_arrives_byte_by_byte_passes_whole() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for (bytes, body, trailers) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\n0123456789", "0123456789", ""),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             0000A;x=\"y\"\r\n0123456789\r\n3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n",
            "0123456789abc",
            "x-late: 1\r\n",
        ),
    ] {
        app.send(bearerd.app().head("GET", "/api/x", "TE: trailers\r\n", 0));
        let mut upstream = origin.accept();
        upstream.request();
        for byte in bytes.as_bytes() {
            upstream.send([*byte]);
        }
        let answer = app.answer();
        assert_eq!((answer.text().as_str(), answer.trailers.to_lowercase().as_str()), (body, trailers));
        drop(upstream);
    }
}

#[test]
fn the_next_request_waits_for_the_answer_before_it() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    app.send(
        [bearerd.app().head("GET", "/api/1", "", 0), bearerd.app().head("GET", "/api/2", "", 0)].concat(),
    );
    let mut upstream = origin.accept();
    assert_eq!(upstream.request().target(), "/1");
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    app.head();
    for piece in ["x", "y", "z"] {
        upstream.send_chunk(piece);
        assert_eq!(app.chunks(1), piece.as_bytes());
    }
    upstream.assert_quiet();
    origin.assert_no_other_connection();
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
    let mut upstream = origin.accept();
    assert_eq!(upstream.request().target(), "/2");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(app.answer().text(), "ok");
}

#[test]
fn what_follows_a_request_that_closes_is_not_served() {
    let (bearerd, upstream) = echoing();
    let app = bearerd.app();
    let second = app.head("GET", "/api/second", "", 0);
    for first in [
        app.head("GET", "/api/first", "Connection: close\r\n", 0),
        app.head("GET", "/api/first", "Connection: x, Close\r\n", 0),
        b"GET /api/first HTTP/1.0\r\n\r\n".to_vec(),
    ] {
        let answers = app.raw(&[first, second.clone()].concat());
        assert_eq!(answers.matches(" 200 ").count(), 1, "{answers}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.target() == "/first"));
}

#[test]
fn a_refused_request_with_a_whole_body_leaves_the_next_one_its_turn() {
    let (bearerd, upstream) = echoing();
    let app = bearerd.app();
    let mut bytes = app.head("POST", "/nowhere", "", 5);
    bytes.extend(b"first");
    bytes.extend(app.head("GET", "/api/second", "", 0));
    let mut connection = app.connect();
    connection.send(&bytes);
    assert_eq!(connection.answer().status(), 404);
    // It may close rather than read the body, but the body is never taken for a request.
    let rest = {
        connection.finish();
        connection.rest()
    };
    assert!(rest.is_empty() || rest.contains("GET /second "), "{rest}");
    assert!(upstream.requests().iter().all(|seen| seen.start_line() == "GET /second HTTP/1.1"));
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let (bearerd, _upstream) = echoing();
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send([b"\r\n".to_vec(), app.head("GET", "/api/1", "", 0)].concat());
    assert_eq!(connection.answer().text(), "GET /1 ");
    connection.send([b"\r\n\r\n".to_vec(), app.head("GET", "/api/2", "", 0)].concat());
    assert_eq!(connection.answer().text(), "GET /2 ");
}
