//! Lines that somebody else could make without end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// So long after a line nothing of its kind is told.
const PAUSE: Duration = Duration::from_secs(10);

/// When something is told that whoever is on the other side can bring about as often as it likes: at once,
/// and then once in a while, with how often it happened meanwhile.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// It happened. `None` if nothing is to be said of it now, else how often nothing was since the last time.
    pub fn tell(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tell()
    }
}

/// The same for what happens for several reasons, each by itself: one that comes all the time does not hide
/// another.
#[derive(Debug, Default)]
pub struct SeldomEach(Mutex<HashMap<String, Last>>);

/// Reasons that are told apart, since they may hold what the other side has sent; all others are one.
const MOST_REASONS: usize = 32;

impl SeldomEach {
    /// See [`Seldom::tell`].
    pub fn tell(&self, reason: &str) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = reasons.get_mut(reason) {
            return last.tell();
        }
        let reason = if reasons.len() < MOST_REASONS { reason } else { "" };
        reasons.entry(reason.to_owned()).or_default().tell()
    }
}

impl Last {
    fn tell(&mut self) -> Option<u64> {
        let now = Clock::instant();
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_REASONS, PAUSE, Seldom, SeldomEach};

    #[tokio::test(start_paused = true)]
    async fn what_happens_all_the_time_is_told_once_in_a_while_with_how_often() {
        let seldom = Seldom::default();
        assert_eq!(seldom.tell(), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.tell(), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(seldom.tell(), Some(1000));
        assert_eq!(seldom.tell(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_reason_is_told_by_itself_and_too_many_are_one() {
        let seldom = SeldomEach::default();
        assert_eq!(seldom.tell("one"), Some(0));
        assert_eq!(seldom.tell("one"), None);
        assert_eq!(seldom.tell("other"), Some(0));
        let told = (0..1000).filter(|number| seldom.tell(&number.to_string()).is_some()).count();
        assert_eq!(told, MOST_REASONS - 1);
        tokio::time::advance(PAUSE).await;
        assert_eq!(seldom.tell("one"), Some(1));
    }
}
