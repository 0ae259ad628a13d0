//! What an egress is made of at a time: authorities, the client certificate, the proxy's password.
//! Files bring it, and files change.

use rustls::RootCertStore;

use crate::certificate::{self, Identity};
use crate::secret::Secret;
use crate::upstream::EgressSpec;

/// What an egress is made of at a time.
pub(super) struct Material {
    /// Who may vouch for servers.
    pub(super) authorities: RootCertStore,
    /// What bearerd shows to servers that ask.
    pub(super) certificate: Option<Identity>,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

impl Material {
    /// Reads it. Blocks on the file system. A machine without any authorities is told only when TLS is
    /// first needed.
    pub(super) fn read(egress: &EgressSpec) -> Result<Self, String> {
        let told = |error: certificate::CertificateError| error.to_string();
        let authorities = match &egress.ca {
            Some(path) => certificate::authorities(path).map_err(told)?,
            None => authorities_of_this_machine(),
        };
        let certificate = egress.certificate.as_ref().map(|of| Identity::read(&of.chain, &of.key));
        let login = egress.proxy.as_ref().and_then(|proxy| proxy.login.as_ref());
        Ok(Self {
            authorities,
            certificate: certificate.transpose().map_err(told)?,
            authorization: login.map(super::ProxyLogin::authorization).transpose()?,
        })
    }

    /// Whether both are the same: then nothing has to be made anew.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same_certificate = match (&self.certificate, &other.certificate) {
            (Some(one), Some(other)) => one.is_same(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_same_certificate
            && self.authorities.roots == other.authorities.roots
            && self.authorization == other.authorization
    }
}

fn authorities_of_this_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Single files that cannot be read or parsed are common and harmless.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
