//! Discovery: an issuer tells its endpoints (RFC 8414; OpenID Connect Discovery 1.0).
//!
//! ```text
//! known for less than an hour? ── yes ──▶ used
//!      │ no
//!      ▼
//! ISSUER/.well-known/openid-configuration            OpenID Connect Discovery, section 4
//! ORIGIN/.well-known/oauth-authorization-serverPATH  RFC 8414, section 3
//! ORIGIN/.well-known/openid-configurationPATH        RFC 8414, section 5
//!      │ the first that speaks of exactly this issuer
//!      ▼
//! used, and known for an hour; if none can be had, what was known before is used on
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::watch;

use crate::credential::flow::classify::{quote, status_text};
use crate::credential::flow::json::Json;
use crate::credential::flow::oauth2::endpoints::{IssuerIdentifier, Metadata, Plaintext};
use crate::credential::flow::{Exchange, MintError, classify};
use crate::upstream::exchange::Request;
use crate::upstream::{Origin, Url};

/// How long metadata is believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// What issuers have told, for all credentials of the process.
#[derive(Debug, Default)]
pub struct Discovery {
    issuers: Mutex<HashMap<Key, Arc<Known>>>,
    disclosed: watch::Sender<Arc<Disclosed>>,
}

/// What issuers have told of themselves so far, all together. It only ever grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disclosed {
    /// The issuers that have, as they call themselves.
    pub issuers: BTreeSet<String>,
    /// Where they take secrets and give tokens, or what leads to them.
    pub endpoints: BTreeSet<Endpoint>,
}

/// An origin, and a path there.
pub type Endpoint = (Origin, String);

/// The issuer's identifier, the egress that it is asked by, and where plain HTTP may lead.
type Key = (String, String, u8);

/// One issuer. The lock is held while it is asked: whoever comes meanwhile shares the answer.
#[derive(Debug, Default)]
struct Known(tokio::sync::Mutex<Option<Told>>);

#[derive(Debug, Clone)]
struct Told {
    /// In time since boot.
    at: Duration,
    metadata: Arc<Metadata>,
}

impl Discovery {
    /// The metadata of an issuer, asked for if it was not told within the last hour.
    pub(in crate::credential::flow) async fn discover(
        &self,
        issuer: &IssuerIdentifier,
        plaintext: Plaintext,
        egress: &str,
        exchange: &Exchange<'_>,
    ) -> Result<Arc<Metadata>, MintError> {
        let known = self.known((issuer.text.clone(), egress.to_owned(), plaintext as u8));
        let mut told = known.0.lock().await;
        let now = exchange.clock.boot();
        if let Some(told) = told.as_ref().filter(|told| now.saturating_sub(told.at) < BELIEVED) {
            return Ok(Arc::clone(&told.metadata));
        }
        match (ask(issuer, plaintext, exchange).await, told.as_ref()) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                self.note(issuer, &metadata);
                *told = Some(Told { at: now, metadata: Arc::clone(&metadata) });
                Ok(metadata)
            }
            // An issuer whose metadata cannot be had now has hardly moved.
            (Err(MintError::Transient { message, .. }), Some(told)) => {
                tracing::warn!(
                    issuer = issuer.text,
                    reason = message,
                    "metadata is used for longer than an hour"
                );
                Ok(Arc::clone(&told.metadata))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What issuers have told so far, and news of more: no route leads to those endpoints.
    pub fn disclosed(&self) -> watch::Receiver<Arc<Disclosed>> {
        self.disclosed.subscribe()
    }

    fn note(&self, issuer: &IssuerIdentifier, metadata: &Metadata) {
        let endpoints = metadata.secret_endpoints().map(|url| (url.origin.clone(), url.path().to_owned()));
        self.disclosed.send_if_modified(|disclosed| {
            let mut more = Disclosed::clone(disclosed);
            more.issuers.insert(issuer.text.clone());
            more.endpoints.extend(endpoints);
            let is_news = more != **disclosed;
            if is_news {
                *disclosed = Arc::new(more);
            }
            is_news
        });
    }

    fn known(&self, key: Key) -> Arc<Known> {
        let mut all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_default())
    }
}

/// Asks at each place until one answers with the metadata of this issuer.
async fn ask(
    issuer: &IssuerIdentifier,
    plaintext: Plaintext,
    exchange: &Exchange<'_>,
) -> Result<Metadata, MintError> {
    let mut first = None;
    for place in places(issuer) {
        match ask_at(&place, issuer, plaintext, exchange).await {
            Ok(metadata) => return Ok(metadata),
            Err((Weight::Silence, error)) => return Err(error),
            // The failure that says most is told; of equal ones the first.
            Err((weight, error)) => match &first {
                Some((said, _)) if *said >= weight => {}
                _ => first = Some((weight, error)),
            },
        }
    }
    let nowhere = || MintError::Stubborn { message: format!("{} cannot be asked for metadata", issuer.text) };
    Err(first.map_or_else(nowhere, |(_, error)| error))
}

/// How much a failure at one place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Nothing is there.
    Nothing,
    /// Something is there, but no metadata.
    Something,
    /// It may be there at another time.
    Unavailable,
    /// Metadata is there, and cannot be used.
    Metadata,
    /// Nobody answers: the other places need not be asked.
    Silence,
}

async fn ask_at(
    place: &Url,
    issuer: &IssuerIdentifier,
    plaintext: Plaintext,
    exchange: &Exchange<'_>,
) -> Result<Metadata, (Weight, MintError)> {
    let request = Request { method: Method::GET, headers: HeaderMap::new(), body: None };
    let answer = exchange.ask(place, request).await.map_err(|error| match error {
        // A question that changes nothing may be asked again.
        MintError::Unanswered { message } => (Weight::Silence, classify::transient(message)),
        other => (Weight::Silence, other),
    })?;
    let told = |what: &str| MintError::Stubborn { message: format!("discovery at {place}: {what}") };
    let status = status_text(answer.status);
    if !answer.status.is_success() {
        let message = format!("discovery at {place}: it answered {status}");
        return Err(match classify::by_status(&answer, exchange.clock.wall(), message) {
            // Nobody has shown anything that could be refused.
            MintError::Rejected { message } => (Weight::Nothing, MintError::Stubborn { message }),
            error @ MintError::Transient { .. } => (Weight::Unavailable, error),
            error => (Weight::Nothing, error),
        });
    }
    let Some(json) = Json::parse(&answer.body).filter(Json::is_object) else {
        return Err((Weight::Something, told("the answer is not a JSON object")));
    };
    match json.member("issuer") {
        // Compared as it is written (RFC 8414, section 3.3): another issuer could otherwise speak for
        // this one.
        Some(Value::String(name)) if *name == issuer.text => {}
        Some(Value::String(name)) => {
            let name = quote(name, exchange.inputs).unwrap_or_else(|| "(not shown)".to_owned());
            let what = format!(
                "it speaks of the issuer `{name}`, which is not exactly `{}`: correct `issuer`",
                issuer.text
            );
            return Err((Weight::Metadata, told(&what)));
        }
        _ => return Err((Weight::Something, told("the answer names no `issuer`"))),
    }
    Metadata::read(&json, issuer, plaintext).map_err(|what| (Weight::Metadata, told(&what)))
}

/// Where an issuer's metadata may lie, in the order in which it is looked for.
fn places(issuer: &IssuerIdentifier) -> impl Iterator<Item = Url> {
    let origin = issuer.url.origin.clone();
    let path = issuer.url.path().trim_end_matches('/').to_owned();
    let mut places = vec![
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("/.well-known/openid-configuration{path}"));
    }
    places
        .into_iter()
        .filter_map(move |path| Some(Url { origin: origin.clone(), path_and_query: path.parse().ok()? }))
}

#[cfg(test)]
mod tests;
