//! What an HTTP/2 connection owes to an app beside its answers: 100, windows, the end of streams.

use h2::Reason;

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, NONE, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, status,
};
use crate::support::http2::{Http2App, Http2Origin};
use crate::support::{Origin, Reply, Sidecar, Upstream, configuration};

fn start() -> (Sidecar, Upstream) {
    let upstream = Upstream::answering(|request| Reply::text(&request.text()));
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    (bearerd, upstream)
}

/// The frames of a stream up to its end.
fn all_of(app: &mut Frames, stream: u32) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = app.find(|frame| frame.stream == stream).expect("the stream ends before the connection");
        let is_last = frame.kind == RST_STREAM
            || (matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0);
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}

fn body(frames: &[Frame]) -> Vec<u8> {
    frames.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone()).collect()
}

#[test]
fn an_app_that_waits_for_a_100_gets_it_when_its_body_is_wanted() {
    let (bearerd, _upstream) = start();
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[("expect", "100-continue"), ("content-length", "4")], false);
    let interim = app.head(1);
    // `:status: 100`, which is not in the static table.
    assert_eq!((interim.payload.as_slice(), interim.flags), (b"\x08\x03100".as_slice(), END_HEADERS));
    app.send(DATA, END_STREAM, 1, b"body");
    let frames = all_of(&mut app, 1);
    assert_eq!(status(&frames[0]), Some(200));
    assert_eq!(body(&frames), b"body");
    // None where it is known without the body what is answered.
    app.request(3, "POST", "/nowhere", &[("expect", "100-continue"), ("content-length", "4")], false);
    assert_eq!(status(&app.head(3)), Some(404));
}

#[test]
fn a_padded_body_passes_without_its_padding_and_the_window_opens_again() {
    let (bearerd, _upstream) = start();
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[], false);
    let piece = [&[200][..], b"ab", &[0; 200]].concat();
    // Twice the window of the stream, nearly all of it padding.
    for _ in 0..2 * 65_536 / piece.len() {
        app.send(DATA, 8, 1, &piece);
    }
    app.send(DATA, END_STREAM, 1, b"");
    let frames = all_of(&mut app, 1);
    assert!(frames.iter().any(|frame| frame.kind == WINDOW_UPDATE), "{frames:?}");
    assert_eq!(body(&frames), "ab".repeat(2 * 65_536 / piece.len()).as_bytes());
}

#[test]
fn more_than_the_window_of_a_stream_is_an_error_of_it_alone() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[("content-length", "10000000")], false);
    let _upstream = origin.accept();
    for _ in 0..80 {
        app.try_send(&crate::support::frames::frame(DATA, NONE, 1, &[b'x'; 16_384]));
    }
    // Whatever the upstream's socket takes, is given back; what nobody takes, is not.
    let end = app.find(|frame| (frame.kind == RST_STREAM && frame.stream == 1) || frame.kind == GOAWAY);
    assert!(end.is_none_or(|end| end.code() == u32::from(Reason::FLOW_CONTROL_ERROR)));
}

#[test]
fn an_answer_waits_for_the_windows_of_the_app() {
    let upstream = Upstream::answering(|_| Reply::text(&"x".repeat(100_000)));
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let mut app = Frames::app(&bearerd);
    // No window for new streams, and then some.
    app.send(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 0]);
    app.request(1, "GET", "/api/x", &[], true);
    assert_eq!(status(&app.head(1)), Some(200));
    app.ping();
    app.send(WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 10]);
    let first = app.find(|frame| frame.kind == DATA).expect("data");
    assert_eq!((first.payload.len(), first.flags), (10, NONE));
    app.send(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0, 5]);
    let second = app.find(|frame| frame.kind == DATA).expect("data");
    assert_eq!(second.payload.len(), 5);
    app.send(WINDOW_UPDATE, NONE, 1, &100_000_u32.to_be_bytes());
    app.send(WINDOW_UPDATE, NONE, 0, &100_000_u32.to_be_bytes());
    assert_eq!(15 + body(&all_of(&mut app, 1)).len(), 100_000);
}

#[test]
fn frames_on_a_stream_that_has_ended_are_its_error_or_the_connections() {
    let (bearerd, _upstream) = start();
    for (kind, flags, payload) in
        [(DATA, END_STREAM, b"late".to_vec()), (HEADERS, END_HEADERS | END_STREAM, block(&[("x", "y")]))]
    {
        for is_answered in [false, true] {
            let mut app = Frames::app(&bearerd);
            app.request(1, "GET", "/api/x", &[], true);
            if is_answered {
                all_of(&mut app, 1);
            }
            app.send(kind, flags, 1, &payload);
            let end = app.find(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY);
            assert_eq!(end.map(|end| end.code()), Some(Reason::STREAM_CLOSED.into()), "{kind} {is_answered}");
        }
    }
    // What an app may not know yet is passed over.
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/nowhere", &[], false);
    assert_eq!(status(&app.head(1)), Some(404));
    all_of(&mut app, 1);
    app.find(|frame| frame.kind == RST_STREAM)
        .map(|end| assert_eq!(end.code(), 0))
        .expect("no more is wanted");
    app.send(DATA, END_STREAM, 1, b"late");
    app.send(RST_STREAM, NONE, 1, &[0, 0, 0, 8]);
    app.send(WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 8]);
    app.ping();
    app.request(3, "GET", "/nowhere", &[], true);
    assert_eq!(status(&app.head(3)), Some(404));
}

#[test]
fn an_answer_before_the_end_of_a_body_that_came_whole_resets_nothing() {
    let (bearerd, _upstream) = start();
    let mut app = Frames::app(&bearerd);
    // Many apps say the end in a frame of its own, and take a reset for the loss of the answer.
    app.request(1, "POST", "/api/x", &[("content-length", "4")], false);
    app.send(DATA, NONE, 1, b"body");
    let frames = all_of(&mut app, 1);
    assert_eq!((status(&frames[0]), body(&frames)), (Some(200), b"body".to_vec()));
    app.send(DATA, END_STREAM, 1, b"");
    app.request(3, "GET", "/api/x", &[], true);
    let next = app.find(|frame| frame.kind == RST_STREAM || frame.stream == 3).expect("an answer");
    assert_eq!((next.kind, status(&next)), (HEADERS, Some(200)));
}

#[test]
fn what_was_on_its_way_when_many_streams_were_answered_is_no_flood() {
    let upstream = Upstream::start();
    let listener = "max_streams = 300\nmax_fruitless_frames = \"20/m\"\n";
    let bearerd = Sidecar::ready(&format!("{listener}{}", configuration::to(&upstream.origin())));
    let mut app = Frames::app(&bearerd);
    let streams: Vec<u32> = (0..300).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        app.request(*stream, "POST", "/nowhere", &[], false);
    }
    for _ in &streams {
        let end = app.find(|frame| frame.kind == RST_STREAM).expect("no more is wanted");
        assert_eq!(end.code(), 0);
    }
    for stream in &streams {
        app.send(DATA, NONE, *stream, &[0; 1500]);
        app.send(DATA, END_STREAM, *stream, &[0; 1500]);
    }
    app.request(601, "GET", "/api/x", &[], true);
    let next = app.find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY) || frame.stream == 601);
    assert_eq!(next.and_then(|head| status(&head)), Some(200));
    // What is hardly anything is trouble there as elsewhere.
    for _ in 0..30 {
        app.try_send(&crate::support::frames::frame(DATA, NONE, 1, b"x"));
    }
    assert!(app.find(|frame| frame.kind == GOAWAY).is_some());
}

#[test]
fn nothing_may_come_between_a_head_and_its_continuation() {
    let (bearerd, upstream) = start();
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")]);
    let mut app = Frames::app(&bearerd);
    for (stream, kind) in [(1, HEADERS), (1, CONTINUATION)] {
        let (part, flags) =
            if kind == HEADERS { (&head[..5], END_STREAM) } else { (&head[5..], END_HEADERS) };
        app.send(kind, flags, stream, part);
    }
    assert_eq!(status(&app.head(1)), Some(200));
    for (kind, stream) in [(PING, 0), (CONTINUATION, 5), (DATA, 3)] {
        let mut app = Frames::app(&bearerd);
        app.send(HEADERS, END_STREAM, 3, &head[..5]);
        app.send(kind, END_HEADERS, stream, b"12345678");
        let end = app.find(|frame| frame.kind == GOAWAY).expect("a word about it");
        assert_eq!(end.code(), u32::from(Reason::PROTOCOL_ERROR));
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_app_without_a_table_is_told_that_it_needs_none() {
    let (bearerd, _upstream) = start();
    let mut app = Frames::app(&bearerd);
    app.send(SETTINGS, NONE, 0, &[0, 1, 0, 0, 0, 0]);
    app.find(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).expect("heard");
    app.request(1, "GET", "/nowhere", &[], true);
    let head = app.head(1);
    assert_eq!(head.payload[..2], [0x20, 0x8d], "the table's size, and then the status");
    app.request(3, "GET", "/nowhere", &[], true);
    assert_eq!(app.head(3).payload[0], 0x8d, "said once");
}

#[test]
fn an_app_that_says_goodbye_gets_what_it_asked_for_and_then_the_end() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = Frames::app(&bearerd);
    app.request(1, "GET", "/api/x", &[], true);
    let mut upstream = origin.accept();
    upstream.request();
    app.send(GOAWAY, NONE, 0, &[0; 8]);
    app.ping();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(body(&all_of(&mut app, 1)), b"ok");
    assert!(app.find(|_| false).is_none(), "the connection goes on");
}

#[test]
fn the_first_requests_keep_to_an_upstreams_limit_of_streams_too() {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(1);
    let origin = Http2Origin::with(settings);
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let calls: Vec<_> = (0..8).map(|_| app.get("/api/x")).collect();
    for _ in &calls {
        origin.accept().text("ok");
    }
    for call in calls {
        assert_eq!(call.text(), (200, "ok".into()));
    }
}

#[test]
fn an_app_that_was_answered_early_may_send_on_for_a_while_before_it_is_reset() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("allow = [\"POST /x\"]\n");
    let app = Http2App::of(&bearerd);
    for by_upstream in [true, false] {
        let ask = || {
            let path = if by_upstream { "/api/x" } else { "/api/forbidden" };
            let mut call = app.send(app.request("POST", path, &[]), false);
            let upstream = by_upstream.then(|| {
                let mut exchange = origin.accept();
                exchange.respond(413, &[], false);
                exchange.send(b"too much", true);
                exchange
            });
            let status = call.head().status().as_u16();
            assert_eq!(status, if by_upstream { 413 } else { 403 });
            assert!(!call.rest().body.is_empty());
            (call, upstream)
        };
        // More than its windows let out at once.
        let (mut call, _upstream) = ask();
        call.upload(&vec![0; 250 * 1024], true);
        app.get("/nowhere").text();
        // No more than is read of a request over HTTP/1.1.
        let (mut call, _upstream) = ask();
        call.try_upload(&vec![0; 1024 * 1024], true).expect_err("nobody wants so much");
        assert_eq!(call.reset_reason(), Reason::NO_ERROR);
        // Nor for longer, if nothing comes.
        let (mut call, _upstream) = ask();
        assert_eq!(call.reset_reason(), Reason::NO_ERROR);
    }
}
