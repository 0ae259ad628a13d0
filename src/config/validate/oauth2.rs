//! The flow `oauth2`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::raw;
use crate::config::raw::credential::{ClientAuth as RawAuth, Grant as RawGrant};
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::tree::Place;
use crate::config::validate::consent::consent;
use crate::config::validate::context::Context;
use crate::config::validate::credential::{Endpoint, Inputs, endpoint};
use crate::config::validate::inject::check_pointer;
use crate::config::validate::secret;
use crate::credential::Source;
use crate::credential::flow::OAuth2Flow;
use crate::credential::flow::oauth2::endpoints::{Endpoints, IssuerIdentifier, Plaintext};
use crate::credential::flow::oauth2::{ClientAuth, Grant};
use crate::credential::input::{AssertionSpec, Claim};
use crate::template::Template;
use crate::upstream::Url;

pub(crate) fn flow(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<OAuth2Flow> {
    let urls = urls(raw, place, inputs, endpoints, context);
    let client_id = text_or_secret(raw.client_id.as_ref(), "client_id", place, inputs, context);
    let grant = grant(raw, place, inputs, context);
    let client_auth = client_auth(raw, grant, place);
    client_secrets(raw, client_auth, (&client_id, &urls), place, inputs, context);
    let is_assertion_enough = grant == Some(Grant::JwtBearer) && client_auth == ClientAuth::None;
    if raw.client_id.is_none() && !is_assertion_enough {
        context.findings.missing(place, "client_id", "the issuer knows the client by it");
    }
    let params = raw
        .params
        .into_iter()
        .filter_map(|(name, value)| {
            let at = place.key("params").key(name);
            Some((name.clone(), inputs.names.template(&value.0, at, &[], context)?))
        })
        .collect();
    for (name, pointer) in &raw.outputs {
        check_pointer(pointer, place.key("outputs").key(name), context);
    }
    let consent = consent(raw, place, inputs, context);
    Some(OAuth2Flow {
        grant: grant?,
        endpoints: urls,
        client_id,
        client_auth,
        scopes: raw.scopes.clone().unwrap_or_default(),
        params,
        outputs: raw.outputs.into_iter().map(|(name, pointer)| (name.clone(), pointer.clone())).collect(),
        consent,
    })
}

/// Where it asks: an issuer that tells, or each endpoint that the grant needs.
fn urls(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Endpoints {
    let issuer = raw.issuer.as_ref().and_then(|text| {
        let at = place.key("issuer");
        let template = inputs.names.template(text, at, &[], context)?;
        issuer(template.as_text(), at, context)
    });
    let wants = |key: &str, grants: &[RawGrant]| {
        let is_told = raw.issuer.is_some() || place.is_spoiled("issuer") || place.is_spoiled(key);
        !is_told && (grants.is_empty() || raw.grant.is_some_and(|grant| grants.contains(&grant)))
    };
    let needed = [
        ("token_url", &raw.token_url, wants("token_url", &[]), "tokens come from there"),
        (
            "authorization_url",
            &raw.authorization_url,
            wants("authorization_url", &[RawGrant::AuthorizationCode]),
            "a browser is sent there",
        ),
        (
            "device_authorization_url",
            &raw.device_authorization_url,
            wants("device_authorization_url", &[RawGrant::DeviceCode]),
            "a device's code comes from there",
        ),
    ];
    let [token, authorization, device_authorization] = needed.map(|(key, text, is_needed, why)| {
        let Some(text) = text else {
            if is_needed {
                context.findings.missing(place, key, &format!("{why}; an `issuer` tells it too"));
            }
            return None;
        };
        let at = place.key(key);
        let template = inputs.names.template(text, at, &[], context)?;
        let Some(url) = template.as_text() else {
            context.findings.error(at, "an endpoint names plain parameters only");
            return None;
        };
        let endpoint = endpoint(&template, at, context)?;
        // A page for people gives no tokens.
        if key != "authorization_url" {
            endpoints.push(endpoint);
        }
        url.parse().ok()
    });
    let has_remote_proxy = raw.egress.as_ref().is_some_and(|name| context.remote_proxies.contains(name));
    let plaintext = match raw.allow_plaintext {
        Some(true) => Plaintext::Anywhere,
        _ if has_remote_proxy => Plaintext::Nowhere,
        _ => Plaintext::Loopback,
    };
    if let Some(issuer) = &issuer {
        // Nothing is denied by it: it stands for those that are discovered.
        let path = format!("{}/.well-known", issuer.url.path().trim_end_matches('/'));
        endpoints.push(Endpoint { origin: issuer.url.origin.clone(), path });
    }
    Endpoints { issuer, token, authorization, device_authorization, plaintext }
}

/// An issuer's identifier has neither query nor fragment (RFC 8414, section 2).
fn issuer(text: Option<&str>, place: Place<'_>, context: &mut Context<'_>) -> Option<IssuerIdentifier> {
    let Some(text) = text else {
        context.findings.error(place, "an issuer names plain parameters only");
        return None;
    };
    let well_known = text.find("/.well-known/");
    match text.parse::<Url>() {
        Ok(_) if well_known.is_some() => {
            let problem = context.findings.error(place, "an issuer's name ends before `/.well-known/`");
            problem.help("bearerd looks for the metadata there by itself");
        }
        Ok(url) if url.path_and_query.query().is_some() => {
            context.findings.error(place, "an issuer's name has no query");
        }
        Ok(url) => return Some(IssuerIdentifier { text: text.to_owned(), url }),
        Err(error) => {
            context.findings.error(place, error);
        }
    }
    None
}

/// The grant, and the inputs that it takes.
fn grant(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) -> Option<Grant> {
    let Some(grant) = raw.grant else {
        let why = "`authorization_code`, `device_code`, `client_credentials`, `refresh_token`, `password` or \
                   `jwt_bearer`";
        context.findings.missing(place, "grant", why);
        return None;
    };
    match grant {
        RawGrant::ClientCredentials => Some(Grant::ClientCredentials),
        RawGrant::RefreshToken => {
            needed("refresh_token", raw.refresh_token.as_ref(), place, inputs, context);
            let problem = context.findings.warning(
                place.key("grant"),
                "the refresh token may rotate, and no durable store keeps the next one",
            );
            problem.help("after a restart the configured refresh token may be used up");
            Some(Grant::RefreshToken)
        }
        RawGrant::AuthorizationCode | RawGrant::DeviceCode => {
            let message = "no durable store keeps what a person consents to";
            let problem = context.findings.warning(place.key("grant"), message);
            problem.help("after a restart everybody has to log in again");
            if grant == RawGrant::AuthorizationCode {
                Some(Grant::AuthorizationCode)
            } else {
                Some(Grant::DeviceCode)
            }
        }
        RawGrant::Password => {
            match &raw.username {
                None => context.findings.missing(place, "username", "this grant takes a user's name"),
                Some(TextOr::Table(reference)) => {
                    inputs.add("username", reference, place.key("username"), context);
                }
                Some(TextOr::Text(name)) => {
                    let name = Source::Value(name.as_str().into());
                    inputs.put("username", name, place.key("username"), context);
                }
            }
            needed("password", raw.password.as_ref(), place, inputs, context);
            Some(Grant::Password)
        }
        RawGrant::JwtBearer => {
            needed("assertion", raw.assertion.as_ref(), place, inputs, context);
            Some(Grant::JwtBearer)
        }
    }
}

fn needed(
    name: &str,
    reference: Option<&SecretReference>,
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) {
    match reference {
        Some(reference) => inputs.add(name, reference, place.key(name), context),
        None => context.findings.missing(place, name, "this grant takes it"),
    }
}

/// A text with placeholders, or a secret of that name.
fn text_or_secret(
    raw: Option<&TextOr<SecretReference>>,
    name: &str,
    place: Place<'_>,
    inputs: &mut Inputs,
    context: &mut Context<'_>,
) -> Template {
    match raw {
        None => Template::text(""),
        Some(TextOr::Text(text)) => {
            inputs.names.template(text, place.key(name), &[], context).unwrap_or_else(|| Template::text(""))
        }
        Some(TextOr::Table(reference)) => {
            inputs.add(name, reference, place.key(name), context);
            Template::parse(&format!("{{{name}}}")).unwrap_or_else(|_| Template::text(""))
        }
    }
}

/// `basic`, but for an assertion grant whose client has no secret: its assertion says who it is.
fn client_auth(raw: &raw::Credential, grant: Option<Grant>, place: Place<'_>) -> ClientAuth {
    match raw.client_auth {
        Some(RawAuth::Post) => ClientAuth::Post,
        Some(RawAuth::PrivateKeyJwt) => ClientAuth::PrivateKeyJwt,
        Some(RawAuth::None) => ClientAuth::None,
        None if raw.client_assertion.is_some() => ClientAuth::PrivateKeyJwt,
        None if grant == Some(Grant::JwtBearer) && raw.client_secret.is_none() => ClientAuth::None,
        // What the wrong word meant is not known.
        None if place.is_spoiled("client_auth") => ClientAuth::None,
        Some(RawAuth::Basic) | None => ClientAuth::Basic,
    }
}

fn client_secrets(
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
        ClientAuth::None => {
            if !place.is_spoiled("client_auth") {
                unused("client_secret", raw.client_secret.is_some(), place, context);
                unused("client_assertion", raw.client_assertion.is_some(), place, context);
            }
        }
        ClientAuth::PrivateKeyJwt => {
            let (key, reference) = match (&raw.client_assertion, &raw.client_secret) {
                (Some(assertion), None) => ("client_assertion", assertion),
                (None, Some(secret)) => ("client_secret", secret),
                (Some(_), Some(_)) => {
                    unused("client_secret", true, place, context);
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
                    fill_claims(&mut assertion.claims, client_id, urls);
                    Source::Jwt(assertion)
                }
                // A ready assertion is possible under its own name; a secret is the key.
                ready if key == "client_assertion" => ready,
                key => {
                    let mut claims = BTreeMap::new();
                    fill_claims(&mut claims, client_id, urls);
                    let lifetime = Duration::from_secs(60);
                    let header = BTreeMap::new();
                    Source::Jwt(Box::new(AssertionSpec { key, algorithm: None, header, claims, lifetime }))
                }
            };
            inputs.put("client_assertion", source, at, context);
        }
    }
}

fn unused(key: &str, given: bool, place: Place<'_>, context: &mut Context<'_>) {
    if given {
        let message = format!("`{key}` is not used with this `client_auth`");
        context.findings.error_at(place.key(key).key_span(), message);
    }
}

/// What RFC 7523, section 3, asks of a client's assertion: its audience is the token endpoint, or the
/// issuer where that is what is known.
fn fill_claims(claims: &mut BTreeMap<String, Claim>, client_id: &Template, urls: &Endpoints) {
    let issuer = || urls.issuer.as_ref().map(|issuer| issuer.text.clone());
    let audience = urls.token.as_ref().map(Url::to_string).or_else(issuer);
    let audience = Template::text(audience.unwrap_or_default());
    for (name, value) in [("iss", client_id), ("sub", client_id), ("aud", &audience)] {
        claims.entry(name.to_owned()).or_insert_with(|| Claim::Text(value.clone()));
    }
}
