//! The end of the process.

use std::net::TcpStream;
use std::time::Duration;

use bearerd::clock::Clock;
use rustix::process::Signal;

use crate::support::configuration::fixed;
use crate::support::{Origin, Reply, Setup, Sidecar, Upstream, canary, configuration};

#[test]
fn sigterm_lets_requests_in_flight_end_and_takes_no_new_ones() {
    let upstream = Upstream::answering(|_| Reply::text("late").after(Duration::from_secs(1)));
    let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/x", "", 0));
    upstream.wait_for(1);
    bearerd.signal(Signal::TERM);
    bearerd.wait("a closed door", || TcpStream::connect(app.address()).is_err().then_some(()));
    let admin = bearerd.admin();
    assert_eq!((admin.get("/live").status(), admin.get("/ready").status()), (200, 503));
    assert_eq!(connection.answer().text(), "late");
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = Upstream::start();
    let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/x", "", 0));
    assert_eq!(connection.answer().status(), 200);
    bearerd.signal(Signal::TERM);
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn what_an_app_asks_as_the_drain_begins_is_answered() {
    let upstream = Upstream::start();
    // An idle connection waits for a second: a machine that was busy for so long is asked again.
    let was_in_time = (0..10).any(|_| {
        let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
        let app = bearerd.app();
        let (mut used, mut fresh) = (app.connect(), app.connect());
        used.send(app.head("GET", "/api/x", "", 0));
        assert_eq!(used.answer().status(), 200);
        let began = Clock::instant();
        bearerd.signal(Signal::TERM);
        bearerd.wait("a closed door", || TcpStream::connect(app.address()).is_err().then_some(()));
        for connection in [&mut used, &mut fresh] {
            connection.try_send(app.head("GET", "/api/x", "", 0));
        }
        let is_in_time = began.elapsed() < Duration::from_millis(500);
        if is_in_time {
            for connection in [&mut used, &mut fresh] {
                let answer = connection.answer();
                assert_eq!((answer.status(), answer.field("connection").as_deref()), (200, Some("close")));
            }
        }
        drop((used, fresh));
        assert_eq!(bearerd.wait_for_exit().code(), Some(0));
        is_in_time
    });
    assert!(was_in_time);
}

#[test]
fn connections_that_wait_at_the_door_as_the_drain_begins_are_answered() {
    let upstream = Upstream::start();
    let mut bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    // Stopped, it accepts nothing: they wait in the socket, which it closes when it goes on.
    bearerd.signal(Signal::STOP);
    let ask = |_| {
        let mut connection = app.connect();
        connection.send(app.head("GET", "/api/x", "", 0));
        connection
    };
    let waiting: Vec<_> = (0..20).map(ask).collect();
    bearerd.signal(Signal::TERM);
    bearerd.signal(Signal::CONT);
    for mut connection in waiting {
        assert_eq!(connection.answer().status(), 200);
    }
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn an_answer_during_the_drain_says_that_the_connection_closes() {
    let (mut bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    bearerd.signal(Signal::TERM);
    let address = bearerd.app().address();
    bearerd.wait("a closed door", || TcpStream::connect(address).is_err().then_some(()));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let answer = app.answer();
    assert_eq!((answer.text().as_str(), answer.field("connection").as_deref()), ("ok", Some("close")));
    app.assert_ends();
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn a_stream_goes_on_during_the_drain_and_is_broken_off_at_its_limit() {
    let origin = Origin::start();
    let config = configuration::to(&origin.url());
    let mut bearerd = Setup::new(&config).server("drain = \"1s\"").start();
    bearerd.wait_until_ready();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    app.head();
    bearerd.signal(Signal::TERM);
    bearerd.log("draining", |line| line["message"] == "draining");
    for piece in ["one", "two"] {
        upstream.send_chunk(piece);
        assert_eq!(app.chunks(piece.len()), piece.as_bytes());
    }
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
    assert!(!app.rest().ends_with("0\r\n\r\n"), "it must not look whole");
    upstream.assert_ends();
}

#[test]
fn an_app_that_keeps_its_end_open_does_not_hold_up_the_end() {
    let (mut bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    bearerd.signal(Signal::TERM);
    bearerd.log("draining", |line| line["message"] == "draining");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(app.answer().text(), "ok");
    let answered = Clock::instant();
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
    let passed = answered.elapsed();
    assert!(passed < Duration::from_millis(1800), "{passed:?}");
    app.assert_ends();
}
