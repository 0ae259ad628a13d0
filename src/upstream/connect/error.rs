//! Why there is no connection.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::upstream::departure::WrongAddress;
use crate::upstream::{Origin, ProxySpec, address};

/// Why there is no connection. The message is for people; it names hosts and addresses only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// The name could not be looked up, or has no address of a usable kind.
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The addresses of the host are forbidden: private ones, or a cloud's metadata service.
    Forbidden {
        /// The host as configured.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The host is a name of a cloud's metadata service.
    ForbiddenName {
        /// The host as configured.
        host: String,
    },
    /// No address took the connection.
    Unreachable {
        /// The origin.
        origin: Origin,
        /// What the last address that was tried brought.
        reason: String,
    },
    /// The outbound proxy cannot be reached, or did not open a way to the origin.
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Its answer to CONNECT, if it gave one.
        status: Option<u16>,
        /// What happened.
        reason: String,
    },
    /// The TLS handshake failed: the certificate is not trusted, the versions do not meet.
    Tls {
        /// The origin.
        origin: Origin,
        /// What failed.
        reason: String,
    },
    /// The time was over before the connection stood.
    Timeout {
        /// The origin.
        origin: Origin,
        /// The time that there was.
        limit: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// This machine, or what bearerd may use of it, has no room for another connection: nobody else is
    /// at fault.
    Exhausted(Shortage),
    /// Connections leave from another address than the one that is expected: none is opened.
    WrongAddress(Box<WrongAddress>),
}

/// What this machine has no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// File descriptors of this process (`EMFILE`).
    Descriptors,
    /// File descriptors of the whole machine (`ENFILE`).
    DescriptorsOfTheMachine,
    /// Local ports to connect from (`EADDRNOTAVAIL`).
    Ports,
}

impl Shortage {
    /// Whether an error of a system call that makes a socket means that there are no more.
    pub fn of_sockets(error: &io::Error) -> Option<Self> {
        match rustix::io::Errno::from_io_error(error)? {
            rustix::io::Errno::MFILE => Some(Self::Descriptors),
            rustix::io::Errno::NFILE => Some(Self::DescriptorsOfTheMachine),
            _ => None,
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Descriptors => "bearerd has no file descriptor left: raise its limit (`LimitNOFILE=`)",
            Self::DescriptorsOfTheMachine => "this machine has no file descriptor left (`fs.file-max`)",
            Self::Ports => "this machine has no local port left to connect from",
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, reason } => {
                write!(formatter, "the name `{host}` cannot be looked up: {reason}")
            }
            Self::Forbidden { host, address } if address::is_metadata(*address) => {
                write!(
                    formatter,
                    "`{host}` leads to {address}, the metadata service of a cloud: never dialed"
                )
            }
            Self::ForbiddenName { host } => {
                write!(formatter, "`{host}` is the metadata service of a cloud: never dialed")
            }
            Self::Forbidden { host, address } => write!(
                formatter,
                "`{host}` leads to the private address {address}; if that is right, set `allow_private = true` \
                 on its egress"
            ),
            Self::Unreachable { origin, reason } => write!(formatter, "{origin} cannot be reached: {reason}"),
            Self::Proxy { proxy, reason, .. } => write!(formatter, "the outbound proxy {proxy} {reason}"),
            Self::Tls { origin, reason } => write!(formatter, "TLS with {origin} failed: {reason}"),
            Self::Timeout { origin, limit, stage } => {
                write!(formatter, "no connection to {origin} within {limit:.0?}: {stage} took too long")
            }
            Self::Exhausted(shortage) => shortage.fmt(formatter),
            Self::WrongAddress(wrong) => wrong.fmt(formatter),
        }
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    /// The proxy did not answer at all.
    pub(super) fn of_proxy(proxy: &ProxySpec, reason: String) -> Self {
        Self::Proxy { proxy: proxy.origin.host_and_port(), status: None, reason }
    }
}
