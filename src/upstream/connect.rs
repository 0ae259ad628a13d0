//! Connecting to an origin: look its name up, judge the addresses, dial those that may be dialed,
//! and shake hands if it is TLS. What was judged is what is dialed: no name is looked up twice.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::clock::Clock;
use crate::upstream::tls::Tls;
use crate::upstream::{EgressSpec, Origin, Scheme, address};

pub use crate::upstream::stream::Stream;

/// Look-ups at once for one egress. A slow resolver holds up those that wait for it, and no thread
/// more.
const LOOKUPS: usize = 16;

/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 8;

/// How long an address has for itself before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Longer limits are cut to this, so that no clock overflows.
const LONGEST_LIMIT: Duration = Duration::from_secs(86_400);

/// Opens connections by one egress. Clones share their TLS sessions and their look-ups: make one
/// an egress, and clone it for each worker.
#[derive(Clone)]
pub struct Connector {
    source: Option<IpAddr>,
    ipv4_only: bool,
    allow_private: bool,
    tls: Tls,
    lookups: Arc<Semaphore>,
}

/// An egress that cannot be used as it is configured: why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressError(pub String);

impl fmt::Display for EgressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for EgressError {}

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
    /// No address took the connection.
    Unreachable {
        /// The origin.
        origin: Origin,
        /// What the last address that was tried brought.
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
            Self::Forbidden { host, address } => write!(
                formatter,
                "`{host}` leads to the private address {address}; if that is right, set `allow_private = true` \
                 on its egress"
            ),
            Self::Unreachable { origin, reason } => write!(formatter, "{origin} cannot be reached: {reason}"),
            Self::Tls { origin, reason } => write!(formatter, "TLS with {origin} failed: {reason}"),
            Self::Timeout { origin, limit, stage } => {
                write!(formatter, "no connection to {origin} within {limit:?}: {stage} took too long")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

impl Connector {
    /// A connector for `egress`. Fails if its `ca` file cannot be used.
    pub fn new(egress: &EgressSpec) -> Result<Self, EgressError> {
        Ok(Self {
            source: egress.source,
            ipv4_only: egress.ipv4_only,
            allow_private: egress.allow_private,
            tls: Tls::new(egress).map_err(EgressError)?,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        })
    }

    /// Opens a connection to `origin` within `limit`, which covers the look-up, all addresses and
    /// the TLS handshake.
    pub async fn connect(&self, origin: &Origin, limit: Duration) -> Result<Stream, ConnectError> {
        let deadline = Clock::instant() + limit.min(LONGEST_LIMIT);
        let late = |stage| move |_| ConnectError::Timeout { origin: origin.clone(), limit, stage };

        let addresses =
            timeout_at(deadline, self.addresses(origin)).await.map_err(late("looking its name up"))??;
        let stream = timeout_at(deadline, self.dial(addresses))
            .await
            .map_err(late("connecting"))?
            .map_err(|reason| ConnectError::Unreachable { origin: origin.clone(), reason })?;
        if origin.scheme == Scheme::Http {
            return Ok(Stream::Plain(stream));
        }
        let stream = timeout_at(deadline, self.tls.handshake(&origin.host, stream))
            .await
            .map_err(late("the TLS handshake"))?
            .map_err(|reason| ConnectError::Tls { origin: origin.clone(), reason })?;
        Ok(Stream::Tls(stream))
    }

    /// The addresses of `origin` that may be dialed; at least one.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, ConnectError> {
        let forbidden = |address: IpAddr| ConnectError::Forbidden { host: origin.host.clone(), address };
        let (found, consent) = if let Ok(literal) = origin.host.parse::<IpAddr>() {
            (vec![literal], true)
        } else if origin.host == "localhost" {
            // RFC 6761, section 6.3: this name is never asked of a server.
            (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], true)
        } else {
            (self.look_up(&origin.host).await?, self.allow_private)
        };
        let usable: Vec<_> = found.into_iter().filter(|address| self.can_dial(*address)).collect();
        let Some(first) = usable.first().copied() else {
            let reason = "it has no address of the kind that its egress uses".to_owned();
            return Err(ConnectError::Resolve { host: origin.host.clone(), reason });
        };
        let may_be_dialed =
            |address: &IpAddr| !address::is_metadata(*address) && (consent || !address::is_private(*address));
        let allowed = take_turns(usable.into_iter().filter(may_be_dialed));
        if allowed.is_empty() {
            return Err(forbidden(first));
        }
        Ok(allowed.into_iter().map(|address| SocketAddr::new(address, origin.port)).collect())
    }

    /// Whether the kind of the address fits the egress.
    fn can_dial(&self, address: IpAddr) -> bool {
        (!self.ipv4_only || address.is_ipv4())
            && self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }

    /// Asks the system's resolver, on a thread of the runtime's pool, since it may block for long.
    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let failed = |reason: String| ConnectError::Resolve { host: host.to_owned(), reason };
        let permit = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(|_| failed("bearerd is shutting down".to_owned()))?;
        let name = host.to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the resolver is done, also when nobody waits for it any more.
            let _permit = permit;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        match answer.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(failed(resolver_reason(&error))),
            Err(_) => Err(failed("the look-up was broken off".to_owned())),
        }
    }

    /// Dials the addresses, each a little after the one before, and takes the first that answers.
    async fn dial(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
        if let [only] = addresses.as_slice() {
            return attempt(*only, self.source).await;
        }
        let mut waiting = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut reason = String::new();
        loop {
            if let Some(address) = waiting.next() {
                attempts.spawn(attempt(address, self.source));
            }
            tokio::select! {
                done = attempts.join_next() => match done {
                    Some(Ok(Ok(stream))) => return Ok(stream),
                    Some(Ok(Err(failed))) => reason = failed,
                    Some(Err(_)) => {}
                    None => return Err(reason),
                },
                () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
            }
        }
    }
}

/// One address, from `source` if there is one.
async fn attempt(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, String> {
    let failed = |error: io::Error| format!("{address}: {}", error.kind());
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    if let Some(source) = source {
        socket
            .bind(SocketAddr::new(source, 0))
            .map_err(|error| format!("the source address {source} cannot be used: {}", error.kind()))?;
    }
    let stream = socket.connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Lets IPv6 and IPv4 take turns, starting with the kind that the resolver put first (RFC 8305,
/// section 4), so that a family without a way out costs one turn.
fn take_turns(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let all: Vec<_> = addresses.collect();
    let first_is_v4 = all.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = all.iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut turns = Vec::with_capacity(all.len());
    for turn in 0..all.len() {
        turns.extend(first.get(turn));
        turns.extend(second.get(turn));
    }
    turns.truncate(MOST_ADDRESSES);
    turns
}

/// The resolver's own words, without the prefix of the standard library.
fn resolver_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests;
