//! Chains: the output of one credential is an input of another.
//!
//! A child starts when all its parents have a usable token. A new value of a parent renews the child;
//! a new token with the same value does not. While a child waits for a parent, it shows the parent's
//! plan as its own, so that requests know whether waiting is worth while.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Moment;
use crate::credential::keeper::Outcome;
use crate::credential::keeper::entry::{Entry, Next, ParentValues, Phase, Stop};
use crate::credential::keeper::task::Task;
use crate::credential::{CredentialName, CredentialSpec, Expiry, Owner, State};

impl Task {
    /// A credential whose outputs others use: the token that it has by itself.
    pub(super) fn parent(&self, parent: &CredentialName) -> Option<&Entry> {
        self.entries.get(&Owner::from(parent)).map(|entry| &**entry)
    }

    /// The first parent that has no usable token.
    pub(super) fn missing_parent(&self, entry: &Entry, now: Moment) -> Option<CredentialName> {
        let usable = |parent: &CredentialName| self.parent(parent).is_some_and(|it| it.is_usable(now));
        entry.spec.parents().map(|(parent, _)| parent).find(|parent| !usable(parent)).cloned()
    }

    /// The end of the parent that ends first; `None` if none does.
    pub(super) fn first_end(&self, spec: &CredentialSpec) -> Option<Expiry> {
        let expiry = |parent: &CredentialName| Some(self.parent(parent)?.current.as_ref()?.expiry);
        let ends = spec.parents().filter_map(|(parent, _)| expiry(parent));
        ends.filter_map(|it| Some((it.usable_until()?.wall, it)))
            .min_by_key(|(end, _)| *end)
            .map(|(_, it)| it)
    }

    /// What usable parents give to a credential.
    pub(super) fn parent_values(&self, spec: &CredentialSpec, now: Moment) -> ParentValues {
        let value = |parent: &CredentialName, output: &str| {
            let parent = self.parent(parent).filter(|parent| parent.is_usable(now))?;
            parent.current.as_ref()?.outputs.get(output).cloned()
        };
        spec.parents()
            .filter_map(|(parent, output)| {
                Some(((parent.clone(), output.to_owned()), value(parent, output)?))
            })
            .collect()
    }

    /// Plans an exchange if a parent gives another value than the last exchange had.
    pub(super) fn follow_parents(&mut self, owner: &Owner, now: Moment) {
        let Some(entry) = self.entries.get(owner) else { return };
        let values = self.parent_values(&entry.spec, now);
        let before = |key| entry.parent_values.as_ref()?.get(key);
        let changed = values.iter().any(|(key, value)| before(key) != Some(value));
        if changed && let Some(entry) = self.entries.get_mut(owner) {
            entry.awaited.clear();
            entry.freshens = false;
            entry.next = Next::Now;
        }
    }

    /// The owners that use an output of this one. Nobody uses what a subject has.
    pub(super) fn children_of(&self, parent: &Owner) -> Vec<Owner> {
        let children = self.children.get(&parent.credential).filter(|_| parent.subject.is_none());
        children.into_iter().flatten().cloned().collect()
    }

    /// A credential has a new generation: its children follow.
    pub(super) fn tell_children(&mut self, parent: &Owner, now: Moment) {
        for child in self.children_of(parent) {
            if let Some(entry) = self.entries.get_mut(&child)
                && entry.awaited.remove(&parent.credential)
            {
                if entry.awaited.is_empty() {
                    entry.freshens = false;
                    entry.next = Next::Now;
                } else if entry.spec.is_bundle() {
                    // Which of its parts was refused is not known: it waits for all.
                    continue;
                }
            }
            self.follow_parents(&child, now);
            self.consider(&child);
        }
    }

    /// The issuer rejected what may be the fault of parents: they are renewed first, once, and then
    /// the child is tried again. Says whether there is a parent to renew.
    pub(super) fn renew_parents(&mut self, child: &Owner) -> bool {
        let Some(entry) = self.entries.get(child).filter(|entry| !entry.parents_renewed) else {
            return false;
        };
        let parents = entry.spec.parents().map(|(parent, _)| Owner::from(parent));
        let can_renew = |parent: &Owner| {
            self.entries.get(parent).is_some_and(|it| it.spec.is_renewable() && it.stop.is_none())
        };
        let parents: Vec<_> = parents.filter(can_renew).collect();
        for parent in &parents {
            if let Some(entry) = self.entries.get_mut(parent) {
                entry.doubted |= entry.phase != Phase::Renewing && entry.spec.rotation.is_some();
                entry.hasten();
            }
        }
        if let Some(entry) = self.entries.get_mut(child) {
            entry.parents_renewed = true;
            entry.freshens = false;
            entry.awaited = parents.iter().map(|parent| parent.credential.clone()).collect();
        }
        for parent in &parents {
            self.consider(parent);
        }
        !parents.is_empty()
    }

    /// An upstream refused a bundle: those of its parents that can are renewed. Says whether there is one.
    pub(super) fn renew_parts(&mut self, bundle: &Owner, patience: Duration) -> bool {
        let Some(entry) = self.entries.get(bundle).filter(|entry| entry.awaited.is_empty()) else {
            return true;
        };
        let now = self.clock.now();
        let may_start = |parent: &Owner| {
            self.entries
                .get(parent)
                .is_some_and(|it| it.spec.is_renewable() && it.may_renew_at_once(now, patience))
        };
        let parents: BTreeSet<_> = entry.spec.parents().map(|(parent, _)| parent.clone()).collect();
        let parents: BTreeSet<_> = parents.into_iter().filter(|parent| may_start(&parent.into())).collect();
        for parent in &parents {
            if let Some(entry) = self.entries.get_mut(&Owner::from(parent)) {
                entry.hasten();
            }
        }
        if let Some(entry) = self.entries.get_mut(bundle) {
            entry.awaited.clone_from(&parents);
        }
        for parent in &parents {
            self.consider(&parent.into());
        }
        !parents.is_empty()
    }

    /// A parent of bundles was not renewed: they wait for it no longer.
    pub(super) fn excuse_parts(&mut self, parent: &Owner) {
        for child in self.children_of(parent) {
            if let Some(entry) = self.entries.get_mut(&child).filter(|entry| entry.spec.is_bundle())
                && entry.awaited.remove(&parent.credential)
                && entry.awaited.is_empty()
            {
                entry.next = Next::Now;
                self.consider(&child);
            }
        }
    }

    /// A parent cannot be renewed: the rejection of children that hoped for it stands.
    pub(super) fn disappoint_children(&mut self, parent: &Owner) {
        for child in self.children_of(parent) {
            if let Some(entry) = self.entries.get_mut(&child)
                && entry.awaited.contains(&parent.credential)
                && !entry.spec.is_bundle()
            {
                if entry.freshens {
                    let now = self.clock.now();
                    self.cannot_freshen(&child, parent, now);
                    self.consider(&child);
                    continue;
                }
                entry.awaited.clear();
                entry.stop = Some(Box::new(Stop::new(State::Rejected, entry.inputs)));
                for waiter in entry.waiters.take() {
                    let _ = waiter.send(Outcome::Rejected);
                }
                self.consider(&child);
                self.disappoint_children(&child);
            }
        }
    }
}
