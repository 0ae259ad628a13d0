//! Why the file of a store cannot be opened, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why a store cannot be opened. Nothing was written to its file.
#[derive(Debug)]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What is the matter with it.
    pub fault: OpenFault,
}

/// What is the matter with the file of a store.
#[derive(Debug)]
pub enum OpenFault {
    /// Another process has it open.
    InUse,
    /// It is not there; told only to whoever wants one that is.
    Missing,
    /// Its folder is not there.
    NoFolder,
    /// There is something else at its path, such as a folder.
    NotAFile,
    /// There is a file without a byte.
    Empty,
    /// It is the file of another program.
    NotAStore,
    /// It is of a format that this bearerd does not know.
    OtherFormat(String),
    /// It was sealed with another key.
    WrongKey,
    /// It is torn, truncated, or was changed by somebody else. The text says where.
    Damaged(String),
    /// It cannot be written, or its folder cannot.
    ReadOnly(io::Error),
    /// The disk is full.
    NoRoom,
    /// The disk failed in another way.
    Disk(io::Error),
}

impl OpenFault {
    /// The fault that an error of the file system means.
    pub(super) fn of(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(error),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::NoRoom,
            ErrorKind::IsADirectory | ErrorKind::NotADirectory => Self::NotAFile,
            _ => Self::Disk(error),
        }
    }
}

/// Of redb, whatever it was doing.
impl From<redb::Error> for OpenFault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Self::Damaged("it ends too early".to_owned())
            }
            redb::Error::Io(error) => Self::of(error),
            redb::Error::UpgradeRequired(version) => {
                Self::OtherFormat(format!("it was written by a database of format {version}"))
            }
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the store {} ", self.path.display())?;
        match &self.fault {
            OpenFault::InUse => formatter.write_str(
                "is in use by another process: only one may have it. Stop the other bearerd, or give this one a \
                 `[store] path` of its own",
            ),
            OpenFault::Missing => formatter.write_str("is not there"),
            OpenFault::NoFolder => {
                formatter.write_str("cannot be made: its folder is not there. Make the folder, with mode 0700")
            }
            OpenFault::NotAFile => formatter
                .write_str("is not a file: `[store] path` names a file, which need not be there, in a folder that is"),
            OpenFault::Empty => formatter.write_str(
                "is an empty file: it was truncated, or never was a store. Nothing was written to it. Put the file \
                 back from a backup, or remove it to begin a new one",
            ),
            OpenFault::NotAStore => formatter.write_str(
                "is not a store of bearerd. Nothing was written to it. Let `[store] path` name another file",
            ),
            OpenFault::OtherFormat(what) => write!(
                formatter,
                "cannot be read by this bearerd: {what}. Nothing was written to it. Run the bearerd that wrote it"
            ),
            OpenFault::WrongKey => formatter.write_str(
                "was sealed with another key. Nothing was written to it. Put the right key where `[store] key` \
                 points; if the key was replaced, name the old one as `previous_key`",
            ),
            OpenFault::Damaged(what) => write!(
                formatter,
                "is damaged: {what}. Nothing was written to it. Put the file back from a backup (`bearerd store \
                 import` reads an export), or move it away to begin a new one: then every person has to log in \
                 again, and rotated refresh tokens are lost"
            ),
            OpenFault::ReadOnly(error) => write!(
                formatter,
                "cannot be written: {}. Let bearerd's own user write the file and its folder",
                error.kind()
            ),
            OpenFault::NoRoom => formatter.write_str("has no room: the disk is full. Make room and start again"),
            OpenFault::Disk(error) => write!(formatter, "cannot be used: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}
