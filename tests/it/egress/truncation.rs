//! Answers over TLS that are cut off: the end of a connection without TLS's own farewell is not the end
//! of a body (RFC 8446, section 6.1; RFC 9112, section 9.8).

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use rustls::{ServerConnection, StreamOwned};

use super::certificates::config;
use super::to;
use crate::support::message::Message;
use crate::support::tls::Authority;
use crate::support::{Setup, canary};

/// What an app gets to see of an answer from an upstream that then ends the connection, with or without
/// a farewell: all bytes behind the head.
fn body_of(answer: &'static str, with_farewell: bool) -> String {
    let authority = Authority::new();
    let config = config(&authority.server(), None);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let origin = format!("https://{}", listener.local_addr().expect("an address"));
    let upstream = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a connection");
        let session = ServerConnection::new(config).expect("a session");
        let mut stream = BufReader::new(StreamOwned::new(session, socket));
        Message::read(&mut stream, false).expect("a request");
        let stream = stream.get_mut();
        stream.write_all(answer.as_bytes()).expect("a client");
        if with_farewell {
            stream.conn.send_close_notify();
        }
        stream.flush().expect("a client");
    });
    let sidecar = Setup::new(&format!(
        "[egress.out]\nca = \"ca.pem\"\n\n{}egress = \"out\"\n",
        to(&origin, &canary::token())
    ))
    .file("ca.pem", &authority.pem())
    .start();
    sidecar.wait_until_ready();
    let app = sidecar.app();
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/", "", 0));
    connection.finish();
    let seen = connection.rest();
    upstream.join().expect("the upstream ends");
    let (head, body) = seen.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

#[test]
fn a_body_of_any_framing_that_is_cut_off_does_not_look_whole() {
    for (answer, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "5\r\nhello\r\n"),
    ] {
        assert_eq!(body_of(answer, false), rest, "{answer}");
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole_after_a_farewell() {
    assert_eq!(body_of("HTTP/1.1 200 OK\r\n\r\nhello", true), "5\r\nhello\r\n0\r\n\r\n");
}
