//! Tokens that are bound to a key (DPoP, RFC 9449).

use crate::config::raw;
use crate::config::raw::choice::SwitchOr;
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::credential::flow::oauth2::{ClientAuth, DpopSpec, Grant};
use crate::jose::proof::KEY_OUTPUT;

/// What a private key may sign by (RFC 9449, section 4.2: no shared secrets).
const ALGORITHMS: [&str; 10] =
    ["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// Whether tokens are bound to a key.
pub(crate) fn is_on(raw: &raw::Credential) -> bool {
    !matches!(raw.dpop, None | Some(SwitchOr::Switch(false)))
}

/// What `dpop` says; its key is put to the inputs.
pub(super) fn dpop(
    raw: &raw::Credential,
    (grant, client_auth): (Option<Grant>, ClientAuth),
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) -> Option<DpopSpec> {
    let place = place.key("dpop");
    let given = match &raw.dpop {
        None | Some(SwitchOr::Switch(false)) => return None,
        Some(SwitchOr::Switch(true)) => None,
        Some(SwitchOr::Table(table)) => Some(table),
    };
    if raw.outputs.get(KEY_OUTPUT).is_some() {
        context.findings.error(place, format!("an output cannot be called `{KEY_OUTPUT}` beside `dpop`"));
    }
    let key = given.and_then(|table| table.key.as_ref());
    match key {
        Some(key) if key.jwt.is_some() => {
            context.findings.error(place.key("key"), "a key is not an assertion itself");
        }
        Some(key) => inputs.add(KEY_OUTPUT, key, place.key("key"), context),
        // RFC 9449, section 5: the refresh tokens of public clients are bound to the key as well.
        None if client_auth == ClientAuth::None && grant.is_some_and(Grant::renews_by_refresh_token) => {
            let message = "the refresh tokens of a public client are bound to the key, too: one that is made at \
                           each start would lose them";
            let problem = context.findings.error(place, message);
            problem.help("such as dpop = { key = { file = \"dpop-key.pem\" } }");
        }
        None => {}
    }
    let algorithm = given.and_then(|table| table.alg.clone());
    if let Some(name) = &algorithm {
        if key.is_none() {
            context.findings.error(place.key("alg"), "`alg` is of `key`: a key that is made signs by ES256");
        } else if !ALGORITHMS.contains(&name.as_str()) {
            let message = format!("this is not one of the algorithms {}", list(ALGORITHMS));
            context.findings.error(place.key("alg"), message).meant(nearest(name, ALGORITHMS));
        }
    }
    Some(DpopSpec { algorithm })
}
