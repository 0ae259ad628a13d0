//! Credentials and egresses as JSON: `GET /v1/credentials`, `status --json` and `GET /v1/egress`.

use std::net::IpAddr;

use serde::Serialize;

use crate::control::view::{StatusView, rfc3339};
use crate::credential::keeper::Keeper;
use crate::credential::{CredentialName, Status};
use crate::upstream::connect::{Connector, Connectors};

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

/// All egresses of the configuration, in the order of their names.
#[derive(Debug, Serialize)]
pub(super) struct EgressesView {
    egress: Vec<EgressView>,
}

/// One egress, and what is known of the address that its connections leave from.
#[derive(Debug, Serialize)]
struct EgressView {
    name: String,
    source: Option<IpAddr>,
    /// `None` where no address is expected.
    state: Option<&'static str>,
    expected: Vec<IpAddr>,
    address: Option<IpAddr>,
    checked_at: Option<String>,
    /// Why nothing leaves, or why the last check brought nothing.
    error: Option<String>,
}

impl EgressesView {
    pub(super) fn of(connectors: &Connectors) -> Self {
        let named = connectors.values().filter(|connector| !connector.spec().name.is_empty());
        Self { egress: named.map(EgressView::of).collect() }
    }
}

impl EgressView {
    fn of(connector: &Connector) -> Self {
        let (spec, report) = (connector.spec(), connector.departures().report());
        Self {
            name: spec.name.clone(),
            source: spec.source,
            state: spec.expect.as_ref().map(|_| report.departure.as_str()),
            expected: spec.expect.as_ref().map(|expect| expect.addresses.clone()).unwrap_or_default(),
            address: report.departure.address(),
            checked_at: report.checked_at.map(rfc3339),
            error: connector.wrong_address().map(|wrong| wrong.to_string()).or(report.failure),
        }
    }
}
