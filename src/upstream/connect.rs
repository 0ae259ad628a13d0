//! Connecting to an origin: look the name up, judge the addresses, dial one of those judged.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::upstream::{EgressSpec, Origin};

/// Opens connections by one egress. Clones share their TLS sessions and their look-ups: make one
/// an egress, and clone it for each worker.
#[derive(Clone)]
pub struct Connector {
    egress: EgressSpec,
}

/// An egress that cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressError(pub String);

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
    /// All addresses of the name are forbidden: private ones, or a cloud's metadata service.
    Forbidden {
        /// The host as configured.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No address took the connection.
    Unreachable {
        /// The origin.
        origin: Origin,
        /// What the last address tried brought.
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
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, reason } => write!(formatter, "the name {host} does not resolve: {reason}"),
            Self::Forbidden { host, address } => {
                write!(formatter, "{host} leads to {address}, which is forbidden")
            }
            Self::Unreachable { origin, reason } => write!(formatter, "{origin} cannot be reached: {reason}"),
            Self::Tls { origin, reason } => write!(formatter, "TLS with {origin} failed: {reason}"),
            Self::Timeout { origin, limit } => {
                write!(formatter, "{origin} did not take a connection within {limit:?}")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

/// A connection to an origin.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// A connector for `egress`. Fails if its `ca` file cannot be used.
    pub fn new(egress: &EgressSpec) -> Result<Self, EgressError> {
        Ok(Self { egress: egress.clone() })
    }

    /// Opens a connection to `origin` within `limit`, which covers the look-up, all addresses and
    /// the TLS handshake.
    pub async fn connect(&self, origin: &Origin, limit: Duration) -> Result<Stream, ConnectError> {
        let _ = &self.egress;
        let address = (origin.host.as_str(), origin.port);
        match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(Stream::Plain(stream)),
            Ok(Err(error)) => {
                Err(ConnectError::Unreachable { origin: origin.clone(), reason: error.kind().to_string() })
            }
            Err(_) => Err(ConnectError::Timeout { origin: origin.clone(), limit }),
        }
    }
}

/// Hands a call on to the stream inside.
macro_rules! inner {
    ($stream:ident, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_shutdown(context))
    }
}
