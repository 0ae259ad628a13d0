//! What is known before the issuer is asked, and whether it may be.

use std::collections::BTreeMap;

use crate::credential::input::{self, Inputs};
use crate::credential::keeper::entry::Order;
use crate::credential::keeper::exchange::{Exchange, Failure, Obtained};
use crate::credential::store::{Awaited, Fingerprint, InFlight, REJECTED_TRIES, Record, StoreError};
use crate::credential::{CredentialName, Expiry, Minted, Outputs};
use crate::guard::SHORTEST;
use crate::secret::Secret;

/// What the issuer is asked with.
pub(super) struct Question {
    /// The record, as the store had it before.
    before: Record,
    /// The record, as the store has it by now.
    pub(super) stored: Record,
    /// The record, as it stands.
    pub(super) record: Record,
    pub(super) inputs: Inputs,
    /// The values of the inputs, which answers to apps are scanned for.
    pub(super) secrets: Vec<Secret>,
    /// The names of those that are too short to be scanned for.
    short_inputs: Vec<String>,
    /// Of all inputs.
    pub(super) fingerprint: Fingerprint,
    /// The same, without those that are outputs of other credentials.
    pub(super) own: Fingerprint,
    /// Of the configured value that another may stand in for.
    pub(super) base: Fingerprint,
    /// Of the value that is used in its place, or the configured one itself.
    pub(super) in_use: Option<Fingerprint>,
    /// The same, if asking may use it up.
    single_use: Option<Fingerprint>,
}

impl Question {
    /// What was noted before a single-use value was sent.
    pub(super) fn intent(&self) -> Option<InFlight> {
        self.single_use.and(self.record.in_flight)
    }

    /// What was noted of an exchange before this one, whose outcome is not known.
    pub(super) fn unknown_before(&self) -> Option<InFlight> {
        self.before.in_flight
    }

    /// Whether nobody knows if the value in use was used up.
    pub(super) fn is_unsettled(&self) -> bool {
        self.before.in_flight.is_some_and(|in_flight| Some(in_flight.value) == self.in_use)
    }

    /// The messages that were asked for with these inputs and have not come.
    pub(super) fn awaited(&self) -> Option<&Awaited> {
        self.record.awaited.as_ref().filter(|awaited| awaited.of == self.own)
    }

    /// How often the issuer has rejected these inputs.
    pub(super) fn rejections(&self) -> u32 {
        let same = self.before.rejections.filter(|(of, _)| *of == self.fingerprint);
        same.map_or(0, |(_, tries)| tries)
    }

    /// Warns about values that are too short to be looked for in answers.
    pub(super) fn unscanned(&self, outputs: &Outputs) -> Option<String> {
        let outputs = outputs.iter().filter(|(_, value)| is_short(value)).map(|(name, _)| name);
        let names: Vec<&str> = self.short_inputs.iter().map(String::as_str).chain(outputs).collect();
        (!names.is_empty()).then(|| {
            format!(
                "answers are not scanned for values under {SHORTEST} bytes, such as that of `{}`",
                names.join("`, `")
            )
        })
    }
}

/// Whether a value is too short to be looked for in answers.
fn is_short(value: &Secret) -> bool {
    (1..SHORTEST).contains(&value.len())
}

impl Exchange {
    /// Reads the inputs, and puts what stands in for a configured one in its place.
    pub(super) async fn question(&self, before: Record) -> Result<Question, Failure> {
        let (mut inputs, base) = self.inputs(&before).await?;
        // Of what is configured: a rotated refresh token is no other input.
        let (fingerprint, own) =
            (self.fingerprint(inputs.identity.clone()), self.own_fingerprint(inputs.identity.clone()));
        let in_use = self.replace(&mut inputs, base, &before);
        let is_single_use = self.order.is_none() && self.spec.flow.is_single_use();
        let single_use = in_use.filter(|in_use| is_single_use && before.reusable != Some(*in_use));
        let secrets = inputs.values.values().chain(inputs.identity.values()).cloned().collect();
        let short = inputs.values.iter().filter(|(_, value)| is_short(value));
        let short_inputs = short.map(|(name, _)| name.clone()).collect();
        let (stored, record) = (before.clone(), before.clone());
        Ok(Question {
            before,
            stored,
            record,
            inputs,
            secrets,
            short_inputs,
            fingerprint,
            own,
            base,
            in_use,
            single_use,
        })
    }

    /// The inputs, and the fingerprint of the configured value that another may stand in for.
    async fn inputs(&self, record: &Record) -> Result<(Inputs, Fingerprint), Failure> {
        let parents = |credential: &CredentialName, output: &str| {
            self.parents.get(&(credential.clone(), output.to_owned())).cloned()
        };
        let read = input::read(&self.spec, &parents, &self.clock).await;
        let nothing = self.store.fingerprint(&BTreeMap::new());
        let stands_alone = self.spec.flow.is_static()
            && (matches!(self.order, Some(Order::Set(..)))
                || record.replacement.as_ref().is_some_and(|(of, _)| *of == nothing));
        let inputs = match read {
            // A token that was set needs no source to read from.
            Err(_) if stands_alone => Inputs::default(),
            read => read.map_err(|error| {
                Failure::Local(format!("the input `{}` cannot be read: {}", error.input, error.message))
            })?,
        };
        let configured =
            self.spec.flow.replaceable_input().and_then(|name| inputs.identity.get_key_value(name));
        let base = configured.map_or(nothing, |(name, value)| self.fingerprint_of(name, value));
        Ok((inputs, base))
    }

    /// Puts what stands in for a configured input in its place. The fingerprint is of what is used.
    fn replace(&self, inputs: &mut Inputs, base: Fingerprint, record: &Record) -> Option<Fingerprint> {
        let name = self.spec.flow.replaceable_input()?;
        let kept = record.replacement.as_ref().filter(|(of, _)| *of == base);
        let kept = kept.map(|(_, value)| (value, record.set_until));
        let set = match &self.order {
            Some(Order::Set(token, until)) => Some((token, *until)),
            _ => None,
        };
        if let Some((value, until)) = set.or(kept) {
            inputs.values.insert(name.to_owned(), value.clone().locked());
            inputs.until = until;
            // The file says nothing about it.
            inputs.modified = set.is_some().then(|| self.clock.wall());
        }
        Some(self.fingerprint_of(name, inputs.values.get(name)?))
    }

    /// The token of the record, if it may be used without a question to the issuer.
    pub(super) fn take_up(&self, question: &Question) -> Option<Obtained> {
        let current = question.before.current.as_ref();
        let current = current.filter(|current| self.recalls && current.inputs == question.fingerprint)?;
        let now = self.clock.now();
        let expiry = Expiry::taken_up(current.obtained_at, current.expires_at, now);
        let expiry = expiry.with_grace(self.spec.grace());
        let mut minted = Minted { outputs: current.outputs.clone(), ..Minted::default() };
        minted.warnings.extend(self.spec.deadline_warning(&minted.outputs, now));
        minted.warnings.extend(question.unscanned(&minted.outputs));
        self.lend(question, &mut minted);
        expiry.is_usable(now).then_some(Obtained {
            generation: current.generation,
            expiry,
            minted,
            inputs: question.secrets.clone(),
            rotate_at: None,
            // Whether it was replaced meanwhile, the issuer knows, or a message tells that was asked for.
            asks_again: self.spec.rotation.is_some() || question.awaited().is_some(),
            follows: false,
        })
    }

    /// Gives readers the inputs that they sign and verify with, once the record has what it keeps.
    pub(super) fn lend(&self, question: &Question, minted: &mut Minted) {
        for name in &*self.spec.lends {
            if let Some(value) = question.inputs.values.get(&**name)
                && !minted.outputs.contains_key(name)
            {
                minted.outputs.insert(&**name, value.clone());
            }
        }
    }

    /// Whether the issuer may be asked; a single-use value is noted as being in use.
    pub(super) fn may_ask(&self, question: &mut Question) -> Result<(), Failure> {
        if self.spec.flow.is_interactive() && question.in_use.is_none() {
            return Err(Failure::NobodyLoggedIn);
        }
        let tries = question.rejections();
        // A subject that slept is no new try.
        let most = if self.recalls && self.shared.owner().subject.is_some() { 1 } else { REJECTED_TRIES };
        if tries >= most && !self.force {
            return Err(Failure::Rejected(format!(
                "the issuer has rejected these inputs {tries} times: they are not tried again before they \
                 change (`bearerd refresh --force` tries all the same)"
            )));
        }
        let Some(value) = question.single_use else { return Ok(()) };
        let before = question.before.in_flight.filter(|in_flight| in_flight.value == value);
        let may_repeat = self.spec.retry_ambiguous && !before.is_some_and(|in_flight| in_flight.again);
        if before.is_some() && !self.force && !may_repeat {
            return Err(Failure::Ambiguous(format!(
                "an exchange was begun before and its outcome is not known: the refresh token may be used up, and \
                 is not tried again before {}",
                self.remedy()
            )));
        }
        question.record.in_flight = Some(InFlight { value, again: before.is_some() });
        Ok(())
    }

    /// Makes durable that a single-use value is about to be sent, with the room for what it may bring, that an
    /// attempt is made which counts, and that messages are asked for.
    pub(super) async fn save_intent(&self, question: &mut Question) -> Result<(), Failure> {
        let (record, stored) = (&question.record, &question.stored);
        let is_noted = record.attempts == stored.attempts && record.awaited == stored.awaited;
        if question.single_use.is_none() && is_noted {
            return Ok(());
        }
        self.begin(question, "nothing was sent").await
    }

    /// Makes the record of an exchange durable that is about to begin; `undone` tells what did not happen where that fails.
    pub(super) async fn begin(&self, question: &mut Question, undone: &str) -> Result<(), Failure> {
        let saved = self.store.begin(self.shared.owner(), question.record.clone()).await;
        saved.map_err(|StoreError(error)| {
            Failure::Local(format!("the store cannot be written, so {undone}: {error}"))
        })?;
        question.stored = question.record.clone();
        Ok(())
    }
}
