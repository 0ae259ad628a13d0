//! A copy of a file on which a repair is tried: what is written stays in memory, and only the pages
//! that differ take room there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// The size of a page, in which the database writes too.
const PAGE: usize = 4096;

type Page = Box<[u8; PAGE]>;

/// A storage whose writes do not reach the one below; cloning shares it.
#[derive(Clone)]
pub(super) struct Overlay {
    base: Arc<dyn StorageBackend>,
    changes: Arc<Mutex<Changes>>,
}

struct Changes {
    length: u64,
    /// So much of the storage below shows through; beyond are zeros.
    visible: u64,
    pages: BTreeMap<u64, Page>,
}

impl Overlay {
    /// A copy of `base`, which must not be written meanwhile.
    pub(super) fn new(base: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let length = base.len()?;
        let changes = Changes { length, visible: length, pages: BTreeMap::new() };
        Ok(Self { base, changes: Arc::new(Mutex::new(changes)) })
    }

    /// Writes all of it into an empty file. It is not durable yet.
    pub(super) fn write_to(&self, file: &File) -> io::Result<()> {
        let changes = self.changes();
        file.set_len(changes.length)?;
        let mut piece = vec![0; 64 * PAGE];
        let mut offset = 0;
        while offset < changes.length.min(changes.visible) {
            let left = changes.length.min(changes.visible) - offset;
            let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.base.read(offset, &mut piece[..length])?;
            // What holds nothing yet takes no room.
            if piece[..length].iter().any(|byte| *byte != 0) {
                file.write_all_at(&piece[..length], offset)?;
            }
            offset += length as u64;
        }
        for (number, page) in &changes.pages {
            let offset = number * PAGE as u64;
            let length = changes.length.saturating_sub(offset).min(PAGE as u64);
            file.write_all_at(&page[..usize::try_from(length).unwrap_or(PAGE)], offset)?;
        }
        Ok(())
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is below.
    fn below(&self, number: u64, visible: u64) -> io::Result<Page> {
        let mut page = Box::new([0; PAGE]);
        let offset = number * PAGE as u64;
        let length = visible.saturating_sub(offset).min(PAGE as u64);
        if length > 0 {
            self.base.read(offset, &mut page[..usize::try_from(length).unwrap_or(PAGE)])?;
        }
        Ok(page)
    }
}

/// The pages that a range of bytes lies on: the number of each, and where on it the range begins and
/// ends.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    (offset / PAGE as u64..end.div_ceil(PAGE as u64)).map(move |number| {
        let start = number * PAGE as u64;
        let within = |at: u64| usize::try_from(at - start).unwrap_or(PAGE).min(PAGE);
        (number, within(offset.max(start)), within(end))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changes.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (number, from, to) in pages(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(to - from);
            match changes.pages.get(&number) {
                Some(page) => part.copy_from_slice(&page[from..to]),
                None => part.copy_from_slice(&self.below(number, changes.visible)?[from..to]),
            }
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes();
        if length < changes.length {
            changes.visible = changes.visible.min(length);
            let first_gone = length.div_ceil(PAGE as u64);
            changes.pages.split_off(&first_gone);
            let kept = usize::try_from(length % PAGE as u64).unwrap_or(0);
            if let Some(page) = changes.pages.get_mut(&(length / PAGE as u64)) {
                page[kept..].fill(0);
            }
        }
        changes.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > changes.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = data;
        for (number, from, to) in pages(offset, rest.len()) {
            let (part, behind) = rest.split_at(to - from);
            if !changes.pages.contains_key(&number) {
                let page = self.below(number, changes.visible)?;
                changes.pages.insert(number, page);
            }
            if let Some(page) = changes.pages.get_mut(&number) {
                page[from..to].copy_from_slice(part);
            }
            rest = behind;
        }
        Ok(())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Overlay").field("pages", &self.changes().pages.len()).finish_non_exhaustive()
    }
}
