//! Which value is in use, which one follows it, and when the one takes the place of the other.
//!
//! Only a credential with a [`Rotation`] goes this way, once its value was read. The first value is taken as it
//! is: there is nothing to lose.

use crate::clock::Moment;
use crate::credential::flow::MintError;
use crate::credential::keeper::exchange::question::Question;
use crate::credential::keeper::exchange::{Answer, Exchange, Failure};
use crate::credential::store::{InFlight, Succession, Value};
use crate::credential::{Expiry, Lifetime, Minted, Outputs, Rotation};

impl Exchange {
    /// The value to publish after one was read. Another value than the one in use is kept and verified
    /// before it takes its place; the one in use is replaced if it is due.
    pub(super) async fn follow(&self, question: &mut Question, read: Answer) -> Result<Answer, Failure> {
        match self.spec.rotation.as_deref() {
            None => Ok(read),
            // Few go this way: those that do not have no room for it.
            Some(rotation) => Box::pin(self.follow_by(rotation, question, read)).await,
        }
    }

    /// The same, of a value that is replaced by this rule.
    async fn follow_by(
        &self,
        rotation: &Rotation,
        question: &mut Question,
        read: Answer,
    ) -> Result<Answer, Failure> {
        let in_use = self.in_use(question, rotation);
        let Answer { minted, at } = read;
        let (minted, in_use) = match (minted, in_use) {
            (Err(error), in_use) => return Ok(self.without_reading(question, in_use, error, at).await),
            (Ok(minted), Some(in_use)) if minted.outputs != in_use => {
                question.record.in_flight = None;
                let has_passed = has_passed(rotation, ends(&minted, at), at);
                let value = minted.outputs.clone();
                let followed = self.succeed_by(question, in_use, minted, at, Origin::Read).await;
                return match followed {
                    // It ended before anybody saw it.
                    Err(_) if has_passed => self.replace_value(question, value).await,
                    followed => followed,
                };
            }
            (Ok(minted), Some(in_use)) if self.doubted => {
                return Ok(self.one_that_works(question, rotation, in_use, minted, at).await);
            }
            (Ok(minted), in_use) => (minted, in_use),
        };
        if question.record.in_flight.take().is_some() && in_use.is_some() {
            let message = "the issuer was asked to replace the value, and the answer was lost; the old value still \
                           stands, so it is asked again";
            return Err(if self.works(question, rotation) {
                Failure::Stubborn(message.to_owned())
            } else {
                Failure::Transient { message: message.to_owned(), retry_after: None }
            });
        }
        if self.rotates && is_due(rotation, question, &minted, at) {
            // One that does not work any more is replaced, too.
            return self.replace_value(question, minted.outputs).await;
        }
        Ok(Answer { minted: Ok(minted), at })
    }

    /// The value in use. The record may be of other inputs: then there is none.
    fn in_use(&self, question: &mut Question, rotation: &Rotation) -> Option<Outputs> {
        let now = self.clock.wall();
        let record = &mut question.record;
        let succession = match &mut record.succession {
            Some(succession) if succession.of == question.own => succession,
            _ => {
                record.succession =
                    Some(Succession { of: question.own, since: None, successor: None, previous: None });
                return None;
            }
        };
        let has_passed = |value: &mut Value| {
            value.expires_at.and_then(|end| end.checked_add(rotation.grace).ok()).is_none_or(|end| end <= now)
        };
        succession.previous.take_if(has_passed);
        record.current.as_ref().map(|current| current.outputs.clone())
    }

    /// Whether the value in use still works, as far as is known.
    fn works(&self, question: &Question, rotation: &Rotation) -> bool {
        let now = self.clock.now();
        question.record.current.as_ref().is_some_and(|current| {
            let expiry = Expiry::taken_up(current.obtained_at, current.expires_at, now);
            expiry.with_grace(rotation.grace).is_usable(now)
        })
    }

    /// Has the issuer replace the value in use, with the intent made durable before.
    async fn replace_value(&self, question: &mut Question, in_use: Outputs) -> Result<Answer, Failure> {
        question.record.in_flight = Some(InFlight { value: question.own, again: false });
        self.begin(question, "the value was not replaced").await?;
        let (spec, inputs) = (self.spec.clone(), question.inputs.clone());
        let replaced = self.in_time(self.mint.replace(spec, inputs, in_use.clone())).await;
        let at = self.clock.now();
        match replaced {
            Ok(minted) if minted.outputs == in_use => {
                question.record.in_flight = None;
                Err(Failure::Stubborn("the issuer was asked for another value and gave the same".to_owned()))
            }
            Ok(minted) => {
                tracing::info!(credential = %self.shared.owner(), "the issuer replaced the value");
                question.record.in_flight = None;
                self.succeed_by(question, in_use, minted, at, Origin::Made).await
            }
            Err(MintError::Unanswered { message }) => Err(Failure::Unread(format!(
                "{message}: the answer was lost that may have brought another value; it is read again"
            ))),
            Err(error) => {
                if matches!(error, MintError::Rejected { .. } | MintError::Stubborn { .. }) {
                    question.record.in_flight = None;
                }
                Err(self.failure(error, None))
            }
        }
    }

    /// Keeps a new value, and lets it take the place of the one in use once it works.
    async fn succeed_by(
        &self,
        question: &mut Question,
        in_use: Outputs,
        minted: Minted,
        at: Moment,
        origin: Origin,
    ) -> Result<Answer, Failure> {
        let expires_at = ends(&minted, at);
        if let Some(succession) = &mut question.record.succession {
            succession.successor = Some(Value { expires_at, outputs: minted.outputs.clone() });
        }
        self.keep(question).await;
        match self.verify(question, &minted.outputs).await {
            Ok(()) => {
                self.take_its_place(question, in_use);
                if origin == Origin::Read && expires_at.is_some_and(|end| end <= at.wall) {
                    // It is older than it was known for.
                    question.record.succession.iter_mut().for_each(|known| known.since = None);
                }
                Ok(Answer { minted: Ok(minted), at })
            }
            Err(error) => Err(Failure::Transient {
                message: format!("there is a new value, and it does not work yet: {}", error.message()),
                retry_after: None,
            }),
        }
    }

    /// What the value in use opens was closed to it: it is verified, and if it does not work, the one that
    /// was to follow it or the one before may.
    async fn one_that_works(
        &self,
        question: &mut Question,
        rotation: &Rotation,
        in_use: Outputs,
        read: Minted,
        at: Moment,
    ) -> Answer {
        question.record.in_flight = None;
        let others = question.record.succession.clone();
        let others = others.into_iter().flat_map(|known| [known.successor, known.previous]).flatten();
        if let Err(MintError::Rejected { .. }) = self.verify(question, &read.outputs).await {
            for other in others.filter(|other| other.outputs != in_use) {
                if self.verify(question, &other.outputs).await.is_ok() {
                    self.take_its_place(question, in_use);
                    return self.known(other, rotation);
                }
            }
        }
        Answer { minted: Ok(read), at }
    }

    /// The value cannot be read, but the one that was to follow may be known.
    async fn without_reading(
        &self,
        question: &mut Question,
        in_use: Option<Outputs>,
        error: MintError,
        at: Moment,
    ) -> Answer {
        let successor = question.record.succession.as_ref().and_then(|known| known.successor.clone());
        if let (Some(successor), Some(rotation)) = (successor, self.spec.rotation.as_deref())
            && self.verify(question, &successor.outputs).await.is_ok()
        {
            self.take_its_place(question, in_use.unwrap_or_default());
            return self.known(successor, rotation);
        }
        Answer { minted: Err(error), at }
    }

    /// A value of the record, as if it had just been read.
    fn known(&self, value: Value, rotation: &Rotation) -> Answer {
        let warnings = vec![format!(
            "this value could not be read: it works until {:?} after its end, as far as is known",
            rotation.grace
        )];
        let lifetime = value.expires_at.map(Lifetime::Until);
        let minted = Minted { outputs: value.outputs, lifetime, warnings, ..Minted::default() };
        Answer { minted: Ok(minted), at: self.clock.now() }
    }

    /// Notes that another value is in use from now on.
    fn take_its_place(&self, question: &mut Question, before: Outputs) {
        let now = self.clock.wall();
        tracing::info!(credential = %self.shared.owner(), "another value works and takes the place of the old one");
        let previous = (!before.is_empty()).then_some(Value { expires_at: Some(now), outputs: before });
        question.record.succession =
            Some(Succession { of: question.own, since: Some(now), successor: None, previous });
    }

    async fn verify(&self, question: &Question, value: &Outputs) -> Result<(), MintError> {
        let (spec, inputs) = (self.spec.clone(), question.inputs.clone());
        self.in_time(self.mint.verify(spec, inputs, value.clone())).await
    }

    /// Makes the record durable. Where that fails, the end of the exchange tries again and says so.
    async fn keep(&self, question: &mut Question) {
        if question.record != question.stored && self.save(&question.record).await.is_ok() {
            question.stored = question.record.clone();
        }
    }
}

/// Where a new value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The issuer made it when it was asked to.
    Made,
    /// It was read: somebody else had it made, or the answer was lost that would have brought it.
    Read,
}

/// Whether a value that can be replaced has ended, its grace included.
fn has_passed(rotation: &Rotation, ends: Option<jiff::Timestamp>, now: Moment) -> bool {
    let over = ends.and_then(|end| end.checked_add(rotation.grace).ok());
    !rotation.before.is_zero() && over.is_some_and(|over| over <= now.wall)
}

/// When the issuer says that a value ends.
fn ends(minted: &Minted, at: Moment) -> Option<jiff::Timestamp> {
    Expiry::new(at, minted.lifetime?).end.map(|end| end.wall)
}

/// Whether a value is to be replaced, by what the issuer says of its end now.
fn is_due(rotation: &Rotation, question: &Question, minted: &Minted, at: Moment) -> bool {
    let since = question.record.succession.as_ref().and_then(|known| known.since);
    let due = |fraction| rotation.due(ends(minted, at)?, since, fraction);
    [0.0, 1.0].into_iter().filter_map(due).any(|due| due <= at.wall)
}
