//! Certificates and their keys, as both ends of TLS read them from PEM files.

mod names;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroize;

use crate::secret::{Secret, read_file, without_line_break};

pub use names::{AlternativeNames, Names, validity};

/// The largest PEM file that is read, in bytes.
const LARGEST: usize = 4 << 20;

/// Where the private key of a certificate comes from, or another secret that is wanted before anything
/// is obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A PEM file.
    File(PathBuf),
    /// PEM that the configuration or the environment held at start.
    Value(Secret),
}

/// A certificate with its chain and its private key: what one end of a connection shows the other.
#[derive(Debug, Clone)]
pub struct Identity {
    /// As rustls takes it.
    pub certified: Arc<CertifiedKey>,
    /// When the certificate began to be valid.
    pub begins_at: Timestamp,
    /// When the certificate ends.
    pub ends_at: Timestamp,
}

/// Why a certificate, its key or its authorities cannot be used. It tells which file, and never what
/// is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// The certificate's file is at fault.
    Certificate(String),
    /// The key is at fault.
    Key(String),
    /// The file of authorities is at fault.
    Authorities(String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(reason) | Self::Key(reason) | Self::Authorities(reason) => {
                formatter.write_str(reason)
            }
        }
    }
}

impl std::error::Error for CertificateError {}

impl KeySource {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Value(_) => None,
        }
    }

    /// The secret, without the one line break that editors leave at its end. Blocks on the file system.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::File(path) => Ok(read_file(path, LARGEST)?.0.without_line_break()),
            Self::Value(value) => Ok(Secret::new(without_line_break(value.expose()))),
        }
    }
}

impl Identity {
    /// Reads a certificate, its chain behind it, and its key. Blocks on the file system. Fails if the
    /// key is not that of the certificate.
    pub fn read(chain: &Path, key: &KeySource) -> Result<Self, CertificateError> {
        let certificates = certificates(chain).map_err(CertificateError::Certificate)?;
        let unusable = || {
            let reason = format!(
                "the certificate in {} cannot be used: TLS wants one of version 3 (RFC 5280, section 4.1.2.1)",
                chain.display()
            );
            CertificateError::Certificate(reason)
        };
        let (begins_at, ends_at) = certificates.first().and_then(validity).ok_or_else(unusable)?;
        let mut key = private_key(key).map_err(CertificateError::Key)?;
        let signer = any_supported_type(&key);
        key.zeroize();
        let of_no_kind =
            |_| CertificateError::Key("the private key is of a kind that TLS cannot use".to_owned());
        let certified = CertifiedKey::new(certificates, signer.map_err(of_no_kind)?);
        match certified.keys_match() {
            // Of some keys the public half is not known: then it is only the handshake that tells.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                let reason = format!("the private key is not that of the certificate in {}", chain.display());
                return Err(CertificateError::Key(reason));
            }
            Err(_) => return Err(unusable()),
        }
        Ok(Self { certified: Arc::new(certified), begins_at, ends_at })
    }

    /// Whether both show the same certificate, and so have the same key.
    pub fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// Reads the certificates of authorities that are to be trusted. Blocks on the file system.
pub fn authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(CertificateError::Authorities)? {
        roots.add(certificate).map_err(|_| {
            let reason = format!("the file {} holds a certificate that cannot be used", path.display());
            CertificateError::Authorities(reason)
        })?;
    }
    Ok(roots)
}

/// All certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(pem.expose()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| format!("the file {shown} is not valid PEM"))?;
    if certificates.is_empty() {
        return Err(format!("the file {shown} holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn private_key(source: &KeySource) -> Result<PrivateKeyDer<'static>, String> {
    let (pem, place) = match source {
        KeySource::File(path) => (read(path)?, format!("the file {}", path.display())),
        KeySource::Value(pem) => (pem.clone(), "the key".to_owned()),
    };
    let is_encrypted = || memchr::memmem::find(pem.expose(), b"ENCRYPTED").is_some();
    PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| match error {
        _ if is_encrypted() => {
            format!("{place} is encrypted; bearerd needs the private key without a passphrase")
        }
        pem::Error::NoItemsFound => format!("{place} holds no private key in PEM form"),
        _ => format!("{place} is not valid PEM"),
    })
}

/// Reads a whole file; what of it was a key is wiped when it goes.
fn read(path: &Path) -> Result<Secret, String> {
    read_file(path, LARGEST).map(|(bytes, _)| bytes.into())
}

#[cfg(test)]
mod tests;
