//! The life of a credential.
//!
//! ```text
//!             first token                    70-80 % of the lifetime
//!   pending ──────────────▶ ready ──────────────────────▶ renewing
//!      │                      ▲  ◀──────────────────────────│ new token: generation n+1
//!      │                      │                             │ transient failure, token still valid
//!      │ the input is wrong   └───────── failing ◀──────────┘
//!      ▼                                   │ the token's end passes
//!   rejected (a human is needed)           ▼
//!   login_required (a person must log in)  expired
//! ```
//!
//! The [`keeper`] is the one background task that renews; a [`flow`] obtains; a [`slot`] is where
//! requests read. The rules of time are in [`schedule`], what must survive is in [`store`], and
//! [`crate::lookout`] tells when an input changed.

pub mod advice;
pub mod consent;
pub mod deadline;
pub mod expected_upstream;
pub mod expiry;
pub mod flow;
pub mod input;
pub mod keeper;
pub mod owner;
pub mod roster;
pub mod rotation;
pub mod schedule;
pub mod shared;
pub mod slot;
pub mod status;
mod step;
pub mod store;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use deadline::DeadlineRule;
pub use expected_upstream::ExpectedUpstream;
pub use expiry::{Expiry, Lifetime};
pub use flow::Flow;
pub use input::Source;
pub use owner::{Owner, Subject};
pub use rotation::Rotation;
pub use status::{ErrorClass, LastError, Status};

use crate::clock::Moment;
use crate::named::Named;
use crate::rate::Rate;
use crate::secret::Secret;

/// The name of a credential in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialName(Arc<str>);

impl CredentialName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for CredentialName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a credential is and how it is kept. Equal specs keep their token over a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct CredentialSpec {
    /// The name in the configuration.
    pub name: CredentialName,
    /// How it is obtained.
    pub flow: Flow,
    /// The secrets that the flow needs, by the names under which templates and flows refer to them.
    /// The output of another credential stands under `credential.output`.
    pub inputs: Named<Source>,
    /// The egress that exchanges leave by; empty for the default.
    pub egress: String,
    /// The times of its renewals, which many credentials have in common.
    pub times: Arc<Times>,
    /// Whether readiness does without it.
    pub optional: bool,
    /// Whether an exchange whose answer was lost may be repeated: the issuer has a grace window.
    pub retry_ambiguous: bool,
    /// Whether each of its readers asks for a subject: then it has no token by itself.
    pub only_subjects: bool,
    /// Where the issuer says that requests go, and the routes that are held to it.
    pub expected_upstream: Option<Box<ExpectedUpstream>>,
    /// What ends beside the token, and is told in it.
    pub deadline: Option<Box<DeadlineRule>>,
    /// How its value is replaced before it ends, if it can be.
    pub rotation: Option<Box<Rotation>>,
    /// The inputs that readers sign and verify with: they get them beside the outputs, but not to keep.
    pub lends: Arc<[Box<str>]>,
}

impl CredentialSpec {
    /// Whether a renewal can bring anything new by itself: a static token that lies in a file or in
    /// the configuration is only ever replaced by somebody else.
    pub fn is_renewable(&self) -> bool {
        let is_made_at_use = |source: &Source| {
            let is_made = matches!(source.leaf(), Source::Command { .. } | Source::Output { .. });
            is_made || matches!(source, Source::Jwt(_))
        };
        !self.flow.is_static() || self.inputs.values().any(is_made_at_use)
    }

    /// Whether it only puts together what other credentials bring: it ends with the first of them, and what
    /// an upstream refuses of it is theirs.
    pub fn is_bundle(&self) -> bool {
        self.flow.is_static() && self.parents().next().is_some()
    }

    /// The files that its inputs are read from.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.inputs.values().filter_map(|source| match source.leaf() {
            Source::File(path) => Some(path),
            _ => None,
        })
    }

    /// The outputs of other credentials that are inputs of this one: each credential and output.
    pub fn parents(&self) -> impl Iterator<Item = (&CredentialName, &str)> {
        self.inputs.values().filter_map(|source| match source.leaf() {
            Source::Output { credential, output } => Some((credential, output.as_str())),
            _ => None,
        })
    }

    /// How long its value still works after its end.
    fn grace(&self) -> Duration {
        self.rotation.as_ref().map_or(Duration::ZERO, |rotation| rotation.grace)
    }

    /// What is to be told now of what ends beside the token.
    fn deadline_warning(&self, outputs: &Outputs, now: Moment) -> Option<String> {
        self.deadline.as_ref()?.warning(outputs, now)
    }
}

/// The times of a credential's renewals, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// How long before its end to renew, in place of 70 % to 80 % of the lifetime.
    pub renew_before: Option<Duration>,
    /// The lifetime where the issuer names none, or an absurd one.
    pub default_lifetime: Duration,
    /// At most so many renewals in so long a time.
    pub max_renewals: Option<Rate>,
    /// How long a whole exchange may take.
    pub exchange_timeout: Duration,
    /// How long its tokens usually live, where no answer has told yet: what forecasts go by.
    pub typical_lifetime: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            renew_before: None,
            default_lifetime: Duration::from_secs(3600),
            max_renewals: None,
            exchange_timeout: Duration::from_secs(30),
            typical_lifetime: None,
        }
    }
}

/// The state of a credential, as `status`, the admin listener and the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Never had a token.
    Pending,
    /// Has a valid token.
    Ready,
    /// Has a valid token and is obtaining the next one.
    Renewing,
    /// Has a valid token, but the last renewal failed.
    Failing,
    /// The token's end has passed.
    Expired,
    /// The issuer refused the input: a human is needed.
    Rejected,
    /// An interactive grant waits for a person.
    LoginRequired,
    /// Logged out or revoked.
    Revoked,
}

impl State {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Ready,
        Self::Renewing,
        Self::Failing,
        Self::Expired,
        Self::Rejected,
        Self::LoginRequired,
        Self::Revoked,
    ];

    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Renewing => "renewing",
            Self::Failing => "failing",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::LoginRequired => "login_required",
            Self::Revoked => "revoked",
        }
    }
}

/// Named values of a credential.
pub type Outputs = Named<Secret>;

/// What an exchange with an issuer brought.
#[derive(Debug, Clone, Default)]
pub struct Minted {
    /// The named values.
    pub outputs: Outputs,
    /// When they end, as far as the issuer says; [`schedule`] judges and fills in.
    pub lifetime: Option<Lifetime>,
    /// The refresh token that replaces the one just used, if the issuer rotates it; after a consent,
    /// the first one.
    pub rotated: Option<Secret>,
    /// When the refresh token ends if it is not used, where the issuer says so.
    pub lapses: Option<Lifetime>,
    /// What the issuer or the answer warns about; texts without values.
    pub warnings: Vec<String>,
}
