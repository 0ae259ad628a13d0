//! Credentials as JSON: `GET /v1/credentials` and `status --json`.

use jiff::Timestamp;
use serde::Serialize;

use crate::credential::keeper::Keeper;
use crate::credential::{CredentialName, State, Status};

/// All credentials.
#[derive(Debug, Serialize)]
pub(super) struct CredentialsView {
    /// In the order of their names.
    pub(super) credentials: Vec<CredentialView>,
}

/// One credential: states and times, never values.
#[derive(Debug, Serialize)]
pub(super) struct CredentialView {
    name: String,
    flow: &'static str,
    state: State,
    generation: u64,
    obtained_at: Option<String>,
    expires_at: Option<String>,
    renew_at: Option<String>,
    last_error: Option<ErrorView>,
    /// How many subjects have tokens of their own.
    subjects: usize,
    warnings: Vec<String>,
}

/// What went wrong last.
#[derive(Debug, Serialize)]
struct ErrorView {
    class: &'static str,
    message: String,
    at: String,
}

/// RFC 3339, in UTC, to the millisecond.
pub(super) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// How many subjects of a credential have tokens of their own, as far as the store can tell.
pub(super) async fn subjects_of(keeper: &Keeper, name: &CredentialName) -> usize {
    let has_people = keeper.spec(name).is_some_and(|spec| spec.flow.is_interactive());
    if has_people { keeper.count(name).await.unwrap_or_default() } else { 0 }
}

impl CredentialView {
    /// What is told of a credential with so many subjects.
    pub(super) fn new(status: Status, subjects: usize) -> Self {
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
            subjects,
            warnings: status.warnings,
        }
    }
}
