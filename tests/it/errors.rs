//! Errors that bearerd makes: their status, `Proxy-Status`, and the problem document.

use std::time::Duration;

use crate::support::configuration::{fixed, granted};
use crate::support::message::Message;
use crate::support::{Issuer, Reply, Setup, Sidecar, Upstream, canary};

/// Fails if an answer is not the problem that is expected (RFC 9457, RFC 9209).
#[track_caller]
fn assert_problem(answer: &Message, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{}\n{}", answer.head(), answer.text());
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
    let proxy_status = answer.field("proxy-status").expect("a Proxy-Status");
    assert!(proxy_status.starts_with("bearerd; error="), "{proxy_status}");
    assert!(proxy_status.contains(code), "{proxy_status}");
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "`{member}` is missing: {problem}");
    }
    if matches!(status, 429 | 503) {
        let retry_after = answer.field("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        assert!(retry_after.is_some(), "{}", answer.head());
    }
}

#[test]
fn without_a_token_a_request_waits_its_time_and_is_answered_503() {
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::status(503, "text/plain", "busy")));
    let upstream = Upstream::start();
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "wait = \"200ms\"")).start();
    issuer.wait_for(1);
    let answer = bearerd.app().get("/api/x");
    assert_problem(&answer, 503, "credential_unavailable");
    assert_eq!(answer.json()["credential"], "api");
    assert_eq!(answer.json()["route"], "api");
    assert_eq!(bearerd.admin().get("/ready").status(), 503);
    assert!(upstream.requests().is_empty());
}

#[test]
fn an_expired_token_is_never_sent() {
    let issuer = Issuer::start(3);
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, "wait = \"200ms\""));
    issuer.always(Some(Reply::status(500, "text/html", "<h1>oops</h1>")));
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    bearerd.wait_for_state("api", "expired");
    let before = upstream.requests().len();
    assert_problem(&bearerd.app().get("/api/x"), 503, "credential_unavailable");
    assert_eq!(upstream.requests().len(), before);
    // When the issuer is back, so is the token.
    issuer.always(None);
    bearerd.wait_for_state("api", "ready");
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn a_rejected_input_is_tried_once_and_answered_503_at_once() {
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::json(401, &serde_json::json!({"error": "invalid_client"}))));
    let upstream = Upstream::start();
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    let said = bearerd.wait_for_state("api", "rejected");
    assert_eq!(said["last_error"]["class"], "rejected");
    for _ in 0..3 {
        assert_problem(&bearerd.app().get("/api/x"), 503, "credential_rejected");
    }
    assert_eq!(issuer.requests().len(), 1);
    assert!(upstream.requests().is_empty());
}

#[test]
fn an_upstream_that_cannot_be_reached_is_502() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let upstream = Upstream::start();
    let config = fixed(&canary::token(), &upstream).replace(&upstream.origin(), &gone);
    let bearerd = Sidecar::ready(&config);
    let answer = bearerd.app().get("/api/x");
    assert_problem(&answer, 502, "upstream_connect");
    assert!(answer.field("proxy-status").is_some_and(|status| status.contains("error=connection_refused")));
}

#[test]
fn an_upstream_that_speaks_no_http_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "",
    ] {
        let upstream = Upstream::answering(move |_| Reply::Last(garbage.into()));
        let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
        assert_problem(&bearerd.app().post("/api/x", "{}"), 502, "upstream_protocol");
        assert_eq!(upstream.requests().len(), 1, "a POST is not sent twice");
    }
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::answering(|_| Reply::Never);
    let config = fixed(&canary::token(), &upstream) + "answer_timeout = \"300ms\"\n";
    let bearerd = Sidecar::ready(&config);
    assert_problem(&bearerd.app().get("/api/x"), 504, "upstream_timeout");
}

#[test]
fn an_answer_that_comes_late_but_in_time_passes() {
    let upstream = Upstream::answering(|_| Reply::text("late").after(Duration::from_millis(300)));
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.app().get("/api/x").text(), "late");
}

#[test]
fn a_request_that_may_not_pass_says_why() {
    let upstream = Upstream::start();
    let config = fixed(&canary::token(), &upstream) + "allow = [\"GET /open\"]\nmax_body = \"1KiB\"\n";
    let bearerd = Sidecar::ready(&config);
    let app = bearerd.app();
    assert_problem(&app.get("/nowhere"), 404, "no_route");
    assert_problem(&app.get("/api/closed"), 403, "not_allowed");
    assert_problem(&app.get("/api/%2e%2e/open"), 400, "path_ambiguous");
    assert_problem(&app.request("TRACE", "/api/open", "", b""), 405, "method_not_allowed");
    assert_problem(&app.get_with("/api/open", "Origin: https://evil.example\r\n"), 403, "caller_denied");
    assert_problem(&app.request("GET", "/api/open", "", &[b'x'; 2048]), 413, "too_large");
    assert_problem(&app.get(&format!("/api/{}", "x".repeat(17 * 1024))), 414, "target_too_long");
    let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect::<Vec<_>>().concat();
    assert_problem(&app.get_with("/api/open", &many), 431, "too_large");
    let large = format!("X-Large: {}\r\n", "x".repeat(33 * 1024));
    assert_problem(&app.get_with("/api/open", &large), 431, "too_large");
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_request_that_has_passed_here_before_is_a_loop() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    let via = upstream.request().field("via").expect("a Via");
    assert_problem(&bearerd.app().get_with("/api/x", &format!("Via: {via}\r\n")), 508, "loop");
    let many = ["1.1 bearerd-abc"; 11].join(", ");
    assert_problem(&bearerd.app().get_with("/api/x", &format!("Via: {many}\r\n")), 508, "loop");
    assert_eq!(bearerd.app().get_with("/api/x", "Via: 1.1 somebody\r\n").status(), 200);
}

#[test]
fn a_401_is_always_the_upstreams_own() {
    let upstream = Upstream::answering(|_| Reply::status(401, "text/plain", "who are you"));
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), answer.text().as_str()), (401, "who are you"));
    let said = bearerd
        .wait("the refusal", || Some(bearerd.credential("key")).filter(|said| !said["last_error"].is_null()));
    assert_eq!(said["state"], "ready", "a static token that was refused once is still the token: {said}");
}
