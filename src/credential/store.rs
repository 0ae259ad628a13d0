//! What must survive: rotated refresh tokens, rejections, lost answers.
//!
//! The seam behind which memory, a file and shared stores stand. A value is durable once `save`
//! has returned: the keeper publishes nothing before.

pub mod archive;
pub mod encoding;
pub mod file;
pub mod seal;
pub mod spec;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::credential::{CredentialName, Outputs, Owner, Subject};
use crate::secret::Secret;

/// A boxed future, since a store is chosen at run time.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError(pub String);

/// Identifies the inputs of an exchange without telling them: a keyed digest.
pub type Fingerprint = [u8; 32];

/// So often in all the same inputs are tried after the issuer rejected them.
pub const REJECTED_TRIES: u32 = 3;

/// What is kept of one owner. Fingerprints tell whether it still speaks of the same inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// A value that stands in for a configured one (a rotated refresh token, a token that was set),
    /// and the fingerprint of that configured one: when it changes, it wins again. What a person
    /// consented to stands in for nothing.
    pub replacement: Option<(Fingerprint, Secret)>,
    /// When it is renewed at the latest, though nobody asks for it: before its refresh token ends by itself.
    pub renew_by: Option<Timestamp>,
    /// An exchange with this single-use value was begun, and its outcome is not known.
    pub in_flight: Option<InFlight>,
    /// This value came back from an exchange without a successor: it is not single-use.
    pub reusable: Option<Fingerprint>,
    /// How often the issuer rejected these inputs.
    pub rejections: Option<(Fingerprint, u32)>,
    /// The current token.
    pub current: Option<Current>,
    /// What came before the current value and what is to come after it, of a credential that replaces it.
    pub succession: Option<Succession>,
    /// When the issuer was asked lately, of a credential that may ask only so often; in order.
    pub attempts: Vec<Timestamp>,
    /// When the token ends that was set in place of the configured one, if whoever set it said so.
    pub set_until: Option<Timestamp>,
    /// What somebody beside the keeper has to remember, as a text of its own, under a name that no credential has.
    pub memo: Option<Secret>,
    /// Messages that were asked for and have not come.
    pub awaited: Option<Awaited>,
}

/// Messages that an issuer was asked to send: a restart takes them up where they come, and asks for no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Whose they are: the inputs, without those that are outputs of other credentials.
    pub of: Fingerprint,
    /// When they were asked for.
    pub since: Timestamp,
    /// How far each mailbox was filled before, in the order of the steps.
    pub marks: Vec<Mark>,
}

/// How far a mailbox is filled: what comes later lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// By the numbers of a folder at a server (RFC 9051, section 2.3.1.1).
    Number {
        /// The folder's own identity: with another one its numbers mean other messages.
        validity: u32,
        /// The first number that no message had.
        next: u32,
    },
    /// By the time of the last message of a Maildir.
    Time(Timestamp),
}

/// Values of a credential that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// Whose values they are: the inputs, without those that are outputs of other credentials.
    pub of: Fingerprint,
    /// When the current value was first seen, if another one was known before it.
    pub since: Option<Timestamp>,
    /// The next value, which has not yet been verified.
    pub successor: Option<Value>,
    /// The value before, which may still work, and when it was replaced.
    pub previous: Option<Value>,
}

/// A value that is not the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// When it ends, if that is known.
    pub expires_at: Option<Timestamp>,
    /// Its outputs.
    pub outputs: Outputs,
}

/// A single-use value of which nobody knows whether it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// The value.
    pub value: Fingerprint,
    /// It was tried once more after its first answer was lost.
    pub again: bool,
}

/// A token that is taken up again by a restart, or by a subject that wakes, while it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The inputs that it was obtained with: with others it is not taken up.
    pub inputs: Fingerprint,
    /// Its generation, from which the next ones count on.
    pub generation: u64,
    /// When it was received.
    pub obtained_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// Its values.
    pub outputs: Outputs,
}

/// Where records are kept.
pub trait Store: Send + Sync {
    /// The record of an owner; an empty one if there is none.
    fn load(&self, owner: &Owner) -> StoreFuture<'_, Record>;
    /// Keeps a record; it is durable when the future is done. An empty one removes the owner.
    fn save(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()>;
    /// Keeps the record of an exchange that begins, and the room for what it may bring: where this
    /// fails, nothing may be sent.
    fn begin(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        self.save(owner, record)
    }
    /// The subjects of a credential in their order, those behind `after`, at most `limit` of them.
    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Subject>>;
    /// How many subjects a credential has.
    fn count(&self, credential: &CredentialName) -> StoreFuture<'_, usize>;
    /// The owners that have to be renewed before that time, though nobody asks for them, and when; in
    /// its order, at most `limit` of them.
    fn lapsing(&self, before: Timestamp, limit: usize) -> StoreFuture<'_, Vec<(Timestamp, Owner)>>;
    /// A keyed digest of inputs; the key stays in the store.
    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint;
    /// Whether records outlive the process.
    fn is_durable(&self) -> bool;
    /// Closes it in order, after what was ordered before; nothing is read or written afterwards.
    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// How many reads and writes have failed so far.
    fn errors(&self) -> u64 {
        0
    }
}

/// A store that forgets at the process's end.
pub struct MemoryStore {
    key: aws_lc_rs::hmac::Key,
    is_durable: bool,
    records: Mutex<Records>,
}

/// All that a [`MemoryStore`] holds.
#[derive(Default)]
struct Records {
    by_owner: BTreeMap<Owner, Encoded>,
    /// How many subjects each credential has.
    subjects: BTreeMap<CredentialName, usize>,
    /// Those that have to be renewed by themselves, by the time.
    by_time: BTreeSet<(Timestamp, Owner)>,
}

/// A record as bytes, which are wiped: in this shape a subject that sleeps takes little room.
struct Encoded {
    bytes: Zeroizing<Box<[u8]>>,
    renew_by: Option<Timestamp>,
}

impl Encoded {
    fn new(record: &Record) -> Self {
        let bytes = Zeroizing::new(encoding::encode(record).expose().into());
        Self { bytes, renew_by: record.renew_by }
    }

    fn record(&self) -> Record {
        encoding::decode(&self.bytes).expect("what was encoded here can be decoded")
    }
}

impl Records {
    fn save(&mut self, owner: &Owner, record: &Record) {
        let before = if *record == Record::default() {
            self.by_owner.remove(owner)
        } else {
            self.by_owner.insert(owner.clone(), Encoded::new(record))
        };
        if owner.subject.is_some() {
            let count = self.subjects.entry(owner.credential.clone()).or_default();
            let is_there = *record != Record::default();
            *count = (*count + usize::from(is_there)).saturating_sub(usize::from(before.is_some()));
        }
        let before = before.and_then(|before| before.renew_by);
        if before != record.renew_by {
            before.map(|by| self.by_time.remove(&(by, owner.clone())));
            record.renew_by.map(|by| self.by_time.insert((by, owner.clone())));
        }
    }
}

impl MemoryStore {
    /// An empty store with a fingerprint key of its own.
    pub fn new(clock: &crate::clock::Clock) -> Self {
        let mut key = [0; 32];
        clock.fill_random(&mut key);
        Self::with(&key, false)
    }

    /// An empty store that counts as durable: for rehearsals, in which a restart is another keeper.
    pub fn rehearsing(fingerprints: &[u8; 32]) -> Self {
        Self::with(fingerprints, true)
    }

    fn with(key: &[u8; 32], is_durable: bool) -> Self {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        Self { key, is_durable, records: Mutex::default() }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self, owner: &Owner) -> StoreFuture<'_, Record> {
        let record = self.records().by_owner.get(owner).map(Encoded::record).unwrap_or_default();
        Box::pin(async { Ok(record) })
    }

    fn save(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        self.records().save(owner, &record);
        Box::pin(async { Ok(()) })
    }

    fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Subject>> {
        let last = Owner { credential: credential.clone(), subject: after.cloned() };
        let records = self.records();
        let behind =
            records.by_owner.range((Bound::Excluded(last), Bound::Unbounded)).map(|(owner, _)| owner);
        let own = behind.take_while(|owner| owner.credential == *credential);
        let subjects = own.filter_map(|owner| owner.subject.clone()).take(limit).collect();
        Box::pin(async { Ok(subjects) })
    }

    fn count(&self, credential: &CredentialName) -> StoreFuture<'_, usize> {
        let count = self.records().subjects.get(credential).copied().unwrap_or_default();
        Box::pin(async move { Ok(count) })
    }

    fn lapsing(&self, before: Timestamp, limit: usize) -> StoreFuture<'_, Vec<(Timestamp, Owner)>> {
        let records = self.records();
        let lapsing =
            records.by_time.iter().take_while(|(by, _)| *by < before).take(limit).cloned().collect();
        Box::pin(async { Ok(lapsing) })
    }

    fn fingerprint(&self, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
        fingerprint_by(&self.key, inputs)
    }

    fn is_durable(&self) -> bool {
        self.is_durable
    }
}

/// The bytes that SHA-256 takes at once (FIPS 180-4, section 5.2.1).
const SHA256_BLOCK: usize = 64;

/// The keyed digest of inputs.
fn fingerprint_by(key: &aws_lc_rs::hmac::Key, inputs: &BTreeMap<String, Secret>) -> Fingerprint {
    let mut context = aws_lc_rs::hmac::Context::with_key(key);
    for (name, value) in inputs {
        // Lengths keep `a=bc` and `ab=c` apart.
        for part in [name.as_bytes(), value.expose()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    // The context holds the last block that is not whole, and leaves it on the stack when it is moved for the
    // signature: that block is to be of nothing.
    context.update(&[0; SHA256_BLOCK]);
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.sign().as_ref());
    fingerprint
}
