//! One exchange, from its inputs to what must be durable. It runs in a task of its own, which no
//! request can cancel, and reports back once.
//!
//! ```text
//! read record and inputs ─▶ changed at all? rejected too often? outcome of the last one unknown?
//!     ─▶ save the intent (single-use inputs) ─▶ exchange ─▶ save what it brought ─▶ report
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::credential::flow::{Mint, MintError};
use crate::credential::input::{self, Inputs};
use crate::credential::keeper::entry::ParentValues;
use crate::credential::shared::Shared;
use crate::credential::store::{Fingerprint, Record, Store, StoreError};
use crate::credential::{CredentialName, CredentialSpec, Flow, Minted};
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
    /// An operator overrides what earlier tries came to.
    pub(super) force: bool,
    /// A token that an operator set.
    pub(super) set: Option<Secret>,
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
    pub(super) result: Result<Obtained, Failure>,
}

/// A new generation, and when it was received.
pub(super) struct Obtained {
    pub(super) minted: Minted,
    pub(super) at: Moment,
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
    Ambiguous(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unchanged => "the inputs are the same as before",
            Self::Transient { message, .. }
            | Self::Local(message)
            | Self::Stubborn(message)
            | Self::Rejected(message)
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

    async fn obtain(&mut self, report: &mut Report) -> Result<Obtained, Failure> {
        let before = self.record(report).await?;
        let mut record = before.clone();
        let (mut inputs, base) = self.inputs(&before).await?;
        let fingerprint = self.fingerprint(&inputs);
        report.inputs = Some(fingerprint);
        if self.unless == Some(fingerprint) && self.set.is_none() {
            return Err(Failure::Unchanged);
        }
        let tries = record.rejections.filter(|(of, _)| *of == fingerprint).map_or(0, |(_, tries)| tries);
        if tries >= REJECTED_TRIES && !self.force {
            return Err(Failure::Rejected(format!(
                "the issuer has rejected these inputs {tries} times: they are not tried again before they \
                 change (`bearerd refresh --force` tries all the same)"
            )));
        }

        let in_use = self.replace(&mut inputs, base, &record);
        let single_use = in_use.filter(|in_use| {
            self.spec.flow.is_single_use() && record.reusable.is_none_or(|reusable| reusable != *in_use)
        });
        if let Some(in_use) = single_use {
            if record.in_flight == Some(in_use) && !self.spec.retry_ambiguous && !self.force {
                return Err(Failure::Ambiguous(
                    "an exchange was begun before and its outcome is not known: the refresh token may be used \
                     up, and is not tried again before a new one is configured"
                        .to_owned(),
                ));
            }
            record.in_flight = Some(in_use);
            self.save(&record).await.map_err(|StoreError(error)| {
                Failure::Local(format!("the store cannot be written, so nothing was sent: {error}"))
            })?;
        }

        report.asked = true;
        let minted = self.mint(inputs).await;
        let at = self.clock.now();
        let mut result = minted.map_err(|error| self.failure(error, single_use.is_some()));
        match &mut result {
            Ok(minted) => self.settle(&mut record, minted, base, in_use)?,
            Err(Failure::Rejected(_)) => {
                record.in_flight = None;
                if !self.force {
                    record.rejections = Some((fingerprint, tries + 1));
                }
            }
            Err(Failure::Ambiguous(_)) => {}
            Err(_) => record.in_flight = None,
        }
        // The store may hold the intent by now; a record that is as it was needs no writing.
        if (record != before || single_use.is_some())
            && !matches!(result, Err(Failure::Ambiguous(_)))
            && let Err(error) = self.save(&record).await
        {
            report.unsaved = Some((record, error));
        }
        result.map(|minted| Obtained { minted, at })
    }

    /// The record of the store, after it was given what it could not be given before.
    async fn record(&mut self, report: &mut Report) -> Result<Record, Failure> {
        if let Some(record) = self.unsaved.take() {
            let Err(error) = self.save(&record).await else { return Ok(record) };
            let message = format!("the store cannot be written: {}", error.0);
            report.unsaved = Some((record, error));
            return Err(Failure::Local(message));
        }
        let loaded = self.store.load(&self.spec.name).await;
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
            && (self.set.is_some() || record.replacement.as_ref().is_some_and(|(of, _)| *of == nothing));
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
        if let Some(value) = self.set.as_ref().or(kept) {
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

    fn failure(&self, error: MintError, single_use: bool) -> Failure {
        match error {
            MintError::Transient { message, retry_after } => Failure::Transient { message, retry_after },
            MintError::Stubborn { message } => Failure::Stubborn(message),
            MintError::Rejected { message } => Failure::Rejected(message),
            MintError::Unanswered { message } if single_use && !self.spec.retry_ambiguous => {
                Failure::Ambiguous(format!(
                    "{message}: the answer was lost, and the refresh token may be used up; it is not tried again \
                     before a new one is configured"
                ))
            }
            MintError::Unanswered { message } => Failure::Transient { message, retry_after: None },
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
        let rotated = minted.rotated.take().filter(|_| self.spec.flow.is_single_use());
        let successor = rotated.filter(|value| Some(self.fingerprint_of("refresh_token", value)) != in_use);
        if let Some(token) = &self.set {
            // What no route can use is not kept.
            self.shared.check(minted).map_err(Failure::Local)?;
            record.replacement = Some((base, token.clone()));
        } else if let Some(value) = successor {
            record.replacement = Some((base, value));
            record.reusable = None;
        } else {
            record.replacement.take_if(|(of, _)| *of != base);
            record.reusable = in_use.filter(|_| self.spec.flow.is_single_use());
        }
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
        self.store.save(&self.spec.name, record.clone()).await
    }
}
