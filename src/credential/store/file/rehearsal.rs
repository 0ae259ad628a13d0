//! Opening a file on a copy first: nothing is written to one that turns out to be damaged, sealed with
//! another key, or of somebody else.
//!
//! ```text
//! file ─▶ overlay (writes stay in memory) ─▶ the database checks every page, and repairs what a crash
//!                                            left ─▶ every record is opened ─▶ held: only now the file
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend};

use crate::clock::Clock;
use crate::credential::store::file::error::OpenFault;
use crate::credential::store::file::index::{Index, Known};
use crate::credential::store::file::overlay::Overlay;
use crate::credential::store::file::tables::{
    self, FORMAT, FingerprintKey, META, RECORDS, Sealer, StoreId, Unreadable,
};
use crate::credential::store::seal::{KeyId, Purpose, StoreKey};
use crate::secret::Secret;

/// What a file of the database begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// The memory for pages, in bytes. What is read often is in the system's own cache.
const CACHE: usize = 2 << 20;

/// How a database is opened here.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// The keys that may open a store.
pub struct Keys {
    /// The one that it is to be sealed with.
    pub current: Secret,
    /// Those that it may still be sealed with.
    pub previous: Vec<Secret>,
}

/// A file that held.
pub(super) struct Rehearsed<T> {
    /// Whether the file was closed in order, and needs no repair.
    pub(super) is_clean: bool,
    /// The copy, repaired if it was needed, and closed in order.
    pub(super) copy: Overlay,
    /// What was read of it.
    pub(super) found: T,
}

/// Opens a copy of `storage` and has a look at all of it.
pub(super) fn rehearse<T>(
    storage: &Arc<dyn StorageBackend>,
    look: impl FnOnce(&Database) -> Result<T, OpenFault>,
) -> Result<Rehearsed<T>, OpenFault> {
    if storage.len().map_err(OpenFault::of)? == 0 {
        return Err(OpenFault::Empty);
    }
    let mut magic = [0; MAGIC.len()];
    if storage.read(0, &mut magic).is_err() || magic != MAGIC {
        return Err(OpenFault::NotAStore);
    }
    // A page that was changed may break what the database takes for granted.
    catch_unwind(AssertUnwindSafe(|| on_a_copy(storage, look)))
        .unwrap_or_else(|_| Err(OpenFault::Damaged("its pages contradict each other".to_owned())))
}

fn on_a_copy<T>(
    storage: &Arc<dyn StorageBackend>,
    look: impl FnOnce(&Database) -> Result<T, OpenFault>,
) -> Result<Rehearsed<T>, OpenFault> {
    let is_clean = opens_as_it_is(Overlay::new(Arc::clone(storage)).map_err(OpenFault::of)?);
    let copy = Overlay::new(Arc::clone(storage)).map_err(OpenFault::of)?;
    let mut checking = builder();
    checking.set_check_integrity_on_open(true);
    let database = checking.create_with_backend(copy.clone()).map_err(redb::Error::from)?;
    let found = look(&database)?;
    database.close().map_err(redb::Error::from)?;
    Ok(Rehearsed { is_clean, copy, found })
}

/// Whether a copy can be opened without a repair.
fn opens_as_it_is(copy: Overlay) -> bool {
    let mut builder = builder();
    builder.set_repair_callback(redb::RepairSession::abort);
    catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(copy).is_ok())).unwrap_or(false)
}

/// What a whole store holds.
pub(super) struct Contents {
    pub(super) sealer: Sealer,
    /// Whether that is the current key, and not a previous one.
    pub(super) is_current: bool,
    pub(super) fingerprints: FingerprintKey,
    pub(super) index: Index,
}

/// A new store in memory, for [`super::disk::Disk::create`].
pub(super) fn new_store(
    id: StoreId,
    key: &StoreKey,
    sealed_fingerprints: &[u8],
) -> Result<Overlay, OpenFault> {
    let content = Overlay::new(Arc::new(redb::backends::InMemoryBackend::new())).map_err(OpenFault::of)?;
    let database = builder().create_with_backend(content.clone()).map_err(redb::Error::from)?;
    let filled = (|| {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", [FORMAT].as_slice())?;
            meta.insert("store", id.as_slice())?;
            meta.insert("key", key.id().as_slice())?;
            meta.insert("fingerprints", sealed_fingerprints)?;
            transaction.open_table(RECORDS)?;
        }
        transaction.commit()?;
        Ok::<_, redb::Error>(())
    })();
    filled?;
    database.close().map_err(redb::Error::from)?;
    Ok(content)
}

/// Reads all of a store, and shows each record to `see`, by its credential and subject.
pub(super) fn contents(
    database: &Database,
    keys: &Keys,
    mut see: impl FnMut(&str, Option<&str>, tables::Kept),
) -> Result<Contents, OpenFault> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let meta = transaction.open_table(META).map_err(|error| match error {
        redb::TableError::TableDoesNotExist(_) | redb::TableError::TableTypeMismatch { .. } => {
            OpenFault::NotAStore
        }
        error => redb::Error::from(error).into(),
    })?;
    let value = |name: &str| match meta.get(name).map_err(redb::Error::from)? {
        Some(value) => Ok(value.value().to_vec()),
        None => Err(OpenFault::Damaged(format!("its `{name}` is missing"))),
    };
    match value("format")?.as_slice() {
        [FORMAT] => {}
        [format] => return Err(OpenFault::OtherFormat(of_format(*format))),
        _ => return Err(OpenFault::Damaged("its `format` is none".to_owned())),
    }
    let id = |name: &str| OpenFault::Damaged(format!("its `{name}` is none"));
    let store: StoreId = value("store")?.try_into().map_err(|_| id("store"))?;
    let key: KeyId = value("key")?.try_into().map_err(|_| id("key"))?;
    let (key, is_current) = choose(keys, key)?;
    let sealer = Sealer { key, store };
    let fingerprints = sealer
        .open_fingerprints(&value("fingerprints")?)
        .ok_or_else(|| OpenFault::Damaged("the key of its fingerprints was changed".to_owned()))?;

    let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
    let mut index = Index::default();
    for entry in records.iter().map_err(redb::Error::from)? {
        let (key, value) = entry.map_err(redb::Error::from)?;
        let Some((credential, subject)) = tables::names(key.value()) else {
            return Err(OpenFault::Damaged("a record has no name".to_owned()));
        };
        let kept = sealer.open(key.value(), value.value()).map_err(|error| unreadable(error, credential))?;
        index.change(key.value(), None, Some(Known::of(value.value())));
        see(credential, subject, kept);
    }
    Ok(Contents { sealer, is_current, fingerprints, index })
}

/// The key that the store was sealed with.
fn choose(keys: &Keys, id: KeyId) -> Result<(StoreKey, bool), OpenFault> {
    let given = std::iter::once((&keys.current, true)).chain(keys.previous.iter().map(|key| (key, false)));
    for (text, is_current) in given {
        if let Ok(key) = StoreKey::new(text, Purpose::File)
            && key.id() == id
        {
            return Ok((key, is_current));
        }
    }
    Err(OpenFault::WrongKey)
}

fn unreadable(error: Unreadable, credential: &str) -> OpenFault {
    match error {
        Unreadable::Format(format) => OpenFault::OtherFormat(of_format(format)),
        Unreadable::Changed => OpenFault::Damaged(format!(
            "a record of `{credential}` is not what was sealed there: it was changed, or belongs elsewhere"
        )),
    }
}

fn of_format(format: u8) -> String {
    format!("it is of format {format}, and this one knows only {FORMAT}")
}

/// A random name for a new store.
pub(super) fn new_id(clock: &Clock) -> StoreId {
    let mut id = StoreId::default();
    clock.fill_random(&mut id);
    id
}
