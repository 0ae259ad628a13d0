//! A status as JSON: states and times, never values.

use jiff::Timestamp;
use serde::Serialize;

use crate::credential::{State, Status};

/// What everybody is told of an owner: the same of a credential and of a subject, by whomever it is asked.
#[derive(Debug, Serialize)]
pub struct StatusView {
    /// The credential.
    name: String,
    flow: &'static str,
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
struct ErrorView {
    class: &'static str,
    message: String,
    at: String,
}

/// The state of a credential's own token, or of one subject's.
#[derive(Debug, Serialize)]
pub struct SubjectView {
    #[serde(flatten)]
    status: StatusView,
    /// `null` for the token that the credential has by itself.
    subject: Option<String>,
}

/// RFC 3339, in UTC, to the millisecond.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

impl From<Status> for StatusView {
    fn from(status: Status) -> Self {
        Self {
            name: status.owner.credential.to_string(),
            flow: status.flow,
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
            warnings: status.warnings.into(),
        }
    }
}

impl From<Status> for SubjectView {
    fn from(status: Status) -> Self {
        let subject = status.owner.subject.as_ref().map(ToString::to_string);
        Self { status: status.into(), subject }
    }
}
