//! The rules of time: how long a token is taken to last, when it is renewed, and how close together
//! renewals may lie. Pure functions over what the caller read from the clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::credential::{CredentialSpec, Expiry, Flow, Lifetime, RenewalRate};

/// Whatever the issuer says, so much time lies between two renewals of a credential.
pub const LEAST_INTERVAL: Duration = Duration::from_secs(2);

/// An issuer that promises more than this is not believed.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The part of a lifetime after which a renewal may start, and how wide the window is from there.
const RENEWAL_WINDOW: (f64, f64) = (0.7, 0.1);

/// How long a token that was received at `obtained` is taken to last, and a warning if that is not
/// what its issuer said. A static token is believed: a person wrote its end down.
pub fn lifetime(
    spec: &CredentialSpec,
    said: Option<Lifetime>,
    obtained: Moment,
) -> (Lifetime, Option<String>) {
    if let (Flow::Static(_), Some(said)) = (&spec.flow, said) {
        return (said, None);
    }
    let problem = match said.map(|said| Expiry::new(obtained, said).lifetime()) {
        None => "the issuer names no lifetime",
        Some(None) => "the issuer names a token without end",
        Some(Some(Duration::ZERO)) => "the issuer names a lifetime of nothing",
        Some(Some(length)) if length > LONGEST_LIFETIME => "the issuer names a lifetime of over 366 days",
        Some(Some(length)) => return (Lifetime::For(length), None),
    };
    let assumed = spec.default_lifetime;
    let warning = format!("{problem}; {assumed:?} is assumed (`default_lifetime`)");
    (Lifetime::For(assumed), Some(warning))
}

/// When to renew: at a random point (`fraction` is from 0 up to 1) between 70 % and 80 % of the
/// lifetime, or `renew_before` its end. A `renew_before` that leaves nothing of the lifetime is not
/// obeyed, since it would mean to renew without a pause. `None` if the token does not end, or if a
/// renewal could bring nothing new.
pub fn renewal(spec: &CredentialSpec, expiry: &Expiry, fraction: f64) -> Option<Moment> {
    let lifetime = expiry.lifetime().filter(|_| spec.is_renewable())?;
    let asked = spec.renew_before.and_then(|before| lifetime.checked_sub(before));
    let (start, width) = RENEWAL_WINDOW;
    let age =
        asked.filter(|age| !age.is_zero()).unwrap_or_else(|| lifetime.mul_f64(start + width * fraction));
    Some(expiry.obtained.after(age))
}

/// How close together renewals may lie.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the last renewal succeeded, in time since boot.
    renewed: Option<Duration>,
    /// When the exchanges that `max_renewals` still counts were started; empty without it.
    started: VecDeque<Duration>,
}

impl Pace {
    /// Notes an exchange with the issuer that was started at this time since boot.
    pub fn note_exchange(&mut self, started: Duration, limit: Option<RenewalRate>) {
        let Some(limit) = limit else { return };
        self.started.push_back(started);
        while self.started.len() > limit.count as usize {
            self.started.pop_front();
        }
    }

    /// Notes a renewal that succeeded at this time since boot.
    pub fn note_renewal(&mut self, at: Duration) {
        self.renewed = Some(at);
    }

    /// No exchange starts before this time since boot.
    pub fn earliest(&self, limit: Option<RenewalRate>) -> Duration {
        let by_interval = self.renewed.map(|renewed| renewed + LEAST_INTERVAL);
        let by_rate = limit
            .filter(|limit| self.started.len() >= limit.count as usize)
            .and_then(|limit| Some(*self.started.front()? + limit.per));
        by_interval.max(by_rate).unwrap_or_default()
    }
}
