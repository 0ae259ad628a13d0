//! Outbound proxies.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{LIMIT, listen, open, origin, secure_origin, talk, trusting};
use crate::certificate::KeySource;
use crate::upstream::connect::{ConnectError, Connector, Offer};
use crate::upstream::testing::{Authority, Files, Reply, Server};
use crate::upstream::{EgressSpec, ProxyLogin, ProxySpec};

/// A proxy on loopback.
struct Proxy {
    spec: ProxySpec,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Proxy {
    /// A proxy that opens every way.
    async fn open() -> Self {
        Self::start(Arc::new(None)).await
    }

    /// A proxy that answers this and nothing else.
    async fn answering(status_line: &str) -> Self {
        Self::start(Arc::new(Some(format!("{status_line}\r\nContent-Length: 0\r\n\r\n")))).await
    }

    async fn start(answer: Arc<Option<String>>) -> Self {
        let (listener, port) = listen().await;
        let (record, requests) = mpsc::unbounded_channel();
        tokio::spawn(Self::serve(listener, answer, record));
        Self { spec: ProxySpec { origin: origin("127.0.0.1", port), login: None }, requests }
    }

    async fn serve(
        listener: TcpListener,
        answer: Arc<Option<String>>,
        record: mpsc::UnboundedSender<String>,
    ) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n")
                && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0)
            {}
            let request = String::from_utf8(request).expect("text");
            let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
            // The test may have seen enough.
            let _ = record.send(request);
            if let Some(answer) = answer.as_ref() {
                let _ = stream.write_all(answer.as_bytes()).await;
                continue;
            }
            let Ok(mut behind) = TcpStream::connect(target).await else { continue };
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("a client");
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
        }
    }

    fn egress(&self) -> EgressSpec {
        EgressSpec { proxy: Some(self.spec.clone()), ..EgressSpec::default() }
    }
}

#[tokio::test]
async fn plain_and_encrypted_origins_are_reached_by_connect() {
    let mut proxy = Proxy::open().await;
    let server = Server::start([Reply::raw("hello")]).await;
    assert_eq!(talk(&proxy.egress(), &server.url("/")).await.as_deref(), Ok("hello"));
    let authority = server.authority();
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(proxy.requests.recv().await, Some(request));

    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let server = Server::start_tls([Reply::raw("hello")], authority.server("127.0.0.1")).await;
    let egress = EgressSpec { ca: trusting(&files).ca, ..proxy.egress() };
    assert_eq!(talk(&egress, &server.url("/")).await.as_deref(), Ok("hello"));
}

#[tokio::test]
async fn the_certificate_is_that_of_the_origin_and_not_of_whoever_the_proxy_leads_to() {
    let proxy = Proxy::open().await;
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let server = Server::start_tls([Reply::raw("hello")], authority.server("another.example")).await;
    let egress = EgressSpec { ca: trusting(&files).ca, ..proxy.egress() };
    let error = talk(&egress, &server.url("/")).await.expect_err("another name");
    assert!(error.contains("for another name"), "{error}");
    assert!(server.requests().await.is_empty());
}

#[tokio::test]
async fn names_are_looked_up_by_the_proxy_and_only_there() {
    let mut proxy = Proxy::answering("HTTP/1.1 502 Bad Gateway").await;
    let nobody = format!("{}.invalid", "a".repeat(64));
    let error = open(&proxy.egress(), &origin(&nobody, 443)).await.expect_err("nobody has this name");
    assert!(matches!(&error, ConnectError::Proxy { status: Some(502), .. }), "{error}");
    let request = proxy.requests.recv().await.expect("a request");
    assert!(request.starts_with(&format!("CONNECT {nobody}:443 HTTP/1.1\r\n")), "{request}");
}

#[tokio::test]
async fn metadata_services_are_refused_behind_a_proxy_too_in_every_spelling() {
    let mut proxy = Proxy::open().await;
    for host in [
        "169.254.169.254",
        "169.254.43518",
        "0xa9fea9fe",
        "fd00:ec2::254",
        "::ffff:a9fe:a9fe",
        "fe80::a9fe:a9fe%25eth0",
        // A private address in a spelling that only a resolver takes for one.
        "10.1",
        "0x7f000001",
    ] {
        let error = open(&proxy.egress(), &origin(host, 80)).await.expect_err(host);
        assert!(matches!(error, ConnectError::Forbidden { .. }), "{host}: {error}");
    }
    let error = open(&proxy.egress(), &origin("metadata.google.internal", 80)).await.expect_err("a name");
    assert!(matches!(error, ConnectError::ForbiddenName { .. }), "{error}");
    assert!(proxy.requests.try_recv().is_err(), "nothing was asked");
}

#[tokio::test]
async fn a_refusal_names_the_proxy_and_its_status() {
    for status in [403, 407, 502, 503] {
        let proxy = Proxy::answering(&format!("HTTP/1.1 {status} No")).await;
        let error = open(&proxy.egress(), &secure_origin(1)).await.expect_err("no way");
        assert!(matches!(&error, ConnectError::Proxy { status: Some(told), .. } if *told == status));
        let (address, status) = (proxy.spec.origin.host_and_port(), status.to_string());
        assert!(error.to_string().contains(&address) && error.to_string().contains(&status), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_says_nothing_is_named() {
    let (silent, port) = listen().await;
    let spec = ProxySpec { origin: origin("127.0.0.1", port), login: None };
    let egress = EgressSpec { proxy: Some(spec), ..EgressSpec::default() };
    let connector = Connector::new(&egress).expect("an egress");
    let limit = Duration::from_millis(100);
    let error = connector.connect(&secure_origin(1), Offer::Http1, limit).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout { stage: "the outbound proxy's answer", .. }), "{error}");
    drop(silent);
    let error = connector.connect(&secure_origin(1), Offer::Http1, LIMIT).await.expect_err("nobody");
    assert!(matches!(&error, ConnectError::Proxy { status: None, .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn the_password_of_the_proxy_follows_its_file() {
    let mut proxy = Proxy::answering("HTTP/1.1 407 Who are you").await;
    let files = Files::trusting(&Authority::new());
    files.write("password", "open sesame\n");
    let password = KeySource::File(files.path("password"));
    proxy.spec.login = Some(ProxyLogin { user: "Aladdin".to_owned(), password });
    let connector = Connector::new(&proxy.egress()).expect("an egress");
    let mut shown = async || {
        connector.connect(&secure_origin(1), Offer::Http1, LIMIT).await.expect_err("refused");
        let request = proxy.requests.recv().await.expect("a request");
        let value = request.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
        value.map(str::to_owned)
    };
    // The example of RFC 7617, section 2.
    assert_eq!(shown().await.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    files.write("password", "hush");
    assert_eq!(connector.renew(), Ok(true));
    assert_eq!(shown().await.as_deref(), Some("Basic QWxhZGRpbjpodXNo"));
    files.write("password", "\n");
    connector.renew().expect_err("an empty password");
    assert_eq!(shown().await.as_deref(), Some("Basic QWxhZGRpbjpodXNo"));
}
