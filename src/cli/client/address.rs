//! Where an admin listener is, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::Authority;

use crate::server;

/// `127.0.0.1:9180`, `localhost:9180`, `http://localhost:9180` or `unix:/run/bearerd/admin.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Where to call what listens there: on loopback, if it listens on all addresses.
    pub fn of(listening: &server::Address) -> Self {
        match listening {
            server::Address::Unix(path) => Self::Unix(path.clone()),
            server::Address::Tcp(address) => {
                let host = match address.ip() {
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    other => other,
                };
                Self::Tcp(SocketAddr::new(host, address.port()).to_string())
            }
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp("127.0.0.1:9180".to_owned())
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err("a Unix socket is written unix:/absolute/path")
            };
        }
        let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let wrong = "an address is written HOST:PORT or unix:/PATH";
        let authority: Authority = text.parse().map_err(|_| wrong)?;
        match authority.port_u16() {
            Some(port) if port != 0 && !authority.host().is_empty() && !text.contains('@') => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => formatter.write_str(authority),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;
    use crate::server;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let tcp = |text: &str| Ok(Address::Tcp(text.to_owned()));
        assert_eq!("127.0.0.1:9180".parse(), tcp("127.0.0.1:9180"));
        assert_eq!("http://localhost:9180/".parse(), tcp("localhost:9180"));
        assert_eq!("[::1]:9180".parse(), tcp("[::1]:9180"));
        assert_eq!("unix:/run/a.sock".parse(), Ok(Address::Unix("/run/a.sock".into())));
        for wrong in ["", "9180", "localhost", "https://localhost:1", "unix:a.sock", "a@b:1", "localhost:0"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_called_on_loopback() {
        let of =
            |text: &str| Address::of(&server::Address::Tcp(text.parse().expect("an address"))).to_string();
        assert_eq!(of("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("10.1.2.3:1"), "10.1.2.3:1");
    }
}
