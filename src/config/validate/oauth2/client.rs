//! How the client proves who it is, and the secret that it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::raw;
use crate::config::raw::credential::ClientAuth as RawAuth;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::config::validate::secret;
use crate::credential::Source;
use crate::credential::flow::oauth2::endpoints::Endpoints;
use crate::credential::flow::oauth2::{ClientAuth, Grant};
use crate::credential::input::{AssertionSpec, Claim};
use crate::template::Template;
use crate::upstream::Url;

/// How long an assertion that is made of a secret lives.
const LIFETIME: Duration = Duration::from_secs(60);

/// Whether what a grant shows may say who the client is: a signed assertion, a token of a machine.
pub(super) fn speaks_for_its_client(grant: Grant) -> bool {
    matches!(grant, Grant::JwtBearer | Grant::TokenExchange)
}

/// `basic`, but for a grant that speaks for its client and a client that has no secret.
pub(super) fn client_auth(raw: &raw::Credential, grant: Option<Grant>, place: Place<'_>) -> ClientAuth {
    match raw.client_auth {
        Some(RawAuth::Post) => ClientAuth::Post,
        Some(RawAuth::PrivateKeyJwt | RawAuth::ClientSecretJwt) => ClientAuth::Assertion,
        Some(RawAuth::Tls) => ClientAuth::Tls,
        Some(RawAuth::None) => ClientAuth::None,
        None if raw.client_assertion.is_some() => ClientAuth::Assertion,
        None if grant.is_some_and(speaks_for_its_client) && raw.client_secret.is_none() => ClientAuth::None,
        // What the wrong word meant is not known.
        None if place.is_spoiled("client_auth") => ClientAuth::None,
        Some(RawAuth::Basic) | None => ClientAuth::Basic,
    }
}

/// Takes the secret of a client authentication, and tells those that it does not take.
pub(super) fn secrets(
    raw: &raw::Credential,
    client_auth: ClientAuth,
    (client_id, urls): (&Template, &Endpoints),
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) {
    match client_auth {
        ClientAuth::Basic | ClientAuth::Post => {
            unused("client_assertion", raw.client_assertion.is_some(), place, context);
            if let Some(secret) = &raw.client_secret {
                inputs.add("client_secret", secret, place.key("client_secret"), context);
            } else {
                let why = "the client shows it; a public client says `client_auth = \"none\"`";
                context.findings.missing(place, "client_secret", why);
            }
        }
        ClientAuth::Tls | ClientAuth::None => {
            if !place.is_spoiled("client_auth") {
                unused("client_secret", raw.client_secret.is_some(), place, context);
                unused("client_assertion", raw.client_assertion.is_some(), place, context);
            }
        }
        ClientAuth::Assertion => assertion(raw, (client_id, urls), place, inputs, context),
    }
}

/// The client's assertion: as it is given, or made of its secret.
fn assertion(
    raw: &raw::Credential,
    client: (&Template, &Endpoints),
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) {
    let is_shared = raw.client_auth == Some(RawAuth::ClientSecretJwt);
    let (key, reference) = match (&raw.client_assertion, &raw.client_secret) {
        (Some(assertion), None) => ("client_assertion", assertion),
        (None, Some(secret)) => ("client_secret", secret),
        (Some(_), Some(_)) => {
            unused("client_secret", true, place, context);
            return;
        }
        (None, None) if is_shared => {
            context.findings.missing(place, "client_secret", "the client's assertion is signed with it");
            return;
        }
        (None, None) => {
            let why = "such as { jwt = { key = { file = \"key.pem\" } } }";
            context.findings.missing(place, "client_assertion", why);
            return;
        }
    };
    let at = place.key(key);
    let Some(source) = secret::source(reference, at, &inputs.names, context) else { return };
    let source = match source {
        Source::Jwt(mut assertion) => {
            // OpenID Connect Core, section 9: each way has algorithms of its own.
            let said = assertion.algorithm.as_deref();
            if is_shared && said.is_none() {
                assertion.algorithm = Some("HS256".to_owned());
            } else if said.is_some_and(|name| name.starts_with("HS") != is_shared) {
                let (way, keys) = if is_shared {
                    ("client_secret_jwt", "HS256, HS384 and HS512")
                } else {
                    ("private_key_jwt", "those of private keys, such as ES256 and RS256")
                };
                let message = format!("the algorithms of `{way}` are {keys}");
                context.findings.error(at.key("jwt").key("alg"), message);
            }
            fill_claims(&mut assertion.claims, client);
            Source::Jwt(assertion)
        }
        // A ready assertion is possible under its own name; a secret is the key.
        ready if key == "client_assertion" => ready,
        key => {
            let mut claims = BTreeMap::new();
            fill_claims(&mut claims, client);
            let algorithm = is_shared.then(|| "HS256".to_owned());
            let header = BTreeMap::new();
            Source::Jwt(Box::new(AssertionSpec {
                key,
                algorithm,
                header,
                claims,
                lifetime: LIFETIME,
                backdate: Duration::ZERO,
            }))
        }
    };
    inputs.put("client_assertion", source, at, context);
}

fn unused(key: &str, given: bool, place: Place<'_>, context: &mut Context<'_>) {
    if given {
        let message = format!("`{key}` is not used with this `client_auth`");
        context.findings.error_at(place.key(key).key_span(), message);
    }
}

/// What RFC 7523, section 3, asks of a client's assertion: its audience is the token endpoint, or the
/// issuer where that is what is known.
fn fill_claims(claims: &mut BTreeMap<String, Claim>, (client_id, urls): (&Template, &Endpoints)) {
    let issuer = || urls.issuer.as_ref().map(|issuer| issuer.text.clone());
    let audience = urls.token.as_ref().map(Url::to_string).or_else(issuer);
    let audience = Template::text(audience.unwrap_or_default());
    for (name, value) in [("iss", client_id), ("sub", client_id), ("aud", &audience)] {
        claims.entry(name.to_owned()).or_insert_with(|| Claim::Text(value.clone()));
    }
}
