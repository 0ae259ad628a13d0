//! Issuers are asked what they say of themselves as soon as bearerd knows of them, whether a token is due or
//! not: what they name, no app is to reach ([`crate::route::policy`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::issuers::Issuers;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::credential::flow::MintError;
use crate::credential::{CredentialSpec, Flow};

/// Asks the issuers of all credentials, now and when there are other credentials; each until it has told,
/// and `at_once` at the same time.
pub(super) async fn ask(
    issuers: Arc<Issuers>,
    mut credentials: watch::Receiver<Vec<Arc<CredentialSpec>>>,
    clock: Clock,
    at_once: usize,
) {
    loop {
        // Those that are asked for credentials of before end here.
        let mut asking = JoinSet::new();
        let places = Arc::new(Semaphore::new(at_once));
        for spec in one_of_each(&credentials.borrow_and_update()) {
            let (issuers, places, clock) = (Arc::clone(&issuers), Arc::clone(&places), clock.clone());
            asking.spawn(async move { ask_one(&issuers, spec, &places, &clock).await });
        }
        if credentials.changed().await.is_err() {
            return;
        }
    }
}

/// One credential for each issuer, and each way to ask it.
fn one_of_each(credentials: &[Arc<CredentialSpec>]) -> Vec<Arc<CredentialSpec>> {
    let issuer = |spec: &Arc<CredentialSpec>| match &spec.flow {
        Flow::OAuth2(flow) => flow.endpoints.issuer.as_ref().map(|issuer| issuer.text.clone()),
        Flow::Static(_) | Flow::Login(_) => None,
    };
    let each = credentials.iter().filter_map(|spec| Some(((issuer(spec)?, spec.egress.clone()), spec)));
    each.collect::<BTreeMap<_, _>>().into_values().cloned().collect()
}

/// Asks one issuer until it has told.
async fn ask_one(issuers: &Issuers, spec: Arc<CredentialSpec>, places: &Semaphore, clock: &Clock) {
    let mut backoff = Backoff::default();
    loop {
        let place = places.acquire().await;
        let told = issuers.current().disclose(&spec).await;
        drop(place);
        let Err(error) = told else { return };
        let reason = error.message();
        if backoff.failures() == 0 {
            let credential = spec.name.as_str();
            tracing::warn!(
                credential,
                reason,
                "the issuer has not told its endpoints: until then routes to its server pass no request \
                 that could ask for tokens"
            );
        } else {
            tracing::debug!(credential = spec.name.as_str(), reason, "the issuer has not told its endpoints");
        }
        let pause = match &error {
            MintError::Transient { retry_after, .. } => {
                backoff.next(clock).max(retry_after.unwrap_or_default())
            }
            _ => backoff.next_longest(clock),
        };
        tokio::time::sleep(pause).await;
    }
}
