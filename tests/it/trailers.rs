//! Fields behind a body: those of answers pass, those of requests do not.

use crate::support::{Origin, Sidecar, Upstream, configuration};

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
