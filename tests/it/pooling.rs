//! Upstream connections: used again where that is safe, and never where it is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::configuration::{granted_to, to};
use crate::support::wire::{End, Wire};
use crate::support::{Issuer, Origin, Reply, Setup, Sidecar, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNASKED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[test]
fn requests_one_after_the_other_share_one_upstream_connection() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut upstream = None;
    // Whatever ends without closing leaves the connection as good as new.
    for (method, answer, body) in [
        ("GET", OK, "ok"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n",
            "ok",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", ""),
        ("DELETE", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "no"),
        ("GET", "HTTP/1.1 503 Unavailable\r\nContent-Length: 2\r\n\r\nno", "no"),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("GET", OK, "ok"),
    ] {
        let mut app = bearerd.app().ask(method, "/api/x", "Connection: close\r\n");
        let upstream = upstream.get_or_insert_with(|| origin.accept());
        assert_eq!(upstream.request().method(), method);
        upstream.send(answer);
        let got = app.rest();
        assert!(got.contains(body) && got.starts_with("HTTP/1.1"), "{answer:?}: {got}");
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_connection_is_not_used_again_where_its_end_cannot_be_known() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than was announced",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(answer);
        assert_eq!(app.answer().text(), "ok", "{answer:?}");
        upstream.assert_ends();
    }
}

#[test]
fn a_bodiless_answer_with_bytes_behind_it_is_no_two_answers() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n"),
    ] {
        let mut app = bearerd.app().ask(method, "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(format!("{head}{UNASKED}"));
        app.head();
        app.assert_quiet();
        app.send(bearerd.app().head("GET", "/api/next", "Connection: close\r\n", 0));
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().target(), "/next");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(app.answer().text(), "ok");
    }
}

#[test]
fn what_comes_on_an_idle_connection_is_never_taken_for_an_answer() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for unasked in [UNASKED, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", "x", "\r\n\r\n"] {
        app.send(bearerd.app().head("GET", "/api/x", "", 0));
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(OK);
        assert_eq!(app.answer().text(), "ok");
        upstream.send(unasked);
        app.send(bearerd.app().head("GET", "/api/next", "", 0));
        let mut next = origin.accept();
        assert_eq!(next.request().target(), "/next");
        next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext");
        assert_eq!(app.answer().text(), "next", "{unasked:?}");
        assert_eq!(upstream.rest(), "", "no request came on the connection that spoke unasked");
    }
}

#[test]
fn a_dead_idle_connection_never_costs_a_request() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for number in 0..1000 {
        let body = if number % 2 == 0 { "" } else { "body" };
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        app.send([bearerd.app().head(method, "/api/x", "", body.len()), body.into()].concat());
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().text(), body);
        upstream.send(OK);
        let answer = app.answer();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "request {number}");
        // It says nothing of its end beforehand, and ends before the next request.
        upstream.leave(number % 3 == 0);
    }
    assert_eq!(bearerd.metric("bearerd_errors_total{route=\"api\",code=\"upstream_protocol\"}"), 0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a few microseconds are too short to sleep for")]
fn a_connection_that_ends_while_a_request_is_on_its_way_costs_none_that_nobody_has_seen() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    // Its token can be refused, so that bodies are held.
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    for number in 0..600 {
        // Nothing was done, so that it does not matter what could not be done twice.
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        // The body of some is written when the connection has ended.
        let body = if number % 4 == 1 { "body" } else { "" };
        let mut app = bearerd.app().ask("GET", "/api/first", "");
        let mut upstream = origin.accept();
        upstream.request();
        // The second waits for the answer to the first, and goes out in the same turn of bearerd's as that one comes.
        app.send(bearerd.app().head(method, "/api/second", "", body.len()));
        upstream.send(OK);
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_micros(number / 2 % 100) {}
        let arrived = upstream.hang_up();
        app.send(body);
        assert_eq!(app.answer().status(), 200, "the first request of round {number}");
        if arrived.is_empty() {
            let mut next = origin.accept();
            let request = next.request();
            assert_eq!((request.method().as_str(), request.text().as_str()), (method, body));
            next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
        let expected = if arrived.is_empty() { 200 } else { 502 };
        assert_eq!(app.answer().status(), expected, "the second request of round {number}");
        origin.assert_no_other_connection();
    }
}

#[test]
fn a_request_that_may_have_been_seen_on_a_connection_that_ends_is_not_sent_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    // Read, and answered by the end; read behind a farewell; not read, though it had come.
    for way in ["read", "read behind", "unread"] {
        let mut app = bearerd.app().ask("GET", "/api/first", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(OK);
        assert_eq!(app.answer().text(), "ok");
        app.send(bearerd.app().head("GET", "/api/second", "", 0));
        match way {
            "read" => drop(upstream.request()),
            "read behind" => {
                upstream.request();
                upstream.finish();
            }
            _ => thread::sleep(Duration::from_millis(100)),
        }
        drop(upstream);
        assert_eq!(app.answer().status(), 502, "{way}");
        origin.assert_no_other_connection();
    }
}

#[test]
fn many_dead_idle_connections_cost_no_request_either() {
    let (bearerd, origin) = Origin::behind_bearerd();
    // Also more than a task does in one turn.
    for count in [20, 20, 200] {
        let mut apps: Vec<_> = (0..count).map(|_| bearerd.app().ask("GET", "/api/x", "")).collect();
        let mut upstreams: Vec<_> = (0..count).map(|_| origin.accept()).collect();
        for upstream in &mut upstreams {
            upstream.request();
            upstream.send(OK);
        }
        for app in &mut apps {
            assert_eq!(app.answer().text(), "ok");
        }
        for upstream in upstreams {
            upstream.leave(false);
        }
        let mut app = bearerd.app().ask("POST", "/api/x", "Content-Length: 4\r\n");
        app.send("body");
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().text(), "body");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(app.answer().status(), 200);
    }
}

#[test]
fn a_request_that_may_have_been_received_is_not_sent_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut times = 0;
    for is_reused in [false, true] {
        for (method, body) in [("POST", "body"), ("GET", ""), ("DELETE", "")] {
            for answer in ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nContent-Length: 2"] {
                for resets in [false, true] {
                    let mut app = bearerd.app().connect();
                    let mut upstream = None;
                    if is_reused {
                        app.send(bearerd.app().head("GET", "/api/first", "", 0));
                        let mut first = origin.accept();
                        first.request();
                        first.send(OK);
                        assert_eq!(app.answer().status(), 200);
                        upstream = Some(first);
                    }
                    app.send([bearerd.app().head(method, "/api/x", "", body.len()), body.into()].concat());
                    let mut upstream = upstream.unwrap_or_else(|| origin.accept());
                    assert_eq!(upstream.request().target(), "/x");
                    upstream.send(answer);
                    if resets {
                        upstream.reset();
                    } else {
                        drop(upstream);
                    }
                    let answer = app.answer();
                    assert_eq!(answer.status(), 502, "{method} {is_reused} {resets}");
                    assert_eq!(answer.json()["code"], "upstream_protocol");
                    origin.assert_no_other_connection();
                    times += 1;
                }
            }
        }
    }
    let counted = bearerd.metric("bearerd_errors_total{route=\"api\",code=\"upstream_protocol\"}");
    assert_eq!(counted, times);
}

#[test]
fn a_connection_whose_upload_was_not_finished_is_not_used_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/x", "Content-Length: 1000\r\n");
    app.send("the beginning");
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(OK);
    assert_eq!(app.answer().text(), "ok");
    drop(app);
    let mut app = bearerd.app().ask("GET", "/api/next", "");
    let mut next = origin.accept();
    assert_eq!(next.request().target(), "/next");
    next.send(OK);
    assert_eq!(app.answer().text(), "ok");
    assert!(!upstream.rest().contains("GET"), "a request followed half of another");
}

#[test]
fn a_connection_whose_answer_the_app_left_is_not_used_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning");
    app.head();
    app.expect("the beginning");
    app.reset();
    let mut app = bearerd.app().ask("GET", "/api/next", "");
    let mut next = origin.accept();
    assert_eq!(next.request().target(), "/next");
    next.send(OK);
    assert_eq!(app.answer().text(), "ok");
    assert_eq!(upstream.rest(), "");
}

#[test]
fn requests_at_once_have_connections_of_their_own_that_are_used_again() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut apps: Vec<_> = (0..30).map(|_| bearerd.app().ask("GET", "/api/x", "")).collect();
    let mut upstreams: Vec<_> = (0..30).map(|_| origin.accept()).collect();
    for upstream in &mut upstreams {
        upstream.request();
        upstream.send(OK);
    }
    for app in &mut apps {
        assert_eq!(app.answer().text(), "ok");
    }
    assert_eq!(bearerd.metric("bearerd_upstream_connections{route=\"api\"}"), 30);
    for app in &mut apps {
        app.send(bearerd.app().head("GET", "/api/again", "", 0));
    }
    for upstream in &mut upstreams {
        assert_eq!(upstream.request().target(), "/again");
        upstream.send(OK);
    }
    for app in &mut apps {
        assert_eq!(app.answer().text(), "ok");
    }
    origin.assert_no_other_connection();
    drop(upstreams);
    bearerd.wait("the end of the upstream connections", || {
        (bearerd.metric("bearerd_upstream_connections{route=\"api\"}") == 0).then_some(())
    });
}

#[test]
fn a_connection_is_used_no_more_when_its_upstream_has_said_that_it_soon_closes_it() {
    for said in ["timeout=1, max=100", "max=100,Timeout=1"] {
        let (bearerd, origin) = Origin::behind_bearerd();
        let answer = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {said}\r\nContent-Length: 2\r\n\r\nok");
        let mut app = bearerd.app().connect();
        app.send(bearerd.app().head("POST", "/api/x", "", 0));
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(&answer);
        assert_eq!(app.answer().status(), 200);
        app.send(bearerd.app().head("POST", "/api/x", "", 0));
        upstream.request();
        upstream.send(&answer);
        assert_eq!(app.answer().status(), 200);
        // The limit is the event: it lies idle for longer.
        thread::sleep(Duration::from_millis(1200));
        app.send(bearerd.app().head("POST", "/api/x", "", 0));
        let mut next = origin.accept();
        next.request();
        next.send(&answer);
        assert_eq!(app.answer().status(), 200);
    }
}

#[test]
fn an_upstream_that_comes_back_is_used_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let bearerd = Setup::new(&to(&format!("http://{address}"))).start();
    drop(listener);
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_connect")));
    let listener = std::net::TcpListener::bind(address).expect("the same port");
    let serving = thread::spawn(move || {
        let mut upstream = Wire::new(listener.accept().expect("a connection").0, End::Upstream);
        upstream.request();
        upstream.send(OK);
        upstream
    });
    assert_eq!(bearerd.app().get("/api/x").text(), "ok");
    drop(serving.join().expect("served"));
}

#[test]
fn answers_never_change_places_under_load() {
    let served = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |request| {
        let body = format!("{} {}", request.target(), request.text());
        let closes = served.fetch_add(1, Ordering::Relaxed).is_multiple_of(7);
        match Reply::with_fields(200, if closes { "Connection: close\r\n" } else { "" }, &body) {
            Reply::Bytes(bytes) if closes => Reply::Last(bytes),
            reply => reply,
        }
    });
    let bearerd = Setup::new(&to(&upstream.origin())).server("workers = 2").start();
    bearerd.wait_until_ready();
    let app = bearerd.app();
    thread::scope(|scope| {
        for client in 0..12 {
            scope.spawn(move || {
                let mut connection = app.connect();
                for number in 0..60 {
                    let (target, body) = (format!("/{client}/{number}"), "x".repeat(client * number % 97));
                    connection.send(app.head("POST", &format!("/api{target}"), "", body.len()));
                    connection.send(&body);
                    assert_eq!(connection.answer().text(), format!("{target} {body}"));
                }
            });
        }
    });
}
