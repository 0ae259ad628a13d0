mod alpn;
mod faults;
mod proxy;
mod renewal;
mod resumption;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ConnectError, Connector, Offer, Opened, Stream};
use crate::upstream::testing::{Authority, Differences, Files, Reply, Server};
use crate::upstream::{EgressSpec, MinimumTls, Origin, Scheme, Url};

const LIMIT: Duration = Duration::from_secs(5);

fn origin(host: &str, port: u16) -> Origin {
    Origin { scheme: Scheme::Http, host: host.into(), port }
}

fn secure_origin(port: u16) -> Origin {
    Origin { scheme: Scheme::Https, ..origin("127.0.0.1", port) }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

async fn open(egress: &EgressSpec, origin: &Origin) -> Result<Opened, ConnectError> {
    Connector::new(egress).expect("an egress").connect(origin, Offer::Http1, LIMIT).await
}

fn trusting(files: &Files) -> EgressSpec {
    EgressSpec { ca: Some(files.path("ca.pem")), ..EgressSpec::default() }
}

async fn talk(egress: &EgressSpec, url: &Url) -> Result<String, String> {
    let mut stream = open(egress, &url.origin).await.map_err(|error| error.to_string())?.stream;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    Ok(answer)
}

#[tokio::test]
async fn literals_and_localhost_are_consent_to_loopback() {
    let (_listener, port) = listen().await;
    for host in ["127.0.0.1", "::ffff:127.0.0.1", "localhost"] {
        let opened = open(&EgressSpec::default(), &origin(host, port)).await.expect(host);
        let Stream::Plain(stream) = opened.stream else { panic!("plain TCP") };
        assert!(stream.nodelay().expect("an option"));
        assert!(socket2::SockRef::from(&stream).keepalive().expect("an option"));
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_unless_allowed() {
    let (_listener, port) = listen().await;
    // The resolver reads an address in parts as a name for it, without asking any server.
    let origin = origin("127.1", port);
    let refused = open(&EgressSpec::default(), &origin).await.expect_err("a private address");
    assert!(matches!(&refused, ConnectError::Forbidden { address, .. } if address.is_loopback()));
    assert!(refused.to_string().contains("allow_private = true"), "{refused}");
    let allowing = EgressSpec { allow_private: true, ..EgressSpec::default() };
    open(&allowing, &origin).await.expect("it is allowed");
}

#[tokio::test]
async fn metadata_services_are_refused_always() {
    let allowing = EgressSpec { allow_private: true, ..EgressSpec::default() };
    for host in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "169.254.43518",
        "metadata.google.internal",
        "Metadata.google.internal.",
    ] {
        let refused = open(&allowing, &origin(host, 80)).await.expect_err(host);
        let is_forbidden =
            matches!(refused, ConnectError::Forbidden { .. } | ConnectError::ForbiddenName { .. });
        assert!(is_forbidden, "{host}: {refused}");
        assert!(refused.to_string().contains("metadata"), "{refused}");
    }
}

#[tokio::test]
async fn connections_leave_from_the_source_address_and_only_by_its_kind() {
    let (listener, port) = listen().await;
    let source: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
    let egress = EgressSpec { source: Some(source), ..EgressSpec::default() };
    let _opened = open(&egress, &origin("localhost", port)).await.expect("a connection");
    assert_eq!(listener.accept().await.expect("a connection").1.ip(), source);
    let wrong_kind = open(&egress, &origin("::1", port)).await.expect_err("IPv6");
    assert!(matches!(wrong_kind, ConnectError::Resolve { .. }), "{wrong_kind}");
    let ipv4_only = EgressSpec { ipv4_only: true, ..EgressSpec::default() };
    open(&ipv4_only, &origin("::1", port)).await.expect_err("IPv6");
}

#[tokio::test]
async fn a_source_that_is_not_of_this_machine_is_named() {
    let (_listener, port) = listen().await;
    let source = Some(Ipv4Addr::new(192, 0, 2, 1).into());
    let egress = EgressSpec { source, ..EgressSpec::default() };
    let error = open(&egress, &origin("127.0.0.1", port)).await.expect_err("no such address");
    assert!(error.to_string().contains("the source address 192.0.2.1 cannot be used"), "{error}");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_a_server_that_the_ca_vouches_for() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new();
        let files = Files::trusting(&authority);
        let only = Differences { versions: &[version], ..Differences::default() };
        let server =
            Server::start_tls([Reply::raw("hello")], authority.server_with("127.0.0.1", &only)).await;
        assert_eq!(talk(&trusting(&files), &server.url("/")).await.as_deref(), Ok("hello"));
    }
}

#[tokio::test]
async fn a_server_below_the_lowest_version_is_refused() {
    let authority = Authority::new();
    let files = Files::trusting(&authority);
    let old = Differences { versions: &[&rustls::version::TLS12], ..Differences::default() };
    let server = Server::start_tls([Reply::raw("hello")], authority.server_with("127.0.0.1", &old)).await;
    let egress = EgressSpec { min_tls: MinimumTls::Tls13, ..trusting(&files) };
    let error = talk(&egress, &server.url("/")).await.expect_err("TLS 1.2");
    assert!(error.contains("no version of TLS that is accepted here"), "{error}");
    assert!(server.requests().await.is_empty());
}

#[test]
fn a_ca_file_that_cannot_be_used_is_told_when_the_connector_is_made() {
    let missing = EgressSpec { ca: Some("/nonexistent/ca.pem".into()), ..EgressSpec::default() };
    let error = Connector::new(&missing).expect_err("no such file");
    assert!(error.0.contains("/nonexistent/ca.pem"), "{error}");
    let files = Files::trusting(&Authority::new());
    files.write("ca.pem", "nothing here");
    let error = Connector::new(&trusting(&files)).expect_err("no certificate");
    assert!(error.0.contains("holds no certificate"), "{error}");
}
