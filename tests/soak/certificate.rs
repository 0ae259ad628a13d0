//! The certificates of the upstream over TLS: a new authority each time, taken over without a gap.
//!
//! ```text
//! step 0: bearerd trusts old and new    step 1: the upstream shows the new one    step 2: only new
//! ```

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;

use crate::ledger::lock;
use crate::origin::Certificate;

/// One authority after the other.
pub struct Rotation {
    shown: Certificate,
    trusted: String,
    next: (String, Arc<ServerConfig>),
    step: usize,
}

impl Rotation {
    /// With a first authority.
    pub fn new() -> Self {
        let (trusted, config) = authority();
        Self { shown: Arc::new(Mutex::new(config)), trusted, next: authority(), step: 0 }
    }

    /// What the upstream shows.
    pub fn shown(&self) -> Certificate {
        self.shown.clone()
    }

    /// The next step: what bearerd shall trust from the next reload on.
    pub fn turn(&mut self) -> String {
        let step = self.step % 3;
        self.step += 1;
        match step {
            0 => format!("{}{}", self.trusted, self.next.0),
            1 => {
                *lock(&self.shown) = self.next.1.clone();
                format!("{}{}", self.trusted, self.next.0)
            }
            _ => {
                self.trusted = std::mem::replace(&mut self.next, authority()).0;
                self.trusted.clone()
            }
        }
    }

    /// What bearerd trusts now.
    pub fn trusted(&self) -> &str {
        &self.trusted
    }
}

/// A new authority in PEM, and a server with a certificate of it.
fn authority() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "soak");
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = server.signed_by(&key, &issuer).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a server");
    (issuer.pem(), Arc::new(config))
}
