//! The thread that writes. Whatever waits when it comes round is committed at once and shares one sync
//! of the disk; reads go on meanwhile, and so does everything that wants nothing written.
//!
//! An intent reserves the room of its result: the disk's blocks are held back in a file beside until
//! the result is written, and are given up to it if the disk has filled meanwhile.
//!
//! Commits are in two phases (two syncs): with one, a page that goes bad later would pass for a commit
//! that a crash has torn, and what was saved would quietly be what it was before.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};

use redb::{Database, ReadableDatabase, StorageBackend};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::credential::store::file::age;
use crate::credential::store::file::disk::Medium;
use crate::credential::store::file::error::OpenFault;
use crate::credential::store::file::index::{Index, Known};
use crate::credential::store::file::rehearsal::{builder, rehearse};
use crate::credential::store::file::tables::{Kept, META, RECORDS, Sealer};
use crate::credential::store::{Record, StoreError};

/// The most records of one commit.
const BATCH: usize = 1024;

/// Held back as soon as one intent is recorded: what any commit writes besides its records.
const COMMIT_ROOM: u64 = 256 << 10;
/// Held back for each intent: a record with long tokens, several times over.
const RESULT_ROOM: u64 = 64 << 10;

/// What threads of one store share.
pub(super) struct Shared {
    /// The database; a reason if it could not be opened again after an error.
    pub(super) database: RwLock<Result<Database, String>>,
    pub(super) sealer: Sealer,
    pub(super) index: Mutex<Index>,
    /// Reads and writes that failed.
    pub(super) errors: AtomicU64,
}

impl Shared {
    /// Counts an error and says it.
    pub(super) fn failed(&self, message: String) -> StoreError {
        self.errors.fetch_add(1, Ordering::Relaxed);
        StoreError(message)
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the database, which is not opened anew meanwhile.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, String> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(database) => work(database).map_err(|error| message(&error)),
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// What the writer is told.
pub(super) enum Order {
    Write(Write),
    /// A read has failed: the database wants to be opened anew.
    Mend,
    /// Closes the file in order, and ends.
    Close(oneshot::Sender<()>),
}

/// A record to write.
pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) record: Box<Record>,
    /// It begins an exchange, whose result must find room.
    pub(super) is_intent: bool,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) struct Writer {
    pub(super) medium: Box<dyn Medium>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    /// Exchanges that were begun and whose results were not written yet.
    pub(super) begun: BTreeSet<Vec<u8>>,
    /// How often the file was written.
    pub(super) writes: u64,
}

impl Writer {
    /// Obeys until it is told to close, or nobody is left to tell.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        let mut closed = None;
        while closed.is_none()
            && let Ok(first) = orders.recv()
        {
            let mut writes = Vec::new();
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(write) => writes.push(write),
                    Order::Mend => self.mend(),
                    Order::Close(answer) => closed = Some(answer),
                }
                next = if writes.len() < BATCH && closed.is_none() { orders.try_recv().ok() } else { None };
            }
            self.write(writes);
        }
        self.close();
        drop(self);
        if let Some(answer) = closed {
            // Whoever told it may not wait.
            let _ = answer.send(());
        }
    }

    /// Writes all of a batch, and tells each how it went.
    fn write(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let mut outcomes: Vec<Result<(), String>> = vec![Ok(()); writes.len()];
        let mut chosen: Vec<usize> = (0..writes.len()).collect();
        if let Err(reason) = self.reserve(&writes) {
            chosen.retain(|index| !writes[*index].is_intent);
            for (outcome, write) in outcomes.iter_mut().zip(&writes) {
                if write.is_intent {
                    *outcome = Err(reason.clone());
                }
            }
        }
        let mut failed = self.commit(&writes, &chosen).err();
        if let Some(reason) = failed.clone() {
            // What was held back is for results: an intent that found no room begins nothing.
            for index in chosen.extract_if(.., |index| writes[*index].is_intent) {
                outcomes[index] = Err(reason.clone());
            }
            failed = self.try_again(&writes, &chosen).err();
        }
        for index in chosen {
            outcomes[index] = failed.clone().map_or(Ok(()), Err);
        }
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            match &outcome {
                Ok(()) if write.is_intent => _ = self.begun.insert(write.key),
                Ok(()) => _ = self.begun.remove(&write.key),
                Err(_) => {}
            }
            // Whoever asked may be gone: it is written all the same.
            let _ = write.answer.send(outcome.map_err(|reason| self.shared.failed(reason)));
        }
    }

    /// Holds the room back that the results of all exchanges under way will want.
    fn reserve(&mut self, writes: &[Write]) -> Result<(), String> {
        let new = writes.iter().filter(|write| write.is_intent && !self.begun.contains(&write.key)).count();
        if !writes.iter().any(|write| write.is_intent) {
            return Ok(());
        }
        let room = COMMIT_ROOM + RESULT_ROOM * (self.begun.len() + new) as u64;
        self.medium.reserve(room).map_err(|error| format!("there is no room for its result: {error}"))
    }

    fn commit(&mut self, writes: &[Write], chosen: &[usize]) -> Result<(), String> {
        if chosen.is_empty() {
            return Ok(());
        }
        if !self.medium.is_in_place() {
            return Err(
                "its file was removed or replaced while it was in use: nothing more is written, put \
                        the file back or start bearerd again"
                    .to_owned(),
            );
        }
        let saved_at = self.clock.wall();
        let changes = self.shared.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let mut changes = Vec::with_capacity(chosen.len());
            {
                let mut records = transaction.open_table(RECORDS)?;
                for index in chosen {
                    let Write { key, record, .. } = &writes[*index];
                    let (before, now) = if **record == Record::default() {
                        (records.remove(key.as_slice())?, None)
                    } else {
                        let kept = Kept { record: (**record).clone(), saved_at };
                        let value = self.shared.sealer.seal(key, &kept, &self.clock);
                        (records.insert(key.as_slice(), value.as_slice())?, Some(Known::of(&value)))
                    };
                    changes.push((before.map(|before| Known::of(before.value())), now));
                }
            }
            age::count(&transaction, self.writes + 1)?;
            transaction.commit()?;
            Ok(changes)
        })?;
        self.writes += 1;
        age::note(&mut *self.medium, &self.shared.sealer.store, self.writes);
        let mut index = self.shared.index();
        for (write, (before, now)) in chosen.iter().zip(changes) {
            index.change(&writes[*write].key, before, now);
        }
        Ok(())
    }

    /// After an error the database takes nothing more before it is opened anew.
    fn try_again(&mut self, writes: &[Write], chosen: &[usize]) -> Result<(), String> {
        self.medium.release();
        self.mend();
        self.commit(writes, chosen)
    }

    /// Opens the database anew.
    fn mend(&mut self) {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one goes first: two must not have one file.
        *database = Err("it is being opened again".to_owned());
        let store = self.shared.sealer.store;
        let is_same = |database: &Database| {
            let id = (|| {
                let meta = database.begin_read()?.open_table(META)?;
                Ok::<_, redb::Error>(meta.get("store")?.is_some_and(|id| id.value() == store.as_slice()))
            })();
            if id? { Ok(()) } else { Err(OpenFault::NotAStore) }
        };
        let opened = rehearse(&self.medium.storage(), is_same).and_then(|rehearsed| {
            if !rehearsed.is_clean
                && let Err(error) = self.medium.replace(&rehearsed.copy)
            {
                tracing::debug!(%error, "the store's file is repaired in place, as it went on a copy");
            }
            open_in_place(self.medium.storage())
        });
        *database = opened.map_err(|fault| {
            let reason = match fault {
                OpenFault::Disk(error) | OpenFault::ReadOnly(error) => error.to_string(),
                OpenFault::NoRoom => "the disk is full".to_owned(),
                OpenFault::Damaged(what) => format!("it is damaged: {what}"),
                _ => "it is no longer the store that was opened".to_owned(),
            };
            format!("it cannot be opened again: {reason}")
        });
    }

    fn close(&mut self) {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        let closed = std::mem::replace(&mut *database, Err("it was closed".to_owned()));
        if let Ok(database) = closed
            && let Err(error) = database.close()
        {
            tracing::warn!(%error, "the store was not closed in order: the next start repairs it");
        }
    }
}

/// Opens the database that a rehearsal found to be whole.
pub(super) fn open_in_place(storage: Arc<dyn StorageBackend>) -> Result<Database, OpenFault> {
    Ok(builder().create_with_backend(Borrowed(storage)).map_err(redb::Error::from)?)
}

/// A storage that others see too.
#[derive(Debug)]
struct Borrowed(Arc<dyn StorageBackend>);

impl StorageBackend for Borrowed {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// What people read of an error of the database.
fn message(error: &redb::Error) -> String {
    match error {
        redb::Error::Io(error) => error.to_string(),
        redb::Error::PreviousIo => "the disk failed before".to_owned(),
        other => other.to_string(),
    }
}
