//! What people do with a file while no process has it: look at it, take all of it out, put an export in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::store::Record;
use crate::credential::store::archive::{Archive, Archived};
use crate::credential::store::file::disk::{Disk, Medium};
use crate::credential::store::file::error::{OpenError, OpenFault};
use crate::credential::store::file::opening::{self, Opened};
use crate::credential::store::file::rehearsal::{Keys, contents, rehearse};
use crate::credential::store::file::tables::{self, FingerprintKey, Kept, META, RECORDS, Sealer};

/// Why an export was not put into a store. Nothing was written.
#[derive(Debug)]
pub enum ImportError {
    /// The file cannot be used.
    Open(OpenError),
    /// The store is another one, and not empty.
    OtherStore,
    /// The store has records that are newer or others: their names.
    Conflicts(Vec<String>),
}

impl fmt::Display for ImportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(formatter),
            Self::OtherStore => formatter.write_str(
                "the store is another one than the export is of, and it is not empty. Nothing was written. --force \
                 removes what is in it and takes the export in its place",
            ),
            Self::Conflicts(names) => write!(
                formatter,
                "the store has what is not older than in the export: {}. Nothing was written. --force takes the \
                 export's all the same",
                names.join(", ")
            ),
        }
    }
}

impl std::error::Error for ImportError {}

/// A copy that does not hold together is made anew so often at the most: a process that writes all the time is past
/// it with the next one.
const MOST_COPIES: usize = 20;

/// Reads all of a store. The file is not written, not even to repair it.
pub fn read(path: &Path, keys: &Keys) -> Result<Archive, OpenError> {
    let read = || {
        let disk = Disk::open(path, false)?.ok_or(OpenFault::Missing)?;
        of_storage(&disk.storage(), keys)
    };
    read().map_err(|fault| OpenError { path: path.to_owned(), fault })
}

/// Reads all of a store, though a process may have it and write into it: a copy is looked at, and copied anew while
/// what was copied does not hold together. The file is not locked, and nothing is written.
pub fn snapshot(path: &Path, keys: &Keys) -> Result<Archive, OpenError> {
    let once = || {
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenFault::Missing,
            _ => OpenFault::of(error),
        })?;
        let copy = redb::backends::InMemoryBackend::new();
        copy.set_len(bytes.len() as u64).and_then(|()| copy.write(0, &bytes)).map_err(OpenFault::of)?;
        of_storage(&(Arc::new(copy) as _), keys)
    };
    let mut copied = once();
    for _ in 1..MOST_COPIES {
        if !matches!(copied, Err(OpenFault::Damaged(_))) {
            break;
        }
        copied = once();
    }
    copied.map_err(|fault| OpenError { path: path.to_owned(), fault })
}

/// All records of a store.
fn of_storage(storage: &Arc<dyn StorageBackend>, keys: &Keys) -> Result<Archive, OpenFault> {
    let mut records = Vec::new();
    let found = rehearse(storage, |database| {
        contents(database, keys, |credential, subject, kept| {
            let (credential, subject) = (credential.to_owned(), subject.map(str::to_owned));
            records.push(Archived { credential, subject, saved_at: kept.saved_at, record: kept.record });
        })
    })?
    .found;
    Ok(Archive { store: found.sealer.store, fingerprints: found.fingerprints.0, records })
}

/// Puts an export into a store, in one transaction, and tells how many records it changed. A store that is
/// not there is made; one that is empty becomes the exported one.
pub fn import(
    path: &Path,
    keys: &Keys,
    archive: &Archive,
    force: bool,
    clock: &Clock,
) -> Result<usize, ImportError> {
    let failed = |fault| ImportError::Open(OpenError { path: path.to_owned(), fault });
    let fingerprints = FingerprintKey(Zeroizing::clone(&archive.fingerprints));
    let disk = match Disk::open(path, true).map_err(failed)? {
        Some(disk) => Ok(disk),
        None => opening::create(path, keys, archive.store, &fingerprints, clock),
    };
    let mut disk = disk.map_err(failed)?;
    let mut existing = BTreeMap::new();
    let opened = opening::open(&mut disk, keys, clock, |credential, subject, kept| {
        existing.insert(tables::key(credential, subject), kept);
    });
    let Opened { database, sealer, .. } = opened.map_err(failed)?;
    let is_other = sealer.store != archive.store;
    if is_other && !existing.is_empty() && !force {
        return Err(ImportError::OtherStore);
    }
    let sealer = Sealer { store: archive.store, ..sealer };
    let changed: Vec<(Vec<u8>, &Archived)> = archive
        .records
        .iter()
        .map(|archived| (tables::key(&archived.credential, archived.subject.as_deref()), archived))
        .filter(|(key, archived)| {
            is_other || existing.get(key).is_none_or(|kept| kept.record != archived.record)
        })
        .collect();
    let is_newer = |key: &Vec<u8>, archived: &Archived| {
        existing.get(key).is_some_and(|kept| kept.saved_at >= archived.saved_at)
    };
    let conflicts: Vec<String> =
        changed.iter().filter(|(key, archived)| is_newer(key, archived)).map(|(_, it)| it.name()).collect();
    if !is_other && !force && !conflicts.is_empty() {
        return Err(ImportError::Conflicts(conflicts));
    }
    let written = (|| {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut records = transaction.open_table(RECORDS)?;
            if is_other {
                records.retain(|_, _| false)?;
                let mut meta = transaction.open_table(META)?;
                meta.insert("store", sealer.store.as_slice())?;
                meta.insert("fingerprints", sealer.seal_fingerprints(&fingerprints, clock).as_slice())?;
            }
            for (key, archived) in &changed {
                if archived.record == Record::default() {
                    continue;
                }
                let kept = Kept { record: archived.record.clone(), saved_at: archived.saved_at };
                records.insert(key.as_slice(), sealer.seal(key, &kept, clock).as_slice())?;
            }
        }
        transaction.commit()?;
        Ok::<_, redb::Error>(())
    })();
    written.map_err(|error| failed(error.into()))?;
    database.close().map_err(|error| failed(redb::Error::from(error).into()))?;
    Ok(changed.len())
}

impl Archived {
    /// `credential`, or `credential (subject)`.
    pub fn name(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{} ({subject})", self.credential),
            None => self.credential.clone(),
        }
    }
}
