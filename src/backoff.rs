//! Pauses between tries that fail: exponential with full jitter, and what `Retry-After` asks for.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// The longest pause that a `Retry-After` is believed for.
pub const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(3600);

/// Exponential pauses with full jitter, from 1 s up to 5 min.
///
/// Full jitter (a random point between the shortest pause and the exponential ceiling) keeps a
/// thousand proxies that lost the same issuer at the same moment from coming back together.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The shortest pause.
    pub const SHORTEST: Duration = Duration::from_secs(1);
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(300);

    /// How many tries in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes a failure and says how long to pause.
    pub fn next(&mut self, clock: &Clock) -> Duration {
        let ceiling = Self::SHORTEST
            .saturating_mul(1_u32.checked_shl(self.failures.saturating_add(1)).unwrap_or(u32::MAX))
            .min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        Self::SHORTEST + (ceiling - Self::SHORTEST).mul_f64(clock.fraction())
    }

    /// Notes a failure that will not mend itself soon: the longest pause, a little spread.
    pub fn next_longest(&mut self, clock: &Clock) -> Duration {
        self.failures = self.failures.saturating_add(1);
        Self::LONGEST.mul_f64(0.9 + 0.1 * clock.fraction())
    }

    /// Forgets the failures after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Reads a `Retry-After` field (RFC 9110, section 10.2.3): seconds or a date.
///
/// A date in the past, or a value that is neither, is `None`; more than [`RETRY_AFTER_LIMIT`] is
/// cut to it.
pub fn retry_after(field: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(field).ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(RETRY_AFTER_LIMIT, Duration::from_secs)
    } else {
        let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
        Duration::try_from(date.duration_since(now)).ok()?
    };
    Some(asked.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{Backoff, RETRY_AFTER_LIMIT, retry_after};
    use crate::clock::Clock;

    #[test]
    fn pauses_grow_with_jitter_between_one_second_and_five_minutes() {
        let clock = Clock::system();
        let mut backoff = Backoff::default();
        for failure in 0..100_u32 {
            let ceiling = 2_u64.saturating_pow(failure + 1).min(300);
            let pause = backoff.next(&clock);
            assert!(pause >= Backoff::SHORTEST && pause <= Duration::from_secs(ceiling), "{pause:?}");
        }
        assert_eq!(backoff.failures(), 100);
        backoff.reset();
        assert!(backoff.next(&clock) <= Duration::from_secs(2));
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_is_believed_for_an_hour_at_most() {
        let now = Timestamp::UNIX_EPOCH;
        let seconds = |text: &str| retry_after(text.as_bytes(), now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(seconds("Thu, 01 Jan 2060 00:01:00 GMT"), Some(RETRY_AFTER_LIMIT.as_secs()));
        assert_eq!(seconds("99999999999999999999999999"), Some(3600));
        for wrong in ["", "-1", "1.5", "soon", "Thu, 01 Jan 1960 00:00:00 GMT"] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
    }
}
