//! What upstreams and apps do wrong while a request is on its way, and the limits that end it.

use std::time::Duration;

use bearerd::clock::Clock;

use crate::support::configuration::fixed;
use crate::support::message::Message;
use crate::support::{Reply, Sidecar, Upstream, canary};

/// A bearerd with lines for its listener and its route, before an upstream that answers `bytes` and
/// closes.
fn before(bytes: &'static str, listener: &str, route: &str) -> Sidecar {
    let upstream = Upstream::answering(move |_| Reply::Last(bytes.as_bytes().to_vec()));
    start(&upstream, listener, route)
}

fn start(upstream: &Upstream, listener: &str, route: &str) -> Sidecar {
    Sidecar::ready(&format!("{listener}\n{}{route}", fixed(&canary::token(), upstream)))
}

/// One answer of the upstream, as the app gets it.
fn relayed(bytes: &'static str) -> Message {
    before(bytes, "", "").app().request("GET", "/api/x", "TE: trailers\r\n", b"")
}

fn code(answer: &Message) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(20_000));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(256 * 1024));
    for bytes in [
        "garbage\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        many.leak(),
        long.leak(),
    ] {
        let answer = relayed(bytes);
        assert_eq!(answer.status(), 502, "{}", answer.text());
        assert_eq!(code(&answer), "upstream_protocol");
        let status = answer.field("proxy-status").unwrap_or_default();
        assert!(status.starts_with("bearerd; error=http_protocol_error;"), "{status}");
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let bearerd = before(bytes, "", "");
        let answer = bearerd.app().raw(&bearerd.app().head("GET", "/api/x", "", 0));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n") && !answer.contains("content-length: 3"), "{answer}");
    }
}

#[test]
fn what_ends_at_this_hop_or_leads_past_it_is_removed_and_the_rest_passes() {
    let answer = relayed(
        "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
         X-Hop: 1\r\nProxy-Authenticate: Basic\r\nAlt-Svc: h2=\":1\"\r\nUpgrade: h2c\r\nServer: up\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         WWW-Authenticate: Bearer realm=x\r\n\r\nok",
    );
    assert_eq!(answer.start_line(), "HTTP/1.1 200 Fine");
    for gone in ["keep-alive", "x-hop", "proxy-authenticate", "alt-svc", "upgrade", "via"] {
        assert_eq!(answer.field(gone), None, "{}", answer.head());
    }
    assert_eq!(answer.fields("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.field("server").as_deref(), Some("up"));
    assert_eq!(answer.field("date").as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer realm=x"));
}

#[test]
fn a_length_beside_a_coding_is_dropped_and_the_connection_not_used_again() {
    let upstream = Upstream::answering(|_| {
        let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        Reply::Bytes(bytes.as_bytes().to_vec())
    });
    let bearerd = start(&upstream, "", "");
    for _ in 0..3 {
        let answer = bearerd.app().get("/api/x");
        assert_eq!((answer.text().as_str(), answer.field("content-length")), ("abc", None));
    }
}

#[test]
fn interim_answers_are_dropped_and_trailers_pass() {
    let answer = relayed(
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!((answer.status(), answer.text().as_str(), answer.field("link")), (200, "ok", None));
    let bearerd = before(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
        "",
        "",
    );
    let head = bearerd.app().head("GET", "/api/x", "TE: trailers\r\nConnection: close\r\n", 0);
    let answer = bearerd.app().raw(&head).to_lowercase();
    assert!(answer.ends_with("ok\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
}

#[test]
fn head_204_and_304_have_no_body() {
    for (method, bytes) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
    ] {
        let bearerd = before(bytes, "", "");
        let head = bearerd.app().head(method, "/api/x", "Connection: close\r\n", 0);
        let answer = bearerd.app().raw(&head).to_lowercase();
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{answer}");
        assert_eq!(answer.contains("content-length: 5"), method == "HEAD", "{answer}");
    }
}

#[test]
fn an_app_of_http_1_0_gets_an_answer_it_can_read() {
    let bearerd = before("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "", "");
    let answer = bearerd.app().raw(b"GET /api/x HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok") && !answer.to_lowercase().contains("chunked"), "{answer}");
}

#[test]
fn a_head_that_is_not_whole_in_time_is_408_and_silence_is_closed() {
    let bearerd = before("", "head_timeout = \"300ms\"\nidle_timeout = \"300ms\"", "");
    let started = Clock::instant();
    assert_eq!(bearerd.app().raw(b""), "");
    let answer = bearerd.app().raw(b"GET /api/x HTTP/1.1\r\nHost: loc");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    // The time between requests is over as well.
    let mut connection = bearerd.app().connect();
    connection.send(bearerd.app().head("GET", "/api/x", "", 0));
    assert_eq!(connection.answer().status(), 502);
    assert_eq!(connection.rest(), "");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_body_without_progress_is_408_and_one_that_trickles_is_not() {
    let upstream = Upstream::start();
    let bearerd = start(&upstream, "body_timeout = \"400ms\"", "");
    let head = bearerd.app().head("POST", "/api/x", "", 5);
    let mut connection = bearerd.app().connect();
    connection.send(&head);
    connection.send(b"ab");
    let answer = connection.answer();
    assert_eq!((answer.status(), code(&answer).as_str()), (408, "request_timeout"));
    assert_eq!(upstream.requests().len(), 0);

    let mut connection = bearerd.app().connect();
    connection.send(&head);
    for byte in b"abcde" {
        std::thread::sleep(Duration::from_millis(150));
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().status(), 200);
}

#[test]
fn an_answer_without_progress_is_broken_off() {
    let upstream = Upstream::answering(|_| {
        // The rest never comes: the other side waits as long as it likes.
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxyz".to_vec())
    });
    let bearerd = start(&upstream, "", "stall_timeout = \"400ms\"\n");
    let answer = bearerd.app().raw(&bearerd.app().head("GET", "/api/x", "", 0));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nxyz"), "{answer}");
}

#[test]
fn a_body_over_the_routes_limit_is_413_whether_announced_or_not() {
    let upstream = Upstream::start();
    let bearerd = start(&upstream, "", "max_body = \"1KiB\"\n");
    let announced = bearerd.app().raw(&bearerd.app().head("POST", "/api/x", "", 2000));
    assert!(announced.starts_with("HTTP/1.1 413") && announced.contains("too_large"), "{announced}");
    let host = bearerd.app().address();
    let head = format!("POST /api/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunked = bearerd.app().raw(format!("{head}7D0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000)).as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(bearerd.app().request("POST", "/api/x", "", &[b'x'; 1024]).status(), 200);
}

#[test]
fn an_early_answer_reaches_the_app_and_the_rest_of_the_upload_is_not_a_request() {
    let upstream = Upstream::answering(|_| Reply::text("hello"));
    let bearerd = start(&upstream, "", "allow = [\"GET /x\"]\n");
    let smuggled = format!("GET /api/x HTTP/1.1\r\nHost: {}\r\n\r\n", bearerd.app().address());
    let body = smuggled.repeat(2000);
    let mut bytes = bearerd.app().head("POST", "/api/x", "Connection: close\r\n", body.len());
    bytes.extend_from_slice(body.as_bytes());
    let answers = bearerd.app().raw(&bytes);
    assert!(answers.starts_with("HTTP/1.1 403") && answers.matches("HTTP/1.1 ").count() == 1, "{answers}");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_app_that_goes_away_ends_the_request_upstream() {
    let (gone, heard) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut bytes = [0; 4096];
        while std::io::Read::read(&mut stream, &mut bytes).is_ok_and(|length| length > 0) {}
        gone.send(()).expect("someone waits");
    });
    let config = format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = \"never\"\n\
         [routes.api]\npath = \"/api\"\nupstream = \"http://{address}\"\ncredential = \"key\"\n",
        canary::token()
    );
    let bearerd = Sidecar::ready(&config);
    let mut connection = bearerd.app().connect();
    connection.send(bearerd.app().head("GET", "/api/x", "", 0));
    std::thread::sleep(Duration::from_millis(200));
    drop(connection);
    heard.recv_timeout(Duration::from_secs(2)).expect("the upstream's connection ends within moments");
}

#[test]
fn more_requests_than_the_rate_are_429_with_the_time_to_wait() {
    let upstream = Upstream::start();
    let bearerd = start(&upstream, "", "rate = \"3/10s\"\n");
    let statuses: Vec<u16> = (0..5).map(|_| bearerd.app().get("/api/x").status()).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = bearerd.app().get("/api/x");
    assert_eq!(code(&answer), "rate_limited");
    let pause: u64 = answer.field("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=4).contains(&pause), "{pause}");
}
