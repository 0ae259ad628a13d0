//! The state of one subject as JSON: times, never values.

use jiff::Timestamp;
use serde::Serialize;

use crate::credential::{State, Status};

/// The state of a credential's own token, or of one subject's.
#[derive(Debug, Serialize)]
pub struct SubjectView {
    name: String,
    /// `null` for the token that the credential has by itself.
    subject: Option<String>,
    state: State,
    generation: u64,
    obtained_at: Option<String>,
    expires_at: Option<String>,
    renew_at: Option<String>,
    last_error: Option<ErrorView>,
    warnings: Vec<String>,
}

/// What went wrong last.
#[derive(Debug, Serialize)]
pub struct ErrorView {
    class: &'static str,
    message: String,
    at: String,
}

/// RFC 3339, in UTC, to the millisecond.
fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

impl From<Status> for SubjectView {
    fn from(status: Status) -> Self {
        Self {
            name: status.owner.credential.to_string(),
            subject: status.owner.subject.map(|subject| subject.to_string()),
            state: status.state,
            generation: status.generation,
            obtained_at: status.obtained_at.map(rfc3339),
            expires_at: status.expires_at.map(rfc3339),
            renew_at: status.renew_at.map(rfc3339),
            last_error: status.last_error.map(|error| ErrorView {
                class: error.class.as_str(),
                message: error.message,
                at: rfc3339(error.at),
            }),
            warnings: status.warnings,
        }
    }
}
