//! When a token ends, judged by two clocks.
//!
//! A token is expired when the wall clock passes its end, or the time since boot passes its lifetime
//! counted from its receipt, whichever is first: a clock that is set back does not revive a token,
//! and a machine that slept does not take it for fresh.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Moment;

/// How long a token lasts, as its issuer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It does not end by itself.
    Unlimited,
    /// So long from its receipt.
    For(Duration),
    /// Up to this time of the wall clock.
    Until(Timestamp),
}

/// The end of one received token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// When it was received.
    pub obtained: Moment,
    /// Its end, by the wall clock and by the time since boot; `None` if it does not end.
    pub end: Option<Moment>,
    /// How long before its end it is no longer used: 10 s or 5 % of the lifetime, whichever is less.
    pub skew: Duration,
    /// How long after its end it still works; the skew counts from there.
    pub grace: Duration,
}

impl Expiry {
    /// The longest skew.
    pub const LONGEST_SKEW: Duration = Duration::from_secs(10);

    /// The end of a token that was received at `obtained`.
    pub fn new(obtained: Moment, lifetime: Lifetime) -> Self {
        let (left, wall) = match lifetime {
            Lifetime::Unlimited => {
                return Self { obtained, end: None, skew: Duration::ZERO, grace: Duration::ZERO };
            }
            Lifetime::For(left) => (left, obtained.after(left).wall),
            Lifetime::Until(wall) => {
                (Duration::try_from(wall.duration_since(obtained.wall)).unwrap_or_default(), wall)
            }
        };
        let end = Moment { wall, boot: obtained.boot.saturating_add(left) };
        let skew = (left / 20).min(Self::LONGEST_SKEW);
        Self { obtained, end: Some(end), skew, grace: Duration::ZERO }
    }

    /// The end of a token that was received before this process knew it, by what the wall clock says.
    pub fn taken_up(obtained_at: Timestamp, expires_at: Option<Timestamp>, now: Moment) -> Self {
        let since = |earlier: Timestamp, later: Timestamp| {
            Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
        };
        let age = since(obtained_at, now.wall);
        let obtained = Moment { wall: obtained_at, boot: now.boot.saturating_sub(age) };
        let Some(wall) = expires_at else { return Self::new(obtained, Lifetime::Unlimited) };
        let lifetime = since(obtained_at, wall);
        // A wall clock that was set back meanwhile gives no token more than its lifetime.
        let boot = now.boot.saturating_add(lifetime.saturating_sub(age));
        let skew = (lifetime / 20).min(Self::LONGEST_SKEW);
        Self { obtained, end: Some(Moment { wall, boot }), skew, grace: Duration::ZERO }
    }

    /// The same, of a value that still works so long after its end.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Whether the token may still be put on a request.
    pub fn is_usable(&self, now: Moment) -> bool {
        self.usable_for(now).is_none_or(|left| !left.is_zero())
    }

    /// The moment from which the token is put on no request any more; `None` if it does not end.
    pub fn usable_until(&self) -> Option<Moment> {
        Some(self.end?.after(self.grace).before(self.skew))
    }

    /// How long the token may still be put on requests; `None` if it does not end.
    pub fn usable_for(&self, now: Moment) -> Option<Duration> {
        Some(self.usable_until()?.left(now))
    }

    /// How much time is left until the end, by the clock that passes it first; `None` if it does
    /// not end.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        Some(self.end?.left(now))
    }

    /// The whole lifetime; `None` if it does not end.
    pub fn lifetime(&self) -> Option<Duration> {
        Some(Duration::try_from(self.end?.wall.duration_since(self.obtained.wall)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::{Expiry, Lifetime};
    use crate::clock::Moment;

    const START: Moment = Moment { wall: Timestamp::UNIX_EPOCH, boot: Duration::from_secs(500) };

    fn later(wall: i64, boot: u64) -> Moment {
        Moment {
            wall: START.wall + SignedDuration::from_secs(wall),
            boot: START.boot + Duration::from_secs(boot),
        }
    }

    #[test]
    fn a_token_ends_by_whichever_clock_passes_its_end_first() {
        let expiry = Expiry::new(START, Lifetime::For(Duration::from_secs(100)));
        assert_eq!(expiry.skew, Duration::from_secs(5));
        assert!(expiry.is_usable(later(94, 94)));
        assert!(!expiry.is_usable(later(95, 94)), "the wall clock passed it");
        assert!(!expiry.is_usable(later(-5000, 95)), "a clock set back revives nothing");
    }

    #[test]
    fn the_skew_is_ten_seconds_or_a_twentieth() {
        let until = Lifetime::Until(START.wall + SignedDuration::from_secs(3600));
        let expiry = Expiry::new(START, until);
        assert_eq!(expiry.skew, Duration::from_secs(10));
        assert!(expiry.is_usable(later(3589, 3589)) && !expiry.is_usable(later(3590, 3590)));
    }

    #[test]
    fn a_value_with_a_grace_is_usable_beyond_its_end_by_both_clocks() {
        let seconds = Duration::from_secs;
        let expiry = Expiry::new(START, Lifetime::For(seconds(100))).with_grace(seconds(50));
        assert!(expiry.is_usable(later(144, 144)) && !expiry.is_usable(later(145, 0)));
        assert!(!expiry.is_usable(later(0, 145)));
        assert_eq!(expiry.left(later(120, 120)), Some(Duration::ZERO), "its end is what the issuer says");
        let ended = Lifetime::Until(START.wall - seconds(30));
        let ended = Expiry::new(START, ended).with_grace(seconds(50));
        assert!(ended.is_usable(later(19, 19)) && !ended.is_usable(later(20, 20)));
    }

    #[test]
    fn an_end_in_the_past_is_never_usable_and_no_end_always_is() {
        let past = Lifetime::Until(START.wall - SignedDuration::from_secs(1));
        assert!(!Expiry::new(START, past).is_usable(START));
        assert!(Expiry::new(START, Lifetime::Unlimited).is_usable(later(1 << 37, 1 << 37)));
    }

    #[test]
    fn a_token_that_is_taken_up_has_the_skew_of_its_whole_life_and_no_more_than_is_left_of_it() {
        let now = later(1060, 60);
        let at = |seconds| START.wall + SignedDuration::from_secs(seconds);
        // For 100 s from 1000 s on, of which 60 are over.
        let expiry = Expiry::taken_up(at(1000), Some(at(1100)), now);
        assert_eq!((expiry.skew, expiry.left(now)), (Duration::from_secs(5), Some(Duration::from_secs(40))));
        assert_eq!(expiry.lifetime(), Some(Duration::from_secs(100)));
        assert!(expiry.is_usable(later(1094, 94)) && !expiry.is_usable(later(1095, 94)));
        assert!(!expiry.is_usable(later(1060, 95)), "nor by the time since boot");
        let long = Expiry::taken_up(at(1000), Some(at(4600)), now);
        assert_eq!(long.skew, Expiry::LONGEST_SKEW);
        assert_eq!(Expiry::taken_up(at(1000), None, now).left(now), None, "it does not end");
    }

    #[test]
    fn what_is_left_ends_with_whichever_clock_is_ahead() {
        let expiry = Expiry::new(START, Lifetime::For(Duration::from_secs(100)));
        for (wall, boot, left) in
            [(0, 0, 100), (30, 10, 70), (10, 30, 70), (-50, 99, 1), (100, 0, 0), (0, 500, 0)]
        {
            assert_eq!(expiry.left(later(wall, boot)), Some(Duration::from_secs(left)), "{wall} {boot}");
        }
        assert_eq!(Expiry::new(START, Lifetime::Unlimited).left(START), None);
    }
}
