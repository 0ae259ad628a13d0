//! TLS to origins: always verified, by the machine's authorities or by the egress's own.

mod sessions;

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::upstream::MinimumTls;
use crate::upstream::connect::{Offer, Protocol};
use crate::upstream::material::Material;
use sessions::Sessions;

/// Makes TLS connections as one identity. Clones share their sessions, so that later handshakes
/// resume, on whichever thread they are.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    authorities: Arc<RootCertStore>,
}

impl Tls {
    /// TLS with the authorities and the client certificate of `material`. Sessions of an earlier
    /// identity are not resumed by it; those of so many servers are kept. Blocks on the file system.
    pub(super) fn new(material: &Material, lowest: MinimumTls, servers: usize) -> Result<Self, String> {
        let versions: &[_] = match lowest {
            MinimumTls::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinimumTls::Tls13 => &[&rustls::version::TLS13],
        };
        let authorities = material.authorities();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_root_certificates(Arc::clone(&authorities));
        let mut config = match &material.certificate {
            Some(own) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified.clone())))
            }
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::store(Arc::new(Sessions::new(servers)));
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), authorities })
    }

    /// Whether the authorities are those that `material` has now. Blocks on the file system.
    pub(super) fn trusts_the_same(&self, material: &Material) -> bool {
        self.authorities.roots == material.authorities().roots
    }

    /// Shakes hands with `host` (a name or an address), whose certificate must be valid for it. A
    /// server without ALPN speaks HTTP/1.1.
    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
        offer: Offer,
    ) -> Result<(Box<TlsStream<TcpStream>>, Protocol), String> {
        // Every handshake would fail, and its error would mislead.
        if self.authorities.is_empty() {
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

/// What a failed handshake means, in words.
fn explain(error: &io::Error) -> String {
    match reason(error) {
        Some(reason) => reason,
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up during the handshake".to_owned(),
        None => error.kind().to_string(),
    }
}

/// What an error of TLS means, in words that follow the name of the server; `None` if it is no error
/// of TLS but one of the connection below. A server that refuses a client certificate in TLS 1.3 does
/// so after the handshake: then this error comes with the first read.
pub fn reason(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => certificate_reason(reason),
        rustls::Error::AlertReceived(alert) => alert_reason(*alert),
        rustls::Error::PeerIncompatible(_) => {
            "it speaks no version of TLS, or no way of it, that is accepted here".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
        other => other.to_string(),
    })
}

fn certificate_reason(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not trusted here; if that is right, name the \
             authority as `ca` of the egress"
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
    }
}

/// What a server means by an alert (RFC 8446, section 6.2).
fn alert_reason(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client certificate: name one as `client_cert` of the egress".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!("it does not accept the client certificate of the egress, or misses one ({alert:?})")
        }
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that is accepted here".to_owned(),
        AlertDescription::NoApplicationProtocol => "it speaks no version of HTTP that is offered".to_owned(),
        other => format!("it broke TLS off ({other:?})"),
    }
}
