//! The life of HTTP/2 streams: many at once, flow control, resets, refusals, GOAWAY.

use std::thread;
use std::time::Duration;

use h2::Reason;
use rustix::process::Signal;

use crate::support::configuration::granted_to;
use crate::support::http2::{Farewell, Http2App, Http2Origin};
use crate::support::{Issuer, Origin, Reply, Sidecar, Upstream, configuration};

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 16)).to_le_bytes()[0]).collect()
}

#[test]
fn a_hundred_streams_run_at_once_on_one_connection_of_each_side() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let calls: Vec<_> = (0..100).map(|number| (number, app.get(&format!("/api/{number}")))).collect();
    let mut exchanges: Vec<_> = (0..100).map(|_| origin.accept()).collect();
    exchanges.sort_by_key(|exchange| std::cmp::Reverse(exchange.target()));
    let connections = exchanges.iter().map(|exchange| exchange.connection).max();
    assert_eq!(connections, Some(0), "they share one connection");
    for exchange in exchanges {
        let target = exchange.target();
        exchange.text(&target);
    }
    for (number, call) in calls {
        assert_eq!(call.text(), (200, format!("/{number}")));
    }
}

#[test]
fn a_hundred_streams_of_http_2_become_as_many_requests_of_http_1() {
    let upstream = Upstream::answering(|request| Reply::text(&request.target()));
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let app = Http2App::of(&bearerd);
    for round in 0..3 {
        let calls: Vec<_> =
            (0..100).map(|number| (number, app.get(&format!("/api/{round}/{number}")))).collect();
        for (number, call) in calls {
            assert_eq!(call.text(), (200, format!("/{round}/{number}")));
        }
    }
}

#[test]
fn apps_of_http_1_share_one_connection_to_an_http_2_upstream() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let mut apps: Vec<_> =
        (0..20).map(|number| bearerd.app().ask("GET", &format!("/api/{number}"), "")).collect();
    for _ in 0..20 {
        let exchange = origin.accept();
        assert_eq!(exchange.connection, 0);
        let target = exchange.target();
        exchange.text(&target);
    }
    for (number, app) in apps.iter_mut().enumerate() {
        assert_eq!(app.answer().text(), format!("/{number}"));
    }
}

#[test]
fn an_upstreams_limit_of_streams_is_kept_and_the_others_wait_or_take_another_connection() {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(3);
    let origin = Http2Origin::with(settings);
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    // The first exchange makes its settings known.
    let first = app.get("/api/first");
    origin.accept().text("ok");
    assert_eq!(first.text().0, 200);
    // Twice as many as it takes: a second connection takes the rest.
    let calls: Vec<_> = (0..6).map(|_| app.get("/api/x")).collect();
    let exchanges: Vec<_> = calls.iter().map(|_| origin.accept()).collect();
    assert_eq!(exchanges.iter().filter(|exchange| exchange.connection == 0).count(), 3);
    for exchange in exchanges {
        exchange.text("ok");
    }
    for call in calls {
        assert_eq!(call.text(), (200, "ok".into()));
    }
}

#[test]
fn upload_and_answer_run_at_the_same_time_between_all_protocols() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/talk", &[]), false);
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    call.head();
    for number in 0..50 {
        let (question, answer) = (format!("question {number}"), format!("answer {number}"));
        call.upload(question.as_bytes(), false);
        assert_eq!(exchange.bytes(question.len()), question.as_bytes());
        exchange.send(answer.as_bytes(), false);
        assert_eq!(call.bytes(answer.len()), answer.as_bytes());
    }
    call.upload(b"", true);
    assert!(exchange.content().body.is_empty());
    exchange.send(b"", true);
    assert!(call.rest().body.is_empty());

    // An app of HTTP/1.1, an upstream of HTTP/2.
    let mut app = bearerd.app().ask("POST", "/api/talk", "Transfer-Encoding: chunked\r\n");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    app.head();
    for _ in 0..20 {
        app.send_chunk("question");
        assert_eq!(exchange.bytes(8), b"question");
        exchange.send(b"answer", false);
        assert_eq!(app.chunks(6), b"answer");
    }

    // An app of HTTP/2, an upstream of HTTP/1.1.
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/talk", &[]), false);
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    call.head();
    for _ in 0..20 {
        call.upload(b"question", false);
        assert_eq!(upstream.chunks(8), b"question");
        upstream.send_chunk("answer");
        assert_eq!(call.bytes(6), b"answer");
    }
}

#[test]
fn an_upload_that_a_refusal_might_repeat_streams_all_the_same_in_http_2() {
    let (issuer, origin) = (Issuer::start(3600), Http2Origin::start());
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/talk", &[]), false);
    call.upload(b"question", false);
    let mut exchange = origin.accept();
    assert_eq!(exchange.bytes(8), b"question");
    exchange.respond(200, &[], false);
    exchange.send(b"answer", false);
    call.head();
    assert_eq!(call.bytes(6), b"answer");
}

#[test]
fn a_refused_request_is_sent_once_more_over_http_2() {
    let (issuer, origin) = (Issuer::start(3600), Http2Origin::start());
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    let app = Http2App::of(&bearerd);
    let call = app.post("/api/x", b"body");
    let mut refused = origin.accept();
    assert_eq!(refused.content().body, b"body");
    let first = refused.field("authorization").map(str::to_owned);
    refused.respond(401, &[], false);
    refused.send(b"no", true);
    let mut again = origin.accept();
    assert_eq!(again.content().body, b"body");
    assert_ne!(again.field("authorization").map(str::to_owned), first);
    again.text("welcome");
    assert_eq!(call.text(), (200, "welcome".into()));
}

#[test]
fn megabytes_pass_whole_in_both_directions_and_memory_stays() {
    const LENGTH: usize = 24 << 20;
    let body = bytes(LENGTH);
    for is_http2 in [false, true] {
        let echo = |request: &crate::support::message::Message| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            Reply::Bytes([head.as_bytes(), &request.body].concat())
        };
        let url = if is_http2 {
            let origin = Http2Origin::start();
            let url = origin.url();
            origin.answer_all(|_, content| (http::Response::new(()), content.clone()));
            url
        } else {
            Upstream::answering(echo).origin()
        };
        let bearerd = Sidecar::ready(&configuration::to(&url));
        let (before, _) = bearerd.memory();
        let (head, content) = Http2App::of(&bearerd).post("/api/echo", &body).answer();
        assert_eq!(head.status(), 200);
        assert!(content.body == body, "the body came back changed");
        let answer = bearerd.app().request("POST", "/api/echo", "", &body);
        assert!(answer.body == body, "the body came back changed");
        let (_, most) = bearerd.memory();
        assert!(most < before + 16 * 1024, "{before} KiB became {most} KiB");
    }
}

#[test]
fn a_stream_that_nobody_reads_does_not_hold_up_the_others() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    // The window of the whole connection is the app's own affair, and wide enough.
    let app = Http2App::with(&bearerd, h2::client::Builder::new().initial_connection_window_size(8 << 20));
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut call = app.get("/api/large");
        let mut exchange = origin.accept();
        exchange.respond(200, &[], false);
        call.head();
        // The other end sends what it may, and nobody reads it.
        let sending = thread::spawn(move || {
            let _ = exchange.try_send(&bytes(32 << 20), true);
        });
        idle.push((call, sending));
    }
    let other = Http2App::of(&bearerd);
    for _ in 0..20 {
        let calls = [app.get("/api/small"), other.get("/api/small")];
        for _ in 0..2 {
            origin.accept().text("ok");
        }
        for call in calls {
            assert_eq!(call.text(), (200, "ok".into()));
        }
    }
    for (mut call, sending) in idle {
        assert!(call.rest().body == bytes(32 << 20), "the body came changed");
        sending.join().expect("it was sent");
    }
}

#[test]
fn an_upstream_that_does_not_read_closes_the_apps_window_and_no_other_ones() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/large", &[]), false);
    let exchange = origin.accept();
    let (before, _) = bearerd.memory();
    let mut taken = 0;
    loop {
        let capacity = call.capacity_for(64 << 10);
        if capacity == 0 {
            break;
        }
        call.upload(&vec![b'x'; capacity], false);
        taken += capacity;
        assert!(taken < 32 << 20, "{taken} bytes were taken though nobody reads");
    }
    let (now, _) = bearerd.memory();
    assert!(now < before + 8192, "{before} KiB became {now} KiB");
    let small = app.get("/api/small");
    origin.accept().text("ok");
    assert_eq!(small.text(), (200, "ok".into()));
    drop(exchange);
}

#[test]
fn an_app_that_resets_its_stream_ends_the_request_upstream() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    // Before the head of the answer, and in its body.
    let call = app.get("/api/x");
    let mut exchange = origin.accept();
    call.reset(Reason::CANCEL);
    assert_eq!(exchange.reset_reason(), Reason::CANCEL);
    let mut call = app.get("/api/x");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    exchange.send(b"part", false);
    call.head();
    assert_eq!(call.bytes(4), b"part");
    call.reset(Reason::CANCEL);
    assert_eq!(exchange.reset_reason(), Reason::CANCEL);
    // The connections live on.
    let call = app.get("/api/next");
    let exchange = origin.accept();
    assert_eq!(exchange.connection, 0);
    exchange.text("ok");
    assert_eq!(call.text(), (200, "ok".into()));

    // In HTTP/1.1 only the end of the connection says it.
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let call = app.get("/api/x");
    let mut upstream = origin.accept();
    upstream.request();
    call.reset(Reason::CANCEL);
    upstream.assert_ends();
}

#[test]
fn an_upload_that_is_reset_never_looks_whole() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(b"part", false);
    let mut exchange = origin.accept();
    assert_eq!(exchange.bytes(4), b"part");
    call.reset(Reason::CANCEL);
    assert!(exchange.try_content().is_err());

    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(b"part", false);
    let mut upstream = origin.accept();
    upstream.head();
    assert_eq!(upstream.chunks(4), b"part");
    call.reset(Reason::CANCEL);
    assert!(!upstream.rest().contains("0\r\n"), "it looks whole");
}

#[test]
fn an_upstream_that_resets_before_its_answer_is_502_and_not_asked_again() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::PROTOCOL_ERROR, Reason::NO_ERROR] {
        let call = app.get("/api/x");
        origin.accept().reset(reason);
        let (status, body) = call.text();
        assert_eq!(status, 502, "{reason}: {body}");
        assert!(body.contains("upstream_protocol"), "{body}");
        let mut over_http1 = bearerd.app().ask("POST", "/api/x", "Content-Length: 0\r\n");
        origin.accept().reset(reason);
        assert_eq!(over_http1.answer().status(), 502, "{reason}");
    }
    origin.assert_no_other_request();
}

#[test]
fn an_upstream_that_resets_in_its_answer_breaks_it_off() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for fields in [vec![], vec![("content-length", "10")]] {
        let mut call = app.get("/api/x");
        let mut exchange = origin.accept();
        exchange.respond(200, &fields, false);
        exchange.send(b"part", false);
        call.head();
        assert_eq!(call.bytes(4), b"part");
        exchange.reset(Reason::INTERNAL_ERROR);
        assert!(call.try_rest().is_err());
        let mut over_http1 = bearerd.app().ask("GET", "/api/x", "");
        let mut exchange = origin.accept();
        exchange.respond(200, &fields, false);
        exchange.send(b"part", false);
        over_http1.head();
        exchange.reset(Reason::INTERNAL_ERROR);
        assert!(!over_http1.rest().ends_with("0\r\n\r\n"), "it looks whole");
    }
}

#[test]
fn a_refused_stream_was_not_processed_and_is_sent_again() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for body in [b"".as_slice(), b"body"] {
        let call = if body.is_empty() { app.get("/api/x") } else { app.post("/api/x", body) };
        origin.accept().reset(Reason::REFUSED_STREAM);
        let mut again = origin.accept();
        assert_eq!(again.content().body, body);
        again.text("ok");
        assert_eq!(call.text(), (200, "ok".into()));
    }
    let mut over_http1 = bearerd.app().ask("GET", "/api/x", "");
    origin.accept().reset(Reason::REFUSED_STREAM);
    origin.accept().text("ok");
    assert_eq!(over_http1.answer().status(), 200);
}

#[test]
fn an_upstream_that_refuses_every_stream_is_not_asked_for_ever() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.get("/api/x");
    let (told, heard) = std::sync::mpsc::channel();
    let refusing = thread::spawn(move || {
        let mut times = 0;
        while heard.try_recv().is_err() {
            if let Some(exchange) = origin.accept_within(Duration::from_millis(50)) {
                exchange.reset(Reason::REFUSED_STREAM);
                times += 1;
            }
        }
        times
    });
    let status = call.head().status().as_u16();
    told.send(()).expect("someone listens");
    let times = refusing.join().expect("no panic");
    assert!((502..=503).contains(&status), "{status}");
    assert!((1..=10).contains(&times), "{times} tries");
}

#[test]
fn an_upstream_that_says_goodbye_finishes_what_runs_and_the_next_request_goes_elsewhere() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let running = app.get("/api/running");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    exchange.say(Farewell::Graceful);
    for number in 1..4 {
        let call = app.get("/api/next");
        let next = origin.accept();
        // Until the farewell has arrived, the old connection may still be taken.
        assert!(next.connection <= number);
        next.text("ok");
        assert_eq!(call.text(), (200, "ok".into()));
    }
    exchange.send(b"done", true);
    assert_eq!(running.text(), (200, "done".into()));
}

#[test]
fn an_http_2_upstream_that_closes_between_requests_costs_none_of_them() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for number in 0..60 {
        let call = if number % 2 == 0 { app.get("/api/x") } else { app.post("/api/x", b"body") };
        let mut exchange = origin.accept();
        exchange.content();
        exchange.respond(200, &[], false);
        exchange.send(b"ok", true);
        assert_eq!(call.text(), (200, "ok".into()), "request {number}");
        exchange.say(match number % 3 {
            0 => Farewell::Graceful,
            1 => Farewell::Abrupt(Reason::NO_ERROR),
            _ => Farewell::Silent,
        });
        bearerd.wait("the end of the connection", || {
            (bearerd.metric("bearerd_upstream_connections{route=\"api\"}") == 0).then_some(())
        });
    }
}

#[test]
fn an_upstream_that_is_gone_in_the_middle_is_502_or_a_broken_answer() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for farewell in [Farewell::Silent, Farewell::Abrupt(Reason::INTERNAL_ERROR)] {
        let before = app.get("/api/x");
        let exchange = origin.accept();
        exchange.say(farewell);
        assert_eq!(before.text().0, 502, "{farewell:?}");
        let mut amid = app.get("/api/x");
        let mut exchange = origin.accept();
        exchange.respond(200, &[], false);
        exchange.send(b"part", false);
        amid.head();
        assert_eq!(amid.bytes(4), b"part");
        exchange.say(farewell);
        assert!(amid.try_rest().is_err(), "{farewell:?}");
    }
    origin.assert_no_other_request();
}

#[test]
fn an_answer_that_ends_while_the_upload_runs_reaches_an_http_2_app_whole() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(&bytes(1000), false);
    let mut exchange = origin.accept();
    exchange.respond(413, &[], false);
    exchange.send(b"too much", true);
    assert_eq!(call.head().status(), 413);
    assert_eq!(call.rest().body, b"too much");
    // And where the policy does not want it.
    let bearerd = origin.bearerd("max_body = \"1KiB\"\n");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[("content-length", "5000000")]), false);
    assert_eq!(call.head().status(), 413);
    assert!(String::from_utf8_lossy(&call.rest().body).contains("too_large"));
    let next = app.get("/nowhere");
    assert_eq!(next.text().0, 404);
}

#[test]
fn the_drain_says_goodbye_and_lets_streams_end() {
    let origin = Http2Origin::start();
    let mut bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut running = app.get("/api/x");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    running.head();
    bearerd.signal(Signal::TERM);
    bearerd.log("draining", |line| line["message"] == "draining");
    exchange.send(b"one", false);
    assert_eq!(running.bytes(3), b"one");
    // After the farewell no new stream is taken.
    let refused = (0..200).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        match app.try_send(app.request("GET", "/nowhere", &[]), true) {
            Err(error) => Some(error),
            Ok(mut call) => call.try_head().err(),
        }
    });
    assert!(refused.is_some_and(|error| error.is_go_away() || error.is_reset()));
    exchange.send(b"two", true);
    assert_eq!(running.bytes(3), b"two");
    drop(running);
    assert!(app.ended().is_ok());
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_of_http_2_does_not_hold_up_the_end() {
    let (mut bearerd, _origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    assert_eq!(app.get("/nowhere").text().0, 404);
    bearerd.signal(Signal::TERM);
    assert!(app.ended().is_ok());
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn a_silent_http_2_connection_is_closed_after_its_idle_time() {
    let (bearerd, _origin) = Origin::behind("idle_timeout = \"300ms\"\n", "");
    let app = Http2App::of(&bearerd);
    assert_eq!(app.get("/nowhere").text().0, 404);
    assert!(app.ended().is_ok());
}

#[test]
fn time_limits_hold_for_streams_too() {
    let origin = Http2Origin::start();
    let limits = "answer_timeout = \"300ms\"\nstall_timeout = \"400ms\"\n";
    let bearerd = origin.bearerd_with("body_timeout = \"300ms\"\n", limits);
    let app = Http2App::of(&bearerd);
    // The upstream is silent before its head.
    let (status, body) = app.get("/api/x").text();
    assert!(status == 504 && body.contains("upstream_timeout"), "{status} {body}");
    drop(origin.accept());
    // The app is silent in its upload.
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(b"part", false);
    let head = call.head();
    assert_eq!(head.status(), 408);
    drop(origin.accept());
    // The upstream is silent in its answer.
    let mut call = app.get("/api/x");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    exchange.send(b"part", false);
    call.head();
    assert_eq!(call.bytes(4), b"part");
    assert!(call.try_rest().is_err());
    assert_eq!(app.get("/nowhere").text().0, 404);
}
