//! Heads and framing that an intermediary must not pass on (RFC 9110, RFC 9112), spoken raw.

use crate::support::configuration::fixed;
use crate::support::{Sidecar, Upstream, canary};

/// A bearerd before an upstream that must see nothing but what a test lets through.
fn start() -> (Sidecar, Upstream) {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    (bearerd, upstream)
}

/// The status and the error code of what came back last.
fn last_answer(answers: &str) -> (u16, Option<String>) {
    let last = answers.rfind("HTTP/1.1 ").map_or("", |at| &answers[at..]);
    let status = last.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let code = last.split("details=\"").nth(1).and_then(|rest| rest.split('"').next());
    (status, code.map(str::to_owned))
}

#[test]
fn a_malformed_head_is_answered_400_the_connection_closed_and_nothing_forwarded() {
    let (bearerd, upstream) = start();
    let host = format!("Host: {}\r\n", bearerd.app().address());
    let with_host = |line: &str, fields: &str| format!("{line}\r\n{host}{fields}\r\n");
    let get = "GET /api/x HTTP/1.1";
    let post = "POST /api/x HTTP/1.1";
    let mut heads = vec![
        format!("{get}\r\n\r\n"),
        format!("{get}\r\n{host}{host}\r\n"),
        format!("{get}\r\n{host}Host: evil.example\r\n\r\n"),
        format!("{get}\r\nHost: evil.example\r\n{host}\r\n"),
        with_host("GET /api/\u{e9} HTTP/1.1", ""),
        with_host("GET /api/x?\u{e9} HTTP/1.1", ""),
        format!("{get}\r\nHost:\r\n\r\n"),
        format!("{get}\r\nHost: user@localhost\r\n\r\n"),
        format!("{get}\r\nHost: localhost/evil\r\n\r\n"),
        format!("{get}\r\nHost: localhost, evil\r\n\r\n"),
        format!("{get}\r\nHost: localhost:99999\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\n\r\n".into(),
        "GET /api/x\r\n\r\n".into(),
    ];
    for target in
        ["http://evil/x", "http://u@localhost/x", "https://localhost/x", "evil:443", "@evil/x", "evil/x", "*"]
    {
        heads.push(with_host(&format!("GET {target} HTTP/1.1"), ""));
    }
    for version in ["HTTP/1.2", "HTTP/1.10", "HTTP/2.0", "http/1.1"] {
        heads.push(with_host(&format!("GET /api/x {version}"), ""));
    }
    for field in ["A : b", " A: b", "A: b\r\n folded", ": b", "no colon", "A: b\rc", "A: b\0c"] {
        heads.push(with_host(get, &format!("{field}\r\n")));
    }
    for coding in [
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked, chunked",
        ",chunked",
        "chunked,",
        "identity, chunked",
        "gzip, chunked",
        "chunked;x=y",
        "identity",
        "xchunked",
    ] {
        heads.push(with_host(post, &format!("Transfer-Encoding: {coding}\r\n")));
    }
    for fields in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content_Length: 5\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Expect: y 100-continue\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: 200-ok\r\n",
    ] {
        heads.push(with_host(post, fields));
    }
    for head in &heads {
        // What stands behind must never be taken for a request of its own.
        let answers =
            bearerd.app().raw(format!("{head}0\r\n\r\nGET /api/smuggled HTTP/1.1\r\n{host}\r\n").as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answers}");
        assert_eq!(last_answer(&answers).0, 400, "{head:?}: {answers}");
    }
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());
}

#[test]
fn a_host_that_is_not_the_listeners_is_refused_on_tcp() {
    let (bearerd, upstream) = start();
    for host in ["attacker.com", "127.0.0.1.nip.io", "127.1", "0.0.0.0", "localhost.", "localhost.evil"] {
        let answer = bearerd.app().raw(format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(last_answer(&answer), (403, Some("caller_denied".into())), "{host}");
    }
    assert_eq!(upstream.requests().len(), 0);
    for host in ["LOCALHOST", "127.0.0.1", "[::1]:1", "localhost:9"] {
        let head = format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(last_answer(&bearerd.app().raw(head.as_bytes())).0, 200, "{host}");
    }
}

#[test]
fn pages_of_other_sites_may_not_call() {
    let (bearerd, upstream) = start();
    let address = bearerd.app().address();
    for field in [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://localhost:1",
        "Origin: http://localhost.evil",
    ] {
        let answer = bearerd.app().request("POST", "/api/x", &format!("{field}\r\n"), b"");
        assert_eq!(answer.status(), 403, "{field}");
        assert!(answer.field("access-control-allow-origin").is_none());
    }
    assert_eq!(upstream.requests().len(), 0);
    for field in [
        "Sec-Fetch-Site: none".into(),
        "Sec-Fetch-Site: same-origin".into(),
        format!("Origin: http://{address}"),
    ] {
        assert_eq!(
            bearerd.app().request("GET", "/api/x", &format!("{field}\r\n"), b"").status(),
            200,
            "{field}"
        );
    }
}

#[test]
fn connect_trace_and_methods_in_lower_case_are_answered_405() {
    let (bearerd, upstream) = start();
    let host = bearerd.app().address();
    for line in ["CONNECT evil:443", "CONNECT /api/x", "TRACE /api/x", "get /api/x", "trace /api/x"] {
        let answer =
            bearerd.app().raw(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\ntunnelled?").as_bytes());
        let (status, code) = last_answer(&answer);
        // Before hyper has a method it has no path: its own 400 is as good.
        assert!(status == 405 && code.as_deref() == Some("method_not_allowed"), "{line}: {answer}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_raw_fragment_is_refused_wherever_the_request_stands_in_the_connection() {
    let (bearerd, upstream) = start();
    let host = bearerd.app().address();
    let pipelined = format!(
        "POST /api/1 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\na#b\
         POST /api/2 HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n#\n\r\n0\r\n\r\n\
         GET /api/3#fragment HTTP/1.1\r\nHost: {host}\r\n\r\n"
    );
    let answers = bearerd.app().raw(pipelined.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert_eq!(last_answer(&answers), (400, Some("path_ambiguous".into())), "{answers}");
    let bodies: Vec<Vec<u8>> = upstream.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"a#b".to_vec(), b"#\n".to_vec()]);
}

#[test]
fn a_get_with_a_chunked_body_keeps_it_and_trailers_do_not_pass() {
    let (bearerd, upstream) = start();
    let host = bearerd.app().address();
    let mut connection = bearerd.app().connect();
    connection.send(
        format!(
            "GET /api/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
             3;ext=1\r\nabc\r\n0\r\nX-Late: 1\r\nAuthorization: Bearer mine\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(connection.answer().status(), 200);
    let seen = upstream.request();
    assert_eq!((seen.body.as_slice(), seen.field("trailer")), (b"abc".as_slice(), None), "{}", seen.head());
    assert!(!seen.head().contains("late"));
}

#[test]
fn an_upgrade_is_not_asked_for_and_what_follows_is_a_request_of_its_own() {
    let (bearerd, upstream) = start();
    let host = bearerd.app().address();
    let mut connection = bearerd.app().connect();
    connection.send(
        format!(
            "GET /api/1 HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET /api/2 HTTP/1.1\r\nHost: {host}\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!((connection.answer().status(), connection.answer().status()), (200, 200));
    for seen in upstream.requests() {
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.field(gone), None, "{}", seen.head());
        }
    }
}

#[test]
fn a_body_that_ends_early_never_looks_whole_to_the_upstream() {
    let (bearerd, upstream) = start();
    let host = bearerd.app().address();
    for (framing, part) in [("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
        let mut connection = bearerd.app().connect();
        connection
            .send(format!("POST /api/x HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n{part}").as_bytes());
        connection.finish();
        connection.rest();
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn options_counts_its_hops_and_ends_here_at_the_last() {
    let (bearerd, upstream) = start();
    let answer = bearerd.app().request("OPTIONS", "/api/x", "Max-Forwards: 0\r\n", b"");
    assert_eq!((answer.status(), upstream.requests().len()), (204, 0));
    assert_eq!(bearerd.app().request("OPTIONS", "*", "", b"").status(), 204);
    assert_eq!(bearerd.app().request("OPTIONS", "/api/x", "Max-Forwards: 5\r\n", b"").status(), 200);
    assert_eq!(upstream.request().field("max-forwards").as_deref(), Some("4"));
}

#[test]
fn each_limit_of_a_head_is_answered_with_its_name() {
    let (bearerd, upstream) = start();
    let host = format!("Host: {}\r\n", bearerd.app().address());
    let fields = |count: usize| "A: b\r\n".repeat(count);
    let long = |length: usize| "x".repeat(length);
    for (head, status, code) in [
        (format!("GET /api/x HTTP/1.1\r\n{host}{}\r\n", fields(100)), 431, "too_large"),
        (format!("GET /api/x HTTP/1.1\r\n{host}A: {}\r\n\r\n", long(33 * 1024)), 431, "too_large"),
        (format!("GET /api/x HTTP/1.1\r\n{host}A: {}\r\n\r\n", long(1024 * 1024)), 431, "too_large"),
        (format!("GET /api/{} HTTP/1.1\r\n{host}\r\n", long(17 * 1024)), 414, "target_too_long"),
        (format!("GET /api/{}", long(70 * 1024)), 414, "target_too_long"),
    ] {
        let answer = bearerd.app().raw(head.as_bytes());
        assert_eq!(last_answer(&answer), (status, Some(code.into())), "{}", &head[..60]);
    }
    assert_eq!(upstream.requests().len(), 0);
    let most =
        format!("GET /api/{} HTTP/1.1\r\n{host}Connection: close\r\n{}\r\n", long(15 * 1024), fields(98));
    assert_eq!(last_answer(&bearerd.app().raw(most.as_bytes())).0, 200);
}
