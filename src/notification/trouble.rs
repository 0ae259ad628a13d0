//! What is wrong now: read from the states of credentials, with nothing remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::credential::advice::advice;
use crate::credential::keeper::Keeper;
use crate::credential::{CredentialSpec, ErrorClass, State, Status};
use crate::notification::Event;

/// What a trouble is about. Of each topic of a name one thing is true at a time: one trouble takes the
/// place of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Whether it can be used.
    State,
    /// When this ends.
    End(String),
    /// The address that connections leave from.
    Address,
}

/// All that is wrong now, and of what nothing can be said yet.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// The names of what has just been started: whether all is well with it shows later.
    pub unsettled: BTreeSet<String>,
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// With what: a credential, or `egress.NAME` or `listener.NAME`.
    pub name: String,
    /// What it is about.
    pub topic: Topic,
    /// What is wrong.
    pub event: Event,
    /// What happened, without values.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
    /// It may be over before anybody has read of it.
    pub may_mend: bool,
    /// When it ends, if it is about an end.
    pub ends_at: Option<Timestamp>,
    /// It is not told before so long before that end, whatever a receiver wants: what lives for an hour is
    /// always within two weeks of its end.
    pub lead: Duration,
}

impl Trouble {
    /// That something ends which only a person renews.
    pub fn end(name: String, of: &str, at: Timestamp, now: Timestamp, advice: &str) -> Self {
        Self {
            name,
            topic: Topic::End(of.to_owned()),
            event: Event::Deadline,
            message: format!("{of} {} at {at:.0}", if at > now { "ends" } else { "ended" }),
            advice: Some(advice.to_owned()),
            may_mend: false,
            ends_at: Some(at),
            lead: Duration::MAX,
        }
    }

    /// That a certificate ends. One that lives for a day is renewed by a machine, and is near its end always.
    pub fn end_of_certificate(
        name: String,
        of: &str,
        (begin, end): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Self {
        let advice = "A person puts a new one in its place, or sees why its renewal has not come.";
        let lifetime = Duration::try_from(end.duration_since(begin)).unwrap_or_default();
        Self { lead: lifetime / 5, ..Self::end(name, of, end, now, advice) }
    }

    /// Whether it is near enough for a receiver that wants to know so long before.
    pub fn is_near(&self, before: Duration, now: Timestamp) -> bool {
        let Some(end) = self.ends_at.filter(|_| self.event == Event::Deadline) else { return true };
        let before = SignedDuration::try_from(before.min(self.lead)).unwrap_or(SignedDuration::MAX);
        end.duration_since(now) <= before
    }
}

/// What is wrong with credentials, and what of them ends. Subjects are not among them: what an app's users
/// have to do, the app tells them.
pub fn of_credentials(keeper: &Keeper, now: Timestamp) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for status in keeper.statuses() {
        let Some(spec) = keeper.spec(&status.owner.credential) else { continue };
        troubles.extend(of_status(&status, &spec, now));
    }
    for (name, of, at) in keeper.deadlines() {
        // What parents give, they renew.
        if keeper.spec(&name).is_some_and(|spec| spec.parents().next().is_none() && spec.rotation.is_none()) {
            let advice = "A person puts a new one in its place.";
            troubles.push(Trouble::end(name.to_string(), &of, at, now, advice));
        }
    }
    troubles
}

/// The credentials of which nothing can be said yet: their first exchange, or their first look into the store, is
/// not over.
pub fn unsettled(keeper: &Keeper) -> BTreeSet<String> {
    let is_new = |status: &Status| status.state == State::Pending && status.last_error.is_none();
    let names =
        keeper.statuses().into_iter().filter(is_new).map(|status| status.owner.credential.to_string());
    names.collect()
}

fn of_status(status: &Status, spec: &CredentialSpec, now: Timestamp) -> Option<Trouble> {
    // Of what is only put together of others' outputs those others are told.
    if spec.only_subjects || spec.is_bundle() {
        return None;
    }
    // What it waits for is told of the one that it waits for, until requests fail.
    if status.waits_for.is_some() && status.state != State::Expired {
        return None;
    }
    let error = status.last_error.as_deref();
    let class = error.map(|error| error.class);
    let needs_person = match class {
        Some(ErrorClass::Rejected) => true,
        // A value that is read again is not lost with an answer; a refresh token may be.
        Some(ErrorClass::Ambiguous) => spec.rotation.is_none(),
        _ => false,
    };
    let (event, may_mend) = match status.state {
        State::Rejected => (Event::Rejected, false),
        // Somebody has it tried again: until that is over, it is what it was.
        State::Pending | State::Expired if status.running && class == Some(ErrorClass::Rejected) => {
            (Event::Rejected, false)
        }
        State::LoginRequired => (Event::LoginRequired, false),
        State::Revoked => (Event::Revoked, false),
        // Nobody may have asked for it since it ended: then the first request renews it.
        State::Expired => (Event::Expired, error.is_none() && spec.is_renewable()),
        State::Pending => (Event::Pending, !needs_person),
        State::Failing => (Event::Failing, !needs_person),
        State::Ready | State::Renewing if class == Some(ErrorClass::Refused) => (Event::Refused, false),
        State::Ready | State::Renewing => return end_of_token(status, spec, now),
    };
    if event == Event::Pending && error.is_none() {
        return None;
    }
    Some(Trouble {
        name: status.owner.credential.to_string(),
        topic: Topic::State,
        event,
        message: error.map_or_else(|| words(event).to_owned(), |error| error.message.clone()),
        advice: advice(status, spec).map(str::to_owned),
        may_mend,
        ends_at: status.expires_at,
        lead: Duration::MAX,
    })
}

/// That a token ends for which no renewal is planned.
fn end_of_token(status: &Status, spec: &CredentialSpec, now: Timestamp) -> Option<Trouble> {
    let end = status.expires_at.filter(|_| status.renew_at.is_none() && !status.running)?;
    let lifetime = status.obtained_at.map_or(SignedDuration::MAX, |begin| end.duration_since(begin));
    let advice = if spec.flow.is_interactive() {
        "Nothing renews it: a person logs in again."
    } else {
        "Nothing renews it: replace it at its source, or by `bearerd set`."
    };
    let trouble = Trouble::end(status.owner.credential.to_string(), "its token", end, now, advice);
    // When the first token of a process was received is not when it began to live.
    let is_of_start = spec.flow.is_static() && status.generation <= 1;
    let lead = if is_of_start { Duration::MAX } else { Duration::try_from(lifetime).unwrap_or_default() / 5 };
    Some(Trouble { topic: Topic::State, lead, ..trouble })
}

fn words(event: Event) -> &'static str {
    match event {
        Event::Expired => "its token has ended",
        Event::LoginRequired => "a person has to log in",
        Event::Revoked => "it was logged out",
        _ => "it is in trouble",
    }
}
