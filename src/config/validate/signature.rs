//! What is signed of requests, and what answers have to fit.

use std::sync::Arc;

use crate::config::raw::inject::{Jws, Verify};
use crate::config::raw::scalar::TextOr;
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::inject::field_name;
use crate::config::validate::names::Names;
use crate::config::validate::secret::ALGORITHMS;
use crate::inject::{SignatureSpec, Verification};
use crate::jose::detached::OWN_PARAMETERS;

/// A detached signature, by a key that the credential has.
pub(crate) fn jws(
    raw: Option<&Jws>,
    place: Place<'_>,
    names: &Names,
    outputs: Option<&[String]>,
    context: &mut Context<'_>,
) -> Option<SignatureSpec> {
    let Some(raw) = raw else {
        if place.spoiled().is_empty() {
            let problem = context.findings.error(place, "a field is a text, or a signature");
            problem.help("such as { jws = { key = \"signing_key\" } }");
        }
        return None;
    };
    let place = place.key("jws");
    if let Some(algorithm) = &raw.alg
        && !ALGORITHMS.contains(&algorithm.as_str())
    {
        let message = format!("this is not one of the algorithms {}", list(ALGORITHMS));
        context.findings.error(place.key("alg"), message).meant(nearest(algorithm, ALGORITHMS));
    }
    for (name, _) in &raw.header {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            let message = format!("`{name}` is made by bearerd: `alg` stands beside `header`");
            context.findings.error_at(place.key("header").key(name).key_span(), message);
        }
    }
    let Some(key) = &raw.key else {
        if !place.is_spoiled("key") {
            context.findings.missing(place, "key", "a signature needs a private key of the credential");
        }
        return None;
    };
    let known = || outputs.unwrap_or_default().iter().chain(&names.secrets).map(String::as_str);
    let may_be_known = names.hides_secrets || names.spoiled.contains(key);
    if outputs.is_some() && !may_be_known && !known().any(|name| name == key) {
        let message = format!("the credential has no secret `{key}`");
        let problem = context.findings.error(place.key("key"), message);
        problem.meant_or(nearest(key, known()), || {
            format!("say it in the credential, as secrets = {{ {key} = {{ file = \"..\" }} }}")
        });
        return None;
    }
    let header = raw.header.into_iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
    Some(SignatureSpec { key: key.clone(), algorithm: raw.alg.clone(), header })
}

/// What answers have to fit; nothing if they are not verified.
pub(crate) fn verification(
    raw: &TextOr<Verify>,
    place: Place<'_>,
    names: &Names,
    outputs: Option<&[String]>,
    context: &mut Context<'_>,
) -> Option<Arc<Verification>> {
    let raw = match raw {
        TextOr::Table(raw) => raw,
        TextOr::Text(word) if word == "off" => return None,
        TextOr::Text(_) => {
            let problem = context.findings.error(place, "this is `\"off\"` or a table");
            problem.help(EXAMPLE);
            return None;
        }
    };
    let (Some(header), Some(value)) = (&raw.header, &raw.value) else {
        if place.spoiled().is_empty() {
            let problem = context.findings.error(place, "answers are verified by a `header` and its `value`");
            problem.help(EXAMPLE);
        }
        return None;
    };
    let header = field_name(header, place.key("header"), context);
    let value = names.over_outputs(value, place.key("value"), outputs, context)?;
    if !value.is_digest_of_body() {
        let message = "this is no digest of the body: it names `body` once, within `hmac_sha256` or `sha256`, \
                       and nothing that changes with each answer";
        context.findings.error(place.key("value"), message).help(EXAMPLE);
        return None;
    }
    Some(Arc::new(Verification { header: header?, value, is_required: raw.required == Some(true) }))
}

const EXAMPLE: &str = r#"such as { header = "hmac", value = "{base64(hmac_sha256(client_secret, body))}" }"#;
