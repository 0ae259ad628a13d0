//! Answers that have to fit a digest: they stream, and what does not fit is never whole.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::support::http2::Http2App;
use crate::support::{Origin, Reply, Sidecar, Upstream, canary, configuration};

const VERIFY: &str = "verify = { header = \"hmac\", value = \"{base64(hmac_sha256(token, body))}\" }\n";

struct Stage {
    bearerd: Sidecar,
    origin: Origin,
    token: String,
}

fn signed(key: &str, content: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, content))
}

impl Stage {
    fn new(route: &str) -> Self {
        let (origin, token) = (Origin::start(), canary::token());
        let credential = format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n"
        );
        let route = configuration::route_to("key", &origin.url()) + route;
        Self { bearerd: Sidecar::ready(&(credential + &route)), origin, token }
    }

    /// What the app reads of an answer, to its end or to its break.
    fn read(&self, head: &str, rest: &[u8]) -> Vec<u8> {
        let mut app = self.bearerd.app().ask("GET", "/api/x", "Connection: close\r\n");
        let mut upstream = self.origin.accept();
        assert_eq!(upstream.request().field("accept-encoding").as_deref(), Some("identity"));
        upstream.send([format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), rest].concat());
        app.rest_in_bytes().0
    }

    fn broken(&self) -> u64 {
        self.bearerd.metric("bearerd_errors_total{route=\"api\",code=\"answer_unverified\"}")
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 241).unwrap_or(0)).collect()
}

#[test]
fn what_fits_passes_whole_in_every_framing() {
    for guard in ["", "guard = \"off\"\n"] {
        let stage = Stage::new(&format!("{VERIFY}{guard}"));
        for length in [1, 3000, 1_500_000] {
            let body = content(length);
            let hmac = signed(&stage.token, &body);
            let head = format!("Content-Type: image/png\r\nhmac: {hmac}\r\nContent-Length: {length}\r\n");
            assert!(stage.read(&head, &body).ends_with(&body), "{length}");
            let head = format!("Content-Type: image/png\r\nHMAC:  {hmac} \r\nTransfer-Encoding: chunked\r\n");
            let chunked = [format!("{length:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            assert!(stage.read(&head, &chunked).ends_with(b"\r\n0\r\n\r\n"), "{length}");
        }
        assert_eq!(stage.broken(), 0);
    }
}

#[test]
fn what_does_not_fit_never_ends_as_a_whole_message() {
    for guard in ["", "guard = \"off\"\n"] {
        let stage = Stage::new(&format!("{VERIFY}{guard}"));
        let mut seen = 0;
        for (length, hmac) in [(1, "x"), (3000, ""), (1_500_000, "x")] {
            let (body, hmac) = (content(length), format!("{}{hmac}", signed(&stage.token, b"other")));
            let head = format!("Content-Type: image/png\r\nhmac: {hmac}\r\nContent-Length: {length}\r\n");
            let read = stage.read(&head, &body);
            let head = read.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
            assert!(read.starts_with(b"HTTP/1.1 502 ") || read.len() - head < length, "{length}");
            let head = format!("Content-Type: image/png\r\nhmac: {hmac}\r\nTransfer-Encoding: chunked\r\n");
            let chunked = [format!("{length:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            let read = stage.read(&head, &chunked);
            assert!(read.starts_with(b"HTTP/1.1 502 ") || !read.ends_with(b"\r\n0\r\n\r\n"), "{length}");
            seen += 2;
            assert_eq!(stage.broken(), seen);
        }
        stage.bearerd.log("a warning", |line| line["code"] == "answer_unverified" && line["level"] == "WARN");
    }
}

#[test]
fn an_answer_passes_as_it_comes_and_only_its_end_waits() {
    let stage = Stage::new(VERIFY);
    let body = content(40_000);
    let mut app = stage.bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = stage.origin.accept();
    upstream.request();
    upstream.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nhmac: {}\r\nContent-Length: 40000\r\n\r\n",
        signed(&stage.token, &body)
    ));
    upstream.send(&body[..20_000]);
    assert_eq!(app.head().status(), 200);
    assert!(app.bytes(20_000) == body[..20_000]);
    upstream.send(&body[20_000..]);
    assert!(app.bytes(20_000) == body[20_000..]);
}

#[test]
fn an_app_that_speaks_http2_sees_its_stream_reset() {
    let upstream = Upstream::answering(|_| {
        Reply::with_fields(200, "Content-Type: image/png\r\nhmac: AAAA\r\n", &"x".repeat(200_000))
    });
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + VERIFY));
    let mut call = Http2App::of(&bearerd).get("/api/x");
    assert_eq!(call.head().status(), 200);
    assert!(call.try_rest().is_err());
}

#[test]
fn an_answer_that_says_nothing_passes_unless_it_is_required_to() {
    let silent = || Upstream::answering(|_| Reply::text("hello"));
    let upstream = silent();
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + VERIFY));
    assert_eq!(bearerd.app().get("/api/x").text(), "hello");
    let upstream = silent();
    let required = VERIFY.replace("\" }", "\", required = true }");
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + &required));
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("answer_unverified")));
    // An error of the upstream has no content of that kind, and neither has the answer to HEAD.
    let upstream = Upstream::answering(|_| Reply::status(404, "text/plain", "none"));
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + &required));
    assert_eq!(bearerd.app().get("/api/x").status(), 404);
}

#[test]
fn a_part_of_a_content_is_not_held_against_the_digest_of_all_of_it() {
    let upstream = Upstream::answering(|_| {
        Reply::with_fields(
            206,
            "Content-Type: image/png\r\nhmac: AAAA\r\nContent-Range: bytes 0-4/9\r\n",
            "hello",
        )
    });
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + VERIFY));
    assert_eq!(bearerd.app().get_with("/api/x", "Range: bytes=0-4\r\n").text(), "hello");
    // Where no answer may pass that is not verified, neither may a part.
    let required = VERIFY.replace("\" }", "\", required = true }");
    let bearerd = Sidecar::ready(&(configuration::to(&upstream.origin()) + &required));
    for range in ["Range: bytes=0-4\r\n", ""] {
        let answer = bearerd.app().get_with("/api/x", range);
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("answer_unverified")));
    }
}
