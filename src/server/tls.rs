//! TLS with apps: what a listener shows, whom it lets in, and the handshake.
//!
//! ```text
//! files ──load──▶ Tls ──one atomic store──▶ handshakes from now on
//!   ▲                                       (connections that are open go on)
//!   └── a reload, or a changed file; a pair that cannot be used leaves the old one in place
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError as Invalid, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::{self, CertificateError, Identity, KeySource, Names};
use crate::clock::Clock;
use crate::proxy::watch::{Elapsed, Watch};
use crate::proxy::{Code, ProxyError};
use crate::route::metrics::Limit;
use crate::server::Settings;
use crate::server::socket::AppStream;

/// The protocols that a listener speaks, the best one first (RFC 7301).
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// `tls` of a listener: what it shows, and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// A PEM file with the certificate and its chain behind it.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: KeySource,
    /// A PEM file of authorities: every caller must show a certificate of one of them.
    pub client_ca: Option<PathBuf>,
    /// The names of which a caller's certificate must have one; empty for any.
    pub allow_names: Vec<String>,
}

impl TlsSpec {
    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.cert), self.key.file(), self.client_ca.as_ref()].into_iter().flatten()
    }
}

/// TLS of a listener, loaded from its files.
#[derive(Debug)]
pub struct Tls {
    spec: TlsSpec,
    shown: Arc<Shown>,
}

/// What the files held. Sessions resume for as long as it stands.
struct Shown {
    identity: Identity,
    callers: Option<RootCertStore>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shown").field("ends_at", &self.identity.ends_at).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. Where they hold what they held `before`, sessions of before still resume.
    /// Blocks on the file system.
    pub fn load(spec: &TlsSpec, before: Option<&Self>) -> Result<Self, CertificateError> {
        let identity = Identity::read(&spec.cert, &spec.key)?;
        let callers = spec.client_ca.as_deref().map(certificate::authorities).transpose()?;
        let shown = match before.map(|before| &before.shown) {
            Some(shown) if shown.is(&identity, callers.as_ref()) => Arc::clone(shown),
            _ => Arc::new(Shown::new(identity, callers)?),
        };
        Ok(Self { spec: spec.clone(), shown })
    }

    /// What it was loaded from.
    pub fn spec(&self) -> &TlsSpec {
        &self.spec
    }

    /// Whether both show the same certificate and trust the same authorities.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shown, &other.shown)
    }

    /// When the certificate ends.
    pub fn ends_at(&self) -> Timestamp {
        self.shown.identity.ends_at
    }

    /// When the certificate that is shown begins and ends.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.shown.identity.begins_at, self.shown.identity.ends_at)
    }

    /// Why the caller may not call, if it may not. rustls has verified the certificate, but for one of
    /// a session that is resumed, which may have ended since.
    fn refusal(&self, stream: &TlsStream<TcpStream>, now: Timestamp) -> Option<ProxyError> {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first)?;
        let denied = |detail: &'static str, names: &Names<'_>| {
            let names: Vec<&str> = names.all().collect();
            let error = ProxyError::new(Code::CallerDenied, detail).and_close();
            error.because(format_args!("its certificate is for {}", names.join(", ")))
        };
        let names = Names::of(certificate);
        if certificate::validity(certificate).is_none_or(|(_, end)| end < now) {
            return Some(denied("the certificate that this caller showed has ended", &names));
        }
        let allowed = &self.spec.allow_names;
        let is_allowed = allowed.is_empty() || allowed.iter().any(|name| names.contain(name));
        (!is_allowed)
            .then(|| denied("the certificate that this caller showed has no name that may call", &names))
    }
}

impl Shown {
    fn new(identity: Identity, callers: Option<RootCertStore>) -> Result<Self, CertificateError> {
        let unusable = |error: rustls::Error| CertificateError::Certificate(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &callers {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let authorities = Arc::new(authorities.clone());
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider).build();
                let verifier = verifier.map_err(|error| CertificateError::Authorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certified = Arc::clone(&identity.certified);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        // Sessions lie with the callers, sealed with keys that change by themselves and that no other
        // configuration has: whom another authority let in has to shake hands anew.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Self { identity, callers, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    fn is(&self, identity: &Identity, callers: Option<&RootCertStore>) -> bool {
        let own = self.callers.as_ref().map(|store| &store.roots);
        self.identity.is_same(identity) && own == callers.map(|store| &store.roots)
    }
}

/// A connection whose first request may be read.
pub struct Greeted {
    /// The connection.
    pub stream: AppStream,
    /// What its requests are answered with, if they may not pass.
    pub refusal: Option<ProxyError>,
}

/// Shakes hands where the listener speaks TLS, for as long as `watch` allows. `None` if the connection
/// is over.
pub async fn greet(stream: AppStream, settings: &Settings, watch: &Watch, clock: &Clock) -> Option<Greeted> {
    let (tls, stream) = match (&settings.tls, stream) {
        (Some(tls), AppStream::Tcp(stream)) => (tls, stream),
        (_, stream) => return Some(Greeted { stream, refusal: None }),
    };
    let door = &settings.door;
    // It lives to the end, so that whoever sees the connection end finds it counted.
    let handshake = Box::pin(shake_hands(tls, stream, clock));
    let reason = match watch.guard(handshake).await {
        Ok(Ok(greeted)) => return greeted,
        Ok(Err(error)) => explain(&error),
        Err(Elapsed(_)) => {
            door.metrics.unrouted.limited(Limit::HeadTimeout);
            "it took longer than `head_timeout`".to_owned()
        }
    };
    door.metrics.failed_handshakes.increment();
    if let Some(untold) = door.metrics.handshakes_told.tell(&reason) {
        tracing::info!(listener = door.listener, reason, untold, "a TLS handshake failed");
    }
    None
}

async fn shake_hands(tls: &Tls, stream: TcpStream, clock: &Clock) -> io::Result<Option<Greeted>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        // A look whether the port is open, such as load balancers take.
        return Ok(None);
    }
    if first != [HANDSHAKE] {
        let detail = "this listener speaks TLS: call it by https://";
        let refusal = Some(ProxyError::new(Code::BadRequest, detail).and_close());
        return Ok(Some(Greeted { stream: AppStream::Tcp(stream), refusal }));
    }
    let stream = tls.shown.acceptor.accept(stream).await?;
    let refusal = tls.refusal(&stream, clock.wall());
    Ok(Some(Greeted { stream: AppStream::Tls(Box::new(stream)), refusal }))
}

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What a failed handshake means, in words.
fn explain(error: &io::Error) -> String {
    use rustls::Error;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the caller hung up".to_owned(),
            kind => kind.to_string(),
        };
    };
    match tls {
        Error::NoCertificatesPresented => "the caller showed no certificate".to_owned(),
        Error::InvalidCertificate(Invalid::UnknownIssuer | Invalid::BadSignature) => {
            "the caller's certificate is of no authority in `client_ca`".to_owned()
        }
        Error::InvalidCertificate(Invalid::Expired | Invalid::ExpiredContext { .. }) => {
            "the caller's certificate has ended (or this machine's clock is wrong)".to_owned()
        }
        Error::InvalidCertificate(Invalid::NotValidYet | Invalid::NotValidYetContext { .. }) => {
            "the caller's certificate is not valid yet (or this machine's clock is wrong)".to_owned()
        }
        Error::InvalidCertificate(Invalid::Other(reason)) => {
            format!("the caller's certificate is not valid: {reason}")
        }
        Error::InvalidCertificate(other) => format!("the caller's certificate is not valid: {other}"),
        Error::AlertReceived(alert) => format!("the caller refused: {alert:?}"),
        Error::InvalidMessage(_) => "the caller does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}
