//! An export: a store as a text that may lie anywhere, since only its key opens it.
//!
//! One JSON object a line: what it is, then the key of its fingerprints, then a record each, then the
//! end. Names and times can be read; values are sealed, each into this export, this line's names and its
//! time. The end is sealed over all before it: what was cut, mixed or changed is told.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::store::Record;
use crate::credential::store::encoding;
use crate::credential::store::seal::StoreKey;

/// The version that this bearerd writes, and the only one that it reads.
const VERSION: u8 = 1;

/// What a store holds, apart from any file.
pub struct Archive {
    /// Which store it is of.
    pub store: [u8; 16],
    /// The key of its fingerprints.
    pub fingerprints: Zeroizing<[u8; 32]>,
    /// Its records.
    pub records: Vec<Archived>,
}

/// A record of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Whose it is.
    pub credential: String,
    /// Of which subject.
    pub subject: Option<String>,
    /// When it was written.
    pub saved_at: Timestamp,
    /// What is kept.
    pub record: Record,
}

/// Why a text is not an export that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveError {
    /// It is something else.
    NotAnExport,
    /// It is of a version that this bearerd does not know.
    Version(u8),
    /// It was sealed with another key.
    WrongKey,
    /// It was cut or changed; the line, counted from 1.
    Damaged(usize),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnExport => formatter.write_str("it is not an export of a store"),
            Self::Version(version) => {
                write!(
                    formatter,
                    "it is an export of version {version}, and this bearerd knows only {VERSION}"
                )
            }
            Self::WrongKey => formatter.write_str("it was sealed with another key: name it by --key"),
            Self::Damaged(line) => write!(formatter, "it was cut or changed at line {line}"),
        }
    }
}

impl std::error::Error for ArchiveError {}

#[derive(Serialize, Deserialize)]
struct Head {
    bearerd_store_export: u8,
    id: String,
    key: String,
    store: String,
    exported_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    credential: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    saved_at: Timestamp,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fingerprints {
    fingerprints: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: String,
}

impl Archive {
    /// The export as a text, sealed with a key for archives.
    pub fn write(&self, key: &StoreKey, clock: &Clock) -> String {
        let mut id = [0; 16];
        clock.fill_random(&mut id);
        let head = Head {
            bearerd_store_export: VERSION,
            id: STANDARD.encode(id),
            key: STANDARD.encode(key.id()),
            store: STANDARD.encode(self.store),
            exported_at: clock.wall(),
        };
        let mut text = line(&head);
        let head = text.clone();
        let seal = |context: &[u8], plain: &[u8]| STANDARD.encode(key.seal(context, plain, clock));
        let fingerprints = seal(&context(&head, &[b"fingerprints"]), self.fingerprints.as_slice());
        text += &line(&Fingerprints { fingerprints });
        for Archived { credential, subject, saved_at, record } in &self.records {
            let context = of_record(&head, credential, subject.as_deref(), *saved_at);
            let sealed = seal(&context, encoding::encode(record).expose());
            let (credential, subject) = (credential.clone(), subject.clone());
            text += &line(&Line { credential, subject, saved_at: *saved_at, sealed });
        }
        let end = seal(&context(&head, &[b"end", &digest(&text)]), b"");
        text + &line(&End { end })
    }

    /// Reads an export; none of it is taken if any of it is wrong.
    pub fn read(text: &str, key: &StoreKey) -> Result<Self, ArchiveError> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let [first, fingerprints, records @ .., end] = lines.as_slice() else {
            return Err(if text.contains("bearerd_store_export") {
                ArchiveError::Damaged(lines.len())
            } else {
                ArchiveError::NotAnExport
            });
        };
        let head: Head = serde_json::from_str(first).map_err(|_| ArchiveError::NotAnExport)?;
        if head.bearerd_store_export != VERSION {
            return Err(ArchiveError::Version(head.bearerd_store_export));
        }
        if STANDARD.decode(&head.key).ok().as_deref() != Some(key.id().as_slice()) {
            return Err(ArchiveError::WrongKey);
        }
        let open = |number: usize, context: &[u8], sealed: &str| {
            let sealed = STANDARD.decode(sealed).map_err(|_| ArchiveError::Damaged(number))?;
            key.open(context, &sealed).map_err(|_| ArchiveError::Damaged(number))
        };
        let store = STANDARD.decode(&head.store).ok().and_then(|id| id.try_into().ok());
        let Fingerprints { fingerprints } = parse(2, fingerprints)?;
        let fingerprints = open(2, &context(first, &[b"fingerprints"]), &fingerprints)?;
        let fingerprints = fingerprints.as_slice().try_into().map_err(|_| ArchiveError::Damaged(2))?;
        let records = records.iter().zip(3..).map(|(text, number)| {
            let Line { credential, subject, saved_at, sealed } = parse(number, text)?;
            let context = of_record(first, &credential, subject.as_deref(), saved_at);
            let plain = open(number, &context, &sealed)?;
            let record = encoding::decode(&plain).map_err(|_| ArchiveError::Damaged(number))?;
            Ok(Archived { credential, subject, saved_at, record })
        });
        let records = records.collect::<Result<_, _>>()?;
        let End { end: sealed } = parse(lines.len(), end)?;
        let before = &text[..text.len() - end.len()];
        open(lines.len(), &context(first, &[b"end", &digest(before)]), &sealed)?;
        Ok(Self {
            store: store.ok_or(ArchiveError::Damaged(1))?,
            fingerprints: Zeroizing::new(fingerprints),
            records,
        })
    }
}

fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("texts and times are JSON");
    text + "\n"
}

fn parse<'a, T: Deserialize<'a>>(number: usize, text: &'a str) -> Result<T, ArchiveError> {
    serde_json::from_str(text).map_err(|_| ArchiveError::Damaged(number))
}

fn of_record(head: &str, credential: &str, subject: Option<&str>, saved_at: Timestamp) -> Vec<u8> {
    let subject = subject.map_or_else(Vec::new, |subject| [b"=", subject.as_bytes()].concat());
    context(head, &[b"record", credential.as_bytes(), &subject, &saved_at.as_nanosecond().to_be_bytes()])
}

/// Where something is sealed into. Lengths keep the parts apart.
fn context(head: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Vec::new();
    for part in [b"bearerd export", head.as_bytes()].iter().chain(parts) {
        context.extend_from_slice(&(part.len() as u64).to_be_bytes());
        context.extend_from_slice(part);
    }
    context
}

fn digest(text: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(text.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
