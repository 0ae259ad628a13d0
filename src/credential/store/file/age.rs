//! How often a store was written: counted in the file and noted beside it. A file that has counted less than
//! the note says is an older copy that was put back.

use redb::{Database, ReadableDatabase, WriteTransaction};

use crate::credential::store::file::disk::Medium;
use crate::credential::store::file::tables::{META, StoreId};

/// The name of the count.
const WRITES: &str = "writes";

/// How often a store was written.
pub(super) fn writes(database: &Database) -> Result<u64, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    let count = meta.get(WRITES)?.and_then(|count| count.value().try_into().ok());
    Ok(count.map_or(0, u64::from_be_bytes))
}

/// Counts a commit within it.
pub(super) fn count(transaction: &WriteTransaction, writes: u64) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(WRITES, writes.to_be_bytes().as_slice())?;
    Ok(())
}

/// Notes beside the file how often it was written.
pub(super) fn note(medium: &mut dyn Medium, store: &StoreId, writes: u64) {
    let mut mark = store.to_vec();
    mark.extend_from_slice(&writes.to_be_bytes());
    medium.note(&mark);
}

/// How many writes a file lacks that were made to it on this machine; 0 if that cannot be told.
pub(super) fn missing(medium: &dyn Medium, store: &StoreId, writes: u64) -> u64 {
    let noted = medium.noted().and_then(|mark| {
        let noted: [u8; 8] = mark.strip_prefix(store.as_slice())?.try_into().ok()?;
        Some(u64::from_be_bytes(noted))
    });
    noted.unwrap_or_default().saturating_sub(writes)
}
