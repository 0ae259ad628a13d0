//! The subjects that are awake, as the handles and the task see them.
//!
//! A subject sleeps when nobody holds what its readers share any more. Handles take hold of it under
//! one lock, and the task lets it go under the same: nobody is left with a reader that is never fed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::credential::keeper::Kept;
use crate::credential::roster::Release;
use crate::credential::shared::Shared;
use crate::credential::{CredentialName, Owner};

#[derive(Default)]
pub(super) struct Awake {
    subjects: Mutex<HashMap<Owner, Kept>>,
    /// By credential: where its readers are kept.
    rosters: Mutex<HashMap<CredentialName, Vec<Weak<dyn Release>>>>,
    numbers: Mutex<BTreeMap<CredentialName, SubjectNumbers>>,
}

/// How the subjects of a credential wake and sleep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubjectNumbers {
    /// How many are awake.
    pub awake: usize,
    /// How often one woke.
    pub woken: u64,
    /// How often one fell asleep because nobody used it.
    pub idle: u64,
    /// How often one was put to sleep to make room for others.
    pub displaced: u64,
}

impl Awake {
    /// The subjects. Whoever changes them or the directory holds this, so that commands arrive in the
    /// order of the changes.
    pub(super) fn subjects(&self) -> MutexGuard<'_, HashMap<Owner, Kept>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn numbers(&self) -> MutexGuard<'_, BTreeMap<CredentialName, SubjectNumbers>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this roster is asked before a subject of the credential sleeps.
    pub(super) fn add_roster(&self, credential: &CredentialName, roster: Weak<dyn Release>) {
        let mut rosters = self.rosters.lock().unwrap_or_else(PoisonError::into_inner);
        let rosters = rosters.entry(credential.clone()).or_default();
        rosters.retain(|roster| roster.strong_count() > 0);
        rosters.push(roster);
    }

    /// Adds a subject that the task wakes by itself; says whether it slept.
    pub(super) fn add(&self, kept: &Kept) -> bool {
        let mut subjects = self.subjects();
        let slept = !subjects.contains_key(kept.shared.owner());
        if slept {
            subjects.insert(kept.shared.owner().clone(), kept.clone());
        }
        slept
    }

    /// Forgets a subject that nobody holds but the task; says whether it did.
    pub(super) fn let_go(&self, owner: &Owner, shared: &Arc<Shared>) -> bool {
        if let Some(subject) = &owner.subject {
            let rosters = self.rosters.lock().unwrap_or_else(PoisonError::into_inner);
            for roster in rosters.get(&owner.credential).into_iter().flatten().filter_map(Weak::upgrade) {
                roster.release(subject);
            }
        }
        let mut subjects = self.subjects();
        // One is held by these subjects, and one by the task's entry.
        let is_free = Arc::strong_count(shared) <= 2;
        if is_free {
            subjects.remove(owner);
        }
        is_free
    }
}
