//! The address that the world sees: asked for, and held against the one that is expected.
//!
//! ```text
//! connections wait until the first check is over
//!
//!            the echo tells an expected address
//!   unknown ────────────────────────────────────▶ expected
//!      │  ◀── the echo cannot be reached: told, ──  │ ▲
//!      │      and what was known counts on          ▼ │   (`strict`: connections wait on)
//!      └──────── it tells another ───────────────▶ other: no connection is opened, and the error says why
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::telemetry::Counter;
use crate::upstream::connect::Connector;
use crate::upstream::exchange::{Limits, Request, exchange};
use crate::upstream::{EgressSpec, ExpectSpec};

/// Of the answer so much is read.
const LARGEST_ANSWER: usize = 64 * 1024;

/// How long the echo may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a JSON answer has the address, unless the configuration says.
const USUAL: [&str; 3] = ["/ip", "/address", "/origin"];

/// What is known of the address that connections leave from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Departure {
    /// Nothing.
    #[default]
    Unknown,
    /// It is one of those that are expected.
    Expected(IpAddr),
    /// It is another.
    Other(IpAddr),
}

impl Departure {
    /// The names in metrics and answers.
    pub const NAMES: [&'static str; 3] = ["unknown", "expected", "other"];

    /// The name in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => Self::NAMES[0],
            Self::Expected(_) => Self::NAMES[1],
            Self::Other(_) => Self::NAMES[2],
        }
    }

    /// The address, so far as it is known.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Unknown => None,
            Self::Expected(address) | Self::Other(address) => Some(address),
        }
    }
}

/// Connections leave from another address than the one that tokens are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAddress {
    /// The addresses that are right.
    pub expected: Vec<IpAddr>,
    /// The one that the world sees.
    pub actual: IpAddr,
}

impl fmt::Display for WrongAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected: Vec<_> = self.expected.iter().map(ToString::to_string).collect();
        let (expected, actual) = (expected.join(" or "), self.actual);
        write!(formatter, "this token is bound to {expected}, connections leave from {actual}")
    }
}

/// What the checks of an egress brought.
#[derive(Debug, Default)]
pub struct DepartureBoard {
    last: Mutex<Report>,
    /// Whether connections wait for a check.
    awaited: watch::Sender<bool>,
    /// Checks that found an expected address.
    pub expected: Counter,
    /// Checks that found another.
    pub other: Counter,
    /// Checks that the echo did not answer, or not with an address.
    pub failed: Counter,
}

/// The last check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is known.
    pub departure: Departure,
    /// When the last check was.
    pub checked_at: Option<Timestamp>,
    /// Why the last check brought nothing.
    pub failure: Option<String>,
}

impl DepartureBoard {
    /// The last check.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Has connections wait until a check was made, if none was so far: a token that is bound to an address does not
    /// leave before it is known from which. Whoever calls this sees to the check.
    pub fn await_check(&self) {
        if self.report().checked_at.is_none() {
            self.awaited.send_replace(true);
        }
    }

    /// Waits until no check is awaited.
    pub(super) async fn checked(&self) {
        // The sender is held by whoever waits.
        let _ = self.awaited.subscribe().wait_for(|awaited| !awaited).await;
    }

    /// Notes what a check brought; says whether the address is another one than before. One that brought
    /// nothing changes nothing of what is known.
    pub(super) fn note(&self, outcome: Result<Departure, String>, at: Timestamp, strict: bool) -> bool {
        match &outcome {
            Ok(Departure::Expected(_)) => self.expected.increment(),
            Ok(Departure::Other(_)) => self.other.increment(),
            Ok(Departure::Unknown) | Err(_) => self.failed.increment(),
        }
        let mut last = self.lock();
        let before = last.departure;
        last.checked_at = Some(at);
        match outcome {
            Ok(departure) => {
                last.departure = departure;
                last.failure = None;
            }
            Err(reason) => last.failure = Some(reason),
        }
        let differs = last.departure != before;
        let is_unknown = last.departure == Departure::Unknown;
        drop(last);
        if !(strict && is_unknown) {
            self.awaited.send_replace(false);
        }
        differs
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks, by way of `egress`, from which address the world sees it. The error says why that is not known.
pub async fn look(egress: &EgressSpec, expect: &ExpectSpec) -> Result<Departure, String> {
    // A way of its own: that of the others may be barred because of what was found the last time.
    let spec = EgressSpec { expect: None, ..egress.clone() };
    let connector = tokio::task::spawn_blocking(move || Connector::new(&spec)).await;
    let connector = connector.map_err(|_| "bearerd is shutting down".to_owned())?;
    let connector = connector.map_err(|error| error.to_string())?;
    let request = Request { method: Method::GET, headers: HeaderMap::new(), body: None };
    let limits = Limits { connect: PATIENCE, whole: PATIENCE, body: LARGEST_ANSWER };
    let answer = exchange(&connector, &expect.url, request, limits).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("{} answered {}", expect.url.origin, answer.status.as_u16()));
    }
    let told = address_in(answer.body.expose(), expect.pointer.as_deref());
    let told = told.ok_or_else(|| format!("{} did not answer with an address", expect.url.origin))?;
    let is_right = expect.addresses.iter().any(|right| right.to_canonical() == told);
    Ok(if is_right { Departure::Expected(told) } else { Departure::Other(told) })
}

/// The address in an answer: its whole text, or a value of a JSON document.
fn address_in(body: &[u8], pointer: Option<&str>) -> Option<IpAddr> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let address = |text: &str| text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if let Some(found) = pointer.is_none().then(|| address(text)).flatten() {
        return Some(found);
    }
    let document: Value = serde_json::from_str(text).ok()?;
    let found = |pointer: &str| address(document.pointer(pointer)?.as_str()?);
    match pointer {
        Some(pointer) => found(pointer),
        None => document.as_str().and_then(address).or_else(|| USUAL.into_iter().find_map(found)),
    }
}

/// Checks the address of an egress, and notes what came of it: from then on connections are opened, or not.
pub async fn check(connector: &Connector, clock: &Clock) -> Result<Departure, String> {
    let Some(expect) = &connector.spec().expect else { return Ok(Departure::Unknown) };
    let outcome = look(connector.spec(), expect).await;
    connector.note_departure(outcome.clone(), clock.wall());
    outcome
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn an_address_is_the_whole_answer_or_stands_in_a_document() {
        let found = |body: &str, pointer| address_in(body.as_bytes(), pointer).map(|it| it.to_string());
        let right = Some("203.0.113.10".to_owned());
        assert_eq!(found("203.0.113.10\n", None), right);
        assert_eq!(found("::ffff:203.0.113.10", None), right);
        assert_eq!(found("\"203.0.113.10\"", None), right);
        assert_eq!(found("{\"ip\": \"203.0.113.10\"}", None), right);
        assert_eq!(found("{\"origin\": \"203.0.113.10\"}", None), right);
        assert_eq!(found("{\"a\": [\"203.0.113.10\"]}", Some("/a/0")), right);
        for (body, pointer) in [
            ("", None),
            ("it works", None),
            ("{\"a\": \"203.0.113.10\"}", None),
            ("203.0.113.10", Some("/ip")),
        ] {
            assert_eq!(found(body, pointer), None, "{body}");
        }
    }
}
