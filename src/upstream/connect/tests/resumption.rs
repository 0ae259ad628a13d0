//! TLS sessions: a handshake with a server that is known is a short one.

use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{LIMIT, listen, secure_origin, trusting};
use crate::upstream::connect::{Connector, Offer};
use crate::upstream::testing::{Authority, Differences, Files};

/// A server that tells of each handshake what kind it was.
async fn server(config: Arc<ServerConfig>) -> (u16, mpsc::UnboundedReceiver<HandshakeKind>) {
    let (listener, port) = listen().await;
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            stream.write_all(b"hello").await.expect("a client");
            stream.shutdown().await.expect("a client");
            let kind = stream.get_ref().1.handshake_kind().expect("a finished handshake");
            if tell.send(kind).is_err() {
                return;
            }
        }
    });
    (port, told)
}

/// Connects and reads all, as a worker does with an answer: tickets of TLS 1.3 come with it.
async fn visit(connector: &Connector, port: u16, offer: Offer) {
    let mut opened = connector.connect(&secure_origin(port), offer, LIMIT).await.expect("a connection");
    opened.stream.read_to_end(&mut Vec::new()).await.expect("an answer");
}

fn config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    by_tickets: bool,
) -> Arc<ServerConfig> {
    let protocols: &[&str] = &["h2", "http/1.1"];
    let only = Differences { versions: &[version], protocols, ..Differences::default() };
    let mut config = ServerConfig::clone(&authority.server_with("127.0.0.1", &only));
    if by_tickets {
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    }
    Arc::new(config)
}

#[tokio::test]
async fn the_second_handshake_with_a_server_resumes_the_first() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for by_tickets in [false, true] {
            let authority = Authority::new();
            let files = Files::trusting(&authority);
            let connector = Connector::new(&trusting(&files)).expect("an egress");
            let (port, mut kinds) = server(config(&authority, version, by_tickets)).await;
            visit(&connector, port, Offer::Http1).await;
            assert_eq!(kinds.recv().await, Some(HandshakeKind::Full));
            // Whatever else is offered, and however often.
            for offer in [Offer::Both, Offer::Http1, Offer::Both, Offer::Both] {
                visit(&connector, port, offer).await;
                let kind = kinds.recv().await;
                assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}, tickets: {by_tickets}");
            }
        }
    }
}

/// Opens this many connections before it reads from any, so that none has the ticket of another.
async fn visit_at_once(count: usize, connector: &Connector, port: u16) {
    let open = || {
        let connector = connector.clone();
        async move { connector.connect(&secure_origin(port), Offer::Http1, LIMIT).await.expect("a connection") }
    };
    let opened: JoinSet<_> = (0..count).map(|_| open()).collect();
    for mut opened in opened.join_all().await {
        opened.stream.read_to_end(&mut Vec::new()).await.expect("an answer");
    }
}

#[tokio::test]
async fn as_many_connections_resume_at_once_as_were_open_before() {
    const AT_ONCE: usize = 64;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for by_tickets in [false, true] {
            let authority = Authority::new();
            let files = Files::trusting(&authority);
            let connector = Connector::new(&trusting(&files)).expect("an egress");
            let mut config = ServerConfig::clone(&config(&authority, version, by_tickets));
            config.send_tls13_tickets = 1;
            let (port, mut kinds) = server(config.into()).await;
            visit_at_once(AT_ONCE, &connector, port).await;
            for _ in 0..AT_ONCE {
                kinds.recv().await.expect("a handshake");
            }
            for _again in 0..2 {
                visit_at_once(AT_ONCE, &connector, port).await;
                for _ in 0..AT_ONCE {
                    let kind = kinds.recv().await;
                    assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}, tickets: {by_tickets}");
                }
            }
        }
    }
}

#[tokio::test]
async fn sessions_are_shared_by_all_workers() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new();
        let files = Files::trusting(&authority);
        let connector = Connector::new(&trusting(&files)).expect("an egress");
        let (port, mut kinds) = server(config(&authority, version, true)).await;
        visit(&connector, port, Offer::Http1).await;
        assert_eq!(kinds.recv().await, Some(HandshakeKind::Full));
        for _worker in 0..2 {
            let connector = connector.clone();
            let worker = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(visit(&connector, port, Offer::Http1));
            });
            assert_eq!(kinds.recv().await, Some(HandshakeKind::Resumed), "{version:?}");
            worker.join().expect("the worker ends");
        }
    }
}

#[tokio::test]
async fn another_egress_has_sessions_of_its_own() {
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let (port, mut kinds) = server(config(&authority, &rustls::version::TLS13, true)).await;
    for _ in 0..2 {
        let connector = Connector::new(&trusting(&files)).expect("an egress");
        visit(&connector, port, Offer::Http1).await;
        assert_eq!(kinds.recv().await, Some(HandshakeKind::Full));
    }
}
