//! Bodies pass as they come, in both directions, byte for byte and in constant memory.

use std::thread;
use std::time::Duration;

use crate::support::configuration::granted_to;
use crate::support::{Issuer, Origin, Sidecar};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

/// Bytes of every value, in an order that shows when one is lost.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 16)).to_le_bytes()[0]).collect()
}

#[test]
fn each_event_of_a_stream_reaches_the_app_before_the_next_is_sent() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/events", "Accept: text/event-stream\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(format!("{EVENTS}Transfer-Encoding: chunked\r\n\r\n"));
    let head = app.head();
    assert_eq!(head.field("content-type").as_deref(), Some("text/event-stream"));
    for number in 0..100 {
        let event = format!("id: {number}\ndata: {}\n\n", "x".repeat(number * 7));
        upstream.send_chunk(&event);
        assert_eq!(app.chunks(event.len()), event.as_bytes());
    }
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
}

#[test]
fn events_of_a_stream_that_ends_with_its_connection_reach_the_app_at_once_too() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/events", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(format!("{EVENTS}\r\n"));
    assert_eq!(app.head().field("transfer-encoding").as_deref(), Some("chunked"));
    for event in ["data: one\n\n", "data: two\n\n", ": a comment\n\n"] {
        upstream.send(event);
        assert_eq!(app.chunks(event.len()), event.as_bytes());
    }
    drop(upstream);
    app.expect("0\r\n\r\n");
}

#[test]
fn the_head_of_an_answer_reaches_the_app_before_its_body_begins() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/slow", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(app.head().status(), 200);
    upstream.send("abc");
    app.expect("abc");
}

#[test]
fn a_long_poll_may_take_longer_than_an_app_may_be_silent() {
    let limits = "head_timeout = \"300ms\"\nidle_timeout = \"300ms\"\nbody_timeout = \"300ms\"\n";
    let (bearerd, origin) = Origin::behind(limits, "");
    let mut app = bearerd.app().ask("POST", "/api/poll", "Content-Length: 2\r\n");
    app.send("{}");
    let mut upstream = origin.accept();
    upstream.request();
    thread::sleep(Duration::from_millis(1200));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews");
    assert_eq!(app.answer().text(), "news");
}

#[test]
fn each_piece_of_an_upload_reaches_the_upstream_before_the_next_is_sent() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/upload", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    assert_eq!(upstream.head().field("transfer-encoding").as_deref(), Some("chunked"));
    for piece in ["one", "two and more", "three"] {
        app.send_chunk(piece);
        assert_eq!(upstream.chunks(piece.len()), piece.as_bytes());
    }
    app.send("0\r\n\r\n");
    upstream.expect("0\r\n\r\n");
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(app.head().status(), 204);

    app.send(bearerd.app().head("PUT", "/api/upload", "", 9));
    let head = upstream.head();
    assert_eq!((head.method().as_str(), head.field("content-length").as_deref()), ("PUT", Some("9")));
    for piece in ["abc", "def", "ghi"] {
        app.send(piece);
        upstream.expect(piece);
    }
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(app.head().status(), 204);
}

#[test]
fn an_upload_that_a_refusal_might_repeat_streams_all_the_same() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    let mut app = bearerd.app().ask("POST", "/api/talk", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    for piece in ["question", "another"] {
        app.send_chunk(piece);
        assert_eq!(upstream.chunks(piece.len()), piece.as_bytes());
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
    assert_eq!(app.answer().text(), "answer");
}

#[test]
fn upload_and_answer_run_at_the_same_time() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/talk", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    app.head();
    for number in 0..100 {
        let (question, answer) = (format!("question {number}"), format!("answer {number}"));
        app.send_chunk(&question);
        assert_eq!(upstream.chunks(question.len()), question.as_bytes());
        upstream.send_chunk(&answer);
        assert_eq!(app.chunks(answer.len()), answer.as_bytes());
    }
    app.send("0\r\n\r\n");
    upstream.expect("0\r\n\r\n");
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
    // Both connections are as good as new.
    app.send(bearerd.app().head("GET", "/api/next", "", 0));
    assert_eq!(upstream.request().target(), "/next");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(app.answer().text(), "ok");
}

#[test]
fn an_answer_that_ends_while_the_upload_runs_reaches_the_app_whole() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let head = bearerd.app().head("POST", "/api/upload", "", 1 << 30);
    let mut app = bearerd.app().connect();
    app.send(head);
    app.send(bytes(1000));
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much");
    let answer = app.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "too much"));
    // What is left of the upload never becomes a request, and no other request may follow half of it.
    let mut sender = app.sender();
    let rest = thread::spawn(move || {
        let piece = b"GET /api/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
        while std::io::Write::write_all(&mut sender, &piece).is_ok() {}
    });
    app.rest();
    drop(app);
    rest.join().expect("the rest of the upload is not taken");
    assert!(!upstream.rest().contains("HTTP/1.1"));
    let mut next = bearerd.app().ask("GET", "/api/next", "");
    let mut upstream = origin.accept();
    assert_eq!(upstream.request().target(), "/next");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(next.answer().text(), "ok");
}

#[test]
fn a_generation_that_ends_while_a_stream_runs_does_not_break_it() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    let mut app = bearerd.app().ask("POST", "/api/talk", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(format!("{EVENTS}Transfer-Encoding: chunked\r\n\r\n"));
    app.head();
    for generation in 2..4 {
        assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"").status(), 200);
        bearerd.wait_for_generation("api", generation);
        app.send_chunk("still");
        assert_eq!(upstream.chunks(5), b"still");
        upstream.send_chunk("here");
        assert_eq!(app.chunks(4), b"here");
    }
    // Nor does a reload that takes the route away.
    bearerd.rewrite(
        "[credentials.other]\nflow = \"static\"\ntoken = { value = \"12345678\" }\nexpires = \"never\"\n",
    );
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.app().get("/api/x").status(), 404);
    upstream.send_chunk("on");
    assert_eq!(app.chunks(2), b"on");
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
}

#[test]
fn a_compressed_answer_passes_byte_for_byte() {
    // gzip of `hello`, with a name and a time in its head that a second compression would lose.
    let gzip =
        b"\x1f\x8b\x08\x08\x12\x34\x56\x78\x02\x03a\0\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0";
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: \"a-gzip\"\r\nVary: Accept-Encoding\r\n";
    upstream.send([format!("{head}Content-Length: {}\r\n\r\n", gzip.len()).as_bytes(), gzip].concat());
    let answer = app.answer();
    assert_eq!(answer.body, gzip);
    assert_eq!(answer.field("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(answer.field("etag").as_deref(), Some("\"a-gzip\""));
    assert_eq!(answer.field("content-length"), Some(gzip.len().to_string()));
}

#[test]
fn ranges_pass_both_ways_as_they_are() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let asked = "Range: bytes=0-2, 5-, -1\r\nIf-Range: \"v1\"\r\nIf-None-Match: W/\"a\", \"b\"\r\n";
    let mut app = bearerd.app().ask("GET", "/api/file", asked);
    let mut upstream = origin.accept();
    let seen = upstream.request();
    assert_eq!(seen.field("range").as_deref(), Some("bytes=0-2, 5-, -1"));
    assert_eq!(seen.field("if-range").as_deref(), Some("\"v1\""));
    assert_eq!(seen.field("if-none-match").as_deref(), Some("W/\"a\", \"b\""));
    let part = bytes(1000);
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-1006/5000\r\nAccept-Ranges: bytes\r\n";
    upstream.send([format!("{head}Content-Length: {}\r\n\r\n", part.len()).as_bytes(), &part].concat());
    let answer = app.answer();
    assert_eq!((answer.status(), answer.body), (206, part));
    app.send(bearerd.app().head("GET", "/api/file", "Range: bytes=9000-\r\n", 0));
    upstream.request();
    upstream.send(
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5000\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = app.answer();
    assert_eq!((answer.status(), answer.field("content-range").as_deref()), (416, Some("bytes */5000")));
}

#[test]
fn a_reader_that_stops_stops_the_upstream_and_memory_stays() {
    const MOST: usize = 512 << 20;
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/large", "");
    let mut upstream = origin.accept();
    upstream.request();
    let (before, _) = bearerd.memory();
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MOST}\r\n\r\n"));
    let taken = upstream.send_until_it_blocks(&bytes(1 << 20), MOST);
    assert!(taken < 64 << 20, "{taken} bytes were taken though nobody reads");
    let (now, _) = bearerd.memory();
    assert!(now < before + 4096, "{before} KiB became {now} KiB");
    // All that was taken arrives, but for what may be the beginning of a secret as long as nothing follows.
    app.head();
    let received = app.bytes(taken - 64);
    let expected = bytes(1 << 20);
    assert!(received.chunks(1 << 20).all(|piece| piece == &expected[..piece.len()]));
}

#[test]
fn an_upstream_that_stops_reading_stops_the_app_and_memory_stays() {
    const MOST: usize = 512 << 20;
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    let (before, _) = bearerd.memory();
    app.send(bearerd.app().head("POST", "/api/large", "", MOST));
    let mut upstream = origin.accept();
    let taken = app.send_until_it_blocks(&bytes(1 << 20), MOST);
    assert!(taken < 64 << 20, "{taken} bytes were taken though nobody reads");
    let (now, _) = bearerd.memory();
    assert!(now < before + 4096, "{before} KiB became {now} KiB");
    upstream.head();
    let received = upstream.bytes(taken);
    let expected = bytes(1 << 20);
    assert!(received.chunks(1 << 20).all(|piece| piece == &expected[..piece.len()]));
}

#[test]
fn large_bodies_pass_whole_in_constant_memory() {
    const PIECES: usize = 48;
    let (bearerd, origin) = Origin::behind_bearerd();
    let piece = bytes(1 << 20);
    let (before, _) = bearerd.memory();
    for framing in [format!("Content-Length: {}\r\n", PIECES << 20), "Transfer-Encoding: chunked\r\n".into()]
    {
        let is_chunked = framing.starts_with('T');
        let mut app = bearerd.app().ask("POST", "/api/echo", &framing);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}Connection: close\r\n\r\n"));
        app.head();
        thread::scope(|scope| {
            // The upstream sends back what it reads, as it is framed.
            scope.spawn(|| {
                if is_chunked {
                    loop {
                        let chunk = upstream.chunk();
                        upstream.send_chunk(&chunk);
                        if chunk.is_empty() {
                            break;
                        }
                    }
                } else {
                    for _ in 0..PIECES {
                        let bytes = upstream.bytes(1 << 20);
                        upstream.send(bytes);
                    }
                }
            });
            let mut sender = app.sender();
            let piece = &piece;
            scope.spawn(move || {
                let (before, after) = if is_chunked { ("100000\r\n", "\r\n") } else { ("", "") };
                let framed = [before.as_bytes(), piece, after.as_bytes()].concat();
                (0..PIECES).for_each(|_| std::io::Write::write_all(&mut sender, &framed).expect("taken"));
                let end: &[u8] = if is_chunked { b"0\r\n\r\n" } else { b"" };
                std::io::Write::write_all(&mut sender, end).expect("taken");
            });
            let mut received = Vec::new();
            for _ in 0..PIECES {
                if is_chunked {
                    while received.len() < 1 << 20 {
                        received.extend(app.chunk());
                    }
                    let rest = received.split_off(1 << 20);
                    assert!(received == *piece, "the body came back changed");
                    received = rest;
                } else {
                    assert!(app.bytes(1 << 20) == *piece, "the body came back changed");
                }
            }
        });
    }
    let (_, most) = bearerd.memory();
    assert!(most < before + 8192, "{before} KiB became {most} KiB");
}

#[test]
fn an_upstream_that_breaks_off_in_the_body_breaks_the_answer_off() {
    for (head, part) in [
        ("Content-Length: 10\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-Late: "),
        ("Transfer-Encoding: chunked\r\n", "6\r\nabc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\nnonsense\r\n"),
    ] {
        for resets in [false, true] {
            let (bearerd, origin) = Origin::behind_bearerd();
            let mut app = bearerd.app().ask("GET", "/api/x", "");
            let mut upstream = origin.accept();
            upstream.request();
            upstream.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n{part}"));
            assert_eq!(app.head().status(), 200);
            if resets {
                upstream.reset();
            } else {
                drop(upstream);
            }
            let (body, _) = app.rest_in_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(!body.ends_with("0\r\n\r\n"), "{part:?} looks whole: {body:?}");
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_broken_off_by_a_reset() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\n\r\nxyz");
    app.head();
    assert_eq!(app.chunk(), b"xyz");
    upstream.reset();
    assert!(!app.rest().ends_with("0\r\n\r\n"));
}

#[test]
fn an_answer_that_ends_before_the_upload_leaves_the_connection_to_the_next_request() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for (framing, first, rest) in [
        ("Content-Length: 11\r\n", "hello", " world"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "6\r\n world\r\n0\r\nX: y\r\n\r\n"),
    ] {
        app.send(bearerd.app().head("POST", "/api/early", framing, 0));
        app.send(first);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(app.answer().text(), "no");
        app.send(rest);
        app.send(bearerd.app().head("GET", "/api/next", "", 0));
        let mut next = origin.accept();
        assert_eq!(next.request().target(), "/next");
        next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(app.answer().text(), "ok", "{framing}");
        assert!(!upstream.rest().contains("GET"), "a request followed half of another");
    }
    // What is long is not waited for.
    app.send(bearerd.app().head("POST", "/api/long", "Content-Length: 2000000\r\n", 0));
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(app.answer().text(), "no");
    app.try_send(vec![b'x'; 2_000_000]);
    app.assert_ends();
}

#[test]
fn what_is_left_of_an_upload_that_was_answered_is_read_within_its_limits() {
    let (bearerd, origin) = Origin::behind("max_skipped = \"10KiB\"\nskip_timeout = \"300ms\"\n", "");
    for (rest, limit) in [(10 * 1024 + 1, "max_skipped"), (100, "skip_timeout")] {
        let mut app = bearerd.app().connect();
        app.send(bearerd.app().head("POST", "/api/early", "", rest + 5));
        app.send("hello");
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(app.answer().text(), "no");
        if limit == "max_skipped" {
            app.try_send(bytes(rest));
        }
        app.assert_ends();
        assert_eq!(bearerd.metric(&format!("bearerd_limited_total{{limit=\"{limit}\"}}")), 1);
    }
}
