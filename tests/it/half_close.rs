//! Connections of which one half is closed, from either side.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::configuration::granted;
use crate::support::frames::{
    self, ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NONE, PING, RST_STREAM, SETTINGS,
    frame, status,
};
use crate::support::tls::{Authority, TlsClient, TlsConnection};
use crate::support::{Issuer, Origin, Setup, Sidecar, Upstream, canary, configuration};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_app_that_has_said_all_still_gets_its_answer() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (method, body) in [("GET", ""), ("POST", "body")] {
        let mut app = bearerd.app().connect();
        app.send(bearerd.app().head(method, "/api/x", "", body.len()));
        app.send(body);
        app.finish();
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().text(), body);
        upstream.assert_quiet();
        upstream.send(ANSWER);
        assert_eq!(app.answer().text(), "ok");
        app.assert_ends();
        // The next request must not cross the end of this connection: its body is not held.
        upstream.leave(false);
    }
}

#[test]
fn an_app_that_has_said_all_gets_an_answer_that_streams() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    app.finish();
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    app.head();
    for piece in ["one", "two", "three"] {
        upstream.send_chunk(piece);
        assert_eq!(app.chunks(piece.len()), piece.as_bytes());
    }
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
    app.assert_ends();
}

#[test]
fn all_requests_sent_before_the_half_close_are_answered() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    let requests: Vec<u8> =
        (0..3).flat_map(|number| bearerd.app().head("GET", &format!("/api/{number}"), "", 0)).collect();
    app.send(requests);
    app.finish();
    let mut upstream = origin.accept();
    for number in 0..3 {
        assert_eq!(upstream.request().target(), format!("/{number}"));
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"));
        assert_eq!(app.answer().text(), number.to_string());
    }
    app.assert_ends();
}

#[test]
fn an_app_that_is_gone_ends_the_answer_upstream() {
    for resets in [false, true] {
        let (bearerd, origin) = Origin::behind_bearerd();
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        app.head();
        if resets {
            app.reset();
        } else {
            drop(app);
        }
        // It may take a piece to notice, since a half-closed app looks the same.
        while upstream.try_send("5\r\npiece\r\n") && !upstream.stirs_within(Duration::from_millis(20)) {}
        upstream.rest();
    }
}

#[test]
fn an_upstream_that_closes_behind_its_answer_has_answered() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for _ in 0..3 {
        app.send(bearerd.app().head("GET", "/api/x", "", 0));
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(ANSWER);
        upstream.finish();
        assert_eq!(app.answer().text(), "ok");
    }
}

#[test]
fn an_upstream_that_closes_its_half_before_it_answered_has_not() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for part in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(part);
        upstream.finish();
        assert_eq!(app.answer().status(), 502, "{part:?}");
    }
}

#[test]
fn an_upstream_that_has_said_all_is_still_sent_the_rest_of_the_upload() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    app.send_chunk("first");
    assert_eq!(upstream.chunks(5), b"first");
    app.send_chunk("last");
    app.send("0\r\n\r\n");
    assert_eq!(upstream.chunks(4), b"last");
    upstream.expect("0\r\n\r\n");
    upstream.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    upstream.finish();
    assert_eq!(app.answer().text(), "until the end");
}

#[test]
fn what_an_app_asked_for_is_not_sent_if_it_is_gone_before_there_is_a_token() {
    let (issuer, upstream) = (Issuer::start(3600).delayed(Duration::from_secs(1)), Upstream::start());
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    let apps: Vec<_> = (0..10).map(|_| bearerd.app().ask("GET", "/api/gone", "")).collect();
    let mut stays = bearerd.app().ask("GET", "/api/stays", "");
    stays.finish();
    issuer.wait_for(1);
    for (number, app) in apps.into_iter().enumerate() {
        if number % 2 == 0 {
            app.reset();
        }
    }
    assert_eq!(stays.answer().text(), "hello");
    assert_eq!(upstream.request().target(), "/stays");
}

/// A bearerd with a listener of TLS before an origin, and an app that trusts it.
fn behind_tls(protocol: &str) -> (Sidecar, Origin, TlsClient) {
    let (authority, origin) = (Authority::new(), Origin::start());
    let identity = authority.server();
    let lines = "tls = { cert = \"{folder}/cert.pem\", key = \"{folder}/key.pem\" }\n";
    let setup = Setup::new(&format!("{lines}\n{}", configuration::to(&origin.url())));
    let bearerd = setup.file("cert.pem", &identity.cert).file("key.pem", &identity.key).start();
    bearerd.wait_until_ready();
    let client = TlsClient::new(bearerd.address("app"), &authority, None).offering(&[protocol]);
    (bearerd, origin, client)
}

/// Ends the app's half of a connection of TLS: with its notice (RFC 8446, section 6.1), with that of TCP, or both.
fn end_half(app: &mut TlsConnection, notice: bool, fin: bool) {
    let stream = app.stream();
    if notice {
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).expect("sent");
    }
    if fin {
        stream.sock.shutdown(Shutdown::Write).expect("shut");
    }
}

/// The head of a request over HTTP/2.
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/api/x")];

const HALVES: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

#[test]
fn an_app_over_tls_that_has_said_all_still_gets_its_answer() {
    let (bearerd, origin, client) = behind_tls("http/1.1");
    for (notice, fin) in HALVES {
        let mut app = client.connect().expect("a handshake");
        app.stream().write_all(&bearerd.app().head("GET", "/api/x", "", 0)).expect("sent");
        let mut upstream = origin.accept();
        upstream.request();
        end_half(&mut app, notice, fin);
        upstream.assert_quiet();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
        upstream.send(vec![b'x'; 300_000]);
        let answer = app.answer().expect("an answer");
        assert_eq!(answer.body.len(), 300_000, "{notice} {fin}");
        upstream.leave(false);
    }
}

#[test]
fn an_app_over_http_2_that_has_said_all_still_gets_its_answers() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    for stream in [1, 3] {
        app.request(stream, "GET", &format!("/api/{stream}"), &[], true);
    }
    app.wire().finish();
    let mut upstreams = [origin.accept(), origin.accept()];
    for upstream in &mut upstreams {
        upstream.request();
        upstream.assert_quiet();
    }
    for upstream in &mut upstreams {
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n");
        upstream.send(vec![b'x'; 30_000]);
    }
    let (mut length, mut ended) = (0, 0);
    while let Some(frame) = app.next() {
        assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "{frame:?}");
        length += if frame.kind == DATA { frame.payload.len() } else { 0 };
        ended += u32::from(frame.kind == DATA && frame.flags & END_STREAM != 0);
    }
    assert_eq!((length, ended), (60_000, 2));
}

#[test]
fn an_app_over_http_2_and_tls_that_has_said_all_still_gets_its_answer() {
    let (_bearerd, origin, client) = behind_tls("h2");
    for (notice, fin) in HALVES {
        let mut app = client.connect().expect("a handshake");
        let request = [
            frames::PREFACE.to_vec(),
            frame(SETTINGS, NONE, 0, b""),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &frames::block(&GET)),
        ];
        app.stream().write_all(&request.concat()).expect("sent");
        let mut upstream = origin.accept();
        upstream.request();
        end_half(&mut app, notice, fin);
        upstream.assert_quiet();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nthe answer's");
        let mut bytes = Vec::new();
        let _ = app.stream().read_to_end(&mut bytes);
        let whole = frame(DATA, END_STREAM, 1, b"the answer's");
        assert!(memchr::memmem::find(&bytes, &whole).is_some(), "{notice} {fin}: {bytes:?}");
        upstream.leave(false);
    }
}

#[test]
fn an_app_over_http_2_that_cannot_say_the_rest_is_told_at_once() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/upload", &[("content-length", "10")], false);
    app.send(DATA, NONE, 1, b"first");
    let mut upload = origin.accept();
    upload.head();
    app.request(3, "GET", "/api/large", &[], true);
    let mut large = origin.accept();
    large.request();
    app.wire().finish();
    let head = app.head(1);
    assert_eq!(status(&head), Some(400));
    // It has room for 65,535 bytes, less what was answered, and makes no more.
    large.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    large.try_send(vec![b'x'; 100_000]);
    let reset = app.find(|frame| frame.kind == RST_STREAM && frame.stream == 3);
    assert!(reset.is_some(), "it is not kept waiting for what cannot come");
    assert!(app.find(|_| false).is_none(), "and the connection ends");
    upload.rest();
    large.rest();
}

#[test]
fn an_app_over_http_2_that_is_gone_ends_the_answers_upstream() {
    for says_all_before in [false, true] {
        let (bearerd, origin) = Origin::behind_bearerd();
        let mut app = Frames::app(&bearerd);
        app.request(1, "GET", "/api/x", &[], true);
        let mut upstream = origin.accept();
        upstream.request();
        if says_all_before {
            app.wire().finish();
            let ping = app.find(|frame| frame.kind == PING && frame.flags & ACK == 0);
            assert!(ping.is_some(), "it is asked whether it is still there");
        }
        drop(app);
        assert_eq!(upstream.rest(), "", "{says_all_before}");
    }
}
