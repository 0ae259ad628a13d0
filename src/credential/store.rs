//! What must survive: rotated refresh tokens, rejections, lost answers.
//!
//! The seam behind which memory, a file and shared stores stand. A value is durable once `save`
//! has returned: the keeper publishes nothing before.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::credential::CredentialName;
use crate::secret::Secret;

/// A boxed future, since a store is chosen at run time.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError(pub String);

/// Identifies the inputs of an exchange without telling them: a keyed digest.
pub type Fingerprint = [u8; 32];

/// What is kept of one credential. Fingerprints tell whether it still speaks of the same inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// A value that stands in for a configured one (a rotated refresh token, a token that was set),
    /// and the fingerprint of that configured one: when it changes, it wins again.
    pub replacement: Option<(Fingerprint, Secret)>,
    /// An exchange with this single-use value was begun, and its outcome is not known.
    pub in_flight: Option<Fingerprint>,
    /// This value came back from an exchange without a successor: it is not single-use.
    pub reusable: Option<Fingerprint>,
    /// How often the issuer rejected these inputs.
    pub rejections: Option<(Fingerprint, u32)>,
}

/// Where records are kept.
pub trait Store: Send + Sync {
    /// The record of a credential; an empty one if there is none.
    fn load(&self, name: &CredentialName) -> StoreFuture<'_, Record>;
    /// Keeps a record; it is durable when the future is done.
    fn save(&self, name: &CredentialName, record: Record) -> StoreFuture<'_, ()>;
    /// A keyed digest of inputs; the key stays in the store.
    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint;
    /// Whether records outlive the process.
    fn is_durable(&self) -> bool;
}

/// A store that forgets at the process's end.
pub struct MemoryStore {
    key: aws_lc_rs::hmac::Key,
    records: Mutex<BTreeMap<CredentialName, Record>>,
}

impl MemoryStore {
    /// An empty store with a fingerprint key of its own.
    pub fn new(clock: &crate::clock::Clock) -> Self {
        let mut key = [0; 32];
        clock.fill_random(&mut key);
        Self { key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key), records: Mutex::default() }
    }
}

impl Store for MemoryStore {
    fn load(&self, name: &CredentialName) -> StoreFuture<'_, Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.get(name).cloned().unwrap_or_default();
        Box::pin(async { Ok(record) })
    }

    fn save(&self, name: &CredentialName, record: Record) -> StoreFuture<'_, ()> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), record);
        Box::pin(async { Ok(()) })
    }

    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.key);
        for (name, value) in inputs {
            // Lengths keep `a=bc` and `ab=c` apart.
            for part in [name.as_bytes(), value.expose()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    fn is_durable(&self) -> bool {
        false
    }
}
