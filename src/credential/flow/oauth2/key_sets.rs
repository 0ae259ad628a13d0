//! The keys that issuers sign by, asked for where they lie (`jwks_uri`) and remembered.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::credential::flow::classify::{status_text, transient};
use crate::credential::flow::{Exchange, MintError};
use crate::jose::verify::{KeySet, SignedToken, Unverified};
use crate::upstream::Url;
use crate::upstream::exchange::Request;

/// How long keys are believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// How often keys are asked for at most because a token names one that is not there.
const LEAST_PAUSE: Duration = Duration::from_secs(60);

/// The keys of all issuers, by where they lie and the egress that they are asked for by.
#[derive(Default)]
pub(in crate::credential::flow) struct KeySets(Mutex<HashMap<(String, String), Arc<Known>>>);

/// The lock is held while they are asked for: whoever comes meanwhile shares the answer.
type Known = tokio::sync::Mutex<Option<Fetched>>;

struct Fetched {
    /// In time since boot.
    at: Duration,
    keys: KeySet,
}

impl KeySets {
    /// Has the keys at hand, so that nothing is used up for an answer that nobody can check.
    pub(super) async fn fetch(&self, url: &Url, exchange: &Exchange<'_>) -> Result<(), MintError> {
        let known = self.known(url, exchange);
        up_to_date(&mut *known.lock().await, BELIEVED, url, exchange).await
    }

    /// Verifies the signature of a token. Keys are asked for once more if it names one that is not
    /// there, at most once a minute: issuers change them.
    pub(super) async fn verify(
        &self,
        url: &Url,
        token: &SignedToken<'_>,
        exchange: &Exchange<'_>,
    ) -> Result<Result<(), Unverified>, MintError> {
        let known = self.known(url, exchange);
        let mut fetched = known.lock().await;
        for age in [BELIEVED, LEAST_PAUSE] {
            up_to_date(&mut fetched, age, url, exchange).await?;
            let verdict = fetched.as_ref().map_or(Err(Unverified::UnknownKey), |it| it.keys.verify(token));
            if verdict != Err(Unverified::UnknownKey) {
                return Ok(verdict);
            }
        }
        Ok(Err(Unverified::UnknownKey))
    }

    fn known(&self, url: &Url, exchange: &Exchange<'_>) -> Arc<Known> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((url.to_string(), exchange.spec.egress.clone())).or_default())
    }
}

/// Asks for the keys if they are older than that. Old ones are used on where new ones cannot be had.
async fn up_to_date(
    fetched: &mut Option<Fetched>,
    age: Duration,
    url: &Url,
    exchange: &Exchange<'_>,
) -> Result<(), MintError> {
    let now = exchange.clock.boot();
    if fetched.as_ref().is_some_and(|fetched| now.saturating_sub(fetched.at) < age) {
        return Ok(());
    }
    match (ask(url, exchange).await, &fetched) {
        (Ok(keys), _) => *fetched = Some(Fetched { at: now, keys }),
        (Err(message), Some(_)) => {
            tracing::warn!(%url, reason = message, "the issuer's keys of before are used on");
        }
        (Err(message), None) => return Err(transient(message)),
    }
    Ok(())
}

async fn ask(url: &Url, exchange: &Exchange<'_>) -> Result<KeySet, String> {
    let told = |what: &str| format!("the issuer's keys at {url} cannot be had: {what}");
    let request = Request { method: Method::GET, headers: HeaderMap::new(), body: None };
    let answer = exchange.ask(url, request).await.map_err(|error| told(error.message()))?;
    if !answer.status.is_success() {
        return Err(told(&format!("it answered {}", status_text(answer.status))));
    }
    KeySet::parse(answer.body.expose()).map_err(|what| told(&format!("the answer {what}")))
}

impl fmt::Debug for KeySets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeySets").finish_non_exhaustive()
    }
}
