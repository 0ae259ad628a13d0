//! Which bodies are held for the one replay behind a refusal: whole ones, up to `replay_body`.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::configuration::{granted, granted_to};
use crate::support::frames::{DATA, END_STREAM, Frames, NONE, status};
use crate::support::{Issuer, Origin, Reply, Sidecar, Upstream, canary};

/// An upstream that refuses the first request and takes all others.
fn refusing_once() -> Upstream {
    let seen = AtomicUsize::new(0);
    Upstream::answering(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(401, "text/plain", "no"),
        _ => Reply::text("welcome"),
    })
}

fn start(route: &str) -> (Sidecar, Upstream, Issuer) {
    let (upstream, issuer) = (refusing_once(), Issuer::start(3600));
    let bearerd = Sidecar::ready(&(granted(&issuer, &canary::secret(), &upstream, "") + route));
    (bearerd, upstream, issuer)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
}

#[test]
fn a_body_of_exactly_the_limit_is_sent_again_and_one_byte_more_is_not() {
    for (route, limit) in
        [("", 64 * 1024), ("replay_body = \"1KiB\"\n", 1024), ("replay_body = \"1MiB\"\n", 1 << 20)]
    {
        let (bearerd, upstream, _issuer) = start(route);
        let body = bytes(limit);
        let answer = bearerd.app().request("POST", "/api/x", "Idempotency-Key: k\r\n", &body);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "welcome"));
        let seen = upstream.requests();
        assert_eq!(seen.len(), 2);
        assert!(
            seen.iter()
                .all(|seen| seen.body == body && seen.field("idempotency-key").as_deref() == Some("k"))
        );
        assert_ne!(seen[0].field("authorization"), seen[1].field("authorization"));
        assert_eq!(bearerd.metric("bearerd_replays_total{route=\"api\"}"), 1);

        let (bearerd, upstream, _issuer) = start(route);
        let answer = bearerd.app().request("POST", "/api/x", "", &bytes(limit + 1));
        assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
        assert_eq!(upstream.requests().len(), 1);
        assert_eq!(bearerd.metric("bearerd_replays_total{route=\"api\"}"), 0);
    }
}

#[test]
fn a_body_that_comes_in_many_pieces_is_sent_again_whole() {
    let (bearerd, upstream, _issuer) = start("");
    let body = bytes(60_000);
    let mut app = bearerd.app().ask("PUT", "/api/x", &format!("Content-Length: {}\r\n", body.len()));
    for piece in body.chunks(997) {
        app.send(piece);
    }
    assert_eq!(app.answer().text(), "welcome");
    assert!(upstream.requests().iter().all(|seen| seen.body == body));
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_chunked_body_is_sent_again_whole_up_to_the_limit() {
    for (length, status, times) in [(0, 200, 2), (1, 200, 2), (64 * 1024, 200, 2), (64 * 1024 + 1, 401, 1)] {
        let (bearerd, upstream, _issuer) = start("");
        let body = bytes(length);
        let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
        for piece in body.chunks(8000) {
            app.send_chunk(piece);
        }
        app.send("0\r\nX-Late: 1\r\n\r\n");
        assert_eq!(app.answer().status(), status, "{length} bytes");
        let seen = upstream.requests();
        assert_eq!(seen.len(), times, "{length} bytes");
        assert!(seen.iter().all(|seen| seen.body == body));
    }
}

#[test]
fn a_limit_of_nothing_repeats_only_requests_without_a_body() {
    let (bearerd, upstream, _issuer) = start("replay_body = 0\n");
    assert_eq!(bearerd.app().request("POST", "/api/x", "", b"b").status(), 401);
    assert_eq!(upstream.requests().len(), 1);
    let (bearerd, upstream, _issuer) = start("replay_body = 0\n");
    assert_eq!(bearerd.app().get("/api/x").text(), "welcome");
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_app_that_waited_for_100_is_not_asked_again_for_the_replay() {
    let (bearerd, upstream, _issuer) = start("");
    let mut app = bearerd.app().ask("POST", "/api/x", "Expect: 100-continue\r\nContent-Length: 4\r\n");
    app.expect("HTTP/1.1 100 Continue\r\n\r\n");
    app.send("body");
    let answer = app.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "welcome"));
    assert!(upstream.requests().iter().all(|seen| seen.text() == "body"));
}

#[test]
fn the_answer_that_refused_is_gone_without_a_trace() {
    let seen = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::with_fields(401, "Set-Cookie: refused=1\r\n", &"no".repeat(100_000)),
        _ => Reply::text("welcome"),
    });
    let issuer = Issuer::start(3600);
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    let mut app = bearerd.app().connect();
    for _ in 0..3 {
        app.send(bearerd.app().head("GET", "/api/x", "", 0));
        let answer = app.answer();
        assert_eq!(
            (answer.status(), answer.text().as_str(), answer.field("set-cookie")),
            (200, "welcome", None)
        );
    }
    assert_eq!(upstream.requests().len(), 4);
}

/// An upstream that is played by hand, behind a credential that renews itself.
fn by_hand() -> (Sidecar, Origin, Issuer) {
    let (origin, issuer) = (Origin::start(), Issuer::start(3600));
    (Sidecar::ready(&granted_to(&issuer, &origin.url())), origin, issuer)
}

const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
const WELCOME: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome";

#[test]
fn a_request_that_is_refused_before_its_body_is_whole_is_sent_again_with_the_rest() {
    let (bearerd, origin, issuer) = by_hand();
    let mut app = bearerd.app().ask("POST", "/api/x", "Content-Length: 10\r\n");
    let mut first = origin.accept();
    assert_eq!(first.head().field("content-length").as_deref(), Some("10"));
    app.send("first");
    first.expect("first");
    first.send(REFUSED);
    let mut second = origin.accept();
    let head = second.head();
    assert_eq!(head.field("authorization"), Some(format!("Bearer {}", issuer.token())));
    assert_eq!(head.field("content-length").as_deref(), Some("10"));
    second.expect("first");
    app.send(" half");
    second.expect(" half");
    second.send(WELCOME);
    assert_eq!(app.answer().text(), "welcome");
    assert_eq!(bearerd.metric("bearerd_replays_total{route=\"api\"}"), 1);
}

#[test]
fn a_body_without_a_length_goes_on_behind_the_refusal_however_long_it_grows() {
    let (bearerd, origin, _issuer) = by_hand();
    let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
    let mut first = origin.accept();
    first.head();
    app.send_chunk("begin");
    assert_eq!(first.chunks(5), b"begin");
    first.send(REFUSED);
    let mut second = origin.accept();
    second.head();
    let rest = bytes(100_000);
    app.send_chunk(&rest);
    app.send("0\r\n\r\n");
    assert_eq!(second.chunks(5 + rest.len()), [b"begin".as_slice(), &rest].concat());
    second.expect("0\r\n\r\n");
    second.send(WELCOME);
    assert_eq!(app.answer().text(), "welcome");
}

#[test]
fn a_long_body_of_which_the_refused_request_sent_nothing_is_sent() {
    let (bearerd, origin, _issuer) = by_hand();
    let body = bytes(200_000);
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    let mut app = bearerd.app().ask("PUT", "/api/x", &fields);
    let mut first = origin.accept();
    first.head();
    first.send(REFUSED);
    let mut second = origin.accept();
    if second.head().field("expect").is_some() {
        second.send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    app.expect("HTTP/1.1 100 Continue\r\n\r\n");
    app.send(&body);
    assert_eq!(second.bytes(body.len()), body);
    second.send(WELCOME);
    assert_eq!(app.answer().text(), "welcome");
}

#[test]
fn a_refusal_that_overtakes_the_end_of_a_stream_is_followed_by_a_replay() {
    let (bearerd, origin, _issuer) = by_hand();
    let mut app = Frames::app(&bearerd);
    app.request(1, "POST", "/api/x", &[("content-length", "4")], false);
    app.send(DATA, NONE, 1, b"body");
    let mut first = origin.accept();
    assert_eq!(first.request().text(), "body");
    first.send(REFUSED);
    let mut second = origin.accept();
    second.head();
    second.expect("body");
    app.send(DATA, END_STREAM, 1, b"");
    second.send(WELCOME);
    assert_eq!(status(&app.head(1)), Some(200));
}

#[test]
fn a_refusal_behind_more_than_the_limit_passes_while_the_body_runs() {
    let (bearerd, origin, _issuer) = by_hand();
    let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    for _ in 0..2 {
        app.send_chunk(bytes(64 * 1024));
    }
    upstream.chunks(128 * 1024);
    upstream.send(REFUSED);
    assert_eq!(app.head().status(), 401);
    assert_eq!(bearerd.metric("bearerd_replays_total{route=\"api\"}"), 0);
}
