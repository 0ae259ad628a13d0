//! The store that is a file: what is in it survives a crash at any moment, and only bearerd can read it.
//!
//! ```text
//!             save, begin ──▶ writer ──one sync for all that wait──▶ ┌──────┐
//!  keeper ──▶                                                        │ redb │ values sealed
//!             load, list  ──▶ reader ──never waits for the writer──▶ └──────┘
//! ```
//!
//! [`FileStore::open`] touches a file only after all of it held on a copy ([`rehearsal`]).

mod age;
mod disk;
mod error;
mod index;
mod opening;
mod overlay;
mod reader;
mod rehearsal;
mod tables;
#[cfg(test)]
mod tests;
mod transfer;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::{self, JoinHandle};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::credential::store::file::disk::Medium;
use crate::credential::store::file::opening::Opened;
use crate::credential::store::file::reader::{Question, Reader};
use crate::credential::store::file::writer::{Order, Shared, Write, Writer};
use crate::credential::store::{Fingerprint, Record, Store, StoreError, StoreFuture, fingerprint_by};
use crate::credential::{CredentialName, Owner, Subject};
use crate::secret::Secret;

pub use error::{OpenError, OpenFault};
pub use rehearsal::Keys;
pub use tables::Kept;
pub use transfer::{ImportError, import, read, snapshot};

/// A store in a file, with its threads. Dropping it writes what was ordered and closes the file.
pub struct FileStore {
    shared: Arc<Shared>,
    fingerprints: hmac::Key,
    orders: mpsc::Sender<Order>,
    questions: Option<mpsc::Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl FileStore {
    /// Opens the file of a store, or makes it. Blocks on the disk: all of it is read.
    ///
    /// The key is one of `keys`; if it is a previous one, all is sealed anew, at once or not at all.
    /// An error has left the file as it was.
    pub fn open(path: &Path, keys: &Keys, clock: &Clock) -> Result<Self, OpenError> {
        let started = opening::open_or_create(path, keys, clock)
            .and_then(|disk| Self::start(Box::new(disk), keys, clock));
        started.map_err(|fault| OpenError { path: path.to_owned(), fault })
    }

    fn start(mut medium: Box<dyn Medium>, keys: &Keys, clock: &Clock) -> Result<Self, OpenFault> {
        let Opened { database, sealer, fingerprints, index } =
            opening::open(&mut *medium, keys, clock, |_, _, _| ())?;
        let written = age::writes(&database)?;
        let missing = age::missing(&*medium, &sealer.store, written);
        if missing > 0 {
            tracing::warn!(
                writes = missing,
                "the store's file is an older copy: what was written since is not in it, and refresh tokens that it has \
                 may be used up. Whoever is refused logs in again"
            );
            age::note(&mut *medium, &sealer.store, written);
        }
        let shared = Arc::new(Shared {
            database: RwLock::new(Ok(database)),
            sealer,
            index: Mutex::new(index),
            errors: AtomicU64::new(0),
        });
        let (orders, inbox) = mpsc::channel();
        let (questions, asked) = mpsc::channel();
        let writer = Writer {
            medium,
            shared: Arc::clone(&shared),
            clock: clock.clone(),
            begun: BTreeSet::new(),
            writes: written,
        };
        let reader = Reader { shared: Arc::clone(&shared), orders: orders.clone() };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .stack_size(STACK)
                .spawn(work)
                .map_err(OpenFault::Disk)
        };
        let threads = vec![
            spawn("store-writer", Box::new(move || writer.run(&inbox)))?,
            spawn("store-reader", Box::new(move || reader.run(&asked)))?,
        ];
        let fingerprints = fingerprints.to_hmac();
        Ok(Self { shared, fingerprints, orders, questions: Some(questions), threads })
    }

    fn write(&self, key: Vec<u8>, record: Record, is_intent: bool) -> StoreFuture<'static, ()> {
        let (answer, outcome) = oneshot::channel();
        let sent = self.orders.send(Order::Write(Write { key, record: Box::new(record), is_intent, answer }));
        Box::pin(async move {
            sent.map_err(|_| ended())?;
            outcome.await.unwrap_or_else(|_| Err(ended()))
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Question,
    ) -> StoreFuture<'static, T> {
        let (answer, found) = oneshot::channel();
        let question = question(answer);
        let sent = self.questions.as_ref().is_some_and(|questions| questions.send(question).is_ok());
        Box::pin(async move {
            if !sent {
                return Err(ended());
            }
            found.await.unwrap_or_else(|_| Err(ended()))
        })
    }
}

/// The stacks of its threads, in bytes.
const STACK: usize = 512 * 1024;

fn ended() -> StoreError {
    StoreError("it was closed".to_owned())
}

impl Store for FileStore {
    fn load(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        let key = key_of(owner);
        self.ask(|answer| Question::Record { key, answer })
    }

    fn save(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        self.write(key_of(owner), record, false)
    }

    fn begin(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        self.write(key_of(owner), record, true)
    }

    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Subject>> {
        let (credential, after) = (credential.clone(), after.cloned());
        self.ask(|answer| Question::Subjects { credential, after, limit, answer })
    }

    fn count(&self, credential: &CredentialName) -> StoreFuture<'_, usize> {
        let count = self.shared.index().count(credential.as_str());
        Box::pin(async move { Ok(count) })
    }

    fn lapsing(&self, before: Timestamp, limit: usize) -> StoreFuture<'_, Vec<(Timestamp, Owner)>> {
        let lapsing = self.shared.index().lapsing(before, limit);
        Box::pin(async move { Ok(lapsing) })
    }

    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
        fingerprint_by(&self.fingerprints, inputs)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let (answer, closed) = oneshot::channel();
        let sent = self.orders.send(Order::Close(answer));
        Box::pin(async move {
            // It is closed already if nobody takes the order.
            if sent.is_ok() {
                let _ = closed.await;
            }
            Ok(())
        })
    }

    fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }
}

fn key_of(owner: &Owner) -> Vec<u8> {
    tables::key(owner.credential.as_str(), owner.subject.as_ref().map(Subject::as_str))
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.questions = None;
        // It is closed already if nobody takes the order.
        let _ = self.orders.send(Order::Close(oneshot::channel().0));
        for thread in self.threads.drain(..) {
            // One that panicked was logged.
            let _ = thread.join();
        }
    }
}
