//! Upstreams behind Unix sockets.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use super::to;
use crate::support::message::Message;
use crate::support::{Setup, canary};

#[test]
fn an_upstream_behind_a_unix_socket_gets_http_1_1_for_localhost() {
    let token = canary::token();
    let setup = Setup::new(&to("unix:{folder}/api.sock:/v1", &token));
    let listener = UnixListener::bind(setup.folder().join("api.sock")).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let request = Message::read(&mut reader, false).expect("a request").expect("a request");
        let answer = "HTTP/1.1 302 Found\r\nLocation: http://localhost/v1/there\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("an answer");
        request
    });
    let sidecar = setup.start();
    sidecar.wait_until_ready();
    let app = sidecar.app();
    let answer = app.get("/api/a?b");
    assert_eq!(answer.status(), 302, "{}", answer.head());
    let request = server.join().expect("a request");
    assert_eq!(request.start_line(), "GET /v1/a?b HTTP/1.1");
    assert_eq!(request.field("host").as_deref(), Some("localhost"));
    assert_eq!(request.field("authorization"), Some(format!("Bearer {token}")));
    // What the upstream calls `http://localhost` is itself.
    let there = format!("http://{}/api/there", app.address());
    assert_eq!(answer.field("location"), Some(there));
}

#[test]
fn a_unix_socket_that_nobody_listens_at_is_an_upstream_that_cannot_be_reached() {
    let sidecar = Setup::new(&to("unix:{folder}/nobody.sock", &canary::token())).start();
    sidecar.wait_until_ready();
    let answer = sidecar.app().get("/api/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["code"], "upstream_connect");
}
