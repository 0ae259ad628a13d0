//! A disk: what is written is durable some time later, unless the process dies before.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::Owner;
use crate::credential::store::testing::OverMemory;
use crate::credential::store::{MemoryStore, Record, Store, StoreFuture};

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

impl OverMemory for Disk {
    fn memory(&self) -> &MemoryStore {
        &self.content
    }

    fn read(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        let owner = owner.clone();
        Box::pin(async move {
            self.some_time().await;
            self.content.load(&owner).await
        })
    }

    fn write(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
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
}
