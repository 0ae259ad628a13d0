//! HTTP/2 upstreams that break the rules, frame by frame: the app gets an answer, and bearerd lives.

use std::time::Duration;

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NONE, PING, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::support::http2::Http2App;
use crate::support::{Origin, Sidecar, configuration};

fn start() -> (Sidecar, Origin) {
    start_with("")
}

/// With more said of the route.
fn start_with(more: &str) -> (Sidecar, Origin) {
    let origin = Origin::start();
    let url = origin.url().replace("http://", "h2c://");
    let bearerd = Sidecar::ready(&(configuration::to(&url) + more));
    (bearerd, origin)
}

/// A request goes by a connection of its own, and is answered there.
#[track_caller]
fn answered_anew(app: &Http2App, origin: &Origin) -> Frames {
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(origin, b"");
    upstream.head(1);
    upstream.try_send(&ok(1, true));
    assert_eq!(call.text().0, 200);
    upstream
}

/// A head that says 200.
fn ok(stream: u32, ends: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { NONE }, stream, &[0x88])
}

#[test]
fn the_token_is_never_put_into_a_table_of_compression() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(&origin, b"");
    let head = upstream.head(1);
    // RFC 7541, section 6.2.3: a literal never indexed, whose name is entry 23 of the static table.
    let at = memchr::memmem::find(&head.payload, &[0x1f, 0x08]);
    assert!(at.is_some(), "{:x?}", head.payload);
    upstream.try_send(&ok(1, true));
    assert_eq!(call.text().0, 200);
}

#[test]
fn what_is_no_http_2_answer_is_502_and_the_next_request_has_a_new_connection() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let trailing = block(&[("x", "y")]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("nothing", Vec::new()),
        ("no status", frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailing)),
        ("a wrong status", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "abc")]))),
        ("two statuses", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88, 0x88])),
        (
            "upper case",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x88][..], &block(&[("X", "y")])].concat()),
        ),
        (
            "a split",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x88][..], &block(&[("x", "a\r\nb: c")])].concat(),
            ),
        ),
        ("data before a head", frame(DATA, END_STREAM, 1, b"data")),
        (
            "a promise",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&[(":method", "GET")])].concat()),
        ),
        ("goodbye", frame(GOAWAY, NONE, 0, &[0, 0, 0, 1, 0, 0, 0, 2])),
        ("101", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "101")]))),
    ];
    for (what, bytes) in cases {
        let over_http2 = app.get("/api/x");
        let mut wire = origin.accept();
        wire.expect(crate::support::frames::PREFACE);
        if !matches!(what, "HTTP/1.1" | "nothing") {
            wire.send(frame(SETTINGS, NONE, 0, b""));
        }
        // Frames up to the request's head.
        wire.send(bytes);
        wire.finish();
        let (status, body) = over_http2.text();
        assert_eq!(status, 502, "{what}: {body}");
        drop(wire);
    }
    let mut over_http1 = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    upstream.try_send(&ok(1, true));
    assert_eq!(over_http1.answer().status(), 200);
}

#[test]
fn a_goodbye_before_ones_stream_means_that_it_was_not_processed() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let calls = [app.get("/api/1"), app.get("/api/2")];
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    upstream.head(3);
    // Stream 1 is the last one that was looked at.
    upstream.send(GOAWAY, NONE, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let mut next = Frames::upstream(&origin, b"");
    next.head(1);
    next.try_send(&ok(1, true));
    upstream.try_send(&ok(1, true));
    for call in calls {
        assert_eq!(call.text().0, 200);
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_connection_that_refused_a_stream_takes_another_when_one_has_ended() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let stays = app.get("/api/stays");
    let mut busy = Frames::upstream(&origin, b"");
    busy.head(1);
    let refused = app.get("/api/refused");
    busy.head(3);
    busy.send(RST_STREAM, NONE, 3, &[0, 0, 0, 7]);
    let mut other = Frames::upstream(&origin, b"");
    for (stream, call) in [(1, refused), (3, app.get("/api/meanwhile"))] {
        other.head(stream);
        other.try_send(&ok(stream, true));
        assert_eq!(call.text().0, 200);
    }
    busy.try_send(&ok(1, true));
    assert_eq!(stays.text().0, 200);
    let next = app.get("/api/next");
    busy.head(5);
    busy.try_send(&ok(5, true));
    assert_eq!(next.text().0, 200);
    origin.assert_no_other_connection();
}

#[test]
fn an_upstream_that_takes_one_request_by_each_connection_serves_all() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let calls: Vec<_> = (0..8).map(|_| app.get("/api/x")).collect();
    let take_one = |streams: u32| {
        let mut upstream = Frames::upstream(&origin, b"");
        for number in 0..streams {
            upstream.head(2 * number + 1);
        }
        let goodbye = frame(GOAWAY, NONE, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        upstream.try_send(&[ok(1, true), goodbye].concat());
        upstream
    };
    // Those behind its last stream meet again on the next connection, and lose that, too; in the end each
    // has one to itself.
    let mut upstreams: Vec<_> = [8, 7, 6].into_iter().map(take_one).collect();
    upstreams.extend((0..5).map(|_| take_one(1)));
    for call in calls {
        assert_eq!(call.text().0, 200);
    }
}

#[test]
fn connections_that_said_goodbye_and_still_answer_get_no_more_requests_however_many() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    // Each connection takes two streams, and keeps one of them open.
    let mut upstreams = Vec::new();
    for _ in 0..8 {
        let stays = app.get("/api/stays");
        let mut upstream = Frames::upstream(&origin, &[0, 3, 0, 0, 0, 2]);
        upstream.head(1);
        let ends = app.get("/api/ends");
        upstream.head(3);
        upstreams.push((upstream, stays, ends));
    }
    let mut staying = Vec::new();
    for (mut upstream, stays, ends) in upstreams {
        upstream.try_send(&ok(3, true));
        assert_eq!(ends.text().0, 200);
        staying.push((upstream, stays));
    }
    for (upstream, _) in &mut staying {
        // The answer to the ping says that both were read.
        let goodbye = frame(GOAWAY, NONE, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        upstream.try_send(&[frame(PING, NONE, 0, b"12345678"), goodbye].concat());
        assert!(upstream.find(|frame| frame.kind == PING && frame.flags & ACK != 0).is_some());
    }
    answered_anew(&app, &origin);
    for (mut upstream, stays) in staying {
        upstream.try_send(&ok(1, true));
        assert_eq!(stays.text().0, 200);
    }
}

#[test]
fn a_body_of_another_length_than_announced_breaks_the_answer_off() {
    let (bearerd, origin) = start();
    for (length, data) in [("10", "short"), ("3", "too long")] {
        let app = Http2App::of(&bearerd);
        let mut over_http2 = app.get("/api/x");
        let mut upstream = Frames::upstream(&origin, b"");
        let answer = |stream: u32| {
            let head = [&[0x88][..], &block(&[("content-length", length)])].concat();
            [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, END_STREAM, stream, data.as_bytes())]
                .concat()
        };
        upstream.head(1);
        upstream.try_send(&answer(1));
        if over_http2.try_head().is_ok_and(|head| head.status() == 200) {
            assert!(over_http2.try_rest().is_err(), "{length}");
        }
        drop(upstream);
        let mut over_http1 = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = Frames::upstream(&origin, b"");
        upstream.head(1);
        upstream.try_send(&answer(1));
        let answer = over_http1.rest();
        let is_whole = answer
            .ends_with(&format!("\r\n\r\n{}", &data[..data.len().min(length.parse().expect("a number"))]))
            && answer.starts_with("HTTP/1.1 200")
            && data.len() > 3
            && length == "10";
        assert!(!is_whole || answer.contains("ontent-length: 10"), "{answer}");
    }
}

#[test]
fn an_upstream_that_fell_silent_gets_no_more_requests_on_that_connection() {
    let (bearerd, origin) = start_with("answer_timeout = \"1200ms\"\n");
    let app = Http2App::of(&bearerd);
    let mut upstream = answered_anew(&app, &origin);
    let call = app.get("/api/x");
    upstream.head(3);
    assert_eq!(call.text().0, 504);
    // TCP still holds the connection for good.
    answered_anew(&app, &origin);
}

#[test]
fn an_upstream_that_takes_no_streams_does_not_hold_requests_for_ever() {
    let (bearerd, origin) = start_with("answer_timeout = \"500ms\"\nstall_timeout = \"500ms\"\n");
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(&origin, &[0, 3, 0, 0, 0, 0]);
    let (status, body) = call.text();
    // It may have been sent before the settings came.
    assert!((502..=504).contains(&status), "{status} {body}");
    upstream.try_send(b"");
}

#[test]
fn floods_of_an_upstream_cost_no_memory() {
    let informs =
        frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103"), ("link", "</x>; rel=preload")]));
    let floods: [(&str, Vec<u8>); 5] = [
        ("interim answers", informs),
        ("settings", frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("pings", frame(PING, NONE, 0, b"12345678")),
        ("resets", frame(RST_STREAM, NONE, 1, &[0, 0, 0, 8])),
        ("unknown frames", frame(0xfa, NONE, 0, b"12345678")),
    ];
    for (what, one) in floods {
        let (bearerd, origin) = start();
        let app = Http2App::of(&bearerd);
        let _call = app.get("/api/x");
        let mut upstream = Frames::upstream(&origin, b"");
        upstream.head(1);
        let batch = one.repeat(1000);
        let mut sender = upstream.wire().sender();
        sender.set_write_timeout(Some(Duration::from_millis(500))).expect("an option");
        let _ = (0..200).all(|_| std::io::Write::write_all(&mut sender, &batch).is_ok());
        assert_eq!(bearerd.app().get("/nowhere").status(), 404, "{what}");
        assert!(bearerd.memory().1 < 64 * 1024, "{what}: {} KiB", bearerd.memory().1);
    }
}

#[test]
fn a_head_of_an_answer_beyond_all_measure_is_502() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    let piece = block(&[("x", &"y".repeat(16_000))]);
    upstream.try_send(&frame(HEADERS, NONE, 1, &[0x88]));
    for _ in 0..500 {
        if !upstream.try_send(&frame(9, NONE, 1, &piece)) {
            break;
        }
    }
    upstream.try_send(&frame(9, END_HEADERS, 1, b""));
    assert_eq!(call.text().0, 502);
    assert!(bearerd.memory().1 < 64 * 1024, "{} KiB", bearerd.memory().1);
}

#[test]
fn settings_are_acknowledged_and_pings_answered() {
    let (bearerd, origin) = start();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(&origin, &[0, 4, 0, 0, 0x10, 0]);
    let is_ack = |frame: &crate::support::frames::Frame| frame.kind == SETTINGS && frame.flags & ACK != 0;
    assert!(upstream.find(is_ack).is_some());
    upstream.ping();
    upstream.try_send(&ok(1, true));
    assert_eq!(call.text().0, 200);
}

#[test]
fn an_upstream_over_http2_that_only_announces_its_answer_is_given_up() {
    let interim = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103"), ("link", "</a>")]));
    let answer = [ok(1, false), frame(DATA, END_STREAM, 1, b"late")].concat();
    for (most, sent, status) in [(None, 1000, 502), (Some(2), 3, 502), (Some(3), 3, 200)] {
        let key = most.map(|most: u32| format!("max_interim_answers = {most}\n")).unwrap_or_default();
        let (bearerd, origin) = start_with(&key);
        let app = Http2App::of(&bearerd);
        let call = app.get("/api/x");
        let mut upstream = Frames::upstream(&origin, b"");
        upstream.head(1);
        upstream.try_send(&[interim.repeat(sent), answer.clone()].concat());
        let (got, body) = call.text();
        assert_eq!(got, status, "{sent} of {most:?}: {body}");
        let bites = bearerd.metric("bearerd_limited_total{limit=\"max_interim_answers\"}");
        assert_eq!(bites, u64::from(status == 502), "{sent} of {most:?}");
    }
}

#[test]
fn an_upstream_that_floods_its_connection_loses_it_and_the_next_request_has_another() {
    for (what, one) in [
        ("pings", frame(PING, NONE, 0, b"12345678")),
        ("settings", frame(SETTINGS, NONE, 0, &[])),
        ("unknown frames", frame(0xfa, NONE, 0, b"12345678")),
        ("windows", frame(8, NONE, 0, &[0, 0, 0, 1])),
    ] {
        let (bearerd, origin) = start();
        let app = Http2App::of(&bearerd);
        let call = app.get("/api/x");
        let mut upstream = Frames::upstream(&origin, b"");
        upstream.head(1);
        // More than a second's worth, and than what was sent to it explains.
        upstream.try_send(&one.repeat(3000));
        let (status, body) = call.text();
        assert_eq!(status, 502, "{what}: {body}");
        assert_eq!(bearerd.metric("bearerd_limited_total{limit=\"max_fruitless_frames\"}"), 1, "{what}");
        answered_anew(&app, &origin);
    }
}

#[test]
fn an_upstream_that_says_nothing_but_pings_is_asked_no_more_on_that_connection() {
    let (bearerd, origin) = start_with("answer_timeout = \"1200ms\"\n");
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    upstream.try_send(&frame(PING, NONE, 0, b"12345678").repeat(100));
    assert_eq!(call.text().0, 504);
    answered_anew(&app, &origin);
}

#[test]
fn answers_that_nobody_reads_do_not_hold_up_the_others_of_their_connection() {
    const UNREAD: u32 = 99;
    let (bearerd, origin) = start();
    let mut idler = Frames::app(&bearerd);
    for number in 0..UNREAD {
        idler.request(number * 2 + 1, "GET", "/api/long", &[], true);
    }
    let mut upstream = Frames::upstream(&origin, b"");
    let settings = upstream.find(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).expect("settings");
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    let window_of_streams = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 4]);
    let window = window_of_streams.map_or(65_535, |setting| number(&setting[2..]));
    let of_all = upstream.find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).expect("a window");
    let mut left = 65_535 + number(&of_all.payload);
    // As much as an upstream may send of each.
    for stream in (0..UNREAD).map(|number| number * 2 + 1) {
        upstream.head(stream);
        assert!(upstream.try_send(&ok(stream, false)));
        let mut of_stream = window;
        while of_stream > 0 && left > 0 {
            let length = of_stream.min(left).min(16 * 1024);
            assert!(upstream.try_send(&frame(DATA, NONE, stream, &vec![b'x'; length])));
            (of_stream, left) = (of_stream - length, left - length);
        }
    }
    let call = Http2App::of(&bearerd).get("/api/short");
    upstream.head(UNREAD * 2 + 1);
    assert!(left >= 2, "no window is left");
    upstream.try_send(&ok(UNREAD * 2 + 1, false));
    upstream.try_send(&frame(DATA, END_STREAM, UNREAD * 2 + 1, b"ok"));
    assert_eq!(call.text(), (200, "ok".to_owned()));
}

#[test]
fn an_upstream_that_takes_no_uploads_any_more_on_a_connection_is_sent_the_next_on_another() {
    let (bearerd, origin) = start_with("stall_timeout = \"2s\"\n");
    let app = Http2App::of(&bearerd);
    let stays = app.get("/api/stays");
    // It takes much of each body, and 65,535 bytes of all.
    let mut full = Frames::upstream(&origin, &[0, 4, 0, 0x10, 0, 0]);
    full.head(1);
    let large = app.post("/api/large", &vec![b'x'; 100_000]);
    full.head(3);
    let mut taken = 0;
    while taken < 65_535 {
        taken += full.find(|frame| frame.kind == DATA).expect("data").payload.len();
    }
    assert_eq!(taken, 65_535);
    std::thread::sleep(Duration::from_millis(600));
    let mut other = None;
    for (number, stream) in [1, 3].into_iter().enumerate() {
        let next = app.post(&format!("/api/next/{number}"), b"small");
        let other = other.get_or_insert_with(|| Frames::upstream(&origin, b""));
        other.head(stream);
        let data = other.find(|frame| frame.kind == DATA && !frame.payload.is_empty()).expect("data");
        assert_eq!(data.payload, b"small");
        other.try_send(&ok(stream, true));
        assert_eq!(next.text().0, 200);
    }
    // What runs on the first one is not held up.
    full.try_send(&ok(1, true));
    assert_eq!(stays.text().0, 200);
    // The upload that goes no further ends.
    let (status, problem) = large.text();
    assert_eq!(status, 504, "{problem}");
    assert!(problem.contains("\"upstream_timeout\"") && problem.contains("took no more"), "{problem}");
    let reset = full.find(|frame| frame.kind == RST_STREAM && frame.stream == 3);
    assert!(reset.is_some(), "the upstream is told");
    // When it takes more again, it gets more.
    full.send(WINDOW_UPDATE, NONE, 0, &[0, 1, 0, 0]);
    full.ping();
    let back = app.post("/api/back", b"small");
    full.head(5);
    full.try_send(&ok(5, true));
    assert_eq!(back.text().0, 200);
    origin.assert_no_other_connection();
}
