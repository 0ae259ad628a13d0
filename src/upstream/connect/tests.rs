use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ConnectError, Connector, Offer, Stream};
use crate::upstream::testing::{Reply, Server};
use crate::upstream::{EgressSpec, MinimumTls, Origin, Scheme, Url};

const LIMIT: Duration = Duration::from_secs(5);

fn origin(host: &str, port: u16) -> Origin {
    Origin { scheme: Scheme::Http, host: host.to_owned(), port }
}

async fn connect(egress: &EgressSpec, origin: &Origin) -> Result<Stream, ConnectError> {
    let connector = Connector::new(egress).expect("an egress");
    connector.connect(origin, Offer::Http1, LIMIT).await.map(|opened| opened.stream)
}

#[tokio::test]
async fn literals_and_localhost_are_consent_to_loopback() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    for host in ["127.0.0.1", "::ffff:127.0.0.1", "localhost"] {
        let stream = connect(&EgressSpec::default(), &origin(host, port)).await.expect(host);
        let Stream::Plain(stream) = stream else { panic!("plain TCP") };
        assert!(stream.nodelay().expect("an option"));
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_unless_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    // The resolver reads an address in parts as a name for it, without asking any server.
    let origin = origin("127.1", port);
    let refused = connect(&EgressSpec::default(), &origin).await.expect_err("a private address");
    assert!(matches!(&refused, ConnectError::Forbidden { address, .. } if address.is_loopback()));
    assert!(refused.to_string().contains("allow_private = true"), "{refused}");
    let allowing = EgressSpec { allow_private: true, ..EgressSpec::default() };
    connect(&allowing, &origin).await.expect("it is allowed");
}

#[tokio::test]
async fn metadata_services_are_refused_always() {
    let allowing = EgressSpec { allow_private: true, ..EgressSpec::default() };
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "169.254.43518"] {
        let refused = connect(&allowing, &origin(host, 80)).await.expect_err(host);
        assert!(matches!(refused, ConnectError::Forbidden { .. }), "{host}: {refused}");
        assert!(refused.to_string().contains("metadata"), "{refused}");
    }
}

#[tokio::test]
async fn connections_leave_from_the_source_address_and_only_by_its_kind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let source: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
    let egress = EgressSpec { source: Some(source), ..EgressSpec::default() };
    let _stream = connect(&egress, &origin("localhost", port)).await.expect("a connection");
    assert_eq!(listener.accept().await.expect("a connection").1.ip(), source);
    let wrong_kind = connect(&egress, &origin("::1", port)).await.expect_err("IPv6");
    assert!(matches!(wrong_kind, ConnectError::Resolve { .. }), "{wrong_kind}");
    let ipv4_only = EgressSpec { ipv4_only: true, ..EgressSpec::default() };
    connect(&ipv4_only, &origin("::1", port)).await.expect_err("IPv6");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let origin = Origin { scheme: Scheme::Https, ..origin("127.0.0.1", port) };
    let (_file, egress) = egress_with(&authority("127.0.0.1", rustls::ALL_VERSIONS).0, MinimumTls::Tls12);
    let connector = Connector::new(&egress).expect("an egress");
    let error =
        connector.connect(&origin, Offer::Http1, Duration::from_millis(100)).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout { stage: "the TLS handshake", .. }), "{error}");
}

/// An authority, and the configuration of a server that it vouches for under `name`.
fn authority(
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("authority of {name}"));
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .expect("a name")
        .signed_by(&key, &authority)
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a certificate and its key");
    (authority.pem(), Arc::new(config))
}

fn egress_with(ca: &str, min_tls: MinimumTls) -> (tempfile::NamedTempFile, EgressSpec) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ca).expect("a file");
    let spec = EgressSpec { ca: Some(file.path().to_owned()), min_tls, ..EgressSpec::default() };
    (file, spec)
}

async fn talk(egress: &EgressSpec, url: &Url) -> Result<String, String> {
    let mut stream = connect(egress, &url.origin).await.map_err(|error| error.to_string())?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    Ok(answer)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_a_server_that_the_ca_vouches_for() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (ca, config) = authority("127.0.0.1", &[version]);
        let (_file, egress) = egress_with(&ca, MinimumTls::Tls12);
        let server = Server::start_tls([Reply::raw("hello")], config).await;
        assert_eq!(talk(&egress, &server.url("/")).await.as_deref(), Ok("hello"));
    }
}

#[tokio::test]
async fn a_server_below_the_lowest_version_is_refused() {
    let (ca, config) = authority("127.0.0.1", &[&rustls::version::TLS12]);
    let (_file, egress) = egress_with(&ca, MinimumTls::Tls13);
    let server = Server::start_tls([Reply::raw("hello")], config).await;
    talk(&egress, &server.url("/")).await.expect_err("TLS 1.2");
    assert!(server.requests().await.is_empty());
}

#[tokio::test]
async fn a_wrong_name_an_unknown_authority_and_plain_text_are_refused_before_any_byte_of_ours() {
    let (ca, config) = authority("issuer.example", rustls::ALL_VERSIONS);
    let (_file, egress) = egress_with(&ca, MinimumTls::Tls12);
    let server = Server::start_tls([Reply::raw("hello")], config).await;
    let error = talk(&egress, &server.url("/")).await.expect_err("another name");
    assert!(error.contains("for another name"), "{error}");
    assert!(server.requests().await.is_empty());

    let (_, config) = authority("127.0.0.1", rustls::ALL_VERSIONS);
    let server = Server::start_tls([Reply::raw("hello")], config).await;
    let error = talk(&egress, &server.url("/")).await.expect_err("an unknown authority");
    assert!(error.contains("not trusted here"), "{error}");
    assert!(server.requests().await.is_empty());

    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = plain.local_addr().expect("an address").port();
    let answers = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("an answer");
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let error = connect(&egress, &Origin { scheme: Scheme::Https, ..origin("127.0.0.1", port) })
        .await
        .expect_err("plain text");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    answers.await.expect("the server ends");
}

#[test]
fn a_ca_file_that_cannot_be_used_is_told_when_the_connector_is_made() {
    let missing = EgressSpec { ca: Some("/nonexistent/ca.pem".into()), ..EgressSpec::default() };
    let error = Connector::new(&missing).err().expect("no such file");
    assert!(error.0.contains("/nonexistent/ca.pem"), "{error}");
    let (_file, empty) = egress_with("nothing here", MinimumTls::Tls12);
    assert!(Connector::new(&empty).err().expect("no certificate").0.contains("holds no certificate"));
}
