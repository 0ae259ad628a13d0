//! Stores of tests: one in memory, and something that happens on the way to it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::credential::store::{Fingerprint, MemoryStore, Record, Store, StoreFuture};
use crate::credential::{CredentialName, Owner, Subject};
use crate::secret::Secret;

/// A store that outlives a process, by what it says, whose records lie in memory.
pub(crate) trait OverMemory: Send + Sync {
    /// Where they lie.
    fn memory(&self) -> &MemoryStore;

    /// Brings a record from there.
    fn read(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        self.memory().load(owner)
    }

    /// Brings a record there.
    fn write(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()>;
}

impl<T: OverMemory> Store for T {
    fn load(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        self.read(owner)
    }

    fn save(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        self.write(owner, record)
    }

    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Subject>> {
        self.memory().subjects(credential, after, limit)
    }

    fn count(&self, credential: &CredentialName) -> StoreFuture<'_, usize> {
        self.memory().count(credential)
    }

    fn lapsing(&self, before: Timestamp, limit: usize) -> StoreFuture<'_, Vec<(Timestamp, Owner)>> {
        self.memory().lapsing(before, limit)
    }

    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
        self.memory().fingerprint(inputs)
    }

    fn is_durable(&self) -> bool {
        true
    }
}
