//! What is in the file: two tables, and how a record becomes a sealed value of one.
//!
//! ```text
//! meta      "format"        the format of the whole, 1 byte
//!           "store"         which store this is, 16 random bytes
//!           "key"           which key it is sealed with (an id, not the key)
//!           "fingerprints"  the key of all fingerprints, sealed
//!           "writes"        how often it was written, 8 bytes; missing in a new one
//! records   CREDENTIAL or CREDENTIAL \0 SUBJECT
//!           -> format (1) saved at (8) refresh token's end (8) sealed record
//! ```
//!
//! A record is sealed into where it stands: table, store, format, times, credential and subject. Put
//! under another name, into another store, or with another time before it, it does not open.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use jiff::Timestamp;
use redb::TableDefinition;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::store::Record;
use crate::credential::store::encoding::{self, EncodingError};
use crate::credential::store::seal::StoreKey;

/// The format that this bearerd writes, and the only one that it reads.
pub(super) const FORMAT: u8 = 1;

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// Format, and two times.
const HEAD: usize = 17;
/// Stands for a refresh token whose end is not known.
const NEVER: i64 = i64::MAX;

/// Which store a file is.
pub(super) type StoreId = [u8; 16];

/// A record as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is kept.
    pub record: Record,
    /// When it was written.
    pub saved_at: Timestamp,
}

/// Why a value is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is of a format that this bearerd does not know.
    Format(u8),
    /// It is not what was sealed there.
    Changed,
}

/// The name under which a record stands. Names of credentials and subjects hold no zero byte.
pub(super) fn key(credential: &str, subject: Option<&str>) -> Vec<u8> {
    let mut key = credential.as_bytes().to_vec();
    if let Some(subject) = subject {
        key.push(0);
        key.extend_from_slice(subject.as_bytes());
    }
    key
}

/// The credential and subject that a name stands for.
pub(super) fn names(key: &[u8]) -> Option<(&str, Option<&str>)> {
    let text = std::str::from_utf8(key).ok()?;
    Some(text.split_once('\0').map_or((text, None), |(credential, subject)| (credential, Some(subject))))
}

/// The end of a refresh token, read without opening the record. The seal covers it.
pub(super) fn renew_by(value: &[u8]) -> Option<Timestamp> {
    let end = i64::from_be_bytes(value.get(9..HEAD)?.try_into().ok()?);
    if end == NEVER { None } else { Timestamp::from_microsecond(end).ok() }
}

/// Seals what goes into one store, and opens it.
pub(super) struct Sealer {
    pub(super) key: StoreKey,
    pub(super) store: StoreId,
}

impl Sealer {
    /// The value that a record becomes.
    pub(super) fn seal(&self, key: &[u8], kept: &Kept, clock: &Clock) -> Vec<u8> {
        let renew_by = kept.record.renew_by.map_or(NEVER, Timestamp::as_microsecond);
        let mut value = vec![FORMAT];
        value.extend_from_slice(&kept.saved_at.as_microsecond().to_be_bytes());
        value.extend_from_slice(&renew_by.to_be_bytes());
        let context = self.context("records", &[&value, key]);
        value.extend(self.key.seal(&context, encoding::encode(&kept.record).expose(), clock));
        value
    }

    /// The record that a value was sealed of.
    pub(super) fn open(&self, key: &[u8], value: &[u8]) -> Result<Kept, Unreadable> {
        match value.first() {
            Some(&FORMAT) => {}
            Some(&format) => return Err(Unreadable::Format(format)),
            None => return Err(Unreadable::Changed),
        }
        let (head, sealed) = value.split_at_checked(HEAD).ok_or(Unreadable::Changed)?;
        let context = self.context("records", &[head, key]);
        let plain = self.key.open(&context, sealed).map_err(|_| Unreadable::Changed)?;
        let record = encoding::decode(&plain).map_err(|error| match error {
            EncodingError::Version(version) => Unreadable::Format(version),
            EncodingError::Malformed => Unreadable::Changed,
        })?;
        let saved_at: [u8; 8] = head[1..9].try_into().map_err(|_| Unreadable::Changed)?;
        let saved_at = Timestamp::from_microsecond(i64::from_be_bytes(saved_at));
        Ok(Kept { record, saved_at: saved_at.map_err(|_| Unreadable::Changed)? })
    }

    /// Seals the key of all fingerprints.
    pub(super) fn seal_fingerprints(&self, key: &FingerprintKey, clock: &Clock) -> Vec<u8> {
        self.key.seal(&self.context("meta", &[b"fingerprints"]), key.0.as_slice(), clock)
    }

    /// Opens it; `None` if it is not what was sealed.
    pub(super) fn open_fingerprints(&self, sealed: &[u8]) -> Option<FingerprintKey> {
        let opened = self.key.open(&self.context("meta", &[b"fingerprints"]), sealed).ok()?;
        Some(FingerprintKey(Zeroizing::new(opened.as_slice().try_into().ok()?)))
    }

    /// Where something is sealed into. Lengths keep the parts apart.
    fn context(&self, table: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = Vec::with_capacity(128);
        let mut add = |part: &[u8]| {
            context.extend_from_slice(&(part.len() as u64).to_be_bytes());
            context.extend_from_slice(part);
        };
        add(b"bearerd");
        add(&[FORMAT]);
        add(&self.store);
        add(table.as_bytes());
        for part in parts {
            add(part);
        }
        context
    }
}

/// The key of all fingerprints of a store.
#[derive(Clone)]
pub(super) struct FingerprintKey(pub(super) Zeroizing<[u8; 32]>);

impl FingerprintKey {
    pub(super) fn generate(clock: &Clock) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        clock.fill_random(key.as_mut_slice());
        Self(key)
    }

    pub(super) fn to_hmac(&self) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, self.0.as_slice())
    }
}
