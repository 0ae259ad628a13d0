//! What gRPC asks of a proxy: its kinds of calls, its trailers, its statuses without a body.

use http::{HeaderMap, HeaderValue};

use crate::support::http2::{Http2App, Http2Origin};

const CALL: [(&str, &str); 4] = [
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "5S"),
    ("x-token-bin", "AAEC"),
];

fn status(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.insert("grpc-message", HeaderValue::from_static("%E2%9C%93"));
    trailers.insert("x-detail-bin", HeaderValue::from_static("AAEC"));
    trailers
}

/// One message with its prefix of five bytes.
fn message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a length").to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat()
}

#[test]
fn a_unary_call_brings_its_message_and_its_trailers() {
    for origin in [Http2Origin::start(), Http2Origin::behind_tls()] {
        let bearerd = origin.bearerd("");
        let app = Http2App::of(&bearerd);
        let mut call = app.send(app.request("POST", "/api/pkg.Service/Method", &CALL), false);
        call.upload(&message("question"), true);
        let mut exchange = origin.accept();
        assert_eq!(exchange.target(), "/pkg.Service/Method");
        for (name, value) in CALL {
            assert_eq!(exchange.field(name), Some(value));
        }
        assert_eq!(exchange.content().body, message("question"));
        exchange.respond(200, &[("content-type", "application/grpc")], false);
        exchange.send(&message("answer"), false);
        exchange.trailers(status("0"));
        let (head, content) = call.answer();
        assert_eq!(head.headers()["content-type"], "application/grpc");
        assert_eq!((content.body, content.trailers), (message("answer"), status("0")));
    }
}

#[test]
fn a_status_without_a_body_stays_in_the_head() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/pkg.Service/Method", &CALL), false);
    call.upload(&message("question"), true);
    origin.accept().respond(200, &[("content-type", "application/grpc"), ("grpc-status", "5")], true);
    let (head, content) = call.answer();
    assert_eq!((head.headers()["grpc-status"].as_bytes(), content.body.len()), (b"5".as_slice(), 0));
}

#[test]
fn trailers_come_also_behind_an_empty_body() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/pkg.Service/Method", &CALL), false);
    call.upload(&message("question"), true);
    let mut exchange = origin.accept();
    exchange.content();
    exchange.respond(200, &[("content-type", "application/grpc")], false);
    exchange.trailers(status("13"));
    let (_, content) = call.answer();
    assert_eq!((content.body.len(), content.trailers), (0, status("13")));
}

#[test]
fn a_status_may_come_before_the_app_has_sent_all() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/pkg.Service/Method", &CALL), false);
    call.upload(&message("first"), false);
    let mut exchange = origin.accept();
    assert_eq!(exchange.bytes(10), message("first"));
    exchange.respond(200, &[("content-type", "application/grpc")], false);
    exchange.trailers(status("8"));
    call.head();
    assert_eq!(call.rest().trailers, status("8"));
    // The connection is as good as new.
    let next = app.get("/api/next");
    let exchange = origin.accept();
    assert_eq!(exchange.connection, 0);
    exchange.text("ok");
    assert_eq!(next.text().0, 200);
}

#[test]
fn messages_of_both_sides_pass_one_by_one_until_each_has_said_all() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/pkg.Service/Talk", &CALL), false);
    let mut exchange = origin.accept();
    for number in 0..20 {
        let text = format!("message {number}");
        call.upload(&message(&text), false);
        assert_eq!(exchange.bytes(text.len() + 5), message(&text));
        if number == 0 {
            exchange.respond(200, &[("content-type", "application/grpc")], false);
            call.head();
        }
        exchange.send(&message(&text), false);
        assert_eq!(call.bytes(text.len() + 5), message(&text));
    }
    call.upload(b"", true);
    assert!(exchange.content().body.is_empty());
    exchange.send(&message("the last word"), false);
    exchange.trailers(status("0"));
    let content = call.rest();
    assert_eq!((content.body, content.trailers), (message("the last word"), status("0")));
}

#[test]
fn a_message_that_ends_as_a_secret_begins_is_not_held_up_until_the_next() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/pkg.Service/Talk", &CALL), false);
    let mut exchange = origin.accept();
    let injected = exchange.field("authorization").expect("a token").to_owned();
    let token = injected.strip_prefix("Bearer ").expect("a bearer token");
    exchange.respond(200, &[("content-type", "application/grpc+proto")], false);
    call.head();
    // The app asks on only when it has the answer.
    for length in 1..8 {
        exchange.send(&message(&token[..length]), false);
        assert_eq!(call.bytes(length + 5), message(&token[..length]));
        call.upload(&message("go on"), false);
        assert_eq!(exchange.bytes(10), message("go on"));
    }
    let told = message(&format!("the token is {token}."));
    let (beginning, rest) = told.split_at(told.len() / 2);
    exchange.send(beginning, false);
    exchange.send(rest, false);
    exchange.trailers(status("0"));
    let masked = message(&format!("the token is {}.", "*".repeat(token.len())));
    assert_eq!(call.rest().body, masked);
}
