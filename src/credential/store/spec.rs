//! What a configuration says of the store, and opening what it says.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::credential::input::read_source;
use crate::credential::store::file::{FileStore, Keys, OpenError};
use crate::credential::store::seal::{Purpose, StoreKey};
use crate::credential::store::{MemoryStore, Store};
use crate::credential::{CredentialName, Source};
use crate::secret::Secret;

/// Which store.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum StoreSpec {
    /// The one that forgets at the process's end.
    #[default]
    Memory,
    /// A sealed file.
    File(FileSpec),
}

/// A store in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSpec {
    /// The file, whose folder is there.
    pub path: PathBuf,
    /// The key that it is sealed with.
    pub key: Source,
    /// Keys that it may still be sealed with: then all of it is sealed with `key` anew.
    pub previous_keys: Vec<Source>,
}

/// Why a store cannot be opened.
#[derive(Debug)]
pub enum StoreFault {
    /// A key cannot be read.
    Key(KeyFault),
    /// The file cannot be used.
    Open(OpenError),
}

/// A key of the store that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// Which: `None` for `key`, else the place in `previous_key`.
    pub previous: Option<usize>,
    /// What is wrong with it, without its value.
    pub message: String,
}

impl fmt::Display for StoreFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fault) => fault.fmt(formatter),
            Self::Open(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for StoreFault {}

impl fmt::Display for KeyFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.previous.is_some() { "a previous key" } else { "the key" };
        write!(formatter, "{which} of the store cannot be used: {}", self.message)
    }
}

impl StoreSpec {
    /// Whether what is kept outlives the process.
    pub fn is_durable(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Opens the store. Blocks on the disk, where there is one.
    pub async fn open(&self, clock: &Clock) -> Result<Arc<dyn Store>, StoreFault> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryStore::new(clock))),
            Self::File(spec) => {
                let keys = spec.keys(clock).await.map_err(StoreFault::Key)?;
                let opened = FileStore::open(&spec.path, &keys, clock);
                Ok(Arc::new(opened.map_err(StoreFault::Open)?))
            }
        }
    }
}

impl FileSpec {
    /// Reads the keys, and sees that they are such.
    pub async fn keys(&self, clock: &Clock) -> Result<Keys, KeyFault> {
        let current = read_key(&self.key, None, clock).await?;
        let mut previous = Vec::new();
        for (index, source) in self.previous_keys.iter().enumerate() {
            previous.push(read_key(source, Some(index), clock).await?);
        }
        Ok(Keys { current, previous })
    }
}

async fn read_key(source: &Source, previous: Option<usize>, clock: &Clock) -> Result<Secret, KeyFault> {
    let no_outputs = |_: &CredentialName, _: &str| None;
    let fault = |message| KeyFault { previous, message };
    let key = read_source("key", source, &no_outputs, clock).await.map_err(|error| fault(error.message))?;
    match StoreKey::new(&key, Purpose::File) {
        Ok(_) => Ok(key),
        Err(error) => Err(fault(error.to_string())),
    }
}
