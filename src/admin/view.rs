//! Credentials as JSON: `GET /v1/credentials` and `status --json`.

use serde::Serialize;

use crate::control::view::StatusView;
use crate::credential::keeper::Keeper;
use crate::credential::{CredentialName, Status};

/// All credentials.
#[derive(Debug, Serialize)]
pub(super) struct CredentialsView {
    /// In the order of their names.
    pub(super) credentials: Vec<CredentialView>,
}

/// One credential.
#[derive(Debug, Serialize)]
pub(super) struct CredentialView {
    #[serde(flatten)]
    status: StatusView,
    /// How many subjects have tokens of their own.
    subjects: usize,
}

/// How many subjects of a credential have tokens of their own, as far as the store can tell.
pub(super) async fn subjects_of(keeper: &Keeper, name: &CredentialName) -> usize {
    let has_people = keeper.spec(name).is_some_and(|spec| spec.flow.is_interactive());
    if has_people { keeper.count(name).await.unwrap_or_default() } else { 0 }
}

impl CredentialView {
    /// What is told of a credential with so many subjects.
    pub(super) fn new(status: Status, subjects: usize) -> Self {
        Self { status: status.into(), subjects }
    }
}
