//! Before a refresh token ends by itself, its owner is woken to renew, though nobody asks for it.
//!
//! The store knows when that has to be. It is asked every few minutes, and at the next time that is
//! known of.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Moment;
use crate::credential::Owner;
use crate::credential::keeper::entry::{Next, Phase};
use crate::credential::keeper::task::Task;
use crate::credential::keeper::{Kept, Outcome};
use crate::credential::store::StoreError;

/// So often the store is asked at least.
const INTERVAL: Duration = Duration::from_secs(300);

/// Those due within this time are taken along, so that the store is not asked for each by itself.
const ALONG: Duration = Duration::from_secs(15);

/// After so short a time the store is asked for the rest, where there were more than are taken at once.
const SOON: Duration = Duration::from_secs(5);

/// So many are woken at once.
const AT_ONCE: usize = 256;

/// What the store found, of as many as it was asked for.
pub(super) struct Found {
    lapsing: Result<Vec<(Timestamp, Owner)>, StoreError>,
    limit: usize,
}

impl Task {
    /// Asks the store who has to renew soon, if it is time.
    pub(super) fn look_for_lapses(&mut self) {
        let now = self.clock.now();
        if now.boot < self.next_look || !self.looks.is_empty() || self.ending.is_some() {
            return;
        }
        self.next_look = now.boot + INTERVAL;
        if !self.entries.values().any(|entry| entry.spec.flow.is_interactive()) {
            return;
        }
        // Those that are at it already are found again, and must not stand before the others.
        let limit = AT_ONCE + self.entries.values().filter(|entry| entry.lapses).count();
        let until = now.after(INTERVAL).wall;
        let store = Arc::clone(&self.store);
        self.looks.spawn(async move { Found { lapsing: store.lapsing(until, limit).await, limit } });
    }

    /// The store is to be asked again by this time of the wall clock.
    pub(super) fn look_by(&mut self, at: Timestamp, now: Moment) {
        let left = Duration::try_from(at.duration_since(now.wall)).unwrap_or_default();
        self.next_look = self.next_look.min(now.boot + left);
    }

    /// Wakes those whose time has come.
    pub(super) fn found_lapses(&mut self, found: Found) {
        let now = self.clock.now();
        let lapsing = match found.lapsing {
            Ok(lapsing) => lapsing,
            Err(StoreError(error)) => {
                tracing::warn!(error, "the store cannot tell which refresh tokens end soon");
                return;
            }
        };
        let along = now.after(ALONG).wall;
        match lapsing.iter().find(|(at, _)| *at > along) {
            Some((next, _)) => self.look_by(*next, now),
            None if lapsing.len() == found.limit => self.look_by(now.after(SOON).wall, now),
            None => {}
        }
        for (_, owner) in lapsing.iter().take_while(|(at, _)| *at <= along) {
            self.renew_before_lapse(owner);
        }
    }

    fn renew_before_lapse(&mut self, owner: &Owner) {
        if !self.entries.contains_key(owner) && !self.wake(owner) {
            return;
        }
        let Some(entry) = self.entries.get_mut(owner) else { return };
        // What failed is tried again by itself or waits for a person.
        if entry.phase != Phase::Idle || !matches!(entry.next, Next::Now | Next::Renewal(_)) {
            return;
        }
        entry.lapses = true;
        entry.recalls = false;
        entry.next = Next::Now;
        self.consider(owner);
    }

    /// Wakes a subject that nobody has asked for; says whether it was this that woke it.
    fn wake(&mut self, owner: &Owner) -> bool {
        let own = self.entries.get(&Owner::from(&owner.credential));
        let Some(own) = own.filter(|own| own.spec.flow.is_interactive()) else { return false };
        let kept = Kept::new(owner.clone(), Arc::clone(&own.spec), own.shared.pokes());
        if !self.awake.add(&kept) {
            return false;
        }
        self.insert(&kept);
        if let Some(entry) = self.entries.get_mut(owner) {
            entry.held = Duration::ZERO;
            // It does not sleep before it has renewed.
            entry.lapses = true;
        }
        self.woken(&owner.credential);
        true
    }

    /// The renewal before the end is done, or cannot be done.
    pub(super) fn lapse_averted(&mut self, owner: &Owner, outcome: Outcome) {
        if let Some(entry) = self.entries.get_mut(owner) {
            entry.lapses &= outcome == Outcome::Transient && entry.stop.is_none();
        }
    }
}
