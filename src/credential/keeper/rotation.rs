//! Before a value is replaced, the parents are renewed that the new one cannot outlive.

use std::time::Duration;

use crate::clock::Moment;
use crate::credential::keeper::entry::{Cause, Entry, Next, Trouble};
use crate::credential::keeper::task::Task;
use crate::credential::{CredentialName, ErrorClass, Owner};

/// A parent that was renewed so short a time ago needs no renewal before a value is replaced.
const FRESH: Duration = Duration::from_secs(5);

/// Where a replacement failed and is tried again, a parent stays fresh for a hundredth of its lifetime, and
/// no longer than this: its issuer is not asked each time anew.
const STILL_FRESH: Duration = Duration::from_secs(3600);

impl Entry {
    /// Whether it is time to replace the value.
    pub(super) fn is_rotation_due(&self, now: Moment) -> bool {
        self.rotate_at.as_ref().is_some_and(|at| at.left(now).is_zero())
    }

    /// Whether its token is so new that what depends on it may be replaced.
    fn is_fresh(&self, was_freshened: bool, now: Moment) -> bool {
        let Some(current) = self.current.as_ref().filter(|_| self.is_usable(now)) else { return false };
        let lifetime = current.expiry.lifetime().unwrap_or_default();
        let limit = if was_freshened { (lifetime / 100).clamp(FRESH, STILL_FRESH) } else { FRESH };
        now.boot.saturating_sub(current.expiry.obtained.boot) <= limit
    }
}

impl Task {
    /// Renews the parents first, if the value of this one is due to be replaced. Says whether it has to
    /// wait for one.
    pub(super) fn freshens_parents(&mut self, owner: &Owner, now: Moment) -> bool {
        let Some(entry) = self.entries.get(owner) else { return false };
        let is_due =
            entry.is_rotation_due(now) && !entry.doubted && entry.orders.is_empty() && !entry.recalls;
        let Some(rotation) = entry.spec.rotation.as_deref().filter(|_| is_due) else { return false };
        let was_freshened = entry.freshened;
        let is_stale = |parent: &&CredentialName| {
            self.parent(parent).is_some_and(|it| it.spec.is_renewable() && !it.is_fresh(was_freshened, now))
        };
        let stale: Vec<Owner> = rotation.fresh.iter().filter(is_stale).map(Owner::from).collect();
        let stopped =
            stale.iter().find(|parent| self.entries.get(parent).is_some_and(|it| it.stop.is_some()));
        let stopped = stopped.cloned();
        let Some(entry) = self.entries.get_mut(owner) else { return false };
        entry.freshened = true;
        entry.freshens = !stale.is_empty();
        if stale.is_empty() {
            return false;
        }
        entry.awaited = stale.iter().map(|parent| parent.credential.clone()).collect();
        entry.next = Next::Nothing;
        if let Some(parent) = stopped {
            self.cannot_freshen(owner, &parent, now);
        }
        for parent in &stale {
            if let Some(parent) = self.entries.get_mut(parent)
                && parent.stop.is_none()
            {
                parent.hasten();
            }
            self.consider(parent);
        }
        true
    }

    /// A value waits to be replaced, and a parent that is to be renewed for it calls for a person.
    pub(super) fn cannot_freshen(&mut self, owner: &Owner, parent: &Owner, now: Moment) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let message = format!("its value is due to be replaced, and `{parent}` cannot be renewed for that");
        let trouble = Trouble::new(Cause::Far, ErrorClass::Rejected, message, now);
        if entry.trouble.as_ref().is_none_or(|before| before.error.message != trouble.error.message) {
            tracing::error!(credential = %owner.in_log(), reason = trouble.error.message, "not replaced");
            entry.trouble = Some(Box::new(trouble));
        }
    }
}
