//! What an egress is made of at a time: authorities, the client certificate, the proxy's password.
//! Files bring it, and files change.

use std::sync::Arc;

use rustls::RootCertStore;

use crate::certificate::{self, Identity};
use crate::secret::Secret;
use crate::upstream::EgressSpec;

/// What an egress is made of at a time.
#[derive(Clone)]
pub(super) struct Material {
    /// Who may vouch for servers; `None` for the authorities of this machine.
    own_authorities: Option<Arc<RootCertStore>>,
    /// What bearerd shows to servers that ask.
    pub(super) certificate: Option<Identity>,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

impl Material {
    /// Reads the files of an egress. Blocks on the file system.
    pub(super) fn read(egress: &EgressSpec) -> Result<Self, String> {
        let told = |error: certificate::CertificateError| error.to_string();
        let own_authorities = egress.ca.as_deref().map(certificate::authorities).transpose().map_err(told)?;
        let certificate = egress.certificate.as_ref().map(|of| Identity::read(&of.chain, &of.key));
        let login = egress.proxy.as_ref().and_then(|proxy| proxy.login.as_ref());
        Ok(Self {
            own_authorities: own_authorities.map(Arc::new),
            certificate: certificate.transpose().map_err(told)?,
            authorization: login.map(super::ProxyLogin::authorization).transpose()?,
        })
    }

    /// Who may vouch for servers. Those of this machine are read anew each time, which blocks for some
    /// milliseconds: only those who need TLS ask. A machine may have none.
    pub(super) fn authorities(&self) -> Arc<RootCertStore> {
        self.own_authorities.clone().unwrap_or_else(|| Arc::new(authorities_of_this_machine()))
    }

    /// Whether both are the same, so far as the files of the egress say.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same_certificate = match (&self.certificate, &other.certificate) {
            (Some(one), Some(other)) => one.is_same(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_same_certificate
            && self.own_authorities.as_ref().map(|own| &own.roots)
                == other.own_authorities.as_ref().map(|own| &own.roots)
            && self.authorization == other.authorization
    }
}

fn authorities_of_this_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Single files that cannot be read or parsed are common and harmless.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
