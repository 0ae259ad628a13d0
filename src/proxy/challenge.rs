//! Nonces of upstreams that want to see them in proofs of possession (RFC 9449, section 9).
//!
//! A nonce is the origin's: it goes into the next proof of any request there. An answer that only asks for
//! one says nothing about the token, so it is no refusal of it.

use std::sync::Arc;

use http::StatusCode;

use crate::http1::AnswerHead;
use crate::http1::field::is_same_name;
use crate::jose::proof::{NONCE_FIELD, nonce, wants_nonce};
use crate::route::Route;

/// Keeps the nonce that an answer brings, and says whether it asks for the request once more with it.
/// Nothing is looked at where no proof was sent.
pub fn learn(route: &Route, head: &AnswerHead) -> bool {
    if !route.injected.has_proof() {
        return false;
    }
    let field = |name: &[u8]| head.fields.iter().find(|field| is_same_name(field.name, name));
    let given = field(NONCE_FIELD.as_str().as_bytes()).and_then(|field| nonce(field.value));
    let Some(given) = given else { return false };
    let known = &route.destination.nonce;
    if known.load().as_deref() != Some(&given) {
        known.store(Some(Arc::new(given)));
    }
    let mut challenges = head.fields.iter().filter(|field| is_same_name(field.name, b"www-authenticate"));
    head.status == StatusCode::UNAUTHORIZED && challenges.any(|field| wants_nonce(field.value))
}
