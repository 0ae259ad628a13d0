//! Answers that have no body whatever their fields say: to HEAD, 204 and 304 (RFC 9110, section 6.4.1).

use crate::support::Origin;

const NEXT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

#[test]
fn an_answer_without_a_body_ends_with_its_head_and_its_fields_pass() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n", Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"a\"\r\n\r\n", Some("0")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n", Some("99")),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n", None),
        ("DELETE", "HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n", None),
    ] {
        let mut app = bearerd.app().ask(method, "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(answer);
        let head = app.head();
        assert_eq!(head.field("etag").as_deref(), Some("\"a\""));
        assert_eq!(head.field("content-length").as_deref(), length, "{answer:?}: {}", head.head());
        app.assert_quiet();
        // The connection goes on, and nothing stands between the answers.
        drop(upstream);
        app.send(bearerd.app().head("GET", "/api/next", "Connection: close\r\n", 0));
        let mut upstream = origin.accept();
        assert_eq!(upstream.request().target(), "/next");
        upstream.send(NEXT);
        assert_eq!(app.answer().text(), "next");
    }
}

#[test]
fn a_304_may_say_the_length_that_a_200_would_have() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().ask("GET", "/api/x", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n");
    let head = app.head();
    assert_eq!((head.status(), head.field("content-length").as_deref()), (304, Some("1234")));
    app.assert_quiet();
    app.send(bearerd.app().head("GET", "/api/next", "", 0));
    assert_eq!(upstream.request().target(), "/next");
    upstream.send(NEXT);
    assert_eq!(app.answer().text(), "next");
}

#[test]
fn a_204_never_says_a_length() {
    let (bearerd, origin) = Origin::behind_bearerd();
    for field in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut app = bearerd.app().ask("GET", "/api/x", "");
        let mut upstream = origin.accept();
        upstream.request();
        upstream.send(format!("HTTP/1.1 204 No Content\r\n{field}\r\n\r\n"));
        let head = app.head();
        assert_eq!(head.status(), 204);
        assert_eq!((head.field("content-length"), head.field("transfer-encoding")), (None, None), "{field}");
    }
}

#[test]
fn an_error_made_here_has_no_body_for_head_either() {
    let (bearerd, _origin) = Origin::behind_bearerd();
    let mut app = bearerd.app().connect();
    for _ in 0..2 {
        app.send(bearerd.app().head("HEAD", "/nowhere", "", 0));
        let head = app.head();
        assert_eq!(head.status(), 404);
        assert_eq!(head.field("content-type").as_deref(), Some("application/problem+json"));
    }
    app.send(bearerd.app().head("GET", "/nowhere", "", 0));
    assert_eq!(app.answer().json()["code"], "no_route");
}
