//! An issuer that is assumed: it always answers, and its tokens live as long as those did that are known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::credential::flow::login::{ExpiryRule, Step};
use crate::credential::flow::{Issuer, Mint, MintError, MintFuture, RevokeFuture, TokenHint, VerifyFuture};
use crate::credential::input::Inputs;
use crate::credential::store::archive::Archive;
use crate::credential::{CredentialName, CredentialSpec, Flow, Lifetime, Minted, Outputs};
use crate::forecast::Source;
use crate::secret::Secret;

/// What an issuer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// A token, or the value that counts.
    Obtain,
    /// Another value in place of it.
    Replace,
}

/// One question to an issuer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// For which credential.
    pub name: CredentialName,
    /// What for.
    pub errand: Errand,
    /// When.
    pub at: Timestamp,
    /// When the value would have ended that was replaced.
    pub ends_before: Option<Timestamp>,
}

pub(super) struct AssumedIssuer {
    clock: Clock,
    /// For what nobody is asked for.
    statics: Issuer,
    /// By credential: its lifetime, if a record tells.
    lifetimes: HashMap<CredentialName, Duration>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    exchanges: Vec<Exchange>,
    /// Values that are replaced, with their ends.
    values: HashMap<CredentialName, (Outputs, Timestamp)>,
    /// How many values were made.
    made: u64,
}

/// How long a token lives of which no record tells, and where that is known from.
fn assumed(spec: &CredentialSpec) -> (Duration, Source) {
    let said = match &spec.flow {
        Flow::Login(flow) => flow.steps.iter().flat_map(Step::expiry).find_map(|rule| match rule {
            ExpiryRule::Fixed(length) => Some(*length),
            _ => None,
        }),
        Flow::OAuth2(_) | Flow::Static(_) => None,
    };
    match (said, spec.times.typical_lifetime) {
        (Some(length), _) | (None, Some(length)) => (length, Source::Configuration),
        (None, None) => (spec.times.default_lifetime, Source::Assumed),
    }
}

impl AssumedIssuer {
    pub(super) fn new(clock: &Clock, records: Option<&Archive>) -> Self {
        let nobody =
            Arc::new(|_, _| -> crate::credential::flow::DirectFuture { Box::pin(std::future::pending()) });
        let mut values = HashMap::new();
        let mut lifetimes = HashMap::new();
        let archived = records.into_iter().flat_map(|archive| &archive.records);
        for archived in archived.filter(|archived| archived.subject.is_none()) {
            let name = CredentialName::from(archived.credential.as_str());
            let Some(current) = &archived.record.current else { continue };
            let Some(end) = current.expires_at else { continue };
            if archived.record.succession.is_some() {
                values.insert(name, (current.outputs.clone(), end));
            } else if let Ok(length) = Duration::try_from(end.duration_since(current.obtained_at)) {
                lifetimes.insert(name, length);
            }
        }
        let book = Mutex::new(Book { values, ..Book::default() });
        Self { clock: clock.clone(), statics: Issuer::direct(nobody, clock.clone()), lifetimes, book }
    }

    /// All that was asked so far, in its order.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.book().exchanges.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a token lives, and where that is known from: what the record's was given for. Of a value that is
    /// replaced the record tells only what it had left when it was read.
    pub(super) fn lifetime(&self, spec: &CredentialSpec) -> (Duration, Source) {
        let recorded = self.lifetimes.get(&spec.name).filter(|_| spec.rotation.is_none());
        recorded.map_or_else(|| assumed(spec), |length| (*length, Source::Record))
    }

    fn end(&self, spec: &CredentialSpec) -> Timestamp {
        self.clock.wall().saturating_add(self.lifetime(spec).0).unwrap_or(Timestamp::MAX)
    }
}

/// Outputs that nobody has seen before.
fn outputs(spec: &CredentialSpec, book: &mut Book) -> Outputs {
    book.made += 1;
    let value = |name: &str| (name.to_owned(), Secret::from(format!("assumed-{name}-{}", book.made)));
    match &spec.flow {
        Flow::Login(flow) => flow.steps.iter().flat_map(Step::outputs).map(|(name, _)| value(name)).collect(),
        Flow::OAuth2(flow) => {
            let further = flow.outputs.iter().map(|(name, _)| name.as_str());
            ["access_token", "id_token"].into_iter().chain(further).map(value).collect()
        }
        Flow::Static(_) => Outputs::new(),
    }
}

fn minted(outputs: Outputs, lifetime: Lifetime) -> Minted {
    Minted { outputs, lifetime: Some(lifetime), ..Minted::default() }
}

impl Mint for AssumedIssuer {
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        if spec.flow.is_static() {
            return self.statics.mint(spec, inputs);
        }
        let mut book = self.book();
        let name = spec.name.clone();
        let at = self.clock.wall();
        book.exchanges.push(Exchange { name: name.clone(), errand: Errand::Obtain, at, ends_before: None });
        if spec.rotation.is_some() {
            let (value, end) = if let Some(known) = book.values.get(&name) {
                known.clone()
            } else {
                let first = (outputs(&spec, &mut book), self.end(&spec));
                book.values.insert(name, first.clone());
                first
            };
            let grace = spec.rotation.as_ref().map_or(Duration::ZERO, |rotation| rotation.grace);
            if end.saturating_add(grace).is_ok_and(|over| over <= at) {
                let message = format!("its value ended at {end:.0}, and nobody has replaced it");
                return Box::pin(async { Err(MintError::Rejected { message }) });
            }
            return Box::pin(async move { Ok(minted(value, Lifetime::Until(end))) });
        }
        let mut minted = minted(outputs(&spec, &mut book), Lifetime::For(self.lifetime(&spec).0));
        if spec.flow.is_single_use() {
            minted.rotated = Some(Secret::from(format!("assumed-refresh-token-{}", book.made)));
        }
        Box::pin(async { Ok(minted) })
    }

    fn replace(&self, spec: Arc<CredentialSpec>, _inputs: Inputs, _current: Outputs) -> MintFuture {
        let mut book = self.book();
        let next = (outputs(&spec, &mut book), self.end(&spec));
        let before = book.values.insert(spec.name.clone(), next.clone());
        let ends_before = before.map(|(_, end)| end);
        let at = self.clock.wall();
        book.exchanges.push(Exchange { name: spec.name.clone(), errand: Errand::Replace, at, ends_before });
        Box::pin(async move { Ok(minted(next.0, Lifetime::Until(next.1))) })
    }

    fn verify(&self, _spec: Arc<CredentialSpec>, _inputs: Inputs, _value: Outputs) -> VerifyFuture {
        Box::pin(async { Ok::<(), MintError>(()) })
    }

    fn revoke(
        &self,
        _spec: Arc<CredentialSpec>,
        _inputs: Inputs,
        _token: Secret,
        _hint: TokenHint,
    ) -> RevokeFuture {
        Box::pin(async { Ok(false) })
    }
}
