//! What is known of the records without asking the file: how many subjects each credential has, and who
//! has to renew by when. It is made while a file is opened, when all of it is read anyway, and follows each
//! commit. A record takes room here only if its refresh token ends by itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::credential::store::file::tables;
use crate::credential::{CredentialName, Owner, Subject};

/// See above.
#[derive(Default)]
pub(super) struct Index {
    subjects: BTreeMap<String, usize>,
    /// The times with the names of the records.
    by_time: BTreeSet<(Timestamp, Box<[u8]>)>,
}

/// What the index knows of a record.
#[derive(Clone, Copy)]
pub(super) struct Known {
    renew_by: Option<Timestamp>,
}

impl Known {
    /// Of a record by its value.
    pub(super) fn of(value: &[u8]) -> Self {
        Self { renew_by: tables::renew_by(value) }
    }
}

impl Index {
    /// Under this name stands another record, or one that is new, or none any more.
    pub(super) fn change(&mut self, key: &[u8], before: Option<Known>, now: Option<Known>) {
        if let Some((credential, Some(_))) = tables::names(key) {
            let count = self.subjects.entry(credential.to_owned()).or_default();
            *count = (*count + usize::from(now.is_some())).saturating_sub(usize::from(before.is_some()));
        }
        let by = |known: Option<Known>| Some((known?.renew_by?, Box::from(key)));
        if let Some(before) = by(before) {
            self.by_time.remove(&before);
        }
        self.by_time.extend(by(now));
    }

    /// How many subjects a credential has.
    pub(super) fn count(&self, credential: &str) -> usize {
        self.subjects.get(credential).copied().unwrap_or_default()
    }

    /// Who has to renew before a time, and when; in its order, at most `limit` of them.
    pub(super) fn lapsing(&self, before: Timestamp, limit: usize) -> Vec<(Timestamp, Owner)> {
        let lapsing = self.by_time.iter().take_while(|(by, _)| *by < before);
        lapsing.filter_map(|(by, key)| Some((*by, owner_of(key)?))).take(limit).collect()
    }
}

/// The owner that a record's name stands for.
pub(super) fn owner_of(key: &[u8]) -> Option<Owner> {
    let (credential, subject) = tables::names(key)?;
    let subject = match subject {
        Some(subject) => Some(Subject::new(subject).ok()?),
        None => None,
    };
    Some(Owner { credential: CredentialName::from(credential), subject })
}
