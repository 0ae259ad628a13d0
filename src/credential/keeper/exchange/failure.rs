//! Why an exchange brought nothing.

use std::fmt;
use std::time::Duration;

use crate::credential::flow::MintError;
use crate::credential::keeper::exchange::Exchange;
use crate::credential::store::InFlight;

/// Why there is no new generation.
#[derive(Debug)]
pub(in crate::credential::keeper) enum Failure {
    /// The inputs are the same as before.
    Unchanged,
    /// The record has no token that is still valid, and the issuer was not to be asked yet.
    NothingRecalled,
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
    /// An answer was lost that may have brought another value: that one can be read.
    Unread(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unchanged => "the inputs are the same as before",
            Self::NothingRecalled => "there is no valid token in the store",
            Self::NobodyLoggedIn => "nobody has logged in yet",
            Self::Transient { message, .. }
            | Self::Local(message)
            | Self::Stubborn(message)
            | Self::Rejected(message)
            | Self::Withdrawn(message)
            | Self::Ambiguous(message)
            | Self::Unread(message) => message,
        })
    }
}

impl Exchange {
    /// What it means that the issuer gave nothing. `intent` tells of a single-use value that was sent.
    pub(super) fn failure(&self, error: MintError, intent: Option<InFlight>) -> Failure {
        let used_up = intent.is_some_and(|intent| intent.again || !self.spec.retry_ambiguous);
        match error {
            MintError::Transient { message, retry_after } => Failure::Transient { message, retry_after },
            MintError::Stubborn { message } | MintError::IdToken { message } => Failure::Stubborn(message),
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
            MintError::Unmailed { error } | MintError::Spoiled { error, .. } => self.failure(*error, intent),
        }
    }

    /// What a person has to do about a refresh token that is of no use any more.
    pub(super) fn remedy(&self) -> String {
        match &self.shared.owner().subject {
            _ if !self.spec.flow.is_interactive() => "a new one is configured".to_owned(),
            None => format!("somebody logs in (`bearerd login {}`)", self.spec.name),
            Some(_) => "the subject logs in again".to_owned(),
        }
    }
}
