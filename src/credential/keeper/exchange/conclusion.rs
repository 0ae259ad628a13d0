//! What an answer means for the record, and what is published of it.

use jiff::{SignedDuration, Timestamp};

use crate::clock::Moment;
use crate::credential::flow::fixed::Expires;
use crate::credential::flow::oauth2::id_token::OUTPUT as ID_TOKEN;
use crate::credential::flow::{Flow, MintError, StaticFlow};
use crate::credential::keeper::entry::Order;
use crate::credential::keeper::exchange::question::Question;
use crate::credential::keeper::exchange::{Answer, Exchange, Failure, Obtained};
use crate::credential::store::{Current, Record};
use crate::credential::{Expiry, Lifetime, Minted, schedule};
use crate::secret::Secret;

impl Exchange {
    /// The record after the answer, and the generation that it brought.
    pub(super) fn conclude(
        &self,
        question: &Question,
        answer: Answer,
    ) -> (Record, Result<Obtained, Failure>) {
        let record = question.record.clone();
        match answer.minted {
            Ok(minted) => self.succeed(question, record, minted, answer.at),
            Err(MintError::Spoiled { successor, error }) => {
                let failure = self.failure(*error, question.intent());
                (self.succeeded_by(question, record, successor), Err(failure))
            }
            Err(error) => {
                let is_lost = matches!(error, MintError::Unanswered { .. });
                // Where nobody was asked to the end, no message will come.
                let is_awaited = is_lost || matches!(error, MintError::Unmailed { .. });
                let awaited = record.awaited.clone().filter(|_| is_awaited);
                let record = Record { awaited, ..record };
                let failure = self.failure(error, question.intent());
                (self.failed(question, record, &failure, is_lost), Err(failure))
            }
        }
    }

    fn succeed(
        &self,
        question: &Question,
        mut record: Record,
        mut minted: Minted,
        at: Moment,
    ) -> (Record, Result<Obtained, Failure>) {
        if let Some(Order::Set(..)) = &self.order
            && let Err(why) =
                self.shared.check(&minted.outputs).and_then(|()| has_not_ended(minted.lifetime, at))
        {
            // What no route can use is not kept.
            return (record, Err(Failure::Local(why)));
        }
        self.settle(&mut record, &mut minted, question, at);
        if !self.spec.flow.keeps_id_token() {
            // It tells about a person, and nothing asks for it.
            minted.outputs.retain(|name, _| name != ID_TOKEN);
        }
        let rotate_at = self.rotate_at(&record, minted.lifetime, at);
        let (lifetime, warning) = schedule::lifetime(&self.spec, minted.lifetime, at);
        minted.warnings.extend(warning);
        let before = record.current.as_ref().map_or(0, |current| current.generation);
        let generation = self.generation.max(before) + 1;
        let expiry = Expiry::new(at, lifetime).with_grace(self.spec.grace());
        let end = |expiry: &Expiry| expiry.usable_until().map(|end| end.wall);
        let bound = self.bound.filter(|bound| end(&expiry).is_none_or(|own| end(bound) < Some(own)));
        let (follows, expiry) = (bound.is_some(), bound.unwrap_or(expiry));
        minted.warnings.extend(in_grace(&expiry, at));
        minted.warnings.extend(self.spec.deadline_warning(&minted.outputs, at));
        record.current = self.keeps_tokens().then(|| Current {
            inputs: question.fingerprint,
            generation,
            obtained_at: at.wall,
            expires_at: expiry.end.map(|end| end.wall),
            outputs: minted.outputs.clone(),
        });
        minted.warnings.extend(question.unscanned(&minted.outputs));
        self.lend(question, &mut minted);
        let successor = record.replacement.iter().map(|(_, value)| value);
        let inputs = question.secrets.iter().chain(successor).cloned().collect();
        (record, Ok(Obtained { generation, expiry, minted, inputs, rotate_at, asks_again: false, follows }))
    }

    /// When the value is to be replaced, by what its issuer said of its end.
    fn rotate_at(&self, record: &Record, said: Option<Lifetime>, at: Moment) -> Option<Timestamp> {
        let rotation = self.spec.rotation.as_ref()?;
        let end = Expiry::new(at, said?).end?.wall;
        let since = record.succession.as_ref().and_then(|known| known.since);
        let is_believed =
            end.duration_since(at.wall) <= SignedDuration::try_from(schedule::LONGEST_LIFETIME).ok()?;
        rotation.due(end, since, self.clock.fraction()).filter(|_| is_believed)
    }

    /// Notes in the record what a success brought, beside the token.
    fn settle(&self, record: &mut Record, minted: &mut Minted, question: &Question, at: Moment) {
        record.in_flight = None;
        record.awaited = None;
        record.rejections = None;
        let rotated = minted.rotated.take().filter(|_| self.spec.flow.is_single_use());
        let is_new = |value: &_| Some(self.fingerprint_of("refresh_token", value)) != question.in_use;
        if let Some(Order::Set(token, until)) = &self.order {
            record.replacement = Some((question.base, token.clone()));
            // A length is counted once, and not again from each restart on.
            let counts = |flow: &StaticFlow| matches!(flow.expires, Expires::After(_));
            let counted = match (&self.spec.flow, minted.lifetime) {
                (Flow::Static(flow), Some(Lifetime::Until(end))) if counts(flow) => Some(end),
                _ => None,
            };
            record.set_until = until.or(counted);
        } else if let Some(value) = rotated.filter(is_new) {
            record.replacement = Some((question.base, value));
            record.reusable = None;
            record.renew_by = None;
        } else {
            record.replacement.take_if(|(of, _)| *of != question.base);
            record.reusable = question.in_use.filter(|_| self.spec.flow.is_single_use());
        }
        record.set_until = record.set_until.filter(|_| record.replacement.is_some());
        let lapses = minted.lapses.map(|lifetime| Expiry::new(at, lifetime));
        record.renew_by = match lapses {
            Some(lapses) => schedule::before_lapse(&lapses, self.clock.fraction()).map(|by| by.wall),
            // This use has not put off the end of the refresh token: another one would not either.
            None => record.renew_by.filter(|by| *by > at.wall),
        };
    }

    /// The record after an exchange that brought another refresh token, and no token.
    fn succeeded_by(&self, question: &Question, record: Record, successor: Secret) -> Record {
        if !self.spec.flow.is_single_use() {
            return record;
        }
        let replacement = Some((question.base, successor));
        Record { replacement, in_flight: None, reusable: None, renew_by: None, ..record }
    }

    /// The record after an exchange that brought nothing.
    pub(super) fn failed(
        &self,
        question: &Question,
        record: Record,
        failure: &Failure,
        is_lost: bool,
    ) -> Record {
        match failure {
            Failure::Rejected(_) => Record {
                in_flight: None,
                // Nothing is tried again by itself.
                renew_by: None,
                rejections: if self.force {
                    record.rejections
                } else {
                    Some((question.fingerprint, question.rejections() + 1))
                },
                ..record
            },
            Failure::Withdrawn(_) => Record { in_flight: None, replacement: None, renew_by: None, ..record },
            _ if is_lost => record,
            // Of this try nothing came; an earlier one may still have used the value up.
            _ => Record { in_flight: question.unknown_before(), ..record },
        }
    }
}

/// Tells of a token that had ended when it was set.
fn has_not_ended(lifetime: Option<Lifetime>, at: Moment) -> Result<(), String> {
    let end =
        lifetime.and_then(|lifetime| Expiry::new(at, lifetime).end).filter(|end| end.left(at).is_zero());
    let Some(end) = end else { return Ok(()) };
    Err(format!(
        "it ended at {:.0}; if that is the end of the token before it (`expires`), say when this one ends \
         (`--expires`)",
        end.wall
    ))
}

/// What is told of a value that has ended and still works.
fn in_grace(expiry: &Expiry, now: Moment) -> Option<String> {
    let end = expiry.end.filter(|end| end.left(now).is_zero() && expiry.is_usable(now))?;
    let until = end.after(expiry.grace).wall;
    Some(format!("it ended at {:.0} and works until {until:.0}: it is in its grace period", end.wall))
}
