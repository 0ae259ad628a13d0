//! HTTP/2 apps that break the rules or use them up, frame by frame (RFC 9113, sections 8 and 10.5).

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, NONE, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, status,
};
use crate::support::{Origin, Sidecar, Upstream, configuration};

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn start() -> (Sidecar, Upstream) {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    (bearerd, upstream)
}

/// Whether a request was refused as malformed: by a status of 4xx, or by the end of its stream or of the
/// connection.
fn is_refused(head: Option<&Frame>) -> bool {
    match head {
        None => true,
        Some(frame) if frame.kind == HEADERS => frame.flags & END_STREAM == 0 && status(frame) != Some(200),
        Some(frame) => matches!(frame.kind, RST_STREAM | GOAWAY),
    }
}

/// What first comes back on a stream, or ends the connection.
fn first(app: &mut Frames, stream: u32) -> Option<Frame> {
    app.find(|frame| {
        frame.kind == GOAWAY || (frame.stream == stream && matches!(frame.kind, HEADERS | RST_STREAM))
    })
}

#[test]
fn a_malformed_head_ends_its_stream_and_nothing_is_forwarded() {
    let (bearerd, upstream) = start();
    let ordinary =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")];
    let with = |extra: &[(&'static str, &'static str)]| [&ordinary, extra].concat();
    let replacing = |name: &'static str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        ordinary.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect()
    };
    let without = |name: &str| -> Vec<(&'static str, &'static str)> {
        ordinary.iter().filter(|field| field.0 != name).copied().collect()
    };
    let heads = [
        with(&[("connection", "keep-alive")]),
        with(&[("keep-alive", "5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("x y", "1")]),
        with(&[("", "1")]),
        with(&[("x:y", "1")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[(":path", "/api/y")]),
        with(&[(":unknown", "1")]),
        with(&[("x", "1"), (":method", "GET")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[("host", "evil.example")]),
        with(&[("host", "localhost"), ("host", "localhost")]),
        replacing(":path", "/api/a b"),
        replacing(":path", "/api/a\r\nb"),
        replacing(":path", "/api/\u{e9}"),
        replacing(":path", "api/x"),
        replacing(":path", "*"),
        replacing(":path", ""),
        replacing(":path", "http://evil.example/x"),
        replacing(":authority", "u@localhost"),
        replacing(":authority", "localhost/evil"),
        replacing(":authority", "a:b:c"),
        replacing(":authority", ""),
        replacing(":method", "CONNECT"),
        replacing(":method", "get"),
        replacing(":method", "G T"),
        replacing(":scheme", "ht tp"),
        without(":path"),
        without(":method"),
        without(":authority"),
        vec![(":method", "CONNECT"), (":authority", "evil:443")],
        with(&[(":protocol", "websocket")]),
    ];
    for head in &heads {
        let mut app = Frames::app(&bearerd);
        app.headers(1, head, true);
        let came = first(&mut app, 1);
        assert!(is_refused(came.as_ref()), "{head:?}: {came:?}");
    }
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());
}

#[test]
fn strange_but_harmless_heads_pass() {
    let (bearerd, upstream) = start();
    for fields in [
        vec![("te", "trailers")],
        vec![("host", "localhost")],
        vec![("x-empty", "")],
        vec![("x-padded", " padded ")],
        vec![("x", "a"), ("x", "b")],
    ] {
        let mut app = Frames::app(&bearerd);
        app.request(1, "GET", "/api/x;a=b//c?d=%20", &fields, true);
        let came = first(&mut app, 1);
        let is_padded = fields[0].0 == "x-padded";
        // RFC 9113, section 8.2.1: spaces around a value are malformed, or are cut.
        assert!(
            came.as_ref().is_some_and(|head| status(head) == Some(200)) || is_padded,
            "{fields:?}: {came:?}"
        );
    }
    for seen in upstream.requests() {
        assert_eq!(seen.target(), "/x;a=b//c?d=%20");
        assert_eq!(seen.field("x-padded").unwrap_or("padded".into()), "padded");
    }
}

#[test]
fn a_body_of_another_length_than_announced_never_looks_whole() {
    let (bearerd, upstream) = start();
    for (length, body, ends) in
        [("10", "short", true), ("3", "too long", true), ("3", "too long", false), ("5", "", true)]
    {
        let mut app = Frames::app(&bearerd);
        app.request(1, "POST", "/api/x", &[("content-length", length)], false);
        app.send(DATA, if ends { END_STREAM } else { NONE }, 1, body.as_bytes());
        let came = first(&mut app, 1);
        assert!(is_refused(came.as_ref()), "{length} {body:?}: {came:?}");
    }
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[("content-length", "5")], true);
    assert!(is_refused(first(&mut app, 1).as_ref()));
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());
    // And none of it hurts what comes after.
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[("content-length", "4")], false);
    app.send(DATA, END_STREAM, 1, b"body");
    assert_eq!(status(&app.head(1)), Some(200));
}

#[test]
fn frames_that_may_not_be_sent_end_the_connection() {
    let (bearerd, _upstream) = start();
    let cases: &[(&str, Vec<u8>)] = &[
        ("data on the connection", frame(DATA, END_STREAM, 0, b"x")),
        ("data on an idle stream", frame(DATA, END_STREAM, 5, b"x")),
        ("a head on the connection", frame(HEADERS, END_HEADERS, 0, &block(&[("a", "b")]))),
        (
            "a head on an even stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&[(":method", "GET")])),
        ),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("a window of nothing", frame(WINDOW_UPDATE, NONE, 0, &[0; 4])),
        ("a window that overflows", frame(WINDOW_UPDATE, NONE, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("settings of a wrong length", frame(SETTINGS, NONE, 0, &[0; 5])),
        ("a wrong setting", frame(SETTINGS, NONE, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("settings on a stream", frame(SETTINGS, NONE, 1, b"")),
        ("a ping of a wrong length", frame(PING, NONE, 0, b"short")),
        ("a reset of the connection", frame(RST_STREAM, NONE, 0, &[0; 4])),
        ("a reset of an idle stream", frame(RST_STREAM, NONE, 7, &[0; 4])),
        ("a promise", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("an index that does not exist", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x03])),
        ("a frame that is too long", [&[0x01, 0, 0, DATA, 0, 0, 0, 0, 1][..], &vec![0; 65_536]].concat()),
    ];
    for (what, bytes) in cases {
        let mut app = Frames::app(&bearerd);
        app.try_send(bytes);
        let farewell = app.find(|frame| frame.kind == GOAWAY);
        if let Some(farewell) = farewell {
            assert_ne!(farewell.code(), 0, "{what}");
            assert!(app.find(|_| false).is_none(), "{what}: the connection goes on");
        }
    }
    // Frames of an unknown type, and priorities, are passed over.
    let mut app = Frames::app(&bearerd);
    app.send(0xfa, 0xff, 3, b"whatever this is");
    app.send(PRIORITY, NONE, 9, &[0, 0, 0, 1, 5]);
    app.request(11, "GET", "/api/x", &[], true);
    assert_eq!(status(&app.head(11)), Some(200));
}

#[test]
fn a_stream_beyond_the_limit_is_refused_and_the_others_live() {
    let (bearerd, origin) = Origin::behind("max_streams = 4\n", "");
    let mut app = Frames::app(&bearerd);
    let settings = app.find(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).expect("settings");
    let limit =
        settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
    assert_eq!(limit[2..], [0, 0, 0, 4]);
    app.send(SETTINGS, ACK, 0, b"");
    let streams = [1, 3, 5, 7];
    for stream in streams {
        app.request(stream, "GET", "/api/x", &[], true);
    }
    let mut upstreams: Vec<_> = streams.map(|_| origin.accept()).into();
    app.request(9, "GET", "/api/x", &[], true);
    let refused = first(&mut app, 9).expect("a word about it");
    assert_eq!((refused.kind, refused.code()), (RST_STREAM, REFUSED_STREAM));
    origin.assert_no_other_connection();
    for upstream in &mut upstreams {
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    let mut done: Vec<u32> = Vec::new();
    while done.len() < 4 {
        let last = app.find(|frame| frame.kind == DATA && frame.flags & END_STREAM != 0).expect("all end");
        done.push(last.stream);
    }
    app.request(11, "GET", "/nowhere", &[], true);
    assert_eq!(status(&app.head(11)), Some(404));
    assert!(bearerd.metric("bearerd_limited_total{limit=\"max_streams\"}") <= 1);
}

#[test]
fn streams_opened_and_reset_without_end_are_stopped() {
    let (bearerd, upstream) = start();
    let mut app = Frames::app(&bearerd);
    let mut bytes = Vec::new();
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")]);
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
        bytes.extend(frame(RST_STREAM, NONE, stream, &[0, 0, 0, 8]));
    }
    app.try_send(&bytes);
    if let Some(farewell) = app.find(|frame| frame.kind == GOAWAY) {
        assert_eq!(farewell.code(), ENHANCE_YOUR_CALM);
    }
    let seen = upstream.requests().len();
    assert!(seen < 1000, "{seen} requests reached the upstream");
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert!(bearerd.memory().1 < 64 * 1024);
}

#[test]
fn streams_that_bearerd_is_made_to_reset_are_stopped() {
    let (bearerd, upstream) = start();
    let mut app = Frames::app(&bearerd);
    let mut bytes = Vec::new();
    let head =
        block(&[(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")]);
    for number in 0..5000 {
        let stream = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &head));
        // A window of nothing is an error of the stream.
        bytes.extend(frame(WINDOW_UPDATE, NONE, stream, &[0; 4]));
    }
    app.try_send(&bytes);
    assert!(app.find(|frame| frame.kind == GOAWAY).is_some_and(|frame| frame.code() != 0));
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert!(bearerd.memory().1 < 96 * 1024);
}

#[test]
fn a_head_without_end_is_stopped() {
    let (bearerd, upstream) = start();
    let ordinary =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")]);
    for (piece, times) in [
        (block(&[("x", &"y".repeat(16_000))]), 2000),
        (Vec::new(), 100_000),
        (vec![0, 1, b'x', 1, b'y'], 100_000),
    ] {
        let mut app = Frames::app(&bearerd);
        app.send(HEADERS, END_STREAM, 1, &ordinary);
        let continuation = frame(CONTINUATION, NONE, 1, &piece);
        let batch = continuation.repeat(100);
        let mut sent = 0;
        while sent < times && app.try_send(&batch) {
            sent += 100;
        }
        let end = app.find(|frame| frame.kind == GOAWAY || frame.kind == RST_STREAM || frame.kind == HEADERS);
        assert!(is_refused(end.as_ref()), "{} bytes a piece: {end:?}", piece.len());
    }
    assert_eq!(upstream.requests().len(), 0);
    assert!(bearerd.memory().1 < 64 * 1024, "{} KiB", bearerd.memory().1);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn the_limits_of_a_head_hold_before_settings_are_acknowledged() {
    let (bearerd, upstream) = start();
    let long = "y".repeat(8000);
    let path = format!("/api/{}", "p".repeat(15_000));
    let too_long = format!("/api/{}", "p".repeat(17_000));
    let many: Vec<(&str, &str)> = (0..101).map(|_| ("x", "y")).collect();
    for (path, fields, passes) in [
        ("/api/x", vec![("x", long.as_str()); 5], false),
        ("/api/x", many.clone(), false),
        (too_long.as_str(), vec![], false),
        ("/api/x", many[..95].to_vec(), true),
        ("/api/x", vec![("x", long.as_str()); 3], true),
        (path.as_str(), vec![], true),
    ] {
        let mut app = Frames::app(&bearerd);
        let mut all =
            vec![(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
        all.extend(fields);
        let bytes = block(&all);
        let mut pieces = bytes.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { NONE };
            let flags = end | if kind == HEADERS { END_STREAM } else { NONE };
            app.try_send(&frame(kind, flags, 1, piece));
            kind = CONTINUATION;
        }
        let came = first(&mut app, 1);
        let passed = came.as_ref().is_some_and(|head| status(head) == Some(200));
        assert_eq!(passed, passes, "{came:?}");
        assert!(passed || is_refused(came.as_ref()));
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn a_bomb_of_compressed_fields_is_refused_within_its_memory() {
    let (bearerd, upstream) = start();
    let mut app = Frames::app(&bearerd);
    // A field of 4,000 bytes goes into the table, and is named thousands of times.
    let mut bytes =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")]);
    bytes.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bytes.extend("y".repeat(4000).as_bytes());
    bytes.extend([0xbe; 12_000]);
    app.try_send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes[..16_384.min(bytes.len())]));
    assert!(is_refused(first(&mut app, 1).as_ref()));
    assert_eq!(upstream.requests().len(), 0);
    assert!(bearerd.memory().1 < 64 * 1024, "{} KiB", bearerd.memory().1);
}

#[test]
fn floods_of_small_frames_cost_no_memory_and_hold_up_nobody() {
    let (bearerd, upstream) = start();
    let floods: [(&str, Vec<u8>); 5] = [
        ("settings", frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("pings", frame(PING, NONE, 0, b"12345678")),
        ("priorities", frame(PRIORITY, NONE, 9, &[0, 0, 0, 1, 5])),
        ("windows", frame(WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1])),
        ("unknown frames", frame(0xfa, NONE, 0, b"")),
    ];
    for (what, one) in floods {
        let mut app = Frames::app(&bearerd);
        let batch = one.repeat(1000);
        let mut sender = app.wire().sender();
        let flooding = std::thread::spawn(move || {
            // Nobody reads what is answered: it may be stopped at any time.
            sender.set_write_timeout(Some(std::time::Duration::from_millis(500))).expect("an option");
            (0..100).all(|_| std::io::Write::write_all(&mut sender, &batch).is_ok())
        });
        for _ in 0..10 {
            assert_eq!(bearerd.app().get("/api/x").status(), 200, "{what}");
        }
        flooding.join().expect("no panic");
    }
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[], false);
    let empty = frame(DATA, NONE, 1, b"").repeat(1000);
    let took_all = (0..300).all(|_| app.try_send(&empty));
    if took_all {
        assert!(app.find(|frame| matches!(frame.kind, GOAWAY | RST_STREAM)).is_some(), "empty data for ever");
    }
    assert_eq!(upstream.requests().len(), 50);
    assert!(bearerd.memory().1 < 64 * 1024, "{} KiB", bearerd.memory().1);
}

#[test]
fn a_connection_on_which_nothing_is_asked_is_closed_in_time() {
    let (bearerd, _origin) = Origin::behind("head_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n", "");
    let mut silent = bearerd.app().connect();
    silent.send(&crate::support::frames::PREFACE[..10]);
    silent.rest();
    let mut app = Frames::app(&bearerd);
    app.find(|_| false);
    // A head that never ends is no reason to stay either.
    let mut app = Frames::app(&bearerd);
    app.send(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    app.find(|_| false);
}
