//! One lane per issuer: so many exchanges at once, the others wait in the order in which their tokens
//! end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::credential::Owner;
use crate::upstream::Origin;

/// An issuer; `None` stands for everything that asks nobody.
pub(super) type Issuer = Option<Arc<Origin>>;

/// Who waits: the end of its token in time since boot (zero without one), and which entry of which
/// owner it is.
pub(super) type Waiting = (Duration, u64, Owner);

/// All lanes that are in use.
pub(super) struct Lanes {
    limit: usize,
    lanes: HashMap<Issuer, Lane>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: BinaryHeap<Reverse<Waiting>>,
}

impl Lanes {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), lanes: HashMap::new() }
    }

    /// Takes a place in the lane of an issuer, or queues for one.
    pub(super) fn enter(&mut self, issuer: &Issuer, waiting: Waiting) -> bool {
        let lane = self.lanes.entry(issuer.clone()).or_default();
        let free = lane.running < self.limit;
        if free {
            lane.running += 1;
        } else {
            lane.waiting.push(Reverse(waiting));
        }
        free
    }

    /// Gives a place back. It goes to the one that is returned, if any waits: that one has entered.
    pub(super) fn leave(&mut self, issuer: &Issuer) -> Option<Waiting> {
        let lane = self.lanes.get_mut(issuer)?;
        let next = lane.waiting.pop();
        if next.is_none() {
            lane.running -= 1;
            if lane.running == 0 {
                self.lanes.remove(issuer);
            }
        }
        next.map(|Reverse(waiting)| waiting)
    }
}
