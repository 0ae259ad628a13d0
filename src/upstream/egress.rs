//! How connections leave, as configured.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::certificate::KeySource;
use crate::secret::{Secret, SecretBuffer, read_file};
use crate::telemetry::Counter;
use crate::upstream::{Origin, Url};

/// The longest password of a proxy, in bytes.
const LONGEST_PASSWORD: usize = 4096;

/// How connections leave, as configured under `[egress.NAME]`; the default is the machine's own way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressSpec {
    /// The name in the configuration; empty for the default.
    pub name: String,
    /// The local address to connect from.
    pub source: Option<IpAddr>,
    /// The proxy that all connections go through.
    pub proxy: Option<ProxySpec>,
    /// A PEM file of certificate authorities, in place of the system's.
    pub ca: Option<PathBuf>,
    /// What bearerd shows of itself to servers that ask for it.
    pub certificate: Option<CertificateSpec>,
    /// The lowest TLS version that is accepted.
    pub min_tls: MinimumTls,
    /// Never use IPv6.
    pub ipv4_only: bool,
    /// Names may resolve to loopback and private addresses.
    pub allow_private: bool,
    /// The address that the world has to see.
    pub expect: Option<Box<ExpectSpec>>,
    /// How much of the machine it takes.
    pub limits: EgressLimits,
}

/// How much of the machine an egress takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressLimits {
    /// Names that are looked up at once: a slow resolver holds up those that wait for it, and no thread more.
    pub lookups: usize,
    /// Servers whose TLS sessions are kept; beyond, those of the one that was met longest ago go.
    pub tls_servers: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self { lookups: 16, tls_servers: 32 }
    }
}

/// How often the limits of egresses bit, over all of them since the process began.
#[derive(Debug)]
pub struct EgressBites {
    /// Look-ups that had to wait for others ([`EgressLimits::lookups`]).
    pub lookups: Counter,
    /// Servers that were forgotten ([`EgressLimits::tls_servers`]).
    pub tls_servers: Counter,
}

/// See [`EgressBites`].
pub static BITES: EgressBites = EgressBites { lookups: Counter::new(), tls_servers: Counter::new() };

/// Which address connections have to leave from, as `expect_address` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectSpec {
    /// The addresses that are right: one, or several behind one exit.
    pub addresses: Vec<IpAddr>,
    /// Who tells from which address it was asked.
    pub url: Url,
    /// Where in a JSON answer the address stands (RFC 6901); `None` for an answer that is the address, or an
    /// object with it as `ip`, `address` or `origin`.
    pub pointer: Option<String>,
    /// Between two checks.
    pub every: Duration,
    /// No connection is opened before an expected address was seen, also while nobody tells it.
    pub strict: bool,
}

/// An outbound HTTP proxy, spoken to in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySpec {
    /// Where it is. To name it is consent to wherever that leads.
    pub origin: Origin,
    /// How bearerd shows itself to it, if it does (RFC 7617).
    pub login: Option<ProxyLogin>,
}

/// A user of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    /// The user's name; it has no colon.
    pub user: String,
    /// Where the password comes from.
    pub password: KeySource,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// A PEM file with the certificate and its chain behind it.
    pub chain: PathBuf,
    /// Where its private key comes from.
    pub key: KeySource,
}

/// The lowest TLS version that an egress accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinimumTls {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl EgressSpec {
    /// The files that it is made of: whenever one changes, [`Connector::renew`] is due.
    ///
    /// [`Connector::renew`]: crate::upstream::connect::Connector::renew
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let certificate = self.certificate.iter();
        let certificate = certificate.flat_map(|of| [Some(&of.chain), of.key.file()]);
        let login = self.proxy.iter().filter_map(|proxy| proxy.login.as_ref());
        let login = login.map(|login| login.password.file());
        [self.ca.as_ref()].into_iter().chain(certificate).chain(login).flatten()
    }

    /// Whether connections by both leave in the same way, so that others see the same address.
    pub fn leaves_like(&self, other: &Self) -> bool {
        let origin = |egress: &Self| egress.proxy.as_ref().map(|proxy| proxy.origin.clone());
        let expected = |egress: &Self| egress.expect.as_ref().map(|expect| expect.addresses.clone());
        self.source == other.source && origin(self) == origin(other) && expected(self) == expected(other)
    }

    /// Whether the kind of the address fits.
    pub(super) fn can_dial(&self, address: IpAddr) -> bool {
        (!self.ipv4_only || address.is_ipv4())
            && self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }
}

impl ProxyLogin {
    /// The value of `Proxy-Authorization` (RFC 7617, section 2). Blocks on the file system. The error
    /// says what is wrong with the password.
    pub fn authorization(&self) -> Result<Secret, String> {
        let password = match &self.password {
            KeySource::Value(password) => password.clone(),
            KeySource::File(path) => {
                let (read, _) = read_file(path, LONGEST_PASSWORD)?;
                let password = read.without_line_break();
                if password.is_empty() {
                    return Err(format!("the file {} is empty", path.display()));
                }
                password
            }
        };
        if password.expose().iter().any(u8::is_ascii_control) {
            return Err("the proxy's password holds a control character".to_owned());
        }
        let pair = Zeroizing::new([self.user.as_bytes(), b":", password.expose()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*pair));
        let mut value = SecretBuffer::with_capacity(6 + encoded.len());
        value.push(b"Basic ");
        value.push(encoded.as_bytes());
        Ok(value.into())
    }
}
