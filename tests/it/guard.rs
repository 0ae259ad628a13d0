//! Secrets that upstreams send back: none reaches the app.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use http::{HeaderMap, HeaderValue};

use crate::support::http2::{Http2App, Http2Origin};
use crate::support::inside::Inside;
use crate::support::message::Message;
use crate::support::wire::Wire;
use crate::support::{Issuer, Origin, Reply, Sidecar, Upstream, canary, configuration};

/// A bearerd with a fixed token before an origin, and both ends of a request.
struct Stage {
    bearerd: Sidecar,
    origin: Origin,
    token: String,
}

impl Stage {
    fn new(route: &str) -> Self {
        Self::with(&canary::token(), route)
    }

    fn with(token: &str, route: &str) -> Self {
        let origin = Origin::start();
        let credential = format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n"
        );
        let bearerd =
            Sidecar::ready(&format!("{credential}{}{route}", configuration::route_to("key", &origin.url())));
        Self { bearerd, origin, token: token.to_owned() }
    }

    /// The two ends of a request that was sent.
    fn ask(&self, fields: &str) -> (Wire, Wire) {
        let app = self.bearerd.app().ask("GET", "/api/x", fields);
        let mut upstream = self.origin.accept();
        upstream.request();
        (app, upstream)
    }

    /// What the app gets of an answer.
    fn answer(&self, fields: &str, body: &[u8]) -> Message {
        let (mut app, mut upstream) = self.ask("");
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        upstream.send([head.as_bytes(), body].concat());
        app.answer()
    }

    fn stars(&self) -> String {
        "*".repeat(self.token.len())
    }

    fn masked(&self) -> u64 {
        self.bearerd.metric("bearerd_masked_total{route=\"api\"}")
    }
}

fn spelled(value: &str, spell: impl Fn(u8) -> String) -> String {
    value.bytes().map(spell).collect()
}

#[track_caller]
fn assert_blocked(answer: &Message) {
    assert_eq!(answer.status(), 502, "{}", answer.head());
    assert_eq!(answer.json()["code"], "leak_blocked");
}

#[test]
fn a_secret_in_a_body_is_masked_in_every_form_and_the_length_stays() {
    let stage = Stage::new("");
    let token = &stage.token;
    for form in [
        token.clone(),
        spelled(token, |byte| format!("%{byte:02X}")),
        spelled(token, |byte| format!("\\u{byte:04x}")),
        spelled(token, |byte| if byte % 3 == 0 { format!("%25{byte:02x}") } else { char::from(byte).into() }),
    ] {
        for kind in ["Content-Type: application/json\r\n", "Content-Type: text/html\r\n", ""] {
            let answer = stage.answer(kind, format!("[\"say {form}\"]").as_bytes());
            assert_eq!(answer.text(), format!("[\"say {}\"]", "*".repeat(form.len())));
        }
    }
    for before in ["", "a", "ab", "user:"] {
        for encoded in
            [STANDARD.encode(format!("{before}{token}")), URL_SAFE_NO_PAD.encode(format!("{before}{token}!"))]
        {
            let text = stage.answer("", encoded.as_bytes()).text();
            assert_eq!(text.len(), encoded.len());
            let stars = text.bytes().filter(|byte| *byte == b'*').count();
            assert!(stars >= token.len() * 4 / 3 - 2, "{text}");
        }
    }
    assert_eq!(stage.masked(), 3 * 4 + 8);
    let line = stage.bearerd.log("a secret was masked", |line| {
        line["message"].as_str().is_some_and(|message| message.contains("masked"))
    });
    assert_eq!((line["route"].as_str(), line["place"].as_str()), (Some("api"), Some("body")));
}

#[test]
fn a_secret_that_comes_byte_by_byte_is_masked() {
    let stage = Stage::new("");
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
    let text = format!("before {} behind", stage.token);
    for byte in text.bytes() {
        upstream.send_chunk([byte]);
    }
    upstream.send("0\r\n\r\n");
    assert_eq!(app.answer().text(), format!("before {} behind", stage.stars()));
    drop(upstream);
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\n\r\n");
    for byte in text.bytes() {
        upstream.send([byte]);
    }
    drop(upstream);
    assert_eq!(app.answer().text(), format!("before {} behind", stage.stars()));
}

#[test]
fn secrets_in_fields_and_trailers_are_masked() {
    let stage = Stage::new("");
    let (token, stars) = (&stage.token, stage.stars());
    let (mut app, mut upstream) = stage.ask("TE: trailers\r\n");
    let encoded = spelled(token, |byte| format!("%{byte:02x}"));
    upstream.send(format!(
        "HTTP/1.1 302 See {token}\r\nX-Echo: Bearer {token}\r\nLocation: /next?t={encoded}\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: a{token}b\r\nX-Other: c\r\n\r\n"
    ));
    let answer = app.answer();
    assert_eq!(answer.field("x-echo"), Some(format!("Bearer {stars}")));
    assert_eq!(answer.field("location"), Some(format!("/api/next?t={}", "*".repeat(encoded.len()))));
    assert_eq!(answer.trailers.to_lowercase(), format!("x-sum: a{stars}b\r\nx-other: c\r\n"));
    assert_eq!(answer.text(), "ok");
}

#[test]
fn what_follows_a_secret_in_the_same_body_passes_as_it_is() {
    let stage = Stage::new("");
    let part = (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let body = [&part, stage.token.as_bytes(), &part, stage.token.as_bytes()].concat();
    let answer = stage.answer("", &body);
    assert!(answer.body == [&part, stage.stars().as_bytes(), &part, stage.stars().as_bytes()].concat());
    assert_eq!(stage.masked(), 2);
}

#[test]
fn events_are_not_held_up_unless_eight_bytes_of_a_secret_are_there() {
    let stage = Stage::new("");
    let token = &stage.token;
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(app.head().status(), 200);
    for event in ["data: a\n\n", &format!("data: {}", &token[..7]), "\n\ndata: %", "\\u00"] {
        upstream.send_chunk(event);
        assert_eq!(app.chunks(event.len()), event.as_bytes());
    }
    upstream.send_chunk(format!("x {}", &token[..12]));
    assert_eq!(app.chunks(2), b"x ");
    app.assert_quiet();
    upstream.send_chunk(format!("{}\n\n", &token[12..]));
    let rest = app.chunks(token.len() + 2);
    assert_eq!(rest, format!("{}\n\n", stage.stars()).as_bytes());
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
}

#[test]
fn secrets_in_a_tunnel_are_masked_on_their_way_to_the_app() {
    let stage = Stage::new("");
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut app = stage.bearerd.app().ask("GET", "/api/socket", asks);
    let mut upstream = stage.origin.accept();
    assert_eq!(upstream.request().fields("sec-websocket-extensions"), [""; 0]);
    upstream.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    );
    let head = app.head();
    assert_eq!((head.status(), head.field("sec-websocket-extensions")), (101, None));
    upstream.send("\u{1}\u{5}hello");
    app.expect("\u{1}\u{5}hello");
    let (first, second) = stage.token.split_at(20);
    upstream.send(format!("say {first}"));
    app.expect("say ");
    upstream.send(format!("{second}!"));
    app.expect(format!("{}!", stage.stars()));
    upstream.send(&stage.token[..15]);
    upstream.finish();
    app.expect(&stage.token[..15]);
    assert_eq!(stage.masked(), 1);
}

#[test]
fn over_http2_bodies_trailers_and_fields_are_masked_too() {
    for origin in [Http2Origin::start(), Http2Origin::behind_tls()] {
        let bearerd = origin.bearerd("");
        let app = Http2App::of(&bearerd);
        let mut call = app.send(app.request("POST", "/api/echo", &[("te", "trailers")]), false);
        call.upload(b"question", true);
        let mut exchange = origin.accept();
        let injected = exchange.field("authorization").expect("a token").to_owned();
        let token = injected.strip_prefix("Bearer ").expect("a bearer token");
        let stars = "*".repeat(token.len());
        assert_eq!(exchange.field("accept-encoding"), Some("identity"));
        exchange.respond(200, &[("content-type", "text/plain"), ("x-echo", &injected)], false);
        for piece in token.as_bytes().chunks(5) {
            exchange.send(piece, false);
        }
        exchange.send(b" end", false);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-message", HeaderValue::from_str(token).expect("a value"));
        exchange.trailers(trailers);
        let (head, content) = call.answer();
        assert_eq!(head.headers()["x-echo"], format!("Bearer {stars}"));
        assert_eq!(content.body, format!("{stars} end").into_bytes());
        assert_eq!(content.trailers["grpc-message"], stars);
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn a_compressed_answer_passes_as_it_came_unless_it_holds_a_secret() {
    let stage = Stage::new("");
    let compress = |text: &str| -> [(&str, Vec<u8>); 4] {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text.as_bytes()).expect("memory");
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(text.as_bytes()).expect("memory");
        let (first, second) = text.split_at(text.len() / 2);
        [
            ("gzip", gzip(text.as_bytes())),
            ("X-Gzip", [gzip(first.as_bytes()), gzip(second.as_bytes())].concat()),
            ("deflate", zlib.finish().expect("memory")),
            ("deflate", bare.finish().expect("memory")),
        ]
    };
    for (coding, body) in compress("{\"nothing\": \"in it\"}") {
        let answer = stage.answer(&format!("Content-Encoding: {coding}\r\n"), &body);
        assert_eq!((answer.status(), answer.body), (200, body));
    }
    for (coding, body) in compress(&format!("{{\"say\": \"{}\"}}", stage.token)) {
        assert_blocked(&stage.answer(&format!("Content-Encoding: {coding}\r\n"), &body));
    }
    let fields = "Content-Encoding: br\r\n";
    assert_blocked(&stage.answer(fields, b"whatever"));
    assert_blocked(&stage.answer("Content-Encoding: gzip, gzip\r\n", &gzip(&gzip(b"x"))));
    assert_blocked(&stage.answer("Content-Encoding: gzip\r\n", b"this is no gzip"));
    let image = stage.answer("Content-Type: image/png\r\nContent-Encoding: br\r\n", b"whatever");
    assert_eq!(image.text(), "whatever");
}

#[test]
fn a_compressed_answer_that_shows_a_secret_late_is_broken_off_before_it() {
    let stage = Stage::new("");
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"a beginning without anything").expect("memory");
    encoder.flush().expect("memory");
    let first = std::mem::take(encoder.get_mut());
    upstream.send_chunk(&first);
    assert_eq!(app.head().status(), 200);
    assert_eq!(app.chunks(first.len()), first);
    encoder.write_all(stage.token.as_bytes()).expect("memory");
    upstream.send_chunk(encoder.finish().expect("memory"));
    app.assert_ends();
    let errors = "bearerd_errors_total{route=\"api\",code=\"leak_blocked\"}";
    stage.bearerd.wait("the error is counted", || (stage.bearerd.metric(errors) == 1).then_some(()));
}

#[test]
fn what_grows_a_hundredfold_when_it_is_decoded_is_blocked() {
    let stage = Stage::new("");
    assert_blocked(&stage.answer("Content-Encoding: gzip\r\n", &gzip(&vec![b' '; 8 << 20])));
    let body = gzip(&vec![b' '; 900 << 10]);
    assert_eq!(stage.answer("Content-Encoding: gzip\r\n", &body).body, body);
    let memory = stage.bearerd.memory();
    assert!(memory.1 - memory.0 < 64 * 1024, "{memory:?}");
}

#[test]
fn the_answer_of_a_token_endpoint_is_blocked_unless_the_route_allows_it() {
    let answer = r#"{"expires_in": 3600, "token_type": "Bearer", "access_token": "another-token"}"#;
    let stage = Stage::new("");
    for fields in ["Content-Type: application/json\r\n", "Content-Type: text/plain\r\n", ""] {
        assert_blocked(&stage.answer(fields, answer.as_bytes()));
    }
    assert_blocked(
        &stage.answer("Content-Type: text/json\r\nContent-Encoding: gzip\r\n", &gzip(answer.as_bytes())),
    );
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in answer.chars() {
        // It may be blocked before its last byte has come.
        if !upstream.try_send(format!("1\r\n{byte}\r\n")) {
            break;
        }
    }
    assert_blocked(&app.answer());
    for other in [r#"{"access_token": null, "token_type": "x"}"#, r#"{"data": {"access_token": "x"}}"#, "[]"]
    {
        assert_eq!(stage.answer("Content-Type: application/json\r\n", other.as_bytes()).text(), other);
    }
    let stage = Stage::new("allow_token_answers = true\n");
    assert_eq!(stage.answer("Content-Type: application/json\r\n", answer.as_bytes()).text(), answer);
}

#[test]
fn with_block_an_answer_with_a_secret_is_an_error_or_breaks_off() {
    let stage = Stage::new("guard = \"block\"\n");
    assert_blocked(&stage.answer(&format!("X-Echo: {}\r\n", stage.token), b"x"));
    assert_blocked(&stage.answer("", format!("say {}", stage.token).as_bytes()));
    assert_eq!(stage.answer("", b"nothing").text(), "nothing");
    let (mut app, mut upstream) = stage.ask("");
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    upstream.send_chunk("first");
    assert_eq!(app.head().status(), 200);
    assert_eq!(app.chunks(5), b"first");
    upstream.send_chunk(&stage.token);
    app.assert_ends();
    assert_eq!(stage.masked(), 0);
}

#[test]
fn with_off_answers_pass_unseen() {
    let token = "known-to-everybody-0123456789";
    let stage = Stage::with(token, "guard = \"off\"\n");
    let mut app = stage.bearerd.app().ask("GET", "/api/x", "Accept-Encoding: br\r\n");
    let mut upstream = stage.origin.accept();
    assert_eq!(upstream.request().field("accept-encoding").as_deref(), Some("br"));
    let body = format!(r#"{{"access_token":"{token}","token_type":"x"}}"#);
    upstream
        .send(format!("HTTP/1.1 200 OK\r\nX-Echo: {token}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let answer = app.answer();
    assert_eq!((answer.text(), answer.field("x-echo").as_deref()), (body, Some(token)));
}

#[test]
fn types_without_text_pass_unseen_and_all_others_do_not() {
    let token = "known-to-everybody-0123456789";
    let stage = Stage::with(token, "");
    for length in [0, 300_000] {
        let body = [b"\x89PNG\r\n\x1a\n\0", token.as_bytes(), &vec![7; length]].concat();
        let passes = |kind: &str| stage.answer(&format!("Content-Type: {kind}\r\n"), &body).body == body;
        for kind in ["image/png", "application/octet-stream", "video/mp4"] {
            assert!(passes(kind), "{kind}");
        }
        for kind in ["image/svg+xml", "application/xml", "text/javascript", "application/x-unknown"] {
            assert!(!passes(kind), "{kind}");
        }
    }
}

#[test]
fn a_type_without_text_hides_no_text() {
    let stage = Stage::new("");
    let tokens = r#"{"access_token":"another-token","token_type":"Bearer"}"#;
    for kind in ["image/png", "application/octet-stream", "font/woff", "application/pdf"] {
        let fields = format!("Content-Type: {kind}\r\n");
        for rest in [0, 300_000] {
            let body = format!("{{\"say\": \"{}\"}}{}", stage.token, " ".repeat(rest));
            let text = stage.answer(&fields, body.as_bytes()).text();
            assert_eq!(text, body.replace(&stage.token, &stage.stars()), "{kind}");
        }
        assert_blocked(&stage.answer(&fields, tokens.as_bytes()));
        let zipped = gzip(format!("\0{}", stage.token).as_bytes());
        assert_blocked(&stage.answer(&format!("{fields}Content-Encoding: gzip\r\n"), &zipped));
    }
    assert_blocked(&stage.answer("Content-Type: text/event-stream\r\n", tokens.as_bytes()));
}

#[test]
fn what_functions_make_of_a_secret_is_masked_too() {
    let inject = "inject = { headers = { X-Digest = \"{sha256(token)}\", X-Hex = \"k={hex(token)}\", \
                  Authorization = \"Basic {base64(\\\"user:\\\", token)}\" } }\n";
    let stage = Stage::new(inject);
    let mut app = stage.bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = stage.origin.accept();
    let request = upstream.request();
    let made = ["x-digest", "x-hex", "authorization"].map(|name| request.field(name).expect("a field"));
    let nested = STANDARD.encode(format!("<{}>", &made[2]["Basic ".len()..]));
    let body = format!("{} {} {} {nested}", made[0], made[1], made[2]);
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let stars = |count: usize| "*".repeat(count);
    let text = app.answer().text();
    let plain = format!("{} k={} Basic {} ", stars(64), stars(made[1].len() - 2), stars(made[2].len() - 6));
    assert!(text.starts_with(&plain), "{text}");
    let left = text[plain.len()..].bytes().filter(|byte| *byte != b'*').count();
    assert!(left <= 6, "{text}");
}

#[test]
fn trailers_are_looked_through_whatever_the_body_is() {
    let stage = Stage::new("");
    for (kind, body) in [("image/png", "\0"), ("image/png", "text"), ("text/plain", "text")] {
        for coding in ["", "Content-Encoding: br\r\n"] {
            if kind == "text/plain" && !coding.is_empty() {
                continue;
            }
            let (mut app, mut upstream) = stage.ask("TE: trailers\r\n");
            upstream.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{coding}Transfer-Encoding: chunked\r\n\r\n"
            ));
            upstream.send_chunk(body);
            upstream.send(format!("0\r\nX-Echo: {}\r\n\r\n", stage.token));
            let answer = app.answer();
            assert_eq!(answer.body, body.as_bytes());
            let trailers = format!("x-echo: {}\r\n", stage.stars());
            assert_eq!(answer.trailers.to_lowercase(), trailers, "{kind} {coding}");
        }
    }
}

#[test]
fn what_is_not_compressed_of_a_compressed_answer_is_looked_through_too() {
    let stage = Stage::new("");
    let echo = || stage.token.clone();
    let finish = |builder: GzBuilder| {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(b"nothing").expect("memory");
        encoder.finish().expect("memory")
    };
    for body in [
        finish(GzBuilder::new().filename(echo())),
        finish(GzBuilder::new().comment(format!("say {}", echo()))),
        finish(GzBuilder::new().extra(echo())),
        [gzip(b"nothing"), finish(GzBuilder::new().filename(STANDARD.encode(echo())))].concat(),
    ] {
        for kind in ["", "Content-Type: text/event-stream\r\n"] {
            assert_blocked(&stage.answer(&format!("{kind}Content-Encoding: gzip\r\n"), &body));
        }
    }
}

#[test]
fn a_secret_in_the_spelling_of_xml_or_of_a_script_is_masked() {
    let stage = Stage::with("s3cret/+<token>&==-of-a-test", "");
    for echo in [
        "s3cret/+&lt;token&gt;&amp;==-of-a-test",
        "s3cret&#x2F;&#43;&lt;token&gt;&amp;&#x3D;&#061;-of-a-test",
        "s3cret\\/\\x2b\\u003ctoken\\u003e\\x26==-of-a-test",
        "s3cret\\/+\\u0026lt;token\\u0026gt;\\u0026amp;==-of-a-test",
    ] {
        for cut in [1, echo.len() / 2] {
            let (mut app, mut upstream) = stage.ask("");
            upstream.send(
                "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for piece in [format!("<say>{}", &echo[..cut]), format!("{}</say>", &echo[cut..])] {
                upstream.send_chunk(piece);
            }
            upstream.send("0\r\n\r\n");
            assert_eq!(app.answer().text(), format!("<say>{}</say>", "*".repeat(echo.len())));
        }
    }
}

#[test]
fn the_token_before_a_renewal_and_the_client_secret_are_masked_as_well() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    let bearerd = Sidecar::ready(&configuration::granted_to(&issuer, &origin.url()));
    assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"").status(), 200);
    bearerd.wait_for_generation("api", 2);
    let secret = issuer.requests()[0].field("authorization").expect("basic authentication");
    let tokens = issuer.granted();
    assert_eq!(tokens.len(), 2);
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    let body = format!("{} {} {secret}", tokens[0], tokens[1]);
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let text = app.answer().text();
    let stars = "*".repeat(tokens[0].len());
    assert!(text.starts_with(&format!("{stars} {stars} Basic ")), "{text}");
}

#[test]
fn on_a_route_with_subjects_only_the_token_of_this_one_is_masked() {
    let upstream = Upstream::answering(|_| Reply::text("token-of-alice-1 token-of-bob-22"));
    let bearerd = Inside::start(
        &format!(
            "[credentials.people]\nflow = \"oauth2\"\ngrant = \"authorization_code\"\n\
             authorization_url = \"http://127.0.0.1:9/authorize\"\ntoken_url = \"http://127.0.0.1:9/token\"\n\
             client_id = \"app\"\nclient_auth = \"none\"\n\
             redirect_uri = \"http://127.0.0.1:9180/oauth/callback\"\n\n\
             [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"people\"\n\
             subject = {{ header = \"X-Bearerd-Subject\" }}\n",
            upstream.origin()
        ),
        "",
    );
    bearerd.consent("people", "alice", "token-of-alice-1");
    bearerd.consent("people", "bob", "token-of-bob-22");
    for (subject, text) in
        [("alice", "**************** token-of-bob-22"), ("bob", "token-of-alice-1 ***************")]
    {
        let answer = bearerd.app().get_with("/api/x", &format!("X-Bearerd-Subject: {subject}\r\n"));
        assert_eq!(answer.text(), text);
    }
}

#[test]
fn values_that_are_too_short_are_warned_about() {
    let stage = Stage::with("short", "");
    assert_eq!(stage.answer("", b"short").text(), "short");
    let warnings = stage.bearerd.credential("key")["warnings"].to_string();
    assert!(warnings.contains("`token`") && warnings.contains("8 bytes"), "{warnings}");
}
