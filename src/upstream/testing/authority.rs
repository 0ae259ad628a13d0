//! A certificate authority of a test's own, and the ends of TLS that it vouches for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::clock::Clock;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// How a server differs from a usual one.
pub(crate) struct Differences<'a> {
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
    /// Clients must show a certificate of this authority.
    pub(crate) callers: Option<&'a Authority>,
    /// The first and the last year of the certificate.
    pub(crate) years: (i32, i32),
}

impl Default for Differences<'_> {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, protocols: &[], callers: None, years: (2000, 4000) }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Authority {
    /// A new authority.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {}", Clock::system().uuid());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate, in DER.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate for `name`.
    pub(crate) fn pair(&self, name: &str, (first, last): (i32, i32)) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 12, 31));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A server for `name`.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.server_with(name, &Differences::default())
    }

    /// A server for `name` that differs from a usual one.
    pub(crate) fn server_with(&self, name: &str, differences: &Differences<'_>) -> Arc<ServerConfig> {
        let pair = self.pair(name, differences.years);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(differences.versions)
            .expect("versions");
        let builder = match differences.callers {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let mut config = builder.with_single_cert(vec![certificate], key).expect("a certificate and its key");
        config.alpn_protocols = differences.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A folder with the files of an egress.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    /// A folder with an authority's certificate in `ca.pem`.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write("ca.pem", &authority.pem());
        files
    }

    /// Where a file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file");
    }

    /// Writes `cert.pem` and `key.pem`.
    pub(crate) fn write_pair(&self, pair: &Pair) {
        self.write("cert.pem", &pair.certificate);
        self.write("key.pem", &pair.key);
    }
}
