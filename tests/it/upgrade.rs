//! WebSocket and other protocols that take a connection over (RFC 9110, section 7.8).

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::configuration::granted_to;
use crate::support::wire::{Farewell, Wire};
use crate::support::{Issuer, Origin, Sidecar};

const ASKS: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both ends of a tunnel through bearerd.
fn tunnel(bearerd: &Sidecar, origin: &Origin) -> (Wire, Wire) {
    let mut app = bearerd.app().ask("GET", "/api/socket", ASKS);
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(SWITCHES);
    assert_eq!(app.head().status(), 101);
    (app, upstream)
}

#[test]
fn an_upgrade_is_asked_for_with_the_token_and_becomes_a_tunnel() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/socket?a=b", ASKS);
    let mut upstream = origin.accept();
    let seen = upstream.request();
    assert_eq!(seen.start_line(), "GET /socket?a=b HTTP/1.1");
    assert_eq!(seen.field("upgrade").as_deref(), Some("websocket"));
    assert!(seen.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("upgrade")));
    assert_eq!(seen.field("sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert!(seen.field("authorization").is_some_and(|value| value.starts_with("Bearer ")));
    upstream.send(SWITCHES);
    let head = app.head();
    assert_eq!(head.start_line(), "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.field("upgrade").as_deref(), Some("websocket"));
    assert!(head.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("upgrade")));
    assert_eq!(head.field("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    // From here on nothing is looked at, in either direction.
    for (sent, answered) in
        [("GET / HTTP/1.1\r\n\r\n", "\0\u{1}\u{2}"), ("0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")]
    {
        app.send(sent);
        upstream.expect(sent);
        upstream.send(answered);
        app.expect(answered);
    }
}

#[test]
fn bytes_behind_the_request_wait_for_the_101_and_are_not_lost() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    app.send([bearerd.app().head("GET", "/api/socket", ASKS, 0), b"early bytes".to_vec()].concat());
    let mut upstream = origin.accept();
    upstream.request();
    // Another request that passes shows that bearerd has had time for what it should not do.
    let mut other = bearerd.app().ask("GET", "/api/other", "");
    let mut second = origin.accept();
    second.request();
    second.send(OK);
    assert_eq!(other.answer().text(), "ok");
    upstream.assert_quiet();
    app.send(", later bytes");
    upstream.send([SWITCHES, "from the other side"].concat());
    upstream.expect("early bytes, later bytes");
    app.head();
    app.expect("from the other side");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_what_follows_a_request_of_its_own() {
    let (bearerd, origin) = Origin::behind("", "allow = [\"GET /socket\", \"GET /next\"]\n");
    let app = bearerd.app();
    for status in ["200 OK", "403 Forbidden", "426 Upgrade Required", "503 Service Unavailable"] {
        let mut connection = app.connect();
        let requests = [
            app.head("GET", "/api/socket", ASKS, 0),
            app.head("GET", "/api/admin", "", 0),
            app.head("GET", "/api/next", "", 0),
        ];
        connection.send(requests.concat());
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"
        ));
        let answer = connection.answer();
        assert_eq!((answer.start_line(), answer.text()), (format!("HTTP/1.1 {status}"), "no".into()));
        // What was pipelined is a request and goes through the policy.
        assert_eq!(connection.answer().status(), 403);
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().target(), "/next");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(connection.answer().text(), "ok");
    }
}

#[test]
fn other_protocols_may_take_the_connection_over() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (method, name) in [("GET", "WebSocket"), ("GET", "tcp"), ("POST", "SPDY/3.1"), ("GET", "x-own/2")] {
        let mut app =
            bearerd.app().ask(method, "/api/exec", &format!("Connection: upgrade\r\nUpgrade: {name}\r\n"));
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().field("upgrade").as_deref(), Some(name));
        upstream.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {name}\r\n\r\n"
        ));
        assert_eq!(app.head().field("upgrade").as_deref(), Some(name));
        app.send("question");
        upstream.expect("question");
        upstream.send("answer");
        app.expect("answer");
    }
}

#[test]
fn an_upgrade_that_is_not_asked_for_properly_is_not_passed_on() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = bearerd.app();
    for fields in [
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Connection: close\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ] {
        let mut connection = app.ask("GET", "/api/x", fields);
        let mut upstream = origin.accept();
        let seen = upstream.request();
        for gone in ["upgrade", "http2-settings"] {
            assert_eq!(seen.field(gone), None, "{fields:?}: {}", seen.head());
        }
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(connection.answer().text(), "ok");
    }
    // HTTP/1.0 knows no upgrade.
    let mut connection = app.connect();
    connection.send("GET /api/x HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut upstream = origin.accept();
    assert_eq!(upstream.request().field("upgrade"), None);
    upstream.send(OK);
    assert_eq!(connection.answer().text(), "ok");
}

#[test]
fn a_101_that_nobody_asked_for_or_to_another_protocol_is_502() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (fields, answer) in [
        ("", SWITCHES),
        ("Connection: upgrade\r\nUpgrade: x-own\r\n", SWITCHES),
        ("Upgrade: websocket\r\n", SWITCHES),
        (ASKS, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let mut app = bearerd.app().ask("GET", "/api/x", fields);
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(answer);
        let answer = app.answer();
        assert_eq!(
            (answer.status(), &answer.json()["code"]),
            (502, &"upstream_protocol".into()),
            "{fields:?}"
        );
        upstream.assert_ends();
    }
}

#[test]
fn either_end_of_a_tunnel_may_say_that_it_has_said_all() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    app.send("last words");
    app.finish();
    upstream.expect("last words");
    upstream.assert_ends();
    upstream.send("a long reply");
    app.expect("a long reply");
    drop(upstream);
    assert_eq!(app.rest_in_bytes(), (Vec::new(), Farewell::Finished));

    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    upstream.send("last words");
    upstream.finish();
    app.expect("last words");
    app.assert_ends();
    app.send("a long reply");
    upstream.expect("a long reply");
    drop(app);
    upstream.assert_ends();
}

#[test]
fn a_tunnel_that_breaks_at_one_end_ends_at_the_other() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let (mut app, upstream) = tunnel(&bearerd, &origin);
    upstream.reset();
    app.assert_ends();
    let (app, mut upstream) = tunnel(&bearerd, &origin);
    app.reset();
    upstream.assert_ends();
}

#[test]
fn a_tunnel_outlives_the_limits_of_requests_its_token_and_its_route() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    let limits = "idle_timeout = \"200ms\"\nhead_timeout = \"200ms\"\nbody_timeout = \"200ms\"\n";
    let config =
        granted_to(&issuer, &origin.url()) + "answer_timeout = \"200ms\"\nstall_timeout = \"200ms\"\n";
    let bearerd = Sidecar::ready(&format!("{limits}{config}"));
    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"").status(), 200);
    bearerd.rewrite(
        "[credentials.other]\nflow = \"static\"\ntoken = { value = \"12345678\" }\nexpires = \"never\"\n",
    );
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.app().get("/api/x").status(), 404);
    app.send("still");
    upstream.expect("still");
    upstream.send("here");
    app.expect("here");
}

#[test]
fn a_refused_token_is_replaced_for_an_upgrade_as_well() {
    let (issuer, origin) = (Issuer::start(3600), Origin::start());
    let bearerd = Sidecar::ready(&granted_to(&issuer, &origin.url()));
    let mut app = bearerd.app().ask("GET", "/api/socket", ASKS);
    let mut upstream = origin.accept();
    let first = upstream.request();
    upstream.send("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let mut upstream = origin.accept();
    let second = upstream.request();
    assert_eq!(second.field("upgrade").as_deref(), Some("websocket"));
    assert_ne!(first.field("authorization"), second.field("authorization"));
    upstream.send(SWITCHES);
    assert_eq!(app.head().status(), 101);
    app.send("in");
    upstream.expect("in");
}

#[test]
fn megabytes_pass_a_tunnel_both_ways_at_once_and_a_reader_that_stops_stops_the_writer() {
    const PIECES: usize = 32;
    let (bearerd, origin) = Origin::behind_bearerd();
    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    let piece: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let (before, _) = bearerd.memory();
    let taken = app.send_until_it_blocks(&piece, 256 << 20);
    assert!(taken < 64 << 20, "{taken} bytes were taken though nobody reads");
    let received = upstream.bytes(taken);
    assert!(received.chunks(1 << 20).all(|part| part == &piece[..part.len()]));
    thread::scope(|scope| {
        for wire in [&app, &upstream] {
            let (mut sender, piece) = (wire.sender(), &piece);
            scope.spawn(move || {
                (0..PIECES).for_each(|_| std::io::Write::write_all(&mut sender, piece).expect("taken"));
            });
        }
        for wire in [&mut app, &mut upstream] {
            let piece = &piece;
            scope.spawn(move || (0..PIECES).for_each(|_| assert!(wire.bytes(1 << 20) == *piece, "changed")));
        }
    });
    let (_, most) = bearerd.memory();
    assert!(most < before + 8192, "{before} KiB became {most} KiB");
}

#[test]
fn pages_of_other_sites_get_no_tunnel() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let fields = format!("{ASKS}Origin: https://evil.example\r\n");
    let mut app = bearerd.app().ask("GET", "/api/socket", &fields);
    assert_eq!(app.answer().status(), 403);
    origin.assert_no_other_connection();
}

#[test]
fn a_drain_lets_a_tunnel_live_until_its_limit() {
    let (mut bearerd, origin) = Origin::behind_bearerd();
    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    bearerd.signal(Signal::TERM);
    bearerd.log("draining", |line| line["message"] == "draining");
    app.send("still");
    upstream.expect("still");
    upstream.send("here");
    app.expect("here");
    assert!(bearerd.is_running());
    drop((app, upstream));
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
}

#[test]
fn a_tunnel_that_does_not_end_is_cut_at_the_drains_limit() {
    let origin = Origin::start();
    let config = crate::support::configuration::to(&origin.url());
    let mut bearerd = crate::support::Setup::new(&config).server("drain = \"500ms\"").start();
    bearerd.wait_until_ready();
    let (mut app, mut upstream) = tunnel(&bearerd, &origin);
    bearerd.signal(Signal::TERM);
    assert_eq!(bearerd.wait_for_exit().code(), Some(0));
    app.assert_ends();
    upstream.assert_ends();
}
