//! `Expect: 100-continue`: the app is told to go on only when its body is wanted (RFC 9110, section
//! 10.1.1).

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::message::Message;
use crate::support::{Issuer, Origin, PATIENCE, Reply, Setup, Sidecar, Upstream, canary, configuration};

const EXPECTS: &str = "Expect: 100-continue\r\n";

#[test]
fn an_app_that_waits_is_told_to_go_on() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for framing in ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut app = bearerd.app().ask("POST", "/api/x", &format!("{EXPECTS}{framing}"));
        let mut upstream = origin.accept();
        let head = upstream.head();
        if head.field("expect").is_some() {
            upstream.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        app.expect("HTTP/1.1 100 Continue\r\n\r\n");
        if framing.starts_with('C') {
            app.send("body");
            upstream.expect("body");
        } else {
            app.send("4\r\nbody\r\n0\r\n\r\n");
            assert_eq!(upstream.chunks(4), b"body");
            upstream.expect("0\r\n\r\n");
        }
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_eq!(app.answer().text(), "ok");
    }
}

#[test]
fn an_app_that_does_not_wait_gets_its_answer_all_the_same() {
    let upstream = Upstream::start();
    let bearerd = Setup::new(&configuration::to(&upstream.origin())).start();
    bearerd.wait_until_ready();
    let app = bearerd.app();
    for fields in [EXPECTS, "expect: 100-CONTINUE\r\n"] {
        let answers = app.raw(
            &[app.head("POST", "/api/x", &format!("{fields}Connection: close\r\n"), 4), b"body".into()]
                .concat(),
        );
        assert!(answers.ends_with("hello"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.text() == "body"));
}

#[test]
fn a_request_that_may_not_pass_is_refused_without_a_100() {
    let (bearerd, origin) = Origin::behind("", "allow = [\"GET /x\"]\nmax_body = \"1KiB\"\n");
    let app = bearerd.app();
    for (method, target, length, status) in
        [("POST", "/api/x", 4, 403), ("POST", "/nowhere", 4, 404), ("GET", "/api/x", 5000, 413)]
    {
        let mut connection = app.ask(method, target, &format!("{EXPECTS}Content-Length: {length}\r\n"));
        assert_eq!(connection.answer().status(), status);
        // The body was neither wanted nor sent: what comes next is a request or the end.
        let _ = connection.try_send(app.head("GET", "/nowhere", "", 0));
        connection.finish();
        let rest = connection.rest();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 404"), "{rest}");
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_request_without_a_token_is_refused_without_a_100() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    issuer.always(Some(Reply::json(400, &serde_json::json!({"error": "invalid_client"}))));
    let secret = canary::secret();
    let bearerd = Setup::new(&configuration::granted(&issuer, &secret, &upstream, "")).start();
    bearerd.wait_for_state("api", "rejected");
    let mut app = bearerd.app().ask("POST", "/api/x", &format!("{EXPECTS}Content-Length: 4\r\n"));
    assert_eq!(app.answer().status(), 503);
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn an_upstreams_refusal_reaches_an_app_that_has_not_sent_its_body() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("POST", "/api/x", &format!("{EXPECTS}Content-Length: 1000000\r\n"));
    let mut upstream = origin.accept();
    let is_asked = upstream.head().field("expect").is_some();
    upstream.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much");
    let mut head = app.head();
    // bearerd may want the body before the upstream says that it does not, unless it leaves that to it.
    if head.status() == 100 && !is_asked {
        head = app.head();
    }
    assert_eq!(head.status(), 413);
    app.expect("too much");
}

#[test]
fn an_upstream_that_says_nothing_of_it_gets_the_body_in_the_end() {
    let (bearerd, origin) = Origin::behind_bearerd();
    // RFC 9110, section 10.1.1: a client must not wait for ever.
    let mut app = bearerd.app().ask("POST", "/api/x", &format!("{EXPECTS}Content-Length: 4\r\n"));
    let mut upstream = origin.accept();
    upstream.head();
    app.expect("HTTP/1.1 100 Continue\r\n\r\n");
    app.send("body");
    upstream.expect("body");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(app.answer().text(), "ok");
}

#[test]
fn other_expectations_are_refused() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = bearerd.app();
    for expectation in ["x", "100-continue, x", "y 100-continue", "100-continue;q=1", "\"100-continue\""] {
        let answer = app.raw(&app.head("POST", "/api/x", &format!("Expect: {expectation}\r\n"), 4));
        assert!(answer.starts_with("HTTP/1.1 400"), "{expectation}: {answer}");
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_100_waits_for_an_app_that_still_reads_the_answer_before() {
    let origin = Origin::start();
    let bearerd = Sidecar::ready(&format!(
        "[listeners.local]\nbind = \"unix:{{folder}}/local.sock\"\n\n{}listener = \"local\"\n",
        configuration::to(&origin.url())
    ));
    let head =
        |method: &str, fields: &str| format!("{method} /api/x HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let mut times_met = 0;
    // One of these answers fills the socket, so that nothing else has room.
    for length in (96..320).step_by(4).map(|kilobytes| kilobytes * 1024) {
        let mut stream = UnixStream::connect(bearerd.folder().join("local.sock")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut app = BufReader::new(stream.try_clone().expect("a second handle"));
        let waiting = head("POST", &format!("{EXPECTS}Content-Length: 4\r\n"));
        stream.write_all((head("GET", "") + &waiting).as_bytes()).expect("sent ahead");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)));
        // The second request is there as soon as the first answer lies in the socket, if it does.
        times_met += usize::from(upstream.stirs_within(Duration::from_millis(20)));
        let answer = Message::read(&mut app, true).expect("an answer").expect("an answer");
        assert_eq!(answer.body.len(), length);
        let interim = Message::read_head(&mut app).expect("a 100 in time").expect("a 100");
        assert_eq!(interim.status(), 100, "behind {length} bytes");
        stream.write_all(b"body").expect("sent");
        assert_eq!(upstream.request().text(), "body");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        let answer = Message::read(&mut app, true).expect("an answer").expect("an answer");
        assert_eq!(answer.text(), "ok");
    }
    assert!(times_met > 0, "no answer lay in the socket");
}
