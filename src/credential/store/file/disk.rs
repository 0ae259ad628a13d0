//! The file of a store on its disk: locked for one process, replaced as a whole, and with room held
//! back for what must not fail.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;

use crate::credential::store::file::error::OpenFault;
use crate::credential::store::file::overlay::Overlay;

/// What a replacement of the whole file leaves free on the disk, in bytes.
const MARGIN: u64 = 1 << 20;

/// What a store is written to. There is one beside [`Disk`], in tests, that fails.
pub(super) trait Medium: Send {
    /// Where the database is.
    fn storage(&self) -> Arc<dyn StorageBackend>;
    /// Whether a restart would find what is written now: the file was neither removed nor replaced.
    fn is_in_place(&self) -> bool;
    /// Puts a repaired copy in place of the file, durably and at once.
    fn replace(&mut self, copy: &Overlay) -> io::Result<()>;
    /// Holds so many bytes of the disk back, in all.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Gives what was held back to whoever needs it now.
    fn release(&mut self);
    /// What was noted beside the file last; `None` if that cannot be told.
    fn noted(&self) -> Option<Vec<u8>>;
    /// Notes something beside the file. It need not be durable: what is lost is only a warning.
    fn note(&mut self, mark: &[u8]);
}

/// A file, locked.
pub(super) struct Disk {
    path: PathBuf,
    file: Arc<File>,
    /// Held back: a file beside, with blocks of its own.
    room: Option<File>,
    reserved: u64,
    /// A file beside, with what was noted; opened with the first note.
    mark: Option<File>,
}

impl Disk {
    /// Opens and locks the file at `path`; `None` if there is none.
    pub(super) fn open(path: &Path, writable: bool) -> Result<Option<Self>, OpenFault> {
        let Some(path) = resolve(path)? else { return Ok(None) };
        loop {
            let file = match OpenOptions::new().read(true).write(writable).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(OpenFault::of(error)),
            };
            if !file.metadata().map_err(OpenFault::Disk)?.is_file() {
                return Err(OpenFault::NotAFile);
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenFault::InUse),
                Err(TryLockError::Error(error)) => return Err(OpenFault::Disk(error)),
            }
            let disk = Self { path: path.clone(), file: Arc::new(file), room: None, reserved: 0, mark: None };
            // Whoever had it may have replaced it between the opening and the locking.
            if disk.is_in_place() {
                if writable {
                    disk.keep_private();
                }
                return Ok(Some(disk));
            }
        }
    }

    /// Makes the file, with what is in `content`; never in place of one that is there.
    pub(super) fn create(path: &Path, content: &Overlay) -> Result<Self, OpenFault> {
        let folder = folder_of(path).canonicalize().map_err(|error| match error.kind() {
            ErrorKind::NotFound => OpenFault::NoFolder,
            _ => OpenFault::of(error),
        })?;
        let path = folder.join(path.file_name().ok_or(OpenFault::NotAFile)?);
        let aside = beside(&path, "new");
        let made = write_aside(&aside, content).and_then(|file| {
            // A link, not a renaming, since that would replace a file that somebody else just made.
            fs::hard_link(&aside, &path)?;
            Ok(file)
        });
        // It is not there if it could not be made.
        let _ = fs::remove_file(&aside);
        let file = made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => OpenFault::InUse,
            _ => OpenFault::of(error),
        })?;
        sync_folder(&path).map_err(OpenFault::of)?;
        Ok(Self { path, file: Arc::new(file), room: None, reserved: 0, mark: None })
    }

    /// Takes others' rights to the file away.
    fn keep_private(&self) {
        let mode = self.file.metadata().map(|about| about.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o077 != 0)
            && let Err(error) = self.file.set_permissions(fs::Permissions::from_mode(0o600))
        {
            tracing::warn!(path = %self.path.display(), %error, "others may read the store's file");
        }
    }
}

impl Medium for Disk {
    fn storage(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Storage(Arc::clone(&self.file)))
    }

    fn is_in_place(&self) -> bool {
        let identity = |about: fs::Metadata| (about.dev(), about.ino());
        let here = self.file.metadata().map(identity);
        matches!((here, fs::metadata(&self.path).map(identity)), (Ok(here), Ok(there)) if here == there)
    }

    fn replace(&mut self, copy: &Overlay) -> io::Result<()> {
        let folder = rustix::fs::statvfs(folder_of(&self.path))?;
        if folder.f_bavail.saturating_mul(folder.f_frsize) < copy.len()? + MARGIN {
            return Err(ErrorKind::StorageFull.into());
        }
        let aside = beside(&self.path, "repaired");
        let replaced = write_aside(&aside, copy).and_then(|file| {
            let about = self.file.metadata()?;
            std::os::unix::fs::fchown(&file, Some(about.uid()), Some(about.gid()))?;
            fs::rename(&aside, &self.path)?;
            Ok(file)
        });
        if replaced.is_err() {
            // It is not there if it could not be made.
            let _ = fs::remove_file(&aside);
        }
        self.file = Arc::new(replaced?);
        sync_folder(&self.path)
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if self.reserved >= bytes {
            return Ok(());
        }
        if self.room.is_none() {
            self.room = Some(new_beside(&self.path, "room")?);
        }
        if let Some(room) = &self.room {
            allocate(room, self.reserved, bytes).inspect_err(|_| {
                // Half of it is of no use to anybody.
                let _ = room.set_len(self.reserved);
            })?;
        }
        self.reserved = bytes;
        Ok(())
    }

    fn release(&mut self) {
        if let Some(room) = &self.room
            && let Err(error) = room.set_len(0)
        {
            tracing::warn!(%error, "the room that was held back cannot be given");
        }
        self.reserved = 0;
    }

    fn noted(&self) -> Option<Vec<u8>> {
        fs::read(beside(&self.path, "mark")).ok()
    }

    fn note(&mut self, mark: &[u8]) {
        if self.mark.is_none() {
            self.mark = new_beside(&self.path, "mark").ok();
        }
        // Without it an older copy of the file is not told: no more.
        let written = self.mark.as_ref().map(|file| file.write_all_at(mark, 0));
        if !matches!(written, Some(Ok(()))) {
            tracing::debug!("the store's number of writes cannot be noted beside it");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.room.is_some() {
            // One that stays is taken over by the next process.
            let _ = fs::remove_file(beside(&self.path, "room"));
        }
    }
}

/// Gives a file blocks of its own.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, to - from) {
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        allocated => return Ok(allocated?),
    }
    // Zeros might take no room on a disk that compresses; a pattern that does not repeat does.
    let mut state: u32 = 1;
    for at in (from..to).step_by(4096) {
        let mut block = [0; 4096];
        for byte in &mut block {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
        file.write_all_at(&block, at)?;
    }
    file.sync_data()
}

/// Writes a whole file beside another, durable and locked.
fn write_aside(path: &Path, content: &Overlay) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.try_lock()?;
    content.write_to(&file)?;
    file.sync_all()?;
    Ok(file)
}

/// Where a path leads, through links; `None` if there is nothing.
fn resolve(path: &Path) -> Result<Option<PathBuf>, OpenFault> {
    match path.canonicalize() {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if folder_of(path).is_dir() {
                Ok(None)
            } else {
                Err(OpenFault::NoFolder)
            }
        }
        Err(error) => Err(OpenFault::of(error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Makes what is kept beside the file, in place of what an earlier process left, or of a link that would have
/// another file written to.
fn new_beside(path: &Path, ending: &str) -> io::Result<File> {
    let path = beside(path, ending);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file that was made or renamed is there after a loss of power only if its folder was synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// A file as the database sees it. It is locked already, so that the database need not.
#[derive(Debug)]
struct Storage(Arc<File>);

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
