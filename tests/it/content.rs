//! What is put into the content of a request or made of it: held whole, exact to the byte, and made anew
//! for a replay.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::support::http2::{Http2App, Http2Origin};
use crate::support::{Issuer, Reply, Sidecar, Upstream, canary, configuration};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A keyed digest of the content beside the token.
const HMAC: &str = r#"inject = { headers = { Authorization = "Bearer {access_token}", hmac = "{base64(hmac_sha256(client_secret, body))}" } }
"#;

struct Stage {
    bearerd: Sidecar,
    upstream: Upstream,
    issuer: Issuer,
    secret: String,
}

impl Stage {
    fn new(route: &str) -> Self {
        Self::before(Upstream::start(), route)
    }

    fn before(upstream: Upstream, route: &str) -> Self {
        let (issuer, secret) = (Issuer::start(3600), canary::secret());
        let bearerd = Sidecar::ready(&(configuration::granted(&issuer, &secret, &upstream, "") + route));
        Self { bearerd, upstream, issuer, secret }
    }

    fn hmac(&self, content: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        BASE64_STANDARD.encode(hmac::sign(&key, content))
    }
}

/// An upstream that refuses the first request and takes all others.
fn refusing_once() -> Upstream {
    let seen = AtomicUsize::new(0);
    Upstream::answering(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(401, "text/plain", "no"),
        _ => Reply::text("welcome"),
    })
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
}

fn hex(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn a_keyed_digest_is_over_exactly_the_bytes_that_are_sent() {
    let stage = Stage::new(&format!("inject_body = \"10MiB\"\n{HMAC}"));
    for length in [0, 1, 70_000, 10 << 20] {
        let body = bytes(length);
        let fields = "hmac: forged\r\nHMAC: forged\r\nContent-Type: image/png\r\n";
        let answer = stage.bearerd.app().request("POST", "/api/x", fields, &body);
        assert_eq!(answer.status(), 200, "{length}");
        let seen = stage.upstream.requests().pop().expect("a request");
        assert!(seen.body == body, "{length}");
        assert_eq!(seen.fields("hmac"), [stage.hmac(&body)], "{length}");
        assert_eq!(seen.fields("content-length").len(), usize::from(length > 0));
        assert_eq!(seen.field("content-type").as_deref(), Some("image/png"));
    }
    let mut app = stage.bearerd.app().ask("PUT", "/api/x", "Transfer-Encoding: chunked\r\n");
    app.send_chunk("ab");
    app.send_chunk("c");
    app.send("0\r\nhmac: late\r\n\r\n");
    assert_eq!(app.answer().status(), 200);
    let seen = stage.upstream.requests().pop().expect("a request");
    assert_eq!((seen.text().as_str(), seen.fields("hmac")), ("abc", vec![stage.hmac(b"abc")]));
    assert_eq!(seen.fields("transfer-encoding"), [""; 0]);
    assert_eq!(seen.field("content-length").as_deref(), Some("3"));
}

#[test]
fn a_body_beyond_the_limit_is_413_however_it_is_framed() {
    let stage = Stage::new(&format!("inject_body = \"1KiB\"\n{HMAC}"));
    let app = stage.bearerd.app();
    assert_eq!(app.request("POST", "/api/x", "", &bytes(1024)).status(), 200);
    let mut asked = app.ask("POST", "/api/x", "Expect: 100-continue\r\nContent-Length: 1025\r\n");
    let refused = asked.answer();
    assert_eq!((refused.status(), refused.json()["code"].as_str()), (413, Some("too_large")));
    let mut chunked = app.ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
    chunked.send_chunk(bytes(1025));
    assert_eq!(chunked.answer().status(), 413);
    assert_eq!(stage.upstream.requests().len(), 1);
    let limited = "bearerd_limited_total{limit=\"inject_body\"}";
    assert_eq!(stage.bearerd.metric(limited), 2);
}

#[test]
fn an_app_that_waits_for_100_gets_it_before_anything_goes_upstream() {
    let stage = Stage::new(HMAC);
    let mut app = stage.bearerd.app().ask("POST", "/api/x", "Expect: 100-continue\r\nContent-Length: 4\r\n");
    app.expect("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(stage.upstream.requests().len(), 0);
    app.send("body");
    assert_eq!(app.answer().status(), 200);
    let seen = stage.upstream.requests().pop().expect("a request");
    assert_eq!((seen.text().as_str(), seen.fields("hmac")), ("body", vec![stage.hmac(b"body")]));
    assert_eq!(seen.field("expect"), None);
}

#[test]
fn a_replay_is_made_of_what_the_app_sent_and_the_next_token() {
    let inject = r#"replay_body = 0
inject = { headers = { X-Digest = "{sha256(body)}" }, body = { proof = "{sha256(access_token)}", who = "{access_token}" } }
"#;
    let stage = Stage::before(refusing_once(), inject);
    let body = format!("{{\"who\":\"forged\", \"long\":\"{}\"}}", "x".repeat(100_000));
    let answer = stage.bearerd.app().request("POST", "/api/x", JSON, body.as_bytes());
    assert_eq!((answer.status(), answer.text().as_str()), (200, "welcome"));
    let (seen, tokens) = (stage.upstream.requests(), stage.issuer.granted());
    assert_eq!((seen.len(), tokens.len()), (2, 2));
    for (seen, token) in seen.iter().zip(&tokens) {
        let rest = &body["{\"who\":\"forged\",".len()..];
        let sent = format!("{{\"proof\":\"{}\",\"who\":\"{token}\",{rest}", hex(token));
        assert!(seen.text() == sent, "{:.200}", seen.text());
        assert_eq!(seen.field("x-digest"), Some(hex(&sent)));
        assert_eq!(seen.field("content-length"), Some(sent.len().to_string()));
    }
    assert_eq!(stage.bearerd.metric("bearerd_replays_total{route=\"api\"}"), 1);
}

#[test]
fn members_and_fields_are_put_in_with_the_digest_of_the_same_second() {
    let inject = r#"inject = { body = { clientid = "{sha256(\"id\")}", ts = "{now_s}", hmac = "{sha256(client_secret, body.orgid, now_s)}", v = 2 }, empty_body = "form" }
"#;
    let stage = Stage::new(inject);
    let cases = [
        (JSON, r#"{"orgid":"o1","clientid":1,"CLIENTID":2}"#, "o1"),
        (FORM, "orgid=o%31&clientid=x", "o1"),
        ("", "", ""),
    ];
    for (kind, body, organisation) in cases {
        assert_eq!(stage.bearerd.app().request("POST", "/api/x", kind, body.as_bytes()).status(), 200);
        let seen = stage.upstream.requests().pop().expect("a request");
        let text = |name: &str| match kind {
            JSON => seen.json()[name].as_str().expect(name).to_owned(),
            _ => seen.form()[name].clone(),
        };
        assert_eq!(text("clientid"), hex("id"), "{body}");
        assert_eq!(text("hmac"), hex(&format!("{}{organisation}{}", stage.secret, text("ts"))), "{body}");
        assert_eq!(seen.text().matches("lient").count(), 1, "{}", seen.text());
        let media_type = if kind == JSON { "application/json" } else { "application/x-www-form-urlencoded" };
        assert_eq!(seen.fields("content-type"), [media_type]);
    }
    // Nothing is put on what has no body, and no digest of another body passes.
    assert_eq!(stage.bearerd.app().get("/api/x").status(), 200);
    assert_eq!(stage.upstream.requests().pop().expect("a request").body, b"");
    let digest = format!("{JSON}Content-Digest: sha-256=:AA==:\r\nContent-MD5: AA==\r\n");
    assert_eq!(stage.bearerd.app().request("POST", "/api/x", &digest, b"{}").status(), 200);
    let seen = stage.upstream.requests().pop().expect("a request");
    assert_eq!((seen.field("content-digest"), seen.field("content-md5")), (None, None));
}

#[test]
fn what_nothing_can_be_put_into_is_refused_and_not_sent() {
    let stage = Stage::new("inject = { body = { clientid = \"x\" } }\n");
    let ask = |fields: &str, body: &str| {
        let answer = stage.bearerd.app().request("POST", "/api/x", fields, body.as_bytes());
        (answer.status(), answer.json()["code"].as_str().expect("a code").to_owned())
    };
    let (unsupported, malformed) = ((415, "body_unsupported".to_owned()), (400, "bad_request".to_owned()));
    assert_eq!(ask(&format!("{JSON}Content-Encoding: gzip\r\n"), "{}"), unsupported);
    assert_eq!(ask("Content-Type: text/plain\r\n", "{}"), unsupported);
    assert_eq!(ask("", "{}"), unsupported);
    assert_eq!(ask(&format!("{JSON}{FORM}"), "{}"), unsupported);
    assert_eq!(ask(JSON, "[]"), malformed);
    assert_eq!(ask(JSON, "{\"a\":1,}"), malformed);
    assert_eq!(stage.upstream.requests().len(), 0);
}

#[test]
fn an_app_that_speaks_http2_likewise() {
    let stage =
        Stage::new("inject = { body = { clientid = \"x\" }, headers = { X-Digest = \"{sha256(body)}\" } }\n");
    let app = Http2App::of(&stage.bearerd);
    let request = app.request("POST", "/api/x", &[("content-type", "application/json")]);
    let mut call = app.send(request, false);
    call.upload(b"{\"a\":", false);
    call.upload(b"1}", true);
    assert_eq!(call.text().0, 200);
    let seen = stage.upstream.requests().pop().expect("a request");
    let sent = "{\"clientid\":\"x\",\"a\":1}";
    assert_eq!((seen.text().as_str(), seen.field("x-digest")), (sent, Some(hex(sent))));
}

#[test]
fn an_upstream_that_speaks_http2_likewise() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("inject = { headers = { X-Digest = \"{sha256(body)}\" } }\n");
    let mut app = bearerd.app().ask("POST", "/api/x", "Content-Length: 3\r\n");
    app.send("abc");
    let mut exchange = origin.accept();
    assert_eq!(exchange.field("x-digest"), Some(&*hex("abc")));
    assert_eq!(exchange.field("content-length"), Some("3"));
    assert_eq!(exchange.content().body, b"abc");
    exchange.text("ok");
    assert_eq!(app.answer().text(), "ok");
}
