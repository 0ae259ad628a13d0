//! Tokens that are bound to a key (DPoP, RFC 9449), as the token endpoint sees it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use crate::credential::CredentialName;
use crate::credential::flow::oauth2::{Asked, OAuth2Flow, error_of, token_request};
use crate::credential::flow::{Exchange, MintError};
use crate::credential::input::{self, Source};
use crate::jose::proof::{self, KEY_OUTPUT, Proof, ProofKey};
use crate::secret::Secret;
use crate::upstream::exchange::Answer;
use crate::upstream::{Origin, Url};

/// Tokens are bound to a key: that of the input `dpop_key`, or one that is made for the credential and
/// lives as long as the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopSpec {
    /// What the key signs by; `None` chooses by the key.
    pub algorithm: Option<String>,
}

/// Keys that were made, and nonces that issuers gave.
#[derive(Default)]
pub(in crate::credential::flow) struct Proofs {
    keys: Mutex<BTreeMap<CredentialName, Secret>>,
    nonces: Mutex<HashMap<Origin, HeaderValue>>,
}

impl Proofs {
    /// The key of a credential that has none configured.
    fn key(&self, name: &CredentialName) -> Result<Secret, String> {
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(name) {
            return Ok(key.clone());
        }
        let key = ProofKey::generate()?;
        keys.insert(name.clone(), key.clone());
        Ok(key)
    }

    fn nonce(&self, origin: &Origin) -> Option<HeaderValue> {
        lock(&self.nonces).get(origin).cloned()
    }

    /// Keeps the nonce that an answer brought, if it brought another one; says whether it did.
    fn remember(&self, origin: &Origin, answer: &Answer) -> bool {
        let nonce = answer.headers.get(proof::NONCE_FIELD);
        let Some(nonce) = nonce.and_then(|nonce| proof::nonce(nonce.as_bytes())) else { return false };
        lock(&self.nonces).insert(origin.clone(), nonce.clone()) != Some(nonce)
    }
}

/// The key that the tokens of an exchange are bound to, as the credential keeps it beside them.
pub(super) fn key(dpop: &DpopSpec, exchange: &Exchange<'_>) -> Result<Secret, MintError> {
    let key = match exchange.inputs.values.get(KEY_OUTPUT) {
        Some(configured) => Ok(configured.clone()),
        None => exchange.memory.proofs.key(&exchange.spec.name),
    };
    let sealed = key.and_then(|key| ProofKey::seal(&key, dpop.algorithm.as_deref()));
    sealed.map_err(unusable)
}

/// What the tokens of an exchange are bound to: the thumbprint of the public key (RFC 9449, section 6.1).
pub(in crate::credential) fn thumbprint(
    dpop: &DpopSpec,
    exchange: &Exchange<'_>,
) -> Result<String, MintError> {
    let key = ProofKey::open(&key(dpop, exchange)?).map_err(unusable)?;
    Ok(key.thumbprint().to_owned())
}

/// Asks the token endpoint with a proof; once more if it wants its nonce in it (section 8), which says
/// that nothing was used up.
pub(super) async fn post(
    dpop: &DpopSpec,
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    url: &Url,
    asked: &Asked<'_>,
) -> Result<Answer, MintError> {
    let key = ProofKey::open(&key(dpop, exchange)?).map_err(unusable)?;
    let answer = post_once(&key, flow, exchange, url, asked).await?;
    let is_new = exchange.memory.proofs.remember(&url.origin, &answer);
    let wants_nonce = !answer.status.is_success() && error_of(&answer).as_deref() == Some("use_dpop_nonce");
    if !(wants_nonce && is_new) {
        return Ok(answer);
    }
    let anew = input::signed_anew(exchange.spec, exchange.inputs, &exchange.clock);
    let anew = anew.map_err(unusable)?;
    let is_signed = |name: &str| matches!(exchange.spec.inputs.get(name), Some(Source::Jwt(_)));
    let field = |(name, value): &(_, Secret)| {
        let value = anew.values.get(*name).filter(|_| is_signed(name)).unwrap_or(value);
        (*name, value.clone())
    };
    let asked = Asked { fields: asked.fields.iter().map(field).collect(), ..*asked };
    let answer = post_once(&key, flow, &exchange.with(&anew), url, &asked).await?;
    exchange.memory.proofs.remember(&url.origin, &answer);
    Ok(answer)
}

async fn post_once(
    key: &ProofKey,
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    url: &Url,
    asked: &Asked<'_>,
) -> Result<Answer, MintError> {
    let mut request = token_request(flow, exchange, asked)?;
    let nonce = exchange.memory.proofs.nonce(&url.origin);
    let uri = url.without_query();
    let proof = Proof { method: request.method.as_str(), uri: &uri, nonce: nonce.as_ref(), token: None };
    let proof = key.prove(&proof, &exchange.clock).map_err(unusable)?;
    request.headers.insert(proof::FIELD, proof);
    exchange.ask(url, request).await
}

fn unusable(what: impl fmt::Display) -> MintError {
    MintError::Stubborn { message: format!("the key of `dpop` cannot be used: {what}") }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Proofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proofs").finish_non_exhaustive()
    }
}
