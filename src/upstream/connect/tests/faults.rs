//! Servers that do not what they should.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{LIMIT, listen, open, origin, secure_origin, talk, trusting};
use crate::upstream::EgressSpec;
use crate::upstream::connect::{ConnectError, Connector, Offer, tls_reason};
use crate::upstream::testing::{Authority, Differences, Files, Reply, Server};

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_timeout_of_that_stage() {
    let (_silent, port) = listen().await;
    let files = Files::trusting(&Authority::new());
    let connector = Connector::new(&trusting(&files)).expect("an egress");
    let limit = Duration::from_millis(100);
    let error = connector.connect(&secure_origin(port), Offer::Both, limit).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout { stage: "the TLS handshake", .. }), "{error}");
}

#[tokio::test]
async fn a_limit_of_zero_is_none() {
    let (_listener, port) = listen().await;
    let connector = Connector::new(&EgressSpec::default()).expect("an egress");
    connector.connect(&origin("127.0.0.1", port), Offer::Http1, Duration::ZERO).await.expect("a connection");
}

#[tokio::test]
async fn a_refused_connection_and_a_name_that_nobody_has_are_told_apart() {
    let (listener, port) = listen().await;
    drop(listener);
    let error = open(&EgressSpec::default(), &origin("127.0.0.1", port)).await.expect_err("nobody");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    // A label of more than 63 characters is no name at all: no server is asked for it.
    let nobody = format!("{}.invalid", "a".repeat(64));
    let error = open(&EgressSpec::default(), &origin(&nobody, port)).await.expect_err("no name");
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn certificates_that_are_not_to_be_trusted_are_refused_before_any_byte_of_ours() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let files = Files::trusting(&known);
    let of_years = |years| Differences { years, ..Differences::default() };
    for (config, words) in [
        (known.server("issuer.example"), "for another name"),
        (unknown.server("127.0.0.1"), "not trusted here"),
        (known.server_with("127.0.0.1", &of_years((2000, 2001))), "has expired"),
        (known.server_with("127.0.0.1", &of_years((3000, 3001))), "not valid yet"),
    ] {
        let server = Server::start_tls([Reply::raw("hello")], config).await;
        let error = talk(&trusting(&files), &server.url("/")).await.expect_err(words);
        assert!(error.contains(words), "{error}");
        assert!(server.requests().await.is_empty(), "{words}");
    }
}

#[tokio::test]
async fn what_is_no_tls_or_too_old_is_told() {
    let files = Files::trusting(&Authority::new());
    // An alert `protocol_version`, and a ServerHello of TLS 1.1.
    let alert = b"\x15\x03\x02\x00\x02\x02\x46";
    let hello =
        [b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02".as_slice(), &[7; 32], b"\x00\xc0\x14\x00"].concat();
    for (said, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "does not speak TLS"),
        (alert, "no version of TLS that is accepted here"),
        (&hello, "TLS with"),
        (b"", "hung up during the handshake"),
    ] {
        let (listener, port) = listen().await;
        let said = said.to_vec();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(&said).await.expect("a client");
            stream.shutdown().await.expect("a client");
            stream.read_to_end(&mut Vec::new()).await.ok();
        });
        let error = open(&trusting(&files), &secure_origin(port)).await.expect_err(words);
        assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        server.await.expect("the server ends");
    }
}

/// What a client reads of a server that says `hello` and ends without, or with, a farewell of TLS.
async fn read_to_end(with_farewell: bool) -> (Vec<u8>, std::io::Result<usize>) {
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let acceptor = TlsAcceptor::from(authority.server("127.0.0.1"));
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = acceptor.accept(stream).await.expect("a handshake");
        stream.write_all(b"hello").await.expect("a client");
        stream.flush().await.expect("a client");
        if with_farewell {
            stream.shutdown().await.expect("a client");
        }
    });
    let mut stream = open(&trusting(&files), &secure_origin(port)).await.expect("a connection").stream;
    let mut read = Vec::new();
    let end = stream.read_to_end(&mut read).await;
    server.await.expect("the server ends");
    (read, end)
}

#[tokio::test]
async fn a_connection_that_is_cut_off_does_not_look_like_one_that_ended() {
    let (read, end) = read_to_end(true).await;
    assert_eq!((read.as_slice(), end.expect("an end")), (b"hello".as_slice(), 5));
    let (read, end) = read_to_end(false).await;
    assert_eq!(read, b"hello");
    assert_eq!(end.expect_err("cut off").kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_server_that_misses_a_client_certificate_says_so_at_the_latest_with_the_first_read() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (authority, callers) = (Authority::new(), Authority::new());
        let files = Files::trusting(&authority);
        let demanding =
            Differences { versions: &[version], callers: Some(&callers), ..Differences::default() };
        let acceptor = TlsAcceptor::from(authority.server_with("127.0.0.1", &demanding));
        let (listener, port) = listen().await;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            acceptor.accept(stream).await.expect_err("no certificate");
        });
        let connector = Connector::new(&trusting(&files)).expect("an egress");
        let reason = match connector.connect(&secure_origin(port), Offer::Http1, LIMIT).await {
            Err(error) => error.to_string(),
            Ok(mut opened) => {
                let error = opened.stream.read_u8().await.expect_err("a refusal");
                tls_reason(&error).expect("an error of TLS")
            }
        };
        assert!(reason.contains("client certificate"), "{reason}");
        server.await.expect("the server ends");
    }
}
