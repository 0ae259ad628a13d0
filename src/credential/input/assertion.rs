//! Signed assertions (RFC 7519, 7523): `{ jwt = { key, alg, header, claims, lifetime } }`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::credential::input::{AssertionSpec, Claim};
use crate::jose::key::SigningKey;
use crate::secret::{Secret, SecretBuffer};

/// Signs a new assertion in compact form (RFC 7515, section 7.1). The error says what is wrong,
/// without any value.
pub(super) fn sign(
    spec: &AssertionSpec,
    key: &Secret,
    inputs: &BTreeMap<String, Secret>,
    clock: &Clock,
) -> Result<Secret, String> {
    let key = SigningKey::read(key, spec.algorithm.as_deref())?;
    let mut header = Map::new();
    header.insert("typ".to_owned(), "JWT".into());
    for (name, value) in &spec.header {
        header.insert(name.clone(), filled(value, "header parameter", name, inputs, clock)?);
    }
    header.insert("alg".to_owned(), key.algorithm().into());
    let mut signed = SecretBuffer::with_capacity(2048);
    encode(&Value::Object(header), &mut signed);
    signed.push(b".");
    encode(&Value::Object(claims(spec, inputs, clock)?), &mut signed);
    let signature = key.sign(signed.expose())?;
    signed.push(b".");
    signed.push(BASE64_URL_SAFE_NO_PAD.encode(signature).as_bytes());
    Ok(signed.into())
}

/// The claims as configured, and `iat`, `exp` and `jti` (RFC 7519, section 4.1) where they are not.
fn claims(
    spec: &AssertionSpec,
    inputs: &BTreeMap<String, Secret>,
    clock: &Clock,
) -> Result<Map<String, Value>, String> {
    let mut claims = Map::new();
    for (name, claim) in &spec.claims {
        claims.insert(name.clone(), filled(claim, "claim", name, inputs, clock)?);
    }
    let backdate = i64::try_from(spec.backdate.as_secs()).unwrap_or(i64::MAX);
    let now = clock.wall().as_second();
    let issued = now.saturating_sub(backdate);
    let issued = claims.entry("iat").or_insert_with(|| issued.into()).as_i64().unwrap_or(issued);
    let lifetime = i64::try_from(spec.lifetime.as_secs()).unwrap_or(i64::MAX);
    claims.entry("exp").or_insert_with(|| issued.saturating_add(lifetime).into());
    claims.entry("jti").or_insert_with(|| clock.uuid().into());
    Ok(claims)
}

/// The value of a claim or of a header parameter.
fn filled(
    claim: &Claim,
    what: &str,
    name: &str,
    inputs: &BTreeMap<String, Secret>,
    clock: &Clock,
) -> Result<Value, String> {
    let template = match claim {
        Claim::Json(value) => return Ok(value.clone()),
        Claim::Now => return Ok(clock.wall().as_second().into()),
        Claim::Text(template) => template,
    };
    let text = template
        .render(&|name| inputs.get(name).cloned(), clock)
        .map_err(|why| format!("the {what} `{name}` cannot be filled in: {why}"))?;
    let text = std::str::from_utf8(&text).map_err(|_| format!("the {what} `{name}` is not text"))?;
    Ok(text.into())
}

fn encode(part: &Value, into: &mut SecretBuffer) {
    into.push(BASE64_URL_SAFE_NO_PAD.encode(part.to_string()).as_bytes());
}
