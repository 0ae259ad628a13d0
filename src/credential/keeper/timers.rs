//! The queue of timers: one per owner, ordered by time since boot.
//!
//! Entries are deleted lazily. Whoever sets a timer remembers its time; what comes out of the queue
//! with another time, or for an owner that is gone, is an old timer and means nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::credential::Owner;

/// One timer: when it fires in time since boot, and for which entry of which owner.
pub(super) type Timer = (Duration, u64, Owner);

/// The queue; each step costs the logarithm of its length.
#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<Timer>>);

impl Timers {
    pub(super) fn push(&mut self, timer: Timer) {
        self.0.push(Reverse(timer));
    }

    /// When the next timer fires.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next timer out that is due by `now`.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }

    /// Throws old timers away once they are the greater part.
    pub(super) fn compact(&mut self, live: usize, is_live: impl Fn(&Timer) -> bool) {
        if self.0.len() > 2 * live + 64 {
            self.0.retain(|Reverse(timer)| is_live(timer));
        }
    }
}
