//! TLS to origins: always verified, by the machine's authorities or by the egress's own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::upstream::connect::{Offer, Protocol};
use crate::upstream::{EgressSpec, MinimumTls};

/// Makes TLS connections. Clones share their sessions, so that later handshakes resume.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    /// No authority is known at all: every handshake would fail, and its error would mislead.
    trusts_nobody: bool,
}

impl Tls {
    /// TLS as `egress` wants it. Fails if the `ca` file cannot be used; a machine without any
    /// authorities is told only when TLS is first needed.
    pub(super) fn new(egress: &EgressSpec) -> Result<Self, String> {
        let roots = match &egress.ca {
            Some(path) => roots_from_file(path)?,
            None => roots_of_this_machine(),
        };
        let trusts_nobody = roots.is_empty();
        let versions: &[_] = match egress.min_tls {
            MinimumTls::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinimumTls::Tls13 => &[&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), trusts_nobody })
    }

    /// Shakes hands with `host` (a name or an address), whose certificate must be valid for it. A
    /// server without ALPN speaks HTTP/1.1.
    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
        offer: Offer,
    ) -> Result<(Box<TlsStream<TcpStream>>, Protocol), String> {
        if self.trusts_nobody {
            return Err("this machine has no certificate authorities: install `ca-certificates`, or name a \
                        file of them as `ca` of the egress"
                .to_owned());
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| "this host name cannot stand in a certificate".to_owned())?;
        let handshake = self.connector.with_alpn(offer.protocols()).connect(name, stream);
        let stream = handshake.await.map_err(|error| explain(&error))?;
        // A protocol that was not offered has failed the handshake (RFC 7301, section 3.2).
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((Box::new(stream), protocol))
    }
}

fn roots_from_file(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let pem =
        std::fs::read(path).map_err(|error| format!("the `ca` file {shown} cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| format!("the `ca` file {shown} is not valid PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| format!("the `ca` file {shown} holds a certificate that cannot be used"))?;
    }
    if roots.is_empty() {
        return Err(format!("the `ca` file {shown} holds no certificate in PEM form"));
    }
    Ok(roots)
}

fn roots_of_this_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Single files that cannot be read or parsed are common and harmless.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What a failed handshake means, in words.
fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::UnknownIssuer => {
                "its certificate is signed by an authority that is not trusted here; if that is right, name \
                 the authority as `ca` of the egress"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired (or this machine's clock is wrong)".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet (or this machine's clock is wrong)".to_owned()
            }
            other => format!("its certificate is not valid: {other}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS on this port".to_owned(),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up during the handshake".to_owned(),
        None => error.kind().to_string(),
    }
}
