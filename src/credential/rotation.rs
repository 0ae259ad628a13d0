//! Rotation: a value that its issuer replaces when it is asked to, before it ends.
//!
//! ```text
//! read ─▶ due? ─▶ parents renewed ─▶ read again ─▶ intent durable ─▶ replaced ─▶ new value durable
//!                                       │ another value: somebody else replaced it      │
//!                                       └────────────────▶ verified ◀───────────────────┘
//!                                                             │ taken
//!                            published; the one before is kept through its grace
//! ```
//!
//! A value can be read as often as one likes, and replaced only once: so it is read before each
//! replacement, and a replacement whose answer was lost is looked up and not repeated. Two processes
//! that keep the same value find what the other one did in the same way.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::credential::CredentialName;
use crate::credential::flow::login::Step;

/// So much of `before` a rotation may come earlier, so that several processes do not come together.
const SPREAD: f64 = 0.05;

/// The part of a short value's life after which it is replaced, and how wide the window is from there.
const SHORT_LIFE: (f64, f64) = (0.7, 0.1);

/// How a value is replaced. The value itself is read by the credential's own flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// How long before its end; nothing if it is read and never replaced.
    pub before: Duration,
    /// How long a value still works after its end, or after it was replaced.
    pub grace: Duration,
    /// The parents that are renewed first: what replaces the value lives no longer than they do.
    pub fresh: Vec<CredentialName>,
    /// What replaces it. Templates may name the outputs of the value in use.
    pub steps: Vec<Step>,
    /// What succeeds with a value that works. Templates name its outputs.
    pub verify: Vec<Step>,
}

impl Rotation {
    /// When a value that ends at `ends` is replaced. `since` tells when it was first seen, if another
    /// one was known before it: of a value without history nobody knows how old it is. One that lives
    /// for less than twice `before` is replaced at 70 % to 80 % of its life. `fraction` is from 0 to 1.
    ///
    /// `None` if it is never replaced, or had ended when it was first seen: another one would not be any
    /// better.
    pub fn due(&self, ends: Timestamp, since: Option<Timestamp>, fraction: f64) -> Option<Timestamp> {
        if self.before.is_zero() {
            return None;
        }
        let early = SignedDuration::try_from(self.before.mul_f64(1.0 + SPREAD * fraction));
        let planned = ends.saturating_sub(early.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN);
        let Some(since) = since else { return Some(planned) };
        let life = Duration::try_from(ends.duration_since(since)).ok().filter(|life| !life.is_zero())?;
        if self.before < life / 2 {
            return Some(planned);
        }
        let (start, width) = SHORT_LIFE;
        since.checked_add(life.mul_f64(start + width * fraction)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::Rotation;

    const DAY: Duration = Duration::from_secs(86_400);

    fn due(before: u32, ends: i64, since: Option<i64>, fraction: f64) -> Option<f64> {
        let (fresh, steps, verify) = (Vec::new(), Vec::new(), Vec::new());
        let rotation = Rotation { before: before * DAY, grace: 5 * DAY, fresh, steps, verify };
        let at = |day: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
        let due = rotation.due(at(ends), since.map(at), fraction)?;
        Some(due.duration_since(at(0)).as_secs_f64() / 86_400.0)
    }

    #[test]
    fn a_value_is_replaced_its_time_before_its_end_or_a_twentieth_of_it_earlier() {
        assert_eq!(due(15, 180, None, 0.0), Some(165.0));
        assert_eq!(due(15, 180, Some(0), 1.0), Some(164.25));
        assert_eq!(due(15, 10, None, 0.0), Some(-5.0), "nobody knows how old it is: at once");
    }

    #[test]
    fn a_value_that_is_known_to_live_short_is_replaced_after_most_of_its_life() {
        assert_eq!(due(15, 10, Some(0), 0.0), Some(7.0));
        assert_eq!(due(15, 30, Some(0), 0.5), Some(22.5));
        assert_eq!(due(15, 31, Some(0), 0.0), Some(16.0));
    }

    #[test]
    fn nothing_is_replaced_without_a_time_before_the_end_or_by_one_that_has_ended_when_it_came() {
        assert_eq!(due(0, 180, None, 0.5), None);
        assert_eq!(due(15, 3, Some(3), 0.5), None);
        assert_eq!(due(15, 2, Some(3), 0.5), None);
    }
}
