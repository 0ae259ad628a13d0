//! Connections of which one half is closed, from either side.

use std::time::Duration;

use crate::support::configuration::granted;
use crate::support::{Issuer, Origin, Setup, Upstream, canary};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_app_that_has_said_all_still_gets_its_answer() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (method, body) in [("GET", ""), ("POST", "body")] {
        let mut app = bearerd.app().connect();
        app.send(bearerd.app().head(method, "/api/x", "", body.len()));
        app.send(body);
        app.finish();
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().text(), body);
        upstream.assert_quiet();
        upstream.send(ANSWER);
        assert_eq!(app.answer().text(), "ok");
        app.assert_ends();
        drop(upstream);
    }
}

#[test]
fn an_app_that_has_said_all_gets_an_answer_that_streams() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    app.finish();
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    app.head();
    for piece in ["one", "two", "three"] {
        upstream.send_chunk(piece);
        assert_eq!(app.chunks(piece.len()), piece.as_bytes());
    }
    upstream.send("0\r\n\r\n");
    app.expect("0\r\n\r\n");
    app.assert_ends();
}

#[test]
fn all_requests_sent_before_the_half_close_are_answered() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    let requests: Vec<u8> =
        (0..3).flat_map(|number| bearerd.app().head("GET", &format!("/api/{number}"), "", 0)).collect();
    app.send(requests);
    app.finish();
    let mut upstream = origin.accept();
    for number in 0..3 {
        assert_eq!(upstream.request().target(), format!("/{number}"));
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"));
        assert_eq!(app.answer().text(), number.to_string());
    }
    app.assert_ends();
}

#[test]
fn an_app_that_is_gone_ends_the_answer_upstream() {
    for resets in [false, true] {
        let (bearerd, origin) = Origin::behind_bearerd();
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        app.head();
        if resets {
            app.reset();
        } else {
            drop(app);
        }
        // It may take a piece to notice, since a half-closed app looks the same.
        while upstream.try_send("5\r\npiece\r\n") && !upstream.stirs_within(Duration::from_millis(20)) {}
        upstream.rest();
    }
}

#[test]
fn an_upstream_that_closes_behind_its_answer_has_answered() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for _ in 0..3 {
        app.send(bearerd.app().head("GET", "/api/x", "", 0));
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(ANSWER);
        upstream.finish();
        assert_eq!(app.answer().text(), "ok");
    }
}

#[test]
fn an_upstream_that_closes_its_half_before_it_answered_has_not() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for part in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(part);
        upstream.finish();
        assert_eq!(app.answer().status(), 502, "{part:?}");
    }
}

#[test]
fn an_upstream_that_has_said_all_is_still_sent_the_rest_of_the_upload() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    app.send_chunk("first");
    assert_eq!(upstream.chunks(5), b"first");
    app.send_chunk("last");
    app.send("0\r\n\r\n");
    assert_eq!(upstream.chunks(4), b"last");
    upstream.expect("0\r\n\r\n");
    upstream.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    upstream.finish();
    assert_eq!(app.answer().text(), "until the end");
}

#[test]
fn what_an_app_asked_for_is_not_sent_if_it_is_gone_before_there_is_a_token() {
    let (issuer, upstream) = (Issuer::start(3600).delayed(Duration::from_secs(1)), Upstream::start());
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    let apps: Vec<_> = (0..10).map(|_| bearerd.app().ask("GET", "/api/gone", "")).collect();
    let mut stays = bearerd.app().ask("GET", "/api/stays", "");
    stays.finish();
    issuer.wait_for(1);
    for (number, app) in apps.into_iter().enumerate() {
        if number % 2 == 0 {
            app.reset();
        }
    }
    assert_eq!(stays.answer().text(), "hello");
    assert_eq!(upstream.request().target(), "/stays");
}
