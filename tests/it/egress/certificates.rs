//! Authorities and client certificates of an egress.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bearerd::certificate::Names;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::to;
use crate::support::message::Message;
use crate::support::tls::{Authority, Identity};
use crate::support::{PATIENCE, Setup, Sidecar, canary};

/// An upstream that `authority` vouches for, which asks its callers for a certificate of `callers`, if
/// there is one. It answers each request with the name that the caller's certificate is for.
fn greeter(authority: &Authority, callers: Option<&Authority>) -> String {
    serving(authority, callers, greet)
}

/// The same, which answers with the head of each request.
pub(crate) fn echoing(authority: &Authority, callers: Option<&Authority>) -> String {
    serving(authority, callers, echo)
}

fn serving(
    authority: &Authority,
    callers: Option<&Authority>,
    serve: fn(TcpStream, Arc<ServerConfig>) -> Option<()>,
) -> String {
    let config = config(&authority.server(), callers);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let origin = format!("https://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || serve(stream, config));
        }
    });
    origin
}

pub(super) fn config(shown: &Identity, callers: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&authority.pem())).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
    Arc::new(builder.with_single_cert(vec![certificate(&shown.cert)], key).expect("a pair"))
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, stream));
    while let Ok(Some(request)) = Message::read(&mut stream, false) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            request.head.len()
        );
        stream.get_mut().write_all(&[head.as_bytes(), &request.head].concat()).ok()?;
    }
    Some(())
}

fn greet(stream: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let session = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    while let Ok(Some(_)) = Message::read(&mut stream, false) {
        let stream = stream.get_mut();
        let shown = stream.conn.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let name: String = shown.map(|shown| Names::of(shown).all().collect()).unwrap_or_default();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
    Some(())
}

/// A bearerd whose egress trusts `authority` and shows `pair`.
fn sidecar(upstream: &str, authority: &Authority, pair: &Identity) -> Sidecar {
    let egress = "[egress.out]\nca = \"ca.pem\"\nclient_cert = \"cert.pem\"\nclient_key = \"key.pem\"\n\n";
    let sidecar = Setup::new(&format!("{egress}{}egress = \"out\"\n", to(upstream, &canary::token())))
        .file("ca.pem", &authority.pem())
        .file("cert.pem", &pair.cert)
        .file("key.pem", &pair.key)
        .start();
    sidecar.wait_until_ready();
    sidecar
}

#[test]
fn a_client_certificate_is_renewed_without_a_failed_request() {
    let (authority, callers) = (Authority::new(), Authority::new());
    let upstream = greeter(&authority, Some(&callers));
    let sidecar = sidecar(&upstream, &authority, &callers.named("one.example"));
    assert_eq!(sidecar.app().get("/api/").text(), "one.example");
    let end = "bearerd_credential_expires_timestamp_seconds{credential=\"egress.out\"}";
    let metrics = sidecar.admin().get("/metrics").text();
    assert!(metrics.lines().any(|line| line.starts_with(end)), "{metrics}");

    let (is_over, app) = (AtomicBool::new(false), sidecar.app());
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let answer = app.get("/api/");
                assert_eq!(answer.status(), 200, "{}", answer.text());
                seen.push(answer.text());
            }
            seen
        });
        let two = callers.named("two.example");
        // Half of the pair is refused, and told; the old one serves on.
        sidecar.replace_file("cert.pem", &two.cert);
        sidecar.log("a pair that does not fit", |line| {
            line["egress"] == "out"
                && line["error"].as_str().is_some_and(|error| error.contains("is not that of"))
        });
        sidecar.replace_file("key.pem", &two.key);
        sidecar.wait("the new certificate", || (app.get("/api/").text() == "two.example").then_some(()));
        is_over.store(true, Ordering::Relaxed);
        let seen = load.join().expect("no request fails");
        let first_new = seen.iter().position(|name| name == "two.example").unwrap_or(seen.len());
        assert!(seen[..first_new].iter().all(|name| name == "one.example"), "{seen:?}");
        assert!(seen[first_new..].iter().all(|name| name == "two.example"), "{seen:?}");
    });
}

#[test]
fn a_server_that_is_vouched_for_by_nobody_is_refused_until_its_authority_is_named() {
    let (old, new) = (Authority::new(), Authority::new());
    let upstream = greeter(&new, None);
    let sidecar = sidecar(&upstream, &old, &old.named("me.example"));
    let answer = sidecar.app().get("/api/");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_tls")));
    sidecar.replace_file("ca.pem", &new.pem());
    sidecar.wait("the new authority", || (sidecar.app().get("/api/").status() == 200).then_some(()));
}

#[test]
fn a_reload_with_files_that_cannot_be_used_changes_nothing() {
    let (authority, callers) = (Authority::new(), Authority::new());
    let upstream = greeter(&authority, Some(&callers));
    let sidecar = sidecar(&upstream, &authority, &callers.named("one.example"));
    sidecar.replace_file("key.pem", "spoilt");
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 422);
    assert_eq!(sidecar.app().get("/api/").text(), "one.example");
}

#[test]
fn a_server_that_misses_a_client_certificate_is_a_fault_of_tls() {
    let (authority, callers) = (Authority::new(), Authority::new());
    let upstream = greeter(&authority, Some(&callers));
    let egress = "[egress.out]\nca = \"ca.pem\"\n\n";
    let sidecar = Setup::new(&format!("{egress}{}egress = \"out\"\n", to(&upstream, &canary::token())))
        .file("ca.pem", &authority.pem())
        .start();
    sidecar.wait_until_ready();
    let answer = sidecar.app().get("/api/");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_tls")));
}

#[test]
fn the_authorities_of_the_machine_count_by_default_and_are_read_anew_by_a_reload() {
    let (old, new) = (Authority::new(), Authority::new());
    let upstream = greeter(&new, None);
    let setup = Setup::new(&to(&upstream, &canary::token())).file("system.pem", &old.pem());
    let system = setup.folder().join("system.pem").display().to_string();
    let sidecar = setup.variable("SSL_CERT_FILE", &system).start();
    sidecar.wait_until_ready();
    let answer = sidecar.app().get("/api/");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_tls")));
    sidecar.replace_file("system.pem", &new.pem());
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(sidecar.app().get("/api/").status(), 200);
}
