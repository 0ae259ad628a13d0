//! How connections leave: addresses, TLS, pools and egress. Used by the flows that talk to issuers
//! and by the proxy that forwards requests.

pub mod address;
pub mod connect;
pub mod exchange;
pub mod pool;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery, Uri};

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP/1.1 over plain TCP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when a URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port (RFC 6454): what a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Lower-case name or address; an IPv6 address without brackets.
    pub host: String,
    /// Always said, also where it is the scheme's default.
    pub port: u16,
}

impl Origin {
    /// The `Host` field for this origin: without the port where it is the default one.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the host is written as a loopback address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether both mean the same server; all spellings of the loopback host count as one.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && (self.host == other.host || (self.is_loopback() && other.is_loopback()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// An absolute `http` or `https` URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Where it leads.
    pub origin: Origin,
    /// Path and query as written; at least `/`.
    pub path_and_query: PathAndQuery,
}

impl Url {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin, self.path_and_query)
    }
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('#') {
            return Err("a URL here has no fragment (`#`)");
        }
        let parts = text.parse::<Uri>().map_err(|_| "this is not a URL")?.into_parts();
        let scheme = match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) => return Err("a URL here starts with `https://` or `http://`"),
            None => return Err("a URL here is absolute: `https://host/path`"),
        };
        let authority: Authority = parts.authority.ok_or("this URL names no host")?;
        if authority.as_str().contains('@') {
            return Err("a URL here has no user information (`@`)");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err("this URL names no host");
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => {
                port.parse().ok().filter(|port| *port != 0).ok_or("the port is from 1 to 65535")?
            }
            _ => scheme.default_port(),
        };
        let path_and_query = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { origin: Origin { scheme, host, port }, path_and_query })
    }
}

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
