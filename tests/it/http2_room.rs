//! Room on connections to HTTP/2 upstreams: how many are opened, who waits for them, and for how long.

use std::collections::BTreeSet;

use h2::server::Builder;

use crate::support::frames::{
    END_HEADERS, END_STREAM, Frames, HEADERS, NONE, PREFACE, SETTINGS, frame, status,
};
use crate::support::http2::{Exchange, Http2App, Http2Origin};
use crate::support::{Origin, Sidecar, configuration};

/// An upstream that takes so many streams on a connection.
fn of_width(streams: u32) -> Http2Origin {
    let mut settings = Builder::new();
    settings.max_concurrent_streams(streams);
    Http2Origin::with(settings)
}

/// The same, in a frame of settings.
fn takes(streams: u8) -> [u8; 6] {
    [0, 3, 0, 0, 0, streams]
}

/// Which connections these came by.
fn connections(exchanges: &[Exchange]) -> BTreeSet<usize> {
    exchanges.iter().map(|exchange| exchange.connection).collect()
}

/// A bearerd before an origin whose frames a test writes.
fn framed(more: &str) -> (Sidecar, Origin) {
    let origin = Origin::start();
    let url = origin.url().replace("http://", "h2c://");
    (Sidecar::ready(&(configuration::to(&url) + more)), origin)
}

/// An app with requests on streams 1, 3, .., which have all reached the request path.
fn asking(bearerd: &Sidecar, requests: u32) -> Frames {
    let mut app = Frames::app(bearerd);
    for number in 0..requests {
        app.request(2 * number + 1, "GET", &format!("/api/{number}"), &[], true);
    }
    // What is read has its turn before what is read next.
    app.ping();
    app.ping();
    app
}

/// A head that says 200, and all of it.
fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88])
}

#[test]
fn no_more_connections_are_opened_at_once_than_those_that_wait_need() {
    let origin = of_width(50);
    let bearerd = origin.bearerd("");
    let apps: Vec<_> = (0..4).map(|_| Http2App::of(&bearerd)).collect();
    for round in 0..2 {
        let calls: Vec<_> = apps
            .iter()
            .flat_map(|app| (0..100).map(move |number| app.get(&format!("/api/{round}/{number}"))))
            .collect();
        // None has ended when the last one comes.
        let exchanges: Vec<_> = calls.iter().map(|_| origin.accept()).collect();
        assert_eq!(connections(&exchanges), (0..8).collect(), "round {round}");
        for exchange in exchanges {
            exchange.text("ok");
        }
        for call in calls {
            assert_eq!(call.text(), (200, "ok".to_owned()));
        }
    }
}

#[test]
fn an_upstream_that_takes_one_stream_a_connection_gets_as_many_connections_as_requests() {
    let origin = of_width(1);
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    for _ in 0..2 {
        let calls: Vec<_> = (0..100).map(|number| app.get(&format!("/api/{number}"))).collect();
        let exchanges: Vec<_> = calls.iter().map(|_| origin.accept()).collect();
        assert_eq!(connections(&exchanges), (0..100).collect());
        for exchange in exchanges {
            exchange.text("ok");
        }
        for call in calls {
            assert_eq!(call.text().0, 200);
        }
    }
}

#[test]
fn connections_are_opened_at_once_and_not_one_after_the_other() {
    let (bearerd, origin) = framed("");
    let _app = asking(&bearerd, 11);
    let mut first = Frames::upstream(&origin, &takes(1));
    first.head(1);
    // None of them says that it takes a stream, and still all are opened.
    let _others: Vec<_> = (0..10).map(|_| origin.accept()).collect();
    let _late = asking(&bearerd, 1);
    let _other = origin.accept();
    origin.assert_no_other_connection();
}

#[test]
fn streams_that_last_make_further_requests_go_by_further_connections() {
    let origin = of_width(3);
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut exchanges = Vec::new();
    let mut calls = Vec::new();
    for number in 0..10 {
        calls.push(app.get("/api/x"));
        let mut exchange = origin.accept();
        exchange.respond(200, &[("content-type", "text/event-stream")], false);
        exchange.send(b"data: x\n\n", false);
        assert_eq!(exchange.connection, number / 3);
        exchanges.push(exchange);
    }
    // What ends makes room, and no more are opened.
    exchanges.remove(4).send(b"", true);
    assert_eq!(calls.remove(4).text().0, 200);
    let _call = app.get("/api/x");
    assert_eq!(origin.accept().connection, 1);
}

#[test]
fn whoever_waits_goes_on_when_a_stream_ends() {
    let (bearerd, origin) = framed("");
    let mut app = asking(&bearerd, 3);
    let mut upstream = Frames::upstream(&origin, &takes(1));
    upstream.head(1);
    // They are opened, and do not come to HTTP/2.
    let _silent = [origin.accept(), origin.accept()];
    for stream in [1, 3, 5] {
        assert!(upstream.try_send(&ok(stream)));
        assert_eq!(status(&app.head(stream)), Some(200), "the oldest goes first");
        if stream < 5 {
            upstream.head(stream + 2);
        }
    }
    origin.assert_no_other_connection();
}

#[test]
fn whoever_waits_goes_on_when_the_upstream_takes_more_streams() {
    let (bearerd, origin) = framed("");
    let _app = asking(&bearerd, 4);
    let mut upstream = Frames::upstream(&origin, &takes(1));
    upstream.head(1);
    let _silent = [origin.accept(), origin.accept(), origin.accept()];
    upstream.send(SETTINGS, NONE, 0, &takes(3));
    upstream.head(3);
    upstream.head(5);
    upstream.send(SETTINGS, NONE, 0, &takes(4));
    upstream.head(7);
    origin.assert_no_other_connection();
}

#[test]
fn those_for_whom_a_connection_was_opened_learn_why_there_is_none() {
    let (bearerd, origin) = framed("connect_timeout = \"0\"");
    let mut app = asking(&bearerd, 50);
    let mut wire = origin.accept();
    wire.expect(PREFACE);
    drop(wire);
    let mut left: BTreeSet<u32> = (0..50).map(|number| 2 * number + 1).collect();
    while !left.is_empty() {
        let head = app.find(|frame| frame.kind == HEADERS).expect("an answer");
        assert_ne!(status(&head), Some(200));
        left.remove(&head.stream);
    }
    origin.assert_no_other_connection();
    // Later ones try again.
    let mut app = asking(&bearerd, 1);
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    assert!(upstream.try_send(&ok(1)));
    assert_eq!(status(&app.head(1)), Some(200));
}

#[test]
fn nobody_who_has_time_left_fails_since_the_time_of_another_is_over() {
    let origin = Origin::start();
    let url = origin.url().replace("http://", "h2c://");
    let routes = configuration::to(&url)
        + "connect_timeout = \"300ms\"\n[routes.patient]\npath = \"/patient\"\ncredential = \"key\"\n"
        + &format!("upstream = \"{url}\"\nconnect_timeout = \"60s\"\n");
    let bearerd = Sidecar::ready(&routes);
    let mut hasty = asking(&bearerd, 1);
    let _silent = origin.accept();
    let mut patient = bearerd.app().ask("GET", "/patient/x", "");
    assert_ne!(status(&hasty.head(1)), Some(200));
    let mut upstream = Frames::upstream(&origin, b"");
    upstream.head(1);
    assert!(upstream.try_send(&ok(1)));
    assert_eq!(patient.answer().status(), 200);
}

#[test]
fn a_connection_comes_to_those_that_are_left_when_the_app_goes_that_was_first() {
    for limit in ["60s", "0"] {
        let (bearerd, origin) = framed(&format!("connect_timeout = \"{limit}\""));
        let first = bearerd.app().ask("GET", "/api/first", "");
        let mut wire = origin.accept();
        let mut app = asking(&bearerd, 2);
        drop(first);
        // It is gone when bearerd has read that.
        app.ping();
        app.ping();
        wire.expect(PREFACE);
        wire.send(frame(SETTINGS, NONE, 0, b""));
        let mut upstream = Frames::of(wire);
        for stream in [1, 3] {
            upstream.head(stream);
            assert!(upstream.try_send(&ok(stream)));
            assert_eq!(status(&app.head(stream)), Some(200));
        }
        origin.assert_no_other_connection();
    }
}

#[test]
fn a_connection_without_a_limit_is_given_up_when_nobody_waits_for_it() {
    let (bearerd, origin) = framed("connect_timeout = \"0\"");
    let apps: Vec<_> = (0..3).map(|_| bearerd.app().ask("GET", "/api/x", "")).collect();
    let mut wire = origin.accept();
    wire.expect(PREFACE);
    drop(apps);
    while wire.try_bytes(1).is_some() {}
    origin.assert_no_other_connection();
}
