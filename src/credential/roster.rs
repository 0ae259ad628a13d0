//! Where requests find the token of a subject.
//!
//! A [`Roster`] is one route's view of all subjects of one credential: a [`Slot`] for each of those that
//! are awake. A hit is one look into a map, under a lock that only a subject that wakes or falls asleep
//! takes for itself; a miss wakes the subject. The map is cut into parts with a lock each, so that workers
//! that ask for different subjects do not even share a cache line.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::clock::Moment;
use crate::credential::keeper::Keeper;
use crate::credential::slot::{Prepare, Slot};
use crate::credential::{CredentialName, Owner, Subject};

/// Into so many parts the map is cut: a power of two.
const PARTS: usize = 16;

/// One route's view of the subjects of a credential. [`Keeper::roster`] makes one.
pub struct Roster<T> {
    keeper: Keeper,
    credential: CredentialName,
    prepare: Prepare<T>,
    parts: [Part<T>; PARTS],
}

/// A part of the map, on cache lines of its own.
#[repr(align(128))]
struct Part<T>(RwLock<HashMap<Subject, Arc<Slot<T>>>>);

/// What the keeper sees of a roster.
pub trait Release: Send + Sync {
    /// Forgets the slot of a subject, unless a request holds it.
    fn release(&self, subject: &Subject);
}

impl<T: Send + Sync + 'static> Roster<T> {
    /// A roster of nobody yet.
    pub(in crate::credential) fn new(
        keeper: Keeper,
        credential: CredentialName,
        prepare: Prepare<T>,
    ) -> Self {
        let parts = std::array::from_fn(|_| Part(RwLock::default()));
        Self { keeper, credential, prepare, parts }
    }

    /// The slot of a subject, which is in use at this moment; it wakes if it sleeps. `None` if the text
    /// can be no subject, or the credential is kept no longer.
    pub fn slot(&self, subject: &str, now: Moment) -> Option<Arc<Slot<T>>> {
        let part = &self.part(subject).0;
        if let Some(slot) = part.read().unwrap_or_else(PoisonError::into_inner).get(subject) {
            slot.touch(now);
            return Some(Arc::clone(slot));
        }
        let subject = Subject::new(subject).ok()?;
        let owner = Owner::subject(self.credential.clone(), subject.clone());
        let slot = self.keeper.slot(&owner, Arc::clone(&self.prepare))?;
        slot.touch(now);
        // Of two that wake it at once, one makes the slot.
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(part.entry(subject).or_insert(slot)))
    }

    fn part(&self, subject: &str) -> &Part<T> {
        // The end of a name tells more than its beginning. The map itself hashes with a key.
        let end = subject.bytes().rev().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(byte));
        let spread = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PARTS.trailing_zeros());
        &self.parts[usize::try_from(spread).unwrap_or_default() % PARTS]
    }
}

impl<T: Send + Sync + 'static> Release for Roster<T> {
    fn release(&self, subject: &Subject) {
        let mut part = self.part(subject.as_str()).0.write().unwrap_or_else(PoisonError::into_inner);
        // Who holds the lock for itself knows that nobody is about to take another one.
        if part.get(subject).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            part.remove(subject);
            if part.len() < part.capacity() / 4 {
                part.shrink_to_fit();
            }
        }
    }
}

impl<T> fmt::Debug for Roster<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Roster").field("credential", &self.credential).finish_non_exhaustive()
    }
}
