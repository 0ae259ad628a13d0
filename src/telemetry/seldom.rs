//! Lines that somebody else could make without end.

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
        let now = Clock::instant();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            last.untold += 1;
            return None;
        }
        last.told = Some(now);
        Some(std::mem::take(&mut last.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSE, Seldom};

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
}
