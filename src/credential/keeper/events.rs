//! What the task is told, by handles and by requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::credential::keeper::entry::{Cause, Entry, Next, Phase, Trouble};
use crate::credential::keeper::task::{Running, Task};
use crate::credential::keeper::{Command, Directory, Kept, Outcome};
use crate::credential::schedule::LEAST_INTERVAL;
use crate::credential::shared::{Poke, Shared};
use crate::credential::{CredentialSpec, ErrorClass, Owner};

/// How long a refused request is let wait for a renewal that may not start yet.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

impl Task {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Reconcile(directory) => self.reconcile(&directory),
            Command::Refresh { shared, force, answer } => self.refresh(&shared, force, answer),
            Command::Wake(kept) => {
                if !self.entries.contains_key(kept.shared.owner()) {
                    self.insert(&kept);
                    self.consider(kept.shared.owner());
                    self.woken(&kept.spec.name);
                }
            }
            Command::Order { shared, order, answer } => {
                if let Some(entry) = entry_of(&mut self.entries, &shared) {
                    entry.orders.push((order, answer));
                    self.consider(shared.owner());
                }
            }
            Command::InputChanged(paths) => {
                for path in paths {
                    for owner in self.readers_of(&path.into()) {
                        self.look(&owner);
                    }
                }
            }
            Command::Shutdown(answer) => {
                self.wind_up();
                self.ending.get_or_insert_default().push(answer);
            }
        }
    }

    fn reconcile(&mut self, directory: &Directory) {
        let Self { entries, running, .. } = self;
        entries.retain(|owner, entry| {
            let kept = directory.get(&owner.credential);
            let stays = kept.is_some_and(|kept| Arc::ptr_eq(&kept.spec, &entry.spec));
            if stays {
                // Routes that cannot use the token have their say again.
                entry.trouble.take_if(|trouble| trouble.cause == Cause::Reader);
            } else {
                entry.shared.retire();
                running.get(owner).into_iter().for_each(Running::give_up);
            }
            stays
        });
        self.count_awake();
        self.next_look = Duration::ZERO;
        self.children.clear();
        self.readers.clear();
        let before: Vec<_> =
            self.entries.iter().map(|(owner, entry)| (owner.clone(), Arc::clone(&entry.spec))).collect();
        for (owner, spec) in &before {
            self.follow_inputs(owner, spec);
        }
        let is_new = |kept: &&Kept| !self.entries.contains_key(kept.shared.owner());
        let new: Vec<_> = directory.values().filter(is_new).collect();
        let new: Vec<_> =
            new.into_iter().map(|kept| (kept.shared.owner().clone(), self.enter(kept))).collect();
        // What is made of sorted pairs at once has no gaps.
        self.entries.append(&mut new.into_iter().collect());
        self.readers = std::mem::take(&mut self.readers).into_iter().collect();
        let owners: Vec<_> = self.entries.keys().cloned().collect();
        for owner in &owners {
            self.consider(owner);
        }
    }

    /// A new entry is kept. Nothing starts before it is considered.
    pub(super) fn insert(&mut self, kept: &Kept) {
        let entry = self.enter(kept);
        self.entries.insert(kept.shared.owner().clone(), entry);
    }

    /// A new entry, whose inputs are followed.
    fn enter(&mut self, kept: &Kept) -> Box<Entry> {
        self.last_id += 1;
        let owner = kept.shared.owner();
        let mut entry = Entry::new(self.last_id, kept, self.clock.boot());
        let outlives = self.store.is_durable() || owner.subject.is_some();
        entry.recalls = outlives && !kept.spec.flow.is_static();
        if owner.subject.is_some() {
            // The one line that tells both names.
            tracing::debug!(credential = %owner, in_log = %owner.in_log(), "wakes");
        }
        self.follow_inputs(owner, &kept.spec);
        Box::new(entry)
    }

    /// The opposite of [`Self::insert`].
    pub(super) fn remove(&mut self, owner: &Owner) {
        let Some(entry) = self.entries.remove(owner) else { return };
        for (parent, _) in entry.spec.parents() {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(owner);
            }
        }
        for path in entry.spec.files() {
            self.readers.remove(&(Arc::clone(path), owner.clone()));
        }
    }

    /// The owners whose inputs lie in this file.
    fn readers_of(&self, path: &Arc<Path>) -> Vec<Owner> {
        // No name comes before the empty one.
        let first = (Arc::clone(path), Owner::from(""));
        let readers = self.readers.range(first..).take_while(|(file, _)| file == path);
        readers.map(|(_, owner)| owner.clone()).collect()
    }

    /// Notes whose outputs an owner uses and which files it reads.
    fn follow_inputs(&mut self, owner: &Owner, spec: &CredentialSpec) {
        for (parent, _) in spec.parents() {
            self.children.entry(parent.clone()).or_default().insert(owner.clone());
        }
        for path in spec.files() {
            self.readers.insert((Arc::clone(path), owner.clone()));
        }
    }

    fn refresh(&mut self, shared: &Arc<Shared>, force: bool, answer: oneshot::Sender<Outcome>) {
        let now = self.clock.boot();
        let Some(entry) = entry_of(&mut self.entries, shared) else { return };
        if entry.serves_only_subjects() {
            let _ = answer.send(Outcome::Ok);
            return;
        }
        if entry.earliest() > now + LEAST_INTERVAL {
            // `max_renewals` holds for operators too: the issuer counts them all.
            let _ = answer.send(Outcome::Transient);
        } else {
            entry.waiters.push(answer);
        }
        if entry.phase != Phase::Renewing || entry.recalls {
            entry.force |= force;
            entry.parents_renewed = false;
            entry.next = Next::Now;
        }
        self.consider(shared.owner());
    }

    /// An input may have changed.
    fn look(&mut self, owner: &Owner) {
        let now = self.clock.boot();
        let Some(entry) = self.entries.get_mut(owner) else { return };
        entry.look = Some(now);
        if matches!(entry.next, Next::Retry(_)) && entry.is_in_trouble(Cause::Local) {
            entry.next = Next::Now;
        }
        self.consider(owner);
    }

    pub(super) fn heed(&mut self, poke: Poke) {
        let now = self.clock.now();
        match poke {
            Poke::Expired { shared } => {
                shared.expiry_seen();
                self.compare_clocks();
                if entry_of(&mut self.entries, &shared).is_some() {
                    self.consider(shared.owner());
                }
            }
            Poke::Unusable { shared, message } => {
                let Some(entry) = entry_of(&mut self.entries, &shared) else { return };
                tracing::warn!(credential = %shared.owner(), reason = message, "a route cannot use the token");
                let message = format!("a route cannot use the token: {message}");
                entry.trouble =
                    Some(Box::new(Trouble::new(Cause::Reader, ErrorClass::Transient, message, now)));
                if entry.spec.is_renewable() && !matches!(entry.next, Next::Retry(_)) {
                    entry.next = Next::Now;
                }
                self.consider(shared.owner());
            }
            Poke::Refused { shared, generation } => self.refused(&shared, generation, now),
        }
    }

    fn refused(&mut self, shared: &Arc<Shared>, generation: u64, now: Moment) {
        let Some(entry) = entry_of(&mut self.entries, shared) else {
            shared.retire();
            return;
        };
        tracing::warn!(credential = %shared.owner(), generation, "an upstream refused the token");
        if !entry.spec.is_renewable() {
            let message = format!(
                "an upstream refused the token (generation {generation}); it cannot renew itself: replace it at its \
                 source, or by `bearerd set {}`",
                shared.owner()
            );
            entry.trouble = Some(Box::new(Trouble::new(Cause::Far, ErrorClass::Refused, message, now)));
            self.show(shared.owner());
            return;
        }
        let is_current = entry.generation() == generation;
        if is_current && entry.replaces_refused && entry.spec.flow.is_mailed() {
            let message = format!(
                "an upstream refused the token (generation {generation}), which had been asked for because it refused \
                 the one before: the mistake is elsewhere, such as the address that calls come from; no further \
                 message is sent for it"
            );
            entry.trouble = Some(Box::new(Trouble::new(Cause::Far, ErrorClass::Refused, message, now)));
            shared.clear_suspicion();
            self.show(shared.owner());
            return;
        }
        let starts = is_current && entry.may_renew_at_once(now, REFUSAL_PATIENCE);
        if starts && entry.spec.is_bundle() {
            if self.renew_parts(shared.owner(), REFUSAL_PATIENCE) {
                self.show(shared.owner());
            } else {
                shared.clear_suspicion();
            }
        } else if starts {
            entry.refused |= entry.phase != Phase::Renewing;
            entry.hasten();
            self.consider(shared.owner());
        } else {
            shared.clear_suspicion();
        }
    }
}

/// The entry that these readers belong to, if it is still kept.
fn entry_of<'a>(entries: &'a mut BTreeMap<Owner, Box<Entry>>, shared: &Arc<Shared>) -> Option<&'a mut Entry> {
    let entry = entries.get_mut(shared.owner())?;
    Arc::ptr_eq(&entry.shared, shared).then_some(entry)
}
