//! Opening a connection to an origin.
//!
//! ```text
//! look its name up ─▶ judge its addresses ─▶ dial ─▶ shake hands, if it is TLS ─▶ Opened
//! ```
//!
//! All of it counts against one time limit, and an error names the stage that it broke at. Nothing is
//! remembered but TLS sessions: each connection looks the name up again.

mod dial;
mod error;
mod lookup;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::upstream::connect::dial::DialError;
use crate::upstream::connect::lookup::Resolver;
use crate::upstream::tls::Tls;
use crate::upstream::{EgressSpec, Origin, Scheme};

pub use crate::upstream::connect::error::{ConnectError, Shortage};
pub use crate::upstream::stream::Stream;

/// Longer limits are cut to this, so that no clock overflows.
const LONGEST_LIMIT: Duration = Duration::from_secs(86_400);

/// Opens connections by one egress. Clones are cheap and share everything: make one an egress, and
/// clone it for each worker.
#[derive(Clone)]
pub struct Connector(Arc<Shared>);

struct Shared {
    spec: EgressSpec,
    resolver: Resolver,
    tls: Tls,
}

/// Which versions of HTTP are offered where the other side chooses (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 only: what an upgrade and an exchange with an issuer need.
    Http1,
    /// HTTP/2 and HTTP/1.1, in this order.
    Both,
}

impl Offer {
    /// What the proxy offers to upstreams. The one switch for HTTP/2 there: with [`Self::Both`] it is
    /// negotiated by TLS, and `h2c://` upstreams are configurable.
    pub const FORWARDING: Self = Self::Http1;

    /// The protocols of ALPN, the preferred one first.
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// A connection that stands.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: Stream,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// As what it was opened: equal to [`Connector::identity`] until certificates change.
    pub identity: Identity,
}

/// The authorities, the client certificate and the secrets of an egress at some time, as a number that
/// no other egress and no other time has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64);

/// An egress that cannot be used as it is configured: why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressError(pub String);

impl fmt::Display for EgressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for EgressError {}

impl Connector {
    /// A connector for `egress`. Fails if its `ca` file cannot be used.
    pub fn new(egress: &EgressSpec) -> Result<Self, EgressError> {
        Ok(Self(Arc::new(Shared {
            resolver: Resolver::new(),
            tls: Tls::new(egress).map_err(EgressError)?,
            spec: egress.clone(),
        })))
    }

    /// What connections that are opened now are opened as. One that was opened as something else is
    /// not to be used for another request.
    pub fn identity(&self) -> Identity {
        Identity(0)
    }

    /// Opens a connection to `origin` within `limit`, which covers the look-up, all addresses and
    /// the TLS handshake; zero is no limit. An `h2c` origin speaks HTTP/2 whatever is offered.
    pub async fn connect(
        &self,
        origin: &Origin,
        offer: Offer,
        limit: Duration,
    ) -> Result<Opened, ConnectError> {
        let attempt = Attempt::new(origin, limit);
        let (stream, protocol) = match origin.scheme {
            Scheme::Unix => {
                let stream = attempt.within("connecting", attempt.dialed(dial::unix(&origin.host))).await?;
                (Stream::Unix(stream), Protocol::Http1)
            }
            Scheme::Http => (Stream::Plain(self.reach(&attempt).await?), Protocol::Http1),
            Scheme::H2c => (Stream::Plain(self.reach(&attempt).await?), Protocol::Http2),
            Scheme::Https => {
                let stream = self.reach(&attempt).await?;
                let handshake = async {
                    let outcome = self.0.tls.handshake(&origin.host, stream, offer).await;
                    outcome.map_err(|reason| ConnectError::Tls { origin: origin.clone(), reason })
                };
                let (stream, protocol) = attempt.within("the TLS handshake", handshake).await?;
                (Stream::Tls(stream), protocol)
            }
        };
        Ok(Opened { stream, protocol, identity: self.identity() })
    }

    /// A TCP connection that leads to the origin.
    async fn reach(&self, attempt: &Attempt<'_>) -> Result<TcpStream, ConnectError> {
        let (origin, spec) = (attempt.origin, &self.0.spec);
        let lookup = self.0.resolver.addresses(&origin.host, origin.port, spec, false);
        let addresses = attempt.within("looking its name up", lookup).await?;
        attempt.within("connecting", attempt.dialed(dial::tcp(addresses, spec.source))).await
    }
}

/// One attempt to connect: to where, and until when.
struct Attempt<'a> {
    origin: &'a Origin,
    limit: Duration,
    deadline: Instant,
}

impl<'a> Attempt<'a> {
    fn new(origin: &'a Origin, limit: Duration) -> Self {
        let limit = if limit.is_zero() { LONGEST_LIMIT } else { limit.min(LONGEST_LIMIT) };
        Self { origin, limit, deadline: Clock::instant() + limit }
    }

    /// Runs a stage for as long as there is time; a time-out names it.
    async fn within<T>(
        &self,
        stage: &'static str,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let late = |_| ConnectError::Timeout { origin: self.origin.clone(), limit: self.limit, stage };
        timeout_at(self.deadline, work).await.map_err(late)?
    }

    /// Says whose fault a socket is.
    async fn dialed<T>(&self, dial: impl Future<Output = Result<T, DialError>>) -> Result<T, ConnectError> {
        dial.await.map_err(|error| match error {
            DialError::Exhausted(shortage) => ConnectError::Exhausted(shortage),
            DialError::Refused(reason) => ConnectError::Unreachable { origin: self.origin.clone(), reason },
        })
    }
}

#[cfg(test)]
mod tests;
