//! Fields behind a body: those of answers pass, those of requests do not.

use crate::support::frames::{END_STREAM, Frames};
use crate::support::{Origin, Sidecar, Upstream, configuration};

#[test]
fn the_trailers_of_an_answer_pass_in_order() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "TE: trailers\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Grpc-Status\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nGrpc-Status: 0\r\nX-Sum: 8\r\nGrpc-Message: \r\n\r\n",
    );
    let answer = app.answer();
    assert_eq!(answer.text(), "ok");
    let trailers = answer.trailers.to_lowercase();
    let of_sum: Vec<_> = trailers.lines().filter(|line| line.starts_with("x-sum")).collect();
    assert_eq!(of_sum, ["x-sum: 7", "x-sum: 8"]);
    assert!(trailers.contains("grpc-status: 0\r\n") && trailers.contains("grpc-message:"), "{trailers}");
    assert!(!answer.head().to_lowercase().contains("x-sum: "), "trailers are never merged into the head");
}

#[test]
fn trailers_that_would_change_the_message_or_belong_to_this_hop_do_not_pass() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "TE: trailers\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         Content-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: x\r\nConnection: close\r\n\
         Keep-Alive: 5\r\nX-Kept: yes\r\n\r\n",
    );
    let answer = app.answer();
    assert_eq!(answer.trailers.to_lowercase(), "x-kept: yes\r\n");
    app.assert_quiet();
}

#[test]
fn trailers_that_the_answers_connection_lists_do_not_pass_in_any_protocol() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop, x-sum\r\nX-Hop: 1\r\n\
                  Connection: CLOSE\r\n\r\n2\r\nok\r\n0\r\nx-hop: 2\r\nX-Sum: 7\r\nX-Kept: yes\r\nX-HOP: 3\r\n\r\n";
    let mut app = bearerd.app().ask("GET", "/api/x", "TE: trailers\r\n");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(answer);
    let got = app.answer();
    assert_eq!((got.text().as_str(), got.field("x-hop")), ("ok", None));
    assert_eq!(got.trailers.to_lowercase(), "x-kept: yes\r\n");
    let mut app = Frames::app(&bearerd);
    app.request(1, "GET", "/api/x", &[("te", "trailers")], true);
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send(answer);
    app.head(1);
    let trailers = app.head(1);
    assert_eq!(trailers.flags & END_STREAM, END_STREAM);
    let holds = |name: &[u8]| trailers.payload.windows(name.len()).any(|part| part == name);
    assert!(holds(b"x-kept") && !holds(b"x-hop") && !holds(b"x-sum"), "{trailers:?}");
}

#[test]
fn the_trailers_of_a_request_are_dropped() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Late, Authorization\r\nTE: trailers\r\n";
    let mut app = bearerd.app().ask("POST", "/api/x", fields);
    app.send(
        "3\r\nabc\r\n0\r\nX-Late: 1\r\nAuthorization: Bearer mine\r\nHost: evil\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(app.answer().status(), 200);
    let seen = upstream.request();
    assert_eq!((seen.text().as_str(), seen.trailers.as_str(), seen.field("trailer")), ("abc", "", None));
    assert!(!seen.head().contains("mine") && !seen.head().contains("evil"), "{}", seen.head());
}

#[test]
fn trailers_too_many_or_too_long_break_the_answer_off() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for trailers in ["A: b\r\n".repeat(50_000), format!("A: {}\r\n", "x".repeat(1 << 20))] {
        let mut app = bearerd.app().ask("GET", "/api/x", "TE: trailers\r\n");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n");
        let _ = upstream.try_send(&trailers);
        let _ = upstream.try_send("\r\n");
        assert_eq!(app.head().status(), 200);
        assert!(!app.rest().ends_with("\r\n0\r\n\r\n"), "it looks whole");
    }
}
