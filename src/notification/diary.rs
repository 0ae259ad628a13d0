//! What a receiver was told, and what waits for it, over restarts: a record of its own in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::credential::Owner;
use crate::credential::store::{Fingerprint, Record, Store, StoreError};
use crate::notification::trouble::Topic;
use crate::notification::{Event, Notice, ReceiverSpec};
use crate::secret::Secret;

/// A disk that stands still keeps nobody from being told.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is kept.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// The way to the receiver, as a keyed digest: whoever is reached in another way has been told nothing.
    pub(super) way: Fingerprint,
    /// What it was told, by matter.
    pub(super) entries: Vec<Entry>,
    /// When it was told anything, as far back as `rate` looks.
    pub(super) told: Vec<Timestamp>,
    /// What was not delivered yet.
    pub(super) waiting: Vec<Notice>,
}

/// One matter.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) topic: Topic,
    pub(super) event: Event,
    pub(super) message: String,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) since: Timestamp,
    pub(super) told: Option<Told>,
    /// When it was told, as far back as `flaps` looks.
    pub(super) times: Vec<Timestamp>,
}

/// What was told of it last.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) event: Event,
    pub(super) at: Timestamp,
    pub(super) reminder: u32,
}

/// Where pages are kept.
#[derive(Clone)]
pub(super) struct Diary(Arc<dyn Store>);

impl Diary {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Whether anything outlives this process.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_durable()
    }

    /// What the receiver was told by processes before this one; nothing if it was reached in another way.
    pub(super) async fn read(&self, spec: &ReceiverSpec) -> Page {
        let name = spec.name.as_str();
        let record = match tokio::time::timeout(PATIENCE, self.0.load(&owner(spec))).await {
            Ok(Ok(record)) => record,
            Ok(Err(StoreError(reason))) => {
                tracing::warn!(
                    receiver = name,
                    reason,
                    "what it was told before cannot be read: it is told again"
                );
                return Page::default();
            }
            Err(_) => return Page::default(),
        };
        let page = record.memo.and_then(|memo| serde_json::from_slice::<Page>(memo.expose()).ok());
        page.filter(|page| page.way == self.way(spec)).unwrap_or_default()
    }

    /// Keeps what the receiver was told. What cannot be kept is told again after a restart, no more.
    pub(super) async fn write(&self, spec: &ReceiverSpec, page: Page) -> Result<(), StoreError> {
        let page = Page { way: self.way(spec), ..page };
        let text = serde_json::to_vec(&page).map_err(|error| StoreError(error.to_string()))?;
        let record = Record { memo: Some(Secret::new(text)), ..Record::default() };
        self.save(spec, record).await
    }

    /// Forgets a receiver.
    pub(super) async fn forget(&self, spec: &ReceiverSpec) -> Result<(), StoreError> {
        self.save(spec, Record::default()).await
    }

    async fn save(&self, spec: &ReceiverSpec, record: Record) -> Result<(), StoreError> {
        let saved = tokio::time::timeout(PATIENCE, self.0.save(&owner(spec), record)).await;
        saved.unwrap_or_else(|_| Err(StoreError("the disk stands still".to_owned())))
    }

    fn way(&self, spec: &ReceiverSpec) -> Fingerprint {
        let way = format!("{:?} {}", spec.way, spec.egress);
        self.0.fingerprint(&BTreeMap::from([("way".to_owned(), Secret::from(way))]))
    }
}

/// No credential has a name with a dot.
fn owner(spec: &ReceiverSpec) -> Owner {
    Owner { credential: format!("notify.{}", spec.name).as_str().into(), subject: None }
}
