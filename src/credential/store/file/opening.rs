//! From a path to an open database: made if it is not there, repaired if a crash left it, sealed anew if
//! the key was changed.

use std::path::Path;

use redb::{Database, ReadableTable};

use crate::clock::Clock;
use crate::credential::store::file::disk::{Disk, Medium};
use crate::credential::store::file::error::OpenFault;
use crate::credential::store::file::index::Index;
use crate::credential::store::file::rehearsal::{Keys, contents, new_id, new_store, rehearse};
use crate::credential::store::file::tables::{FingerprintKey, Kept, META, RECORDS, Sealer, StoreId};
use crate::credential::store::file::writer::open_in_place;
use crate::credential::store::seal::{Purpose, StoreKey};

/// A database that may be used.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) sealer: Sealer,
    pub(super) fingerprints: FingerprintKey,
    pub(super) index: Index,
}

/// Opens what a medium holds, after all of it held on a copy; `see` is shown each record.
pub(super) fn open(
    medium: &mut dyn Medium,
    keys: &Keys,
    clock: &Clock,
    see: impl FnMut(&str, Option<&str>, Kept),
) -> Result<Opened, OpenFault> {
    let rehearsed = rehearse(&medium.storage(), |database| contents(database, keys, see))?;
    if !rehearsed.is_clean {
        match medium.replace(&rehearsed.copy) {
            Ok(()) => tracing::info!("the store was not closed in order: a repaired copy took its place"),
            Err(error) => {
                tracing::info!(%error, "the store was not closed in order: it is repaired in place, as a copy was");
            }
        }
    }
    let found = rehearsed.found;
    let database = open_in_place(medium.storage())?;
    let sealer = if found.is_current {
        found.sealer
    } else {
        reseal(&database, &found.sealer, &found.fingerprints, keys, clock)?
    };
    Ok(Opened { database, sealer, fingerprints: found.fingerprints, index: found.index })
}

/// Locks the file at a path; a new store is made if there is none.
pub(super) fn open_or_create(path: &Path, keys: &Keys, clock: &Clock) -> Result<Disk, OpenFault> {
    match Disk::open(path, true)? {
        Some(disk) => Ok(disk),
        None => create(path, keys, new_id(clock), &FingerprintKey::generate(clock), clock),
    }
}

/// Makes a new store.
pub(super) fn create(
    path: &Path,
    keys: &Keys,
    store: StoreId,
    fingerprints: &FingerprintKey,
    clock: &Clock,
) -> Result<Disk, OpenFault> {
    let key = StoreKey::new(&keys.current, Purpose::File).map_err(|_| OpenFault::WrongKey)?;
    let sealer = Sealer { key, store };
    let content = new_store(store, &sealer.key, &sealer.seal_fingerprints(fingerprints, clock))?;
    Disk::create(path, &content)
}

/// Seals everything with the current key, in one transaction.
fn reseal(
    database: &Database,
    old: &Sealer,
    fingerprints: &FingerprintKey,
    keys: &Keys,
    clock: &Clock,
) -> Result<Sealer, OpenFault> {
    let key = StoreKey::new(&keys.current, Purpose::File).map_err(|_| OpenFault::WrongKey)?;
    let new = Sealer { key, store: old.store };
    let resealed = (|| {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        let mut count = 0_u64;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("key", new.key.id().as_slice())?;
            meta.insert("fingerprints", new.seal_fingerprints(fingerprints, clock).as_slice())?;
            let mut records = transaction.open_table(RECORDS)?;
            let names: Vec<Vec<u8>> = records
                .iter()?
                .map(|entry| entry.map(|(key, _)| key.value().to_vec()))
                .collect::<Result<_, _>>()?;
            for key in names {
                let kept = records.get(key.as_slice())?.map(|value| old.open(&key, value.value()));
                let Some(Ok(kept)) = kept else {
                    return Err(redb::Error::Corrupted("a record does not open any more".to_owned()));
                };
                records.insert(key.as_slice(), new.seal(&key, &kept, clock).as_slice())?;
                count += 1;
            }
        }
        transaction.commit()?;
        Ok(count)
    })();
    let records = resealed?;
    tracing::info!(records, "the store is sealed with the new key; `previous_key` is not needed any more");
    Ok(new)
}
