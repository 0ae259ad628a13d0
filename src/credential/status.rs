//! What is known of a credential: states, times and the last error, never a value.

use std::time::Duration;

use jiff::Timestamp;

use crate::credential::{CredentialName, Owner, State};

/// What the keeper knows of a credential: the source of `status`, the metrics and the decision
/// whether waiting is worth while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whose token it is.
    pub owner: Owner,
    /// Its flow, as configured.
    pub flow: &'static str,
    /// Its state.
    pub state: State,
    /// The current generation; 0 before the first token.
    pub generation: u64,
    /// When the current token was received.
    pub obtained_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When its renewal is planned.
    pub renew_at: Option<Timestamp>,
    /// What went wrong last; forgotten by the next success.
    pub last_error: Option<Box<LastError>>,
    /// Warnings about the current token or its inputs.
    pub warnings: Box<[String]>,
    /// Whether an exchange (its own or that of an input) runs now.
    pub running: bool,
    /// When the next exchange is due, in time since boot; if it waits for another credential, that
    /// one's.
    pub next_try: Option<Duration>,
    /// The credential that it waits for, because an output of that one is an input of this one, and
    /// that one's state.
    pub waits_for: Option<Box<(CredentialName, State)>>,
    /// Whether readiness does without it.
    pub optional: bool,
    /// It is a subject that sleeps: this is what its record tells.
    pub asleep: bool,
}

impl Status {
    /// That of an owner of whom nothing is known yet.
    pub fn unknown(owner: Owner, flow: &'static str) -> Self {
        Self {
            owner,
            flow,
            state: State::Pending,
            generation: 0,
            obtained_at: None,
            expires_at: None,
            renew_at: None,
            last_error: None,
            warnings: Box::default(),
            running: false,
            next_try: None,
            waits_for: None,
            optional: false,
            asleep: false,
        }
    }
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// How it is dealt with.
    pub class: ErrorClass,
    /// What happened, for the person at 3 a.m.; no values.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// How a failure is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may mend itself: tried again.
    Transient,
    /// The input is wrong: not tried again before it changes.
    Rejected,
    /// An answer was lost that may have used up a single-use input.
    Ambiguous,
    /// An upstream refused the token, and it cannot renew itself.
    Refused,
}

impl ErrorClass {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Rejected => "rejected",
            Self::Ambiguous => "ambiguous",
            Self::Refused => "refused",
        }
    }
}
