//! Subjects sleep: of one that nobody uses, nothing stays but its record.
//!
//! It falls asleep when it was unused for a while; when its renewal is due and nobody has used the token
//! since it was obtained; or when it is the one that was unused for longest and others need the room. One
//! that a request holds, or that has something still to be done, stays awake.

use std::time::Duration;

use crate::clock::Moment;
use crate::credential::keeper::SleepRules;
use crate::credential::keeper::entry::{Entry, Next, Phase};
use crate::credential::keeper::task::Task;
use crate::credential::{CredentialName, Owner};

/// So long a subject without a token, that waits for a person alone, stays awake: an app that asks for many
/// unknown ones does not fill the memory, and one that asks for the same again finds it.
const WITHOUT_TOKEN: Duration = Duration::from_secs(5);

/// What part of those awake is put to sleep at once when there are too many.
const PART: usize = 16;

impl Entry {
    /// When this subject falls asleep if nobody uses it meanwhile, in time since boot; `None` for a
    /// credential's own token, and while something is still to be done.
    pub(super) fn sleeps_at(&self, rules: &SleepRules) -> Option<Duration> {
        if !self.may_sleep() {
            return None;
        }
        let only_waits = self.next == Next::Nothing && self.stop.is_some();
        let idle = if only_waits { rules.idle.min(WITHOUT_TOKEN) } else { rules.idle };
        Some((self.last_use() + idle).max(self.pace.forgotten(self.spec.times.max_renewals)))
    }

    fn may_sleep(&self) -> bool {
        self.shared.owner().subject.is_some()
            && self.phase == Phase::Idle
            && self.orders.is_empty()
            && self.unsaved.is_none()
            && !self.lapses
            && self.waiters.is_empty()
    }

    fn last_use(&self) -> Duration {
        self.shared.used().max(self.held)
    }

    /// A renewal is due, and nobody has used the token that it would replace.
    fn is_renewed_for_nobody(&self, now: Moment) -> bool {
        let is_due = matches!(self.next, Next::Renewal(at) if at.left(now).is_zero());
        let obtained = self.current.as_ref().map(|current| current.expiry.obtained.boot);
        is_due && obtained.is_some_and(|obtained| self.last_use() <= obtained)
    }
}

impl Task {
    /// Lets a subject sleep whose time has come; says whether it does.
    pub(super) fn falls_asleep(&mut self, owner: &Owner, now: Moment) -> bool {
        let Some(entry) = self.entries.get(owner).filter(|entry| entry.may_sleep()) else { return false };
        let is_time = entry.sleeps_at(&self.options.sleep).is_some_and(|at| at <= now.boot);
        (is_time || entry.is_renewed_for_nobody(now)) && self.put_to_sleep(owner, now, false)
    }

    /// Puts a subject to sleep, unless somebody holds it; says whether it sleeps.
    fn put_to_sleep(&mut self, owner: &Owner, now: Moment, for_room: bool) -> bool {
        let Some(entry) = self.entries.get_mut(owner) else { return false };
        if !self.awake.let_go(owner, &entry.shared) {
            entry.held = now.boot;
            return false;
        }
        tracing::debug!(credential = %owner, for_room, "falls asleep");
        self.remove(owner);
        self.awake_count -= 1;
        let mut numbers = self.awake.numbers();
        let numbers = numbers.entry(owner.credential.clone()).or_default();
        numbers.awake -= 1;
        if for_room {
            numbers.displaced += 1;
        } else {
            numbers.idle += 1;
        }
        true
    }

    /// One more is awake: there may be too many.
    pub(super) fn woken(&mut self, credential: &CredentialName) {
        self.awake_count += 1;
        {
            let mut numbers = self.awake.numbers();
            let numbers = numbers.entry(credential.clone()).or_default();
            numbers.awake += 1;
            numbers.woken += 1;
        }
        if self.awake_count > self.options.sleep.most_awake.max(self.crowded) {
            self.make_room();
        }
    }

    /// Puts those to sleep that were unused for longest.
    fn make_room(&mut self) {
        let now = self.clock.now();
        let most = self.options.sleep.most_awake;
        let mut sleepers: Vec<(Duration, Owner)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.may_sleep())
            .map(|(owner, entry)| (entry.last_use(), owner.clone()))
            .collect();
        sleepers.sort_unstable();
        let wanted = most - most / PART;
        for (_, owner) in sleepers {
            if self.awake_count <= wanted {
                break;
            }
            self.put_to_sleep(&owner, now, true);
        }
        // Where all are in use, it is not tried again with each that wakes.
        self.crowded = self.awake_count + most / PART;
    }

    /// Counts those awake anew, after credentials have gone.
    pub(super) fn count_awake(&mut self) {
        let mut numbers = self.awake.numbers();
        numbers.values_mut().for_each(|numbers| numbers.awake = 0);
        self.awake_count = 0;
        for owner in self.entries.keys().filter(|owner| owner.subject.is_some()) {
            numbers.entry(owner.credential.clone()).or_default().awake += 1;
            self.awake_count += 1;
        }
    }
}
