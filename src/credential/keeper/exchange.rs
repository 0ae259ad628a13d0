//! One exchange, from its inputs to what must be durable. It runs in a task of its own, which no
//! request can cancel, and reports back once.
//!
//! ```text
//! read record and inputs ─▶ changed at all? a token in the record that is still valid?
//!     ─▶ rejected too often? outcome of the last one unknown? a message that was asked for before?
//!     ─▶ save the intent (single-use inputs) ─▶ ask ─▶ replace, verify (rotation)
//!     ─▶ save what it brought ─▶ report
//! ```
//!
//! A token that comes with nothing that could not be had again is published before it is saved: a slow
//! disk holds no request up.
//!
//! What a person orders goes the same way: only the question to the issuer falls away.

mod attempts;
mod conclusion;
mod failure;
mod messages;
mod question;
mod revocation;
mod succession;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::{Clock, Moment};
use crate::credential::flow::{Mint, MintError};
use crate::credential::input::Inputs;
use crate::credential::keeper::entry::{Order, ParentValues};
use crate::credential::shared::Shared;
use crate::credential::store::{Fingerprint, Record, Store, StoreError};
use crate::credential::{CredentialSpec, Expiry, Minted, Owner, Source};
use crate::secret::Secret;

pub(super) use failure::Failure;
use question::Question;

/// Everything that one exchange needs.
pub(super) struct Exchange {
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) mint: Arc<dyn Mint>,
    pub(super) spec: Arc<CredentialSpec>,
    pub(super) shared: Arc<Shared>,
    pub(super) parents: ParentValues,
    /// Of a bundle: the end of the part that ends first.
    pub(super) bound: Option<Expiry>,
    /// Ask the issuer only if the inputs are no longer these.
    pub(super) unless: Option<Fingerprint>,
    /// What the record tells is enough: the issuer is not asked.
    pub(super) recalls: bool,
    /// The current generation; 0 before the first token.
    pub(super) generation: u64,
    /// How many exchanges the schedule counts itself.
    pub(super) paced: usize,
    /// The value is due to be replaced, and the parents are fresh.
    pub(super) rotates: bool,
    /// What the value opens was closed to it.
    pub(super) doubted: bool,
    /// An operator overrides what earlier tries came to.
    pub(super) force: bool,
    /// What a person orders.
    pub(super) order: Option<Order>,
    /// What the store has still to be given, before anything else.
    pub(super) unsaved: Option<Record>,
    /// Where a generation goes that is published before it is saved.
    pub(super) early: mpsc::UnboundedSender<Early>,
    /// The entry that it is for.
    pub(super) id: u64,
}

/// A generation that is published before it is saved.
pub(super) struct Early {
    pub(super) owner: Owner,
    /// The entry that it is for.
    pub(super) id: u64,
    pub(super) obtained: Obtained,
    /// How long the exchange took so far.
    pub(super) took: Duration,
    /// Whether it can be used; dropped if nobody keeps the entry any more.
    pub(super) answer: oneshot::Sender<Result<(), Failure>>,
}

/// What an exchange came to.
pub(super) struct Report {
    /// When it was started, in time since boot.
    pub(super) started: Duration,
    /// How long it took, reading and saving included.
    pub(super) took: Duration,
    /// The inputs; `None` if they could not be read.
    pub(super) inputs: Option<Fingerprint>,
    /// Whether the issuer was asked.
    pub(super) asked: bool,
    /// Whether that counts as one of the exchanges that `max_renewals` allows.
    pub(super) counts: bool,
    /// An exchange of before has left it unknown whether the refresh token is used up.
    pub(super) unsettled: bool,
    /// When it has to be renewed at the latest, though nobody asks for it.
    pub(super) renew_by: Option<Timestamp>,
    /// The values of the record beside the current one; `None` if it was not looked at.
    pub(super) beside: Option<Box<[Secret]>>,
    /// What the store has still to be given.
    pub(super) unsaved: Option<(Box<Record>, StoreError)>,
    pub(super) result: Result<Done, Failure>,
}

/// What was reached.
pub(super) enum Done {
    Obtained(Box<Obtained>),
    /// The generation was published already.
    Published,
    /// As a person ordered, there is no token any more, and no way to another one.
    Forgotten,
}

/// A generation to publish.
pub(super) struct Obtained {
    pub(super) generation: u64,
    pub(super) expiry: Expiry,
    pub(super) minted: Minted,
    /// The secrets that it was made with, and those that the next one will be made with.
    pub(super) inputs: Vec<Secret>,
    /// When the value is to be replaced.
    pub(super) rotate_at: Option<Timestamp>,
    /// It comes from the record, and the issuer is asked for it all the same.
    pub(super) asks_again: bool,
    /// It ends with a part of it that is another credential's.
    pub(super) follows: bool,
}

/// What the issuer said, or a person brought, and when.
struct Answer {
    minted: Result<Minted, MintError>,
    at: Moment,
}

impl Report {
    /// Nothing was done yet.
    fn new(started: Duration, result: Result<Done, Failure>) -> Self {
        Self {
            started,
            took: Duration::ZERO,
            inputs: None,
            asked: false,
            counts: false,
            unsettled: false,
            renew_by: None,
            beside: None,
            unsaved: None,
            result,
        }
    }

    /// For an exchange that panicked or was broken off: what it came to is not known.
    pub(super) fn lost() -> Self {
        let message = "the exchange ended without a report: see the log";
        Self::new(Duration::ZERO, Err(Failure::Stubborn(message.to_owned())))
    }
}

impl Exchange {
    pub(super) async fn run(mut self) -> Box<Report> {
        let started = Clock::instant();
        let mut report = Box::new(Report::new(self.clock.boot(), Err(Failure::Unchanged)));
        report.result = self.obtain(&mut report, started).await;
        report.took = started.elapsed();
        report
    }

    async fn obtain(&mut self, report: &mut Report, started: Instant) -> Result<Done, Failure> {
        let before = self.record(report).await?;
        if matches!(self.order, Some(Order::Forget)) {
            return Ok(Box::pin(self.forget(&before, report)).await);
        }
        let mut question = self.question(before).await?;
        let mut late = None;
        report.inputs = Some(question.fingerprint);
        if self.order.is_none() {
            if self.unless == Some(question.fingerprint) {
                return Err(Failure::Unchanged);
            }
            if let Some(obtained) = self.take_up(&question) {
                report.unsettled = question.is_unsettled();
                report.beside = Some(beside(&question.record));
                return Ok(Done::Obtained(Box::new(obtained)));
            }
            self.may_ask(&mut question)?;
            if self.recalls {
                return Err(Failure::NothingRecalled);
            }
            late = Box::pin(self.look_for_messages(&mut question, report)).await?;
            if late.is_none() {
                self.save_intent(&mut question).await?;
            }
        }
        let brought = self.order.take_if(|order| matches!(order, Order::Adopt(..)));
        let answer = if let Some(Order::Adopt(minted, at)) = brought {
            question.record.replacement = None;
            Answer { minted: Ok(*minted), at }
        } else if let Some(late) = late {
            late
        } else {
            report.asked = true;
            report.counts = true;
            let read = self.ask(question.inputs.clone()).await;
            match self.follow(&mut question, read).await {
                Ok(answer) => answer,
                Err(failure) => {
                    let record = self.failed(&question, question.record.clone(), &failure, true);
                    self.save_changes(&question.stored, record, report).await;
                    return Err(failure);
                }
            }
        };
        let (record, result) = self.conclude(&question, answer);
        report.renew_by = record.renew_by;
        let result = match result {
            Ok(obtained) if can_be_lost(&question, &record) => {
                Box::pin(self.publish(obtained, started)).await
            }
            result => result.map(|obtained| Done::Obtained(Box::new(obtained))),
        };
        self.save_changes(&question.stored, record, report).await;
        result
    }

    /// Has a generation published at once, and goes on.
    async fn publish(&self, obtained: Obtained, started: Instant) -> Result<Done, Failure> {
        let (answer, published) = oneshot::channel();
        let (owner, took) = (self.shared.owner().clone(), started.elapsed());
        // Without the task, or the entry, there is nobody to publish to.
        let _ = self.early.send(Early { owner, id: self.id, obtained, took, answer });
        published.await.unwrap_or(Ok(())).map(|()| Done::Published)
    }

    /// The record of the store, after it was given what it could not be given before.
    async fn record(&mut self, report: &mut Report) -> Result<Record, Failure> {
        if let Some(record) = self.unsaved.take() {
            let Err(error) = self.save(&record).await else { return Ok(record) };
            let message = format!("the store cannot be written: {}", error.0);
            report.unsaved = Some((Box::new(record), error));
            return Err(Failure::Local(message));
        }
        let loaded = self.store.load(self.shared.owner()).await;
        loaded.map_err(|StoreError(error)| Failure::Local(format!("the store cannot be read: {error}")))
    }

    /// Forgets everything but what was rejected and how often it was asked: that is the issuer's to say. Then the issuer is told.
    async fn forget(&mut self, before: &Record, report: &mut Report) -> Done {
        let published = self.shared.published();
        let (rejections, attempts) = (before.rejections, before.attempts.clone());
        let record = Record { rejections, attempts, ..Record::default() };
        self.save_changes(before, record, report).await;
        // No request takes the token any more, however long the issuer needs.
        self.shared.withdraw();
        self.revoke(before, published.as_deref()).await;
        Done::Forgotten
    }

    async fn ask(&self, inputs: Inputs) -> Answer {
        let minted = self.in_time(self.mint.mint(Arc::clone(&self.spec), inputs)).await;
        Answer { minted, at: self.clock.now() }
    }

    /// What the issuer says, if it says it in time.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, MintError>>) -> Result<T, MintError> {
        let limit = self.spec.times.exchange_timeout;
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            Err(MintError::Unanswered { message: format!("the exchange took longer than {limit:?}") })
        })
    }

    /// A record that is as it was needs no writing.
    async fn save_changes(&self, stored: &Record, record: Record, report: &mut Report) {
        report.beside = Some(beside(&record));
        if record != *stored
            && let Err(error) = self.save(&record).await
        {
            report.unsaved = Some((Box::new(record), error));
        }
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.store.save(self.shared.owner(), record.clone()).await
    }

    /// Whether the token itself is kept in the store. A static one is read from its source instead.
    fn keeps_tokens(&self) -> bool {
        let outlives =
            self.store.is_durable() || self.shared.owner().subject.is_some() || self.spec.rotation.is_some();
        outlives && !self.spec.flow.is_static()
    }

    /// Identifies what the issuer would be sent: the inputs, and how they are used. A corrected client
    /// identifier is worth a new try as much as a corrected password.
    fn fingerprint(&self, mut identity: BTreeMap<String, Secret>) -> Fingerprint {
        let flow = format!("{:?} {}", self.spec.flow, self.spec.egress);
        // No input is called so: an empty name cannot be configured.
        identity.insert(String::new(), Secret::from(flow));
        self.store.fingerprint(&identity)
    }

    /// Identifies whose value it is: what the issuer would be sent, without what parents give, which
    /// changes while it stays the same value.
    fn own_fingerprint(&self, mut identity: BTreeMap<String, Secret>) -> Fingerprint {
        identity.retain(|name, _| !self.spec.inputs.get(name).is_some_and(Source::is_output));
        self.fingerprint(identity)
    }

    fn fingerprint_of(&self, name: &str, value: &Secret) -> Fingerprint {
        self.store.fingerprint(&BTreeMap::from([(name.to_owned(), value.clone())]))
    }
}

/// The values of a record that are not the current one, and still work or will.
fn beside(record: &Record) -> Box<[Secret]> {
    let values = record.succession.iter().flat_map(|known| [&known.previous, &known.successor]).flatten();
    values.flat_map(|value| value.outputs.values().cloned()).collect()
}

/// Whether all that an answer brought could be had again, if a crash came before it is saved: nothing was
/// used up, and nothing takes the place of an input.
fn can_be_lost(question: &Question, record: &Record) -> bool {
    let stored = &question.stored;
    record != stored
        && stored.in_flight.is_none()
        && record.replacement == stored.replacement
        && record.succession == stored.succession
}
