//! How connections leave, as configured.

use std::net::IpAddr;
use std::path::PathBuf;

/// How connections leave, as configured under `[egress.NAME]`; the default is the machine's own way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressSpec {
    /// The name in the configuration; empty for the default.
    pub name: String,
    /// The local address to connect from.
    pub source: Option<IpAddr>,
    /// A PEM file of certificate authorities, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The lowest TLS version that is accepted.
    pub min_tls: MinimumTls,
    /// Never use IPv6.
    pub ipv4_only: bool,
    /// Names may resolve to loopback and private addresses.
    pub allow_private: bool,
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
    /// Whether the kind of the address fits.
    pub(super) fn can_dial(&self, address: IpAddr) -> bool {
        (!self.ipv4_only || address.is_ipv4())
            && self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }
}
