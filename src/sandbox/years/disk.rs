//! A disk: what is written is durable some time later, unless the process dies before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::credential::store::{Fingerprint, MemoryStore, Record, Store, StoreFuture};
use crate::credential::{CredentialName, Owner, Subject};
use crate::secret::Secret;

/// What a read or a write takes at the most.
const SLOWEST: Duration = Duration::from_millis(300);

/// A store that outlives processes.
#[derive(Clone)]
pub(super) struct Disk {
    content: Arc<MemoryStore>,
    clock: Clock,
    /// What is written is gone, though it was said to be durable.
    pub(super) forgets: bool,
}

impl Disk {
    pub(super) fn new(clock: &Clock, forgets: bool) -> Self {
        Self { content: Arc::new(MemoryStore::rehearsing(&[7; 32])), clock: clock.clone(), forgets }
    }

    fn some_time(&self) -> tokio::time::Sleep {
        tokio::time::sleep(SLOWEST.mul_f64(self.clock.fraction()))
    }
}

impl Store for Disk {
    fn load(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        let owner = owner.clone();
        Box::pin(async move {
            self.some_time().await;
            self.content.load(&owner).await
        })
    }

    fn save(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        let owner = owner.clone();
        Box::pin(async move {
            self.some_time().await;
            if !self.forgets {
                self.content.save(&owner, record).await?;
            }
            self.some_time().await;
            Ok(())
        })
    }

    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Subject>> {
        self.content.subjects(credential, after, limit)
    }

    fn count(&self, credential: &CredentialName) -> StoreFuture<'_, usize> {
        self.content.count(credential)
    }

    fn lapsing(&self, before: Timestamp, limit: usize) -> StoreFuture<'_, Vec<(Timestamp, Owner)>> {
        self.content.lapsing(before, limit)
    }

    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
        self.content.fingerprint(inputs)
    }

    fn is_durable(&self) -> bool {
        true
    }
}
