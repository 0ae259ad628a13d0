//! Opening a connection to an origin.
//!
//! ```text
//! look its name up ─▶ judge its addresses ─▶ dial ─▶ shake hands, if it is TLS ─▶ Opened
//!  (or the proxy's)    (or the proxy's)        └▶ CONNECT at the proxy ─▶┘
//! ```
//!
//! All of it counts against one time limit, and an error names the stage that it broke at. Nothing is
//! remembered but TLS sessions: each connection looks the name up again.

mod dial;
mod error;
mod lookup;
mod tunnel;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::upstream::connect::dial::DialError;
use crate::upstream::connect::lookup::Resolver;
use crate::upstream::departure::{Departure, DepartureBoard, WrongAddress};
use crate::upstream::material::Material;
use crate::upstream::tls::Tls;
use crate::upstream::{EgressSpec, MinimumTls, Origin, ProxySpec, Scheme, address};

pub use crate::upstream::connect::error::{ConnectError, Shortage};
pub use crate::upstream::stream::Stream;
pub use crate::upstream::tls::reason as tls_reason;

/// Longer limits are cut to this, so that no clock overflows.
const LONGEST_LIMIT: Duration = Duration::from_secs(86_400);

/// Opens connections by one egress. Clones are cheap and share everything: make one an egress, and
/// clone it for each worker.
#[derive(Clone)]
pub struct Connector(Arc<Shared>);

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").field("egress", &self.0.spec.name).finish_non_exhaustive()
    }
}

/// A connector for each egress, by name; the default one is named "".
pub type Connectors = BTreeMap<String, Connector>;

struct Shared {
    spec: EgressSpec,
    resolver: Resolver,
    current: ArcSwap<Current>,
    /// Held while files are read, so that of two renewals at once the later one has the last word.
    renewing: Mutex<()>,
    /// The identity of `current`, for those who ask at each request.
    identity: AtomicU64,
    /// From which address the world sees connections.
    departures: DepartureBoard,
}

/// What connections are opened as.
struct Current {
    identity: Identity,
    material: Material,
    /// Made when it is first needed: to read the machine's authorities takes a third of the time to
    /// start.
    tls: OnceLock<Result<Tls, String>>,
    lowest: MinimumTls,
    /// See [`crate::upstream::EgressLimits::tls_servers`].
    servers: usize,
}

/// Which versions of HTTP are offered where the other side chooses (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: what is spoken is not HTTP, as with a mail server.
    Nothing,
    /// HTTP/1.1 only: what an upgrade and an exchange with an issuer need.
    Http1,
    /// HTTP/2 and HTTP/1.1, in this order.
    Both,
}

impl Offer {
    /// What the proxy offers to upstreams.
    pub const FORWARDING: Self = Self::Both;

    /// The protocols of ALPN, the preferred one first.
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Nothing => Vec::new(),
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

impl Identity {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Current {
    fn new(material: Material, spec: &EgressSpec) -> Self {
        let (lowest, servers) = (spec.min_tls, spec.limits.tls_servers);
        Self { identity: Identity::next(), material, tls: OnceLock::new(), lowest, servers }
    }

    /// The same under another identity.
    fn of_another_identity(&self) -> Self {
        let (material, tls) = (self.material.clone(), self.tls.clone());
        Self { identity: Identity::next(), material, tls, lowest: self.lowest, servers: self.servers }
    }

    /// TLS, made on a thread of the runtime's pool at the first call.
    async fn tls(self: &Arc<Self>) -> Result<&Tls, String> {
        if self.tls.get().is_none() {
            let making = Arc::clone(self);
            let made = tokio::task::spawn_blocking(move || {
                making.tls.get_or_init(|| Tls::new(&making.material, making.lowest, making.servers));
            });
            made.await.map_err(|_| "bearerd is shutting down".to_owned())?;
        }
        match self.tls.get() {
            Some(Ok(tls)) => Ok(tls),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("bearerd is shutting down".to_owned()),
        }
    }

    /// Whether connections would be opened as the same with this. Blocks on the file system.
    fn is(&self, material: &Material) -> bool {
        let does_trust_the_same = || match self.tls.get() {
            Some(Ok(tls)) => tls.trusts_the_same(material),
            _ => true,
        };
        self.material.is_same(material) && does_trust_the_same()
    }
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

impl Connector {
    /// A connector for `egress`. Blocks on the file system; fails if a file of it cannot be used.
    pub fn new(egress: &EgressSpec) -> Result<Self, EgressError> {
        let current = Current::new(Material::read(egress).map_err(EgressError)?, egress);
        Ok(Self(Arc::new(Shared {
            resolver: Resolver::new(egress.limits.lookups),
            identity: AtomicU64::new(current.identity.0),
            current: ArcSwap::from_pointee(current),
            renewing: Mutex::default(),
            departures: DepartureBoard::default(),
            spec: egress.clone(),
        })))
    }

    /// Whether both are clones of one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How connections leave.
    pub fn spec(&self) -> &EgressSpec {
        &self.0.spec
    }

    /// Reads the files of the egress again, and says whether anything differs. Then connections that
    /// are opened from now on are opened as that. If a file cannot be used, all stays as it is. Blocks
    /// on the file system.
    pub fn renew(&self) -> Result<bool, EgressError> {
        let _turn = self.0.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let material = Material::read(&self.0.spec).map_err(EgressError)?;
        if self.0.current.load().is(&material) {
            return Ok(false);
        }
        self.replace(Current::new(material, &self.0.spec));
        Ok(true)
    }

    /// Has connections opened as this from now on. For whoever holds `renewing`.
    fn replace(&self, next: Current) {
        let identity = next.identity;
        self.0.current.store(Arc::new(next));
        self.0.identity.store(identity.0, Ordering::Release);
    }

    /// What connections that are opened now are opened as. One that was opened as something else is
    /// not to be used for another request.
    pub fn identity(&self) -> Identity {
        Identity(self.0.identity.load(Ordering::Acquire))
    }

    /// What is known of the address that connections leave from.
    pub fn departures(&self) -> &DepartureBoard {
        &self.0.departures
    }

    /// The address that connections leave from, if it is not one that is expected.
    pub fn wrong_address(&self) -> Option<WrongAddress> {
        let expect = self.0.spec.expect.as_ref()?;
        let Departure::Other(actual) = self.0.departures.report().departure else { return None };
        Some(WrongAddress { expected: expect.addresses.clone(), actual })
    }

    /// Notes what a check of the address brought. If it is another one than before, no connection that stands
    /// is used for another request: it may have been opened from the wrong one.
    pub(super) fn note_departure(&self, outcome: Result<Departure, String>, at: Timestamp) {
        let is_wrong = matches!(outcome, Ok(Departure::Other(_)));
        let strict = self.0.spec.expect.as_ref().is_some_and(|expect| expect.strict);
        if self.0.departures.note(outcome, at, strict) && is_wrong {
            let _turn = self.0.renewing.lock().unwrap_or_else(PoisonError::into_inner);
            let next = self.0.current.load().of_another_identity();
            self.replace(next);
        }
    }

    /// When the client certificate ends, if there is one.
    pub fn certificate_ends_at(&self) -> Option<Timestamp> {
        self.0.current.load().material.certificate.as_ref().map(|own| own.ends_at)
    }

    /// When the client certificate begins and ends, if there is one.
    pub fn certificate_validity(&self) -> Option<(Timestamp, Timestamp)> {
        let current = self.0.current.load();
        current.material.certificate.as_ref().map(|own| (own.begins_at, own.ends_at))
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
        // As what it is opened is settled before the address is judged: should a check find another address after
        // that, the connection serves no other request.
        let current = self.0.current.load_full();
        if self.0.spec.expect.is_some() && origin.scheme != Scheme::Unix {
            self.check_departure(&attempt).await?;
        }
        let (stream, protocol) = match origin.scheme {
            Scheme::Unix => {
                let stream = attempt.within("connecting", attempt.dialed(dial::unix(&origin.host))).await?;
                (Stream::Unix(stream), Protocol::Http1)
            }
            Scheme::Http => (Stream::Plain(self.reach(&attempt, &current).await?), Protocol::Http1),
            Scheme::H2c => (Stream::Plain(self.reach(&attempt, &current).await?), Protocol::Http2),
            Scheme::Https => {
                let stream = self.reach(&attempt, &current).await?;
                shake_hands(&attempt, &current, stream, offer).await?
            }
        };
        Ok(Opened { stream, protocol, identity: current.identity })
    }

    /// That connections leave from an address that is expected, as far as it is known. While the first check runs,
    /// it is waited for.
    async fn check_departure(&self, attempt: &Attempt<'_>) -> Result<(), ConnectError> {
        let checked = async {
            self.0.departures.checked().await;
            Ok(())
        };
        attempt.within("the first check of the address that the world sees", checked).await?;
        self.wrong_address().map_or(Ok(()), |wrong| Err(ConnectError::WrongAddress(Box::new(wrong))))
    }

    /// Begins TLS on a plain connection that stands, where both sides have agreed on that in what they spoke
    /// so far (as by STARTTLS, RFC 3207).
    pub async fn secure(
        &self,
        origin: &Origin,
        stream: Stream,
        limit: Duration,
    ) -> Result<Stream, ConnectError> {
        let Stream::Plain(stream) = stream else {
            let reason = "this connection is no plain one".to_owned();
            return Err(ConnectError::Tls { origin: origin.clone(), reason });
        };
        let (attempt, current) = (Attempt::new(origin, limit), self.0.current.load_full());
        Ok(shake_hands(&attempt, &current, stream, Offer::Nothing).await?.0)
    }

    /// A TCP connection that leads to the origin.
    async fn reach(&self, attempt: &Attempt<'_>, current: &Current) -> Result<TcpStream, ConnectError> {
        let (origin, spec) = (attempt.origin, &self.0.spec);
        let Some(proxy) = &spec.proxy else {
            let lookup = self.0.resolver.addresses(&origin.host, origin.port, spec, false);
            let addresses = attempt.within("looking its name up", lookup).await?;
            return attempt.within("connecting", attempt.dialed(dial::tcp(addresses, spec.source))).await;
        };
        self.check_beyond_proxy(&origin.host)?;
        let mut stream = self.reach_proxy(proxy, attempt).await?;
        let authorization = current.material.authorization.as_ref();
        let connect = async {
            let opened = tunnel::open(&mut stream, &origin.host_and_port(), authorization).await;
            opened.map_err(|refusal| ConnectError::Proxy {
                proxy: proxy.origin.host_and_port(),
                status: refusal.status,
                reason: refusal.reason,
            })
        };
        attempt.within("the outbound proxy's answer", connect).await?;
        Ok(stream)
    }

    /// The proxy looks names up, and dials. What can be known of a host without asking is known here, too.
    fn check_beyond_proxy(&self, host: &str) -> Result<(), ConnectError> {
        if address::is_metadata_name(host) {
            return Err(ConnectError::ForbiddenName { host: host.to_owned() });
        }
        let Some(address) = address::literal(host) else { return Ok(()) };
        // Another spelling of an address is a name, which is no consent.
        let is_consent = host.parse::<IpAddr>().is_ok() || self.0.spec.allow_private;
        if address::is_metadata(address) || (!is_consent && address::is_private(address)) {
            return Err(ConnectError::Forbidden { host: host.to_owned(), address });
        }
        Ok(())
    }

    /// A TCP connection to the proxy.
    async fn reach_proxy(&self, proxy: &ProxySpec, attempt: &Attempt<'_>) -> Result<TcpStream, ConnectError> {
        let spec = &self.0.spec;
        // Who is at fault is the proxy, not the origin.
        let its_fault = |error| match error {
            ConnectError::Timeout { .. } | ConnectError::Exhausted(_) => error,
            ConnectError::Unreachable { reason, .. } => {
                ConnectError::of_proxy(proxy, format!("cannot be reached: {reason}"))
            }
            other => ConnectError::of_proxy(proxy, format!("cannot be reached: {other}")),
        };
        let lookup = self.0.resolver.addresses(&proxy.origin.host, proxy.origin.port, spec, true);
        let addresses = attempt.within("looking the outbound proxy's name up", lookup).await;
        let dial = dial::tcp(addresses.map_err(its_fault)?, spec.source);
        attempt.within("connecting to the outbound proxy", attempt.dialed(dial)).await.map_err(its_fault)
    }
}

/// TLS on a connection that stands.
async fn shake_hands(
    attempt: &Attempt<'_>,
    current: &Arc<Current>,
    stream: TcpStream,
    offer: Offer,
) -> Result<(Stream, Protocol), ConnectError> {
    let handshake = async {
        let outcome = match current.tls().await {
            Ok(tls) => tls.handshake(&attempt.origin.host, stream, offer).await,
            Err(reason) => Err(reason),
        };
        outcome.map_err(|reason| ConnectError::Tls { origin: attempt.origin.clone(), reason })
    };
    let (stream, protocol) = attempt.within("the TLS handshake", handshake).await?;
    Ok((Stream::Tls(stream), protocol))
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
