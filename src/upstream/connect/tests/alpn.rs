//! Which version of HTTP is negotiated (RFC 7301).

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{LIMIT, listen, secure_origin, trusting};
use crate::upstream::connect::{ConnectError, Connector, Offer, Protocol};
use crate::upstream::testing::{Authority, Differences, Files};

/// What is negotiated with a server that knows `protocols`.
async fn negotiate(protocols: &[&str], offer: Offer) -> Result<Protocol, ConnectError> {
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let differences = Differences { protocols, ..Differences::default() };
    let acceptor = TlsAcceptor::from(authority.server_with("127.0.0.1", &differences));
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        // The server ends a handshake in which nothing fits.
        let _ = acceptor.accept(stream).await;
    });
    let connector = Connector::new(&trusting(&files)).expect("an egress");
    let opened = connector.connect(&secure_origin(port), offer, LIMIT).await;
    server.await.expect("the server ends");
    opened.map(|opened| opened.protocol)
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_and_known() {
    use Protocol::{Http1, Http2};
    for (protocols, offer, negotiated) in [
        (["h2", "http/1.1"].as_slice(), Offer::Both, Http2),
        (&["http/1.1", "h2"], Offer::Both, Http1),
        (&["h2"], Offer::Both, Http2),
        (&["http/1.1"], Offer::Both, Http1),
        (&[], Offer::Both, Http1),
        (&["h2", "http/1.1"], Offer::Http1, Http1),
        (&[], Offer::Http1, Http1),
    ] {
        assert_eq!(negotiate(protocols, offer).await, Ok(negotiated), "{protocols:?}, {offer:?}");
    }
}

#[tokio::test]
async fn a_server_that_knows_no_protocol_that_is_offered_is_refused() {
    for (protocols, offer) in [(&["h2"], Offer::Http1), (&["spdy/3"], Offer::Both)] {
        let error = negotiate(protocols, offer).await.expect_err("nothing in common");
        assert!(matches!(&error, ConnectError::Tls { .. }), "{error}");
        assert!(error.to_string().contains("no version of HTTP that is offered"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_answers_what_was_not_offered_is_refused() {
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let differences = Differences {
        // Its ServerHello is in the clear, so that it can be spoilt on the way.
        versions: &[&rustls::version::TLS12],
        protocols: &["http/1.1"],
        ..Differences::default()
    };
    let acceptor = TlsAcceptor::from(authority.server_with("127.0.0.1", &differences));
    let (behind, behind_port) = listen().await;
    let server = tokio::spawn(async move {
        let (stream, _) = behind.accept().await.expect("a connection");
        acceptor.accept(stream).await.expect_err("the client refuses");
    });
    let (front, port) = listen().await;
    let relay = tokio::spawn(async move {
        let (mut client, _) = front.accept().await.expect("a connection");
        let mut server = TcpStream::connect(("127.0.0.1", behind_port)).await.expect("the server");
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let spoil = async {
            let mut flight = vec![0; 16 * 1024];
            let length = from_server.read(&mut flight).await.expect("a flight");
            let at = memchr::memmem::find(&flight[..length], b"http/1.1").expect("the protocol in the clear");
            flight[at..at + 8].copy_from_slice(b"http/9.9");
            to_client.write_all(&flight[..length]).await.expect("a client");
        };
        let _ = tokio::join!(copy(&mut from_client, &mut to_server), spoil);
    });
    let connector = Connector::new(&trusting(&files)).expect("an egress");
    let error = connector.connect(&secure_origin(port), Offer::Both, LIMIT).await.expect_err("a lie");
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    relay.await.expect("the relay ends");
    server.await.expect("the server ends");
}
