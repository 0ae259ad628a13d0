//! What a request and its answer are does not depend on HTTP/2: bodies, heads, and what an app waits for.

use std::time::Duration;

use crate::support::frames::{
    DATA, END_STREAM, Frame, Frames, HEADERS, NONE, RST_STREAM, SETTINGS, WINDOW_UPDATE, status,
};
use crate::support::http2::Http2App;
use crate::support::{Origin, Sidecar, Upstream, configuration};

/// A body that would be a request where framing is lost.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn holds(head: &Frame, bytes: &[u8]) -> bool {
    head.payload.windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn a_body_passes_with_any_method_and_is_never_taken_for_a_request() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let mut app = Frames::app(&bearerd);
    let length = SMUGGLED.len().to_string();
    let mut sent = Vec::new();
    for (stream, method) in (1..).step_by(4).zip(["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PATCH"]) {
        for (stream, fields) in [(stream, vec![]), (stream + 2, vec![("content-length", length.as_str())])] {
            app.request(stream, method, "/api/x", &fields, false);
            app.send(DATA, END_STREAM, stream, SMUGGLED.as_bytes());
            assert_eq!(status(&app.head(stream)), Some(200), "{method} {fields:?}");
            sent.push((method.to_owned(), SMUGGLED.to_owned()));
        }
    }
    let seen: Vec<_> = upstream.requests().iter().map(|seen| (seen.method(), seen.text())).collect();
    assert_eq!(seen, sent);
}

#[test]
fn an_end_without_data_is_an_empty_body() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let mut app = Frames::app(&bearerd);
    for (stream, fields) in [(1, vec![]), (3, vec![("content-length", "0")])] {
        app.request(stream, "POST", "/api/x", &fields, false);
        app.send(DATA, NONE, stream, b"");
        app.send(DATA, END_STREAM, stream, b"");
        assert_eq!(status(&app.head(stream)), Some(200));
    }
    assert!(upstream.requests().iter().all(|seen| seen.body.is_empty()));
}

#[test]
fn expectations_that_nobody_knows_are_refused() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    for (stream, expectation) in
        (1..).step_by(2).zip(["x", "100-continue, x", "y 100-continue", "100-continue;q=1"])
    {
        app.request(stream, "POST", "/api/x", &[("expect", expectation)], false);
        assert_eq!(status(&app.head(stream)), Some(400), "{expectation}");
    }
    origin.assert_no_other_connection();
}

#[test]
fn an_answer_without_a_body_ends_with_its_head() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    let mut upstream = None;
    for (stream, (method, answer, tells)) in (1..).step_by(2).zip([
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n", Some("4711")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4711\r\n\r\n", Some("4711")),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ]) {
        app.request(stream, method, "/api/x", &[], true);
        let upstream = upstream.get_or_insert_with(|| origin.accept());
        upstream.request();
        upstream.send(answer);
        let head = app.head(stream);
        assert_eq!(head.flags & END_STREAM, END_STREAM, "{method} {answer}");
        if let Some(length) = tells {
            assert!(holds(&head, length.as_bytes()), "{head:?}");
        }
    }
}

#[test]
fn bytes_beyond_ascii_pass_as_they_are() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    app.request(1, "GET", "/api/x", &[("x-name", "Zo\u{eb} \u{20ac}")], true);
    let mut upstream = origin.accept();
    let seen = upstream.request();
    assert!(memchr::memmem::find(&seen.head, "Zo\u{eb} \u{20ac}".as_bytes()).is_some(), "{}", seen.head());
    // Latin-1, which is no UTF-8.
    upstream.send(b"HTTP/1.1 200 OK\r\nX-Name: Zo\xeb\r\nContent-Length: 2\r\n\r\nok");
    assert!(holds(&app.head(1), b"Zo\xeb"));
}

#[test]
fn a_switch_of_protocols_that_no_stream_can_ask_for_is_502() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(call.text().0, 502);
    upstream.assert_ends();
}

#[test]
fn a_misdirected_request_is_not_asked_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 421 Misdirected Request\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(call.text(), (421, "no".into()));
    origin.assert_no_other_connection();
    upstream.assert_quiet();
}

#[test]
fn events_arrive_one_by_one() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let mut call = app.get("/api/events");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(call.head().status(), 200);
    for number in 0..50 {
        let event = format!("data: {number}\n\n");
        upstream.send_chunk(&event);
        assert_eq!(call.bytes(event.len()), event.as_bytes());
    }
    upstream.send("0\r\n\r\n");
    assert_eq!(call.rest().body, b"");
}

#[test]
fn what_an_app_asked_for_ends_with_its_connection() {
    for resets in [false, true] {
        let (bearerd, origin) = Origin::behind_bearerd();
        let mut app = Frames::app(&bearerd);
        app.request(1, "GET", "/api/silent", &[], true);
        let mut silent = origin.accept();
        silent.request();
        app.request(3, "POST", "/api/upload", &[], false);
        app.send(DATA, NONE, 3, b"half");
        let mut upload = origin.accept();
        upload.head();
        assert_eq!(upload.chunk(), b"half");
        app.request(5, "GET", "/api/answered", &[], true);
        let mut answered = origin.accept();
        answered.request();
        answered.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        app.head(5);
        if resets {
            app.into_wire().reset();
        } else {
            drop(app);
        }
        for upstream in [&mut silent, &mut upload, &mut answered] {
            let (rest, _) = upstream.rest_in_bytes();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "half a body looks whole");
        }
    }
}

#[test]
fn an_app_that_opens_no_window_is_given_up_in_time_and_the_others_are_not() {
    let (bearerd, origin) = Origin::behind("", "stall_timeout = \"1s\"\n");
    let mut app = Frames::app(&bearerd);
    app.send(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 0]);
    app.request(1, "GET", "/api/x", &[], true);
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(OK);
    assert_eq!(status(&app.head(1)), Some(200));
    let end = app.find(|frame| frame.stream == 1).expect("the stream ends");
    assert_eq!(end.kind, RST_STREAM);
    // One byte now and then is progress.
    app.request(3, "GET", "/api/x", &[], true);
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nslowly");
    assert_eq!(status(&app.head(3)), Some(200));
    let mut body = Vec::new();
    while body.len() < 6 {
        std::thread::sleep(Duration::from_millis(250));
        app.send(WINDOW_UPDATE, NONE, 3, &[0, 0, 0, 1]);
        let data = app.find(|frame| frame.stream == 3).expect("data");
        assert_eq!((data.kind, data.payload.len()), (DATA, 1));
        body.extend(data.payload);
    }
    assert_eq!(body, b"slowly");
}

#[test]
fn the_scheme_that_an_app_names_leads_nowhere_else() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    for scheme in ["https", "ftp", "HTTP", "x+y.z-1"] {
        let mut app = Frames::app(&bearerd);
        let fields =
            [(":method", "GET"), (":scheme", scheme), (":authority", "localhost"), (":path", "/api/x")];
        app.headers(1, &fields, true);
        let came = app.find(|frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM));
        assert!(came.is_some(), "{scheme}");
    }
    for seen in upstream.requests() {
        assert_eq!((seen.target(), seen.field("host")), ("/x".into(), Some(upstream.address().to_string())));
    }
}
