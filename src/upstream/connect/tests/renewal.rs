//! Authorities and client certificates that change under us.

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{LIMIT, listen, secure_origin, trusting};
use crate::certificate::{KeySource, Names};
use crate::upstream::connect::{ConnectError, Connector, Identity, Offer};
use crate::upstream::testing::{Authority, Differences, Files};
use crate::upstream::{CertificateSpec, EgressSpec};

/// Years in which a certificate is valid.
const YEARS: (i32, i32) = (2000, 4000);

/// A server that answers each connection with the name that the client's certificate is for.
async fn greeter(acceptor: TlsAcceptor) -> (u16, JoinHandle<()>) {
    let (listener, port) = listen().await;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let shown = stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
            let name = shown.map(|shown| Names::of(shown).all().collect::<String>()).unwrap_or_default();
            stream.write_all(name.as_bytes()).await.expect("a client");
            stream.shutdown().await.expect("a client");
        }
    });
    (port, task)
}

/// What the server greets, and as what the connection was opened.
async fn greeting(connector: &Connector, port: u16) -> Result<(String, Identity), ConnectError> {
    let mut opened = connector.connect(&secure_origin(port), Offer::Http1, LIMIT).await?;
    let mut greeting = String::new();
    opened.stream.read_to_string(&mut greeting).await.expect("a greeting");
    Ok((greeting, opened.identity))
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_follows_its_files() {
    let (authority, callers) = (Authority::new(), Authority::new());
    let files = Files::trusting(&authority);
    let one = callers.pair("one.example", YEARS);
    files.write_pair(&one);
    let certificate =
        Some(CertificateSpec { chain: files.path("cert.pem"), key: KeySource::File(files.path("key.pem")) });
    let connector = Connector::new(&EgressSpec { certificate, ..trusting(&files) }).expect("an egress");
    let demanding = Differences { callers: Some(&callers), ..Differences::default() };
    let (port, server) = greeter(authority.server_with("127.0.0.1", &demanding).into()).await;
    let (name, identity) = greeting(&connector, port).await.expect("a connection");
    assert_eq!((name.as_str(), identity), ("one.example", connector.identity()));
    let ends_at = connector.certificate_ends_at().expect("an end");
    assert!(ends_at.to_string().starts_with("4000-12-31"), "{ends_at}");

    // Nothing differs, though the files are new.
    files.write_pair(&one);
    assert_eq!(connector.renew(), Ok(false));
    assert_eq!(connector.identity(), identity);

    // Half of a new pair is no pair: the old one stays.
    let two = callers.pair("two.example", (2000, 3000));
    files.write("cert.pem", &two.certificate);
    let error = connector.renew().expect_err("the key is still the old one");
    assert!(error.0.contains("is not that of the certificate"), "{error}");
    files.write("cert.pem", "spoilt");
    connector.renew().expect_err("no certificate");
    assert_eq!(greeting(&connector, port).await, Ok(("one.example".to_owned(), identity)));

    files.write_pair(&two);
    assert_eq!(connector.renew(), Ok(true));
    assert_ne!(connector.identity(), identity);
    // No session of the first certificate is resumed: it would speak for it.
    for _ in 0..2 {
        let (name, identity) = greeting(&connector, port).await.expect("a connection");
        assert_eq!((name.as_str(), identity), ("two.example", connector.identity()));
    }
    let ends_at = connector.certificate_ends_at().expect("an end");
    assert!(ends_at.to_string().starts_with("3000-12-31"), "{ends_at}");
    server.abort();
}

#[tokio::test]
async fn authorities_follow_their_file_and_old_ones_count_no_more() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::trusting(&old);
    let connector = Connector::new(&trusting(&files)).expect("an egress");
    let (old_port, old_server) = greeter(old.server("127.0.0.1").into()).await;
    let (new_port, new_server) = greeter(new.server("127.0.0.1").into()).await;
    greeting(&connector, old_port).await.expect("a connection");
    greeting(&connector, new_port).await.expect_err("not trusted yet");
    files.write("ca.pem", &new.pem());
    assert_eq!(connector.clone().renew(), Ok(true));
    greeting(&connector, new_port).await.expect("a connection");
    // Not even by a session of before.
    greeting(&connector, old_port).await.expect_err("not trusted any more");
    old_server.abort();
    new_server.abort();
}

#[test]
fn each_egress_has_an_identity_of_its_own() {
    let connector = || Connector::new(&EgressSpec::default()).expect("the default egress");
    let (one, other) = (connector(), connector());
    assert_ne!(one.identity(), other.identity());
    assert_eq!(one.identity(), one.clone().identity());
}

#[test]
fn the_files_of_an_egress_are_all_that_it_is_read_from() {
    let spec = EgressSpec {
        certificate: Some(CertificateSpec {
            chain: "cert.pem".into(),
            key: KeySource::File("key.pem".into()),
        }),
        ca: Some("ca.pem".into()),
        ..EgressSpec::default()
    };
    let files: Vec<_> = spec.files().map(|path| path.display().to_string()).collect();
    assert_eq!(files, ["ca.pem", "cert.pem", "key.pem"]);
}
