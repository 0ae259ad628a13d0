//! One exchange, from its inputs to what must be durable. It runs in a task of its own, which no
//! request can cancel, and reports back once.
//!
//! ```text
//! read record and inputs ─▶ changed at all? a token in the record that is still valid?
//!     ─▶ rejected too often? outcome of the last one unknown?
//!     ─▶ save the intent (single-use inputs) ─▶ exchange ─▶ save what it brought ─▶ report
//! ```
//!
//! What a person orders goes the same way: only the question to the issuer falls away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::flow::{Mint, MintError};
use crate::credential::input::{self, Inputs};
use crate::credential::keeper::entry::{Order, ParentValues};
use crate::credential::shared::Shared;
use crate::credential::store::{Current, Fingerprint, InFlight, Record, Store, StoreError};
use crate::credential::{CredentialName, CredentialSpec, Expiry, Flow, Minted, schedule};
use crate::secret::Secret;

/// So often in all the same inputs are tried after the issuer rejected them.
pub(super) const REJECTED_TRIES: u32 = 3;

/// Everything that one exchange needs.
pub(super) struct Exchange {
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) mint: Arc<dyn Mint>,
    pub(super) spec: Arc<CredentialSpec>,
    pub(super) shared: Arc<Shared>,
    pub(super) parents: ParentValues,
    /// Ask the issuer only if the inputs are no longer these.
    pub(super) unless: Option<Fingerprint>,
    /// A token in the record is as good as a new one: this is the first exchange of its owner.
    pub(super) takes_up: bool,
    /// The current generation; 0 before the first token.
    pub(super) generation: u64,
    /// An operator overrides what earlier tries came to.
    pub(super) force: bool,
    /// What a person orders.
    pub(super) order: Option<Order>,
    /// What the store has still to be given, before anything else.
    pub(super) unsaved: Option<Record>,
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
    /// What the store has still to be given.
    pub(super) unsaved: Option<(Record, StoreError)>,
    pub(super) result: Result<Done, Failure>,
}

/// What was reached.
pub(super) enum Done {
    Obtained(Obtained),
    /// As a person ordered, there is no token any more, and no way to another one.
    Forgotten,
}

/// A generation to publish.
pub(super) struct Obtained {
    pub(super) generation: u64,
    pub(super) expiry: Expiry,
    pub(super) minted: Minted,
}

/// Why there is no new generation.
#[derive(Debug)]
pub(super) enum Failure {
    /// The inputs are the same as before.
    Unchanged,
    /// The inputs or the store's record could not be read, or the intent not be written.
    Local(String),
    Transient {
        message: String,
        retry_after: Option<Duration>,
    },
    Stubborn(String),
    Rejected(String),
    /// What a person had consented to is no longer valid: the person is asked again.
    Withdrawn(String),
    /// Nobody has consented yet.
    NobodyLoggedIn,
    Ambiguous(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unchanged => "the inputs are the same as before",
            Self::NobodyLoggedIn => "nobody has logged in yet",
            Self::Transient { message, .. }
            | Self::Local(message)
            | Self::Stubborn(message)
            | Self::Rejected(message)
            | Self::Withdrawn(message)
            | Self::Ambiguous(message) => message,
        })
    }
}

impl Report {
    /// For an exchange that panicked or was broken off: what it came to is not known.
    pub(super) fn lost() -> Self {
        Self {
            started: Duration::ZERO,
            took: Duration::ZERO,
            inputs: None,
            asked: false,
            unsaved: None,
            result: Err(Failure::Stubborn("the exchange ended without a report: see the log".to_owned())),
        }
    }
}

impl Exchange {
    pub(super) async fn run(mut self) -> Report {
        let started = Clock::instant();
        let mut report = Report {
            started: self.clock.boot(),
            took: Duration::ZERO,
            inputs: None,
            asked: false,
            unsaved: None,
            result: Err(Failure::Unchanged),
        };
        report.result = self.obtain(&mut report).await;
        report.took = started.elapsed();
        report
    }

    async fn obtain(&mut self, report: &mut Report) -> Result<Done, Failure> {
        let before = self.record(report).await?;
        if matches!(self.order, Some(Order::Forget)) {
            return Ok(self.forget(&before, report).await);
        }
        let (mut inputs, base) = self.inputs(&before).await?;
        let fingerprint = self.fingerprint(&inputs);
        report.inputs = Some(fingerprint);
        if self.unless == Some(fingerprint) && self.order.is_none() {
            return Err(Failure::Unchanged);
        }
        if let Some(obtained) = self.take_up(&before, fingerprint) {
            return Ok(Done::Obtained(obtained));
        }
        let in_use = self.replace(&mut inputs, base, &before);
        let single_use = in_use.filter(|in_use| {
            self.order.is_none()
                && self.spec.flow.is_single_use()
                && before.reusable.is_none_or(|reusable| reusable != *in_use)
        });
        let mut record = before.clone();
        let tries = before.rejections.filter(|(of, _)| *of == fingerprint).map_or(0, |(_, tries)| tries);
        if self.order.is_none() {
            self.may_ask(&mut record, tries, in_use, single_use)?;
        }
        if single_use.is_some() {
            self.store.begin(self.shared.owner(), record.clone()).await.map_err(|StoreError(error)| {
                Failure::Local(format!("the store cannot be written, so nothing was sent: {error}"))
            })?;
        }

        let (minted, at) = match self.order.take() {
            Some(Order::Adopt(minted, at)) => {
                record.replacement = None;
                (Ok(*minted), at)
            }
            order => {
                self.order = order;
                report.asked = true;
                (self.mint(inputs).await, self.clock.now())
            }
        };
        let lost = matches!(minted, Err(MintError::Unanswered { .. }));
        let in_flight = single_use.and(record.in_flight);
        let mut result = minted.map_err(|error| self.failure(error, in_flight));
        let mut obtained = None;
        match &mut result {
            Ok(minted) => {
                self.settle(&mut record, minted, base, in_use)?;
                let (lifetime, warning) = schedule::lifetime(&self.spec, minted.lifetime, at);
                minted.warnings.extend(warning);
                let before = record.current.as_ref().map_or(0, |current| current.generation);
                let generation = self.generation.max(before) + 1;
                let expiry = Expiry::new(at, lifetime);
                record.current = self.keeps_tokens().then(|| Current {
                    inputs: fingerprint,
                    generation,
                    obtained_at: at.wall,
                    expires_at: expiry.end.map(|end| end.wall),
                    outputs: minted.outputs.clone(),
                });
                obtained = Some((generation, expiry));
            }
            Err(Failure::Rejected(_)) => {
                record.in_flight = None;
                if !self.force {
                    record.rejections = Some((fingerprint, tries + 1));
                }
            }
            Err(Failure::Withdrawn(_)) => {
                record.in_flight = None;
                record.replacement = None;
            }
            Err(_) if lost => {}
            // Of this try nothing came; an earlier one may still have used the value up.
            Err(_) => record.in_flight = before.in_flight,
        }
        // The store may hold the intent by now; a record that is as it was needs no writing.
        if (record != before || single_use.is_some())
            && !lost
            && let Err(error) = self.save(&record).await
        {
            report.unsaved = Some((record, error));
        }
        let minted = result?;
        let (generation, expiry) = obtained.expect("a success has a generation and an end");
        Ok(Done::Obtained(Obtained { generation, expiry, minted }))
    }

    /// Whether the issuer may be asked with these inputs; a single-use one is noted as being in use.
    fn may_ask(
        &self,
        record: &mut Record,
        tries: u32,
        in_use: Option<Fingerprint>,
        single_use: Option<Fingerprint>,
    ) -> Result<(), Failure> {
        if self.spec.flow.is_interactive() && in_use.is_none() {
            return Err(Failure::NobodyLoggedIn);
        }
        if tries >= REJECTED_TRIES && !self.force {
            return Err(Failure::Rejected(format!(
                "the issuer has rejected these inputs {tries} times: they are not tried again before they \
                 change (`bearerd refresh --force` tries all the same)"
            )));
        }
        let Some(value) = single_use else { return Ok(()) };
        let again = record.in_flight.is_some_and(|in_flight| in_flight.value == value);
        let tried_again =
            record.in_flight.is_some_and(|in_flight| in_flight.value == value && in_flight.again);
        if again && !self.force && (tried_again || !self.spec.retry_ambiguous) {
            return Err(Failure::Ambiguous(format!(
                "an exchange was begun before and its outcome is not known: the refresh token may be used up, and \
                 is not tried again before {}",
                self.remedy()
            )));
        }
        record.in_flight = Some(InFlight { value, again });
        Ok(())
    }

    /// The token of the record, if it may be used without a question to the issuer.
    fn take_up(&self, record: &Record, fingerprint: Fingerprint) -> Option<Obtained> {
        let may = self.takes_up && self.order.is_none() && !self.force;
        let current = record.current.as_ref().filter(|current| may && current.inputs == fingerprint)?;
        let now = self.clock.now();
        let expiry = Expiry::taken_up(current.obtained_at, current.expires_at, now);
        let minted = Minted {
            outputs: current.outputs.clone(),
            lifetime: None,
            rotated: None,
            lapses: None,
            warnings: Vec::new(),
        };
        expiry.is_usable(now).then_some(Obtained { generation: current.generation, expiry, minted })
    }

    /// Forgets everything but what was rejected: that is the issuer's to say.
    async fn forget(&mut self, before: &Record, report: &mut Report) -> Done {
        let record = Record { rejections: before.rejections, ..Record::default() };
        if record != *before
            && let Err(error) = self.save(&record).await
        {
            report.unsaved = Some((record, error));
        }
        Done::Forgotten
    }

    /// Whether the token itself is kept in the store. A static one is read from its source instead.
    fn keeps_tokens(&self) -> bool {
        let outlives = self.store.is_durable() || self.shared.owner().subject.is_some();
        outlives && !matches!(self.spec.flow, Flow::Static(_))
    }

    /// The record of the store, after it was given what it could not be given before.
    async fn record(&mut self, report: &mut Report) -> Result<Record, Failure> {
        if let Some(record) = self.unsaved.take() {
            let Err(error) = self.save(&record).await else { return Ok(record) };
            let message = format!("the store cannot be written: {}", error.0);
            report.unsaved = Some((record, error));
            return Err(Failure::Local(message));
        }
        let loaded = self.store.load(self.shared.owner()).await;
        loaded.map_err(|StoreError(error)| Failure::Local(format!("the store cannot be read: {error}")))
    }

    /// The inputs, and the fingerprint of the configured value that another may stand in for.
    async fn inputs(&self, record: &Record) -> Result<(Inputs, Fingerprint), Failure> {
        let parents = |credential: &CredentialName, output: &str| {
            self.parents.get(&(credential.clone(), output.to_owned())).cloned()
        };
        let read = input::read(&self.spec, &parents, &self.clock).await;
        let nothing = self.store.fingerprint(&BTreeMap::new());
        let stands_alone = matches!(self.spec.flow, Flow::Static(_))
            && (matches!(self.order, Some(Order::Set(_)))
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
        let kept = record.replacement.as_ref().filter(|(of, _)| *of == base).map(|(_, value)| value);
        let set = match &self.order {
            Some(Order::Set(token)) => Some(token),
            _ => None,
        };
        if let Some(value) = set.or(kept) {
            inputs.values.insert(name.to_owned(), value.clone());
        }
        Some(self.fingerprint_of(name, inputs.values.get(name)?))
    }

    async fn mint(&self, inputs: Inputs) -> Result<Minted, MintError> {
        let limit = self.spec.exchange_timeout;
        let minted = self.mint.mint(Arc::clone(&self.spec), inputs);
        tokio::time::timeout(limit, minted).await.unwrap_or_else(|_| {
            Err(MintError::Unanswered { message: format!("the exchange took longer than {limit:?}") })
        })
    }

    fn failure(&self, error: MintError, in_flight: Option<InFlight>) -> Failure {
        let used_up = in_flight.is_some_and(|in_flight| in_flight.again || !self.spec.retry_ambiguous);
        match error {
            MintError::Transient { message, retry_after } => Failure::Transient { message, retry_after },
            MintError::Stubborn { message } => Failure::Stubborn(message),
            MintError::Withdrawn { message } if self.spec.flow.is_interactive() => {
                Failure::Withdrawn(format!("{message}; it is not tried again before {}", self.remedy()))
            }
            MintError::Rejected { message } | MintError::Withdrawn { message } => Failure::Rejected(message),
            MintError::Unanswered { message } if used_up => Failure::Ambiguous(format!(
                "{message}: the answer was lost, and the refresh token may be used up; it is not tried again \
                     before {}",
                self.remedy()
            )),
            MintError::Unanswered { message } => Failure::Transient { message, retry_after: None },
        }
    }

    /// What a person has to do about a refresh token that is of no use any more.
    fn remedy(&self) -> String {
        match &self.shared.owner().subject {
            _ if !self.spec.flow.is_interactive() => "a new one is configured".to_owned(),
            None => format!("somebody logs in (`bearerd login {}`)", self.spec.name),
            Some(_) => "the subject logs in again".to_owned(),
        }
    }

    /// Notes in the record what a success brought.
    fn settle(
        &self,
        record: &mut Record,
        minted: &mut Minted,
        base: Fingerprint,
        in_use: Option<Fingerprint>,
    ) -> Result<(), Failure> {
        record.in_flight = None;
        record.rejections = None;
        let lapses = minted.lapses.map(|lifetime| Expiry::new(self.clock.now(), lifetime));
        let rotated = minted.rotated.take().filter(|_| self.spec.flow.is_single_use());
        let successor = rotated.filter(|value| Some(self.fingerprint_of("refresh_token", value)) != in_use);
        if let Some(Order::Set(token)) = &self.order {
            // What no route can use is not kept.
            self.shared.check(minted).map_err(Failure::Local)?;
            record.replacement = Some((base, token.clone()));
        } else if let Some(value) = successor {
            record.replacement = Some((base, value));
            record.reusable = None;
            record.lapses_at = None;
        } else {
            record.replacement.take_if(|(of, _)| *of != base);
            record.reusable = in_use.filter(|_| self.spec.flow.is_single_use());
        }
        record.lapses_at = lapses.and_then(|lapses| lapses.end).map(|end| end.wall).or(record.lapses_at);
        Ok(())
    }

    /// Identifies what the issuer would be sent: the inputs, and how they are used. A corrected client
    /// identifier is worth a new try as much as a corrected password.
    fn fingerprint(&self, inputs: &Inputs) -> Fingerprint {
        let flow = format!("{:?} {}", self.spec.flow, self.spec.egress);
        let mut identity = inputs.identity.clone();
        // No input is called so: an empty name cannot be configured.
        identity.insert(String::new(), Secret::from(flow));
        self.store.fingerprint(&identity)
    }

    fn fingerprint_of(&self, name: &str, value: &Secret) -> Fingerprint {
        self.store.fingerprint(&BTreeMap::from([(name.to_owned(), value.clone())]))
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.store.save(self.shared.owner(), record.clone()).await
    }
}
