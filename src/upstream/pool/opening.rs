//! Opening one connection to a destination, whatever it turns out to speak.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::upstream::connect::{ConnectError, Offer, Protocol};
use crate::upstream::http1::Http1Link;
use crate::upstream::http2::{Http2Connection, NotBegun, Place};
use crate::upstream::pool::{Counted, Pool, Ready, Uses};

/// Why no connection was opened. It may be told to several requests that waited for the same one.
#[derive(Debug, Clone)]
pub enum OpenError {
    /// There is none.
    Connect(ConnectError),
    /// There was one, but HTTP/2 did not begin on it in time.
    Late,
    /// There was one, but the upstream broke it off before HTTP/2 had begun: what happened.
    BrokeOff(String),
}

impl OpenError {
    /// Whether the time was over: somebody with more time may try again.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Late | Self::Connect(ConnectError::Timeout { .. }))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(formatter),
            Self::Late => formatter.write_str("HTTP/2 did not begin in time"),
            Self::BrokeOff(what) => formatter.write_str(what),
        }
    }
}

impl std::error::Error for OpenError {}

/// A connection that nobody uses yet.
pub(super) enum Fresh {
    Http1(Box<Http1Link>),
    Http2(Rc<Http2Connection>),
}

impl Pool {
    /// Opens a connection for one request to begin with, within `limit`; zero is no limit. Others may share
    /// it afterwards.
    pub async fn open(
        self: &Rc<Self>,
        user: Arc<dyn Uses>,
        offer: Offer,
        limit: Duration,
    ) -> Result<Ready, OpenError> {
        Ok(match self.fresh(user, offer, limit).await? {
            Fresh::Http1(link) => Ready::Http1(link),
            Fresh::Http2(connection) => {
                // Before those that wait are let on.
                let place = Place::take(&connection);
                self.share(connection);
                Ready::Http2(place)
            }
        })
    }

    /// The same, for nobody yet.
    pub(super) async fn fresh(
        self: &Rc<Self>,
        user: Arc<dyn Uses>,
        offer: Offer,
        limit: Duration,
    ) -> Result<Fresh, OpenError> {
        let began = Clock::instant();
        let opened = self.connector.connect(&self.origin, offer, limit).await;
        let opened = opened.map_err(OpenError::Connect)?;
        let counted = Counted::of(user);
        if offer == Offer::FORWARDING {
            self.protocol.set(Some(opened.protocol));
        }
        if opened.protocol == Protocol::Http1 {
            return Ok(Fresh::Http1(Box::new(Http1Link::new(opened.stream, opened.identity, counted))));
        }
        let beginning = Http2Connection::begin(opened, counted, self.limits.arrivals, Rc::downgrade(self));
        let spoken = within(left(limit, began, Clock::instant()), beginning);
        spoken.await.map_err(|_elapsed| OpenError::Late)?.map(Fresh::Http2).map_err(|why| match why {
            NotBegun::Tls(reason) => {
                OpenError::Connect(ConnectError::Tls { origin: self.origin.clone(), reason })
            }
            NotBegun::BrokeOff(error) => OpenError::BrokeOff(error.to_string()),
        })
    }
}

/// What is left of a limit since it `began`; zero is no limit, which is not the same as no time left.
pub fn left(limit: Duration, began: Instant, now: Instant) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(1);
    let left = limit.saturating_sub(now.saturating_duration_since(began)).max(SHORTEST);
    if limit.is_zero() { limit } else { left }
}

/// Waits for `work` up to `limit`; zero is no limit.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    if limit.is_zero() { Ok(work.await) } else { timeout(limit, work).await }
}
