//! Numbers of a route or a listener, counted without locks and encoded when scraped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::{Counter, Gauge, Seldom, SeldomEach};
use crate::upstream::http2::Flood;
use crate::upstream::pool::Uses;

/// How long requests took: counts in buckets, as Prometheus wants them.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Durations {
    microseconds: AtomicU64,
    buckets: [Counter; Self::BOUNDS.len() + 1],
}

impl Durations {
    /// Upper bounds of the buckets in seconds; the last bucket has none.
    pub const BOUNDS: [f64; 14] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

    const BOUNDS_MICROSECONDS: [u64; 14] = [
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 60_000_000,
    ];

    /// Counts one request.
    pub fn record(&self, duration: Duration) {
        self.buckets[Self::bucket(duration)].increment();
        self.microseconds.fetch_add(microseconds(duration), Ordering::Relaxed);
    }

    /// The bucket of a duration.
    pub fn bucket(duration: Duration) -> usize {
        let microseconds = microseconds(duration);
        let bucket = Self::BOUNDS_MICROSECONDS.iter().position(|bound| microseconds <= *bound);
        bucket.unwrap_or(Self::BOUNDS.len())
    }

    /// How many fell into each bucket (not cumulated); the last one is beyond all bounds.
    pub fn counts(&self) -> [u64; Self::BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// All requests together, in seconds.
    pub fn sum(&self) -> f64 {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed)).as_secs_f64()
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Room for one counter for each error code of the proxy.
pub const ERROR_CODES: usize = 32;

/// The numbers of one route; or of a listener, for what reached no route. There may be thousands of
/// routes, few of which have had requests of every class: what nearly every request counts is side by side, in
/// the order in which it is written here.
#[derive(Debug, Default)]
#[repr(C)]
pub struct RouteMetrics {
    /// Requests that left with a token.
    pub injections: Counter,
    /// Open connections to upstreams that carried a request of this route last.
    pub upstream_connections: Gauge,
    /// Requests that were answered with a status of the class 2xx.
    successes: Durations,
    /// Refused requests that were sent once more.
    pub replays: Counter,
    /// Secrets that were masked in answers.
    pub masked: Counter,
    /// What few routes have.
    rare: OnceLock<Box<Rare>>,
}

/// The class of [`RouteMetrics::successes`], as [`RouteMetrics::requests`] counts them.
const SUCCESS: usize = 1;

/// What is seldom counted; each kind takes its room with the first.
#[derive(Debug, Default)]
struct Rare {
    /// Requests by class of status, but for 2xx.
    requests: [OnceLock<Box<Durations>>; 5],
    /// Errors that bearerd answered with, by the place of their code in `proxy::Code::ALL`.
    errors: OnceLock<Box<[Counter; ERROR_CODES]>>,
    /// When a masked secret was told last.
    masks_told: Seldom,
    /// Limits that bit, by [`Limit`].
    limited: OnceLock<Box<[Counter; Limit::ALL.len()]>>,
}

impl RouteMetrics {
    /// Whether a masked secret is to be told now: how many were not told since the last time.
    pub fn tell_mask(&self) -> Option<u64> {
        self.rare().masks_told.tell()
    }

    /// Counts an answered request.
    pub fn answered(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if class == SUCCESS {
            self.successes.record(duration);
        } else {
            self.rare().requests[class].get_or_init(Box::default).record(duration);
        }
    }

    /// Requests of a class of status, the first of which (0) is 1xx and the last 5xx; `None` where there
    /// was none that is not 2xx.
    pub fn requests(&self, class: usize) -> Option<&Durations> {
        if class == SUCCESS {
            return Some(&self.successes);
        }
        self.rare.get()?.requests[class].get().map(Box::as_ref)
    }

    /// Counts an error that bearerd answered with, by the place of its code in `proxy::Code::ALL`.
    pub fn refused(&self, code: usize) {
        self.rare().errors.get_or_init(Box::default)[code % ERROR_CODES].increment();
    }

    /// How many errors bearerd answered with, by the place of their code in `proxy::Code::ALL`.
    pub fn errors(&self, code: usize) -> u64 {
        let errors = self.rare.get().and_then(|rare| rare.errors.get());
        errors.map_or(0, |errors| errors[code % ERROR_CODES].get())
    }

    /// Counts a limit, if one bit.
    pub fn limited_by(&self, limit: Option<Limit>) {
        if let Some(limit) = limit {
            self.limited(limit);
        }
    }

    /// Counts a limit that bit.
    pub fn limited(&self, limit: Limit) {
        self.rare().limited.get_or_init(Box::default)[limit as usize].increment();
    }

    /// How often a limit bit.
    pub fn bites(&self, limit: Limit) -> u64 {
        let limited = self.rare.get().and_then(|rare| rare.limited.get());
        limited.map_or(0, |limited| limited[limit as usize].get())
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }
}

impl Uses for RouteMetrics {
    fn connections(&self) -> &Gauge {
        &self.upstream_connections
    }

    fn flooded(&self, flood: Flood) {
        self.limited(match flood {
            Flood::Interim => Limit::MaxInterimAnswers,
            Flood::Fruitless => Limit::MaxFruitlessFrames,
        });
    }
}

/// The numbers of one listener.
#[derive(Debug, Default)]
pub struct ListenerMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections accepted so far.
    pub accepted: Counter,
    /// When it was told last that accepting pauses.
    pub pauses_told: Seldom,
    /// TLS handshakes that failed.
    pub failed_handshakes: Counter,
    /// When one of them was told last, for each reason.
    pub handshakes_told: SeldomEach,
    /// Times that a changed certificate was taken over.
    pub certificates_renewed: Counter,
    /// Times that a changed certificate could not be used.
    pub certificates_rejected: Counter,
    /// Requests that reached no route, and the listener's limits.
    pub unrouted: RouteMetrics,
}

/// A limit, as `bearerd_limited_total` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Listener: connections at once.
    MaxConnections,
    /// Listener: bytes of a head.
    MaxHead,
    /// Listener: fields of a head.
    MaxFields,
    /// Listener: bytes of a target.
    MaxTarget,
    /// Listener: time for a head.
    HeadTimeout,
    /// Listener: time between requests.
    IdleTimeout,
    /// Listener: a request body without progress.
    BodyTimeout,
    /// Listener: the rest of a request body that was answered before its end.
    MaxSkipped,
    /// Listener: time for the rest of such a body.
    SkipTimeout,
    /// Listener: streams at once on an HTTP/2 connection.
    MaxStreams,
    /// Listener: frames of HTTP/2 in a time that bring nothing.
    MaxFruitlessFrames,
    /// Listener: streams of HTTP/2 that come to nothing.
    MaxFruitlessStreams,
    /// Listener: CONTINUATION frames of one head.
    MaxContinuations,
    /// Listener: wrong bearers in a time.
    MaxWrongBearers,
    /// Route: bytes of a request body.
    MaxBody,
    /// Route: time for a connection.
    ConnectTimeout,
    /// Route: time for an answer.
    AnswerTimeout,
    /// Route: an answer without progress.
    StallTimeout,
    /// Route: a body too long to be held for a replay.
    ReplayBody,
    /// Route: a body too long to be held for the injection.
    InjectBody,
    /// Route: informational answers before the one that counts.
    MaxInterimAnswers,
    /// Route: requests in a time.
    Rate,
    /// Route: an upstream connection without requests.
    PoolIdleTimeout,
    /// Route: the life of an upstream connection.
    PoolMaxAge,
    /// Route: idle upstream connections.
    PoolMaxIdle,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 25] = [
        Self::MaxConnections,
        Self::MaxHead,
        Self::MaxFields,
        Self::MaxTarget,
        Self::HeadTimeout,
        Self::IdleTimeout,
        Self::BodyTimeout,
        Self::MaxSkipped,
        Self::SkipTimeout,
        Self::MaxStreams,
        Self::MaxFruitlessFrames,
        Self::MaxFruitlessStreams,
        Self::MaxContinuations,
        Self::MaxWrongBearers,
        Self::MaxBody,
        Self::ConnectTimeout,
        Self::AnswerTimeout,
        Self::StallTimeout,
        Self::ReplayBody,
        Self::InjectBody,
        Self::MaxInterimAnswers,
        Self::Rate,
        Self::PoolIdleTimeout,
        Self::PoolMaxAge,
        Self::PoolMaxIdle,
    ];

    /// The key of the configuration, which is also the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxHead => "max_head",
            Self::MaxFields => "max_fields",
            Self::MaxTarget => "max_target",
            Self::HeadTimeout => "head_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::MaxSkipped => "max_skipped",
            Self::SkipTimeout => "skip_timeout",
            Self::MaxStreams => "max_streams",
            Self::MaxFruitlessFrames => "max_fruitless_frames",
            Self::MaxFruitlessStreams => "max_fruitless_streams",
            Self::MaxContinuations => "max_continuations",
            Self::MaxWrongBearers => "max_wrong_bearers",
            Self::MaxBody => "max_body",
            Self::ConnectTimeout => "connect_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::StallTimeout => "stall_timeout",
            Self::ReplayBody => "replay_body",
            Self::InjectBody => "inject_body",
            Self::MaxInterimAnswers => "max_interim_answers",
            Self::Rate => "rate",
            Self::PoolIdleTimeout => "pool_idle_timeout",
            Self::PoolMaxAge => "pool_max_age",
            Self::PoolMaxIdle => "pool_max_idle",
        }
    }
}
