//! What the tests of the flows share: a credential on an issuer that is scripted byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::credential::flow::{Flow, Issuer, Mint, MintError};
use crate::credential::input::Inputs;
use crate::credential::{CredentialName, CredentialSpec, Minted, Times};
use crate::named::Named;
use crate::secret::Secret;
use crate::upstream::EgressSpec;
use crate::upstream::connect::Connector;
use crate::upstream::testing::Server;

/// The time of these tests.
pub(super) const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// Runs `flow` once.
pub(super) async fn mint(flow: Flow, inputs: &[(&str, &str)]) -> Result<Minted, MintError> {
    mint_within(Duration::from_secs(10), flow, inputs).await
}

/// Runs `flow` once with a deadline.
pub(super) async fn mint_within(
    limit: Duration,
    flow: Flow,
    inputs: &[(&str, &str)],
) -> Result<Minted, MintError> {
    let connector = Connector::new(&EgressSpec::default()).expect("the default egress");
    let connectors = BTreeMap::from([(String::new(), connector)]);
    let issuer = Issuer::new(connectors, Arc::default(), Clock::simulated(NOW, 1));
    let spec = credential(flow, limit);
    let values = inputs.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(*value)));
    let inputs = Inputs { values: values.collect(), ..Inputs::default() };
    issuer.mint(Arc::new(spec), inputs).await
}

/// A credential of this flow.
pub(in crate::credential) fn credential(flow: Flow, limit: Duration) -> CredentialSpec {
    CredentialSpec {
        name: CredentialName::from("c"),
        flow,
        inputs: Named::new(),
        egress: String::new(),
        times: Arc::new(Times { exchange_timeout: limit, ..Times::default() }),
        optional: false,
        retry_ambiguous: false,
        expected_upstream: None,
        lends: Arc::default(),
        only_subjects: false,
        deadline: None,
        rotation: None,
    }
}

/// The only request that a server was sent: its head in lines, and its body.
pub(super) async fn only_request(server: Server) -> (Vec<String>, String) {
    let requests = server.requests().await;
    assert_eq!(requests.len(), 1, "one request is sent, and no other");
    let (head, body) = requests[0].split_once("\r\n\r\n").expect("a head and a body");
    (head.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

/// An output as text.
pub(super) fn output<'a>(minted: &'a Minted, name: &str) -> &'a str {
    minted.outputs.get(name).and_then(Secret::expose_str).expect(name)
}

/// The class of a failure and its message.
pub(super) fn class(error: &MintError) -> (&'static str, &str) {
    match error {
        MintError::Transient { message, .. } => ("transient", message),
        MintError::Stubborn { message } => ("stubborn", message),
        MintError::Rejected { message } => ("rejected", message),
        MintError::Withdrawn { message } => ("withdrawn", message),
        MintError::Unanswered { message } => ("unanswered", message),
        MintError::IdToken { message } => ("id_token", message),
        MintError::Unmailed { error } | MintError::Spoiled { error, .. } => class(error),
    }
}
