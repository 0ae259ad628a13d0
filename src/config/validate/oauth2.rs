//! The flow `oauth2`.

pub(crate) mod certificate;
mod client;
pub(crate) mod dpop;
mod grant;
pub(crate) mod id_token;

use crate::config::raw;
use crate::config::raw::credential::Grant as RawGrant;
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::tree::Place;
use crate::config::validate::consent::consent;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::config::validate::endpoint::{Endpoint, endpoint};
use crate::config::validate::inject::check_pointer;
use crate::credential::flow::OAuth2Flow;
use crate::credential::flow::oauth2::endpoints::{Endpoints, IssuerIdentifier, Plaintext};
use crate::credential::flow::oauth2::{ClientAuth, Grant};
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
    let mut params = Vec::new();
    let grant = grant::grant(raw, place, inputs, &mut params, context);
    let client_auth = client::client_auth(raw, grant, place);
    client::secrets(raw, client_auth, (&client_id, &urls), place, inputs, context);
    certificate::check_client_auth(raw, client_auth, urls.token.as_ref(), place, context);
    let is_assertion_enough =
        grant.is_some_and(client::speaks_for_its_client) && client_auth == ClientAuth::None;
    if raw.client_id.is_none() && !is_assertion_enough {
        context.findings.missing(place, "client_id", "the issuer knows the client by it");
    }
    for (name, value) in &raw.params {
        let at = place.key("params").key(name);
        let template = inputs.names.template(&value.text, at, &[], context);
        params.extend(template.map(|template| (name.clone(), template)));
    }
    for (name, pointer) in &raw.outputs {
        check_pointer(pointer, place.key("outputs").key(name), context);
    }
    let id_token = id_token::id_token(raw, place, context);
    check_revoke_on_exit(raw, grant, place, context);
    let dpop = dpop::dpop(raw, (grant, client_auth), place, inputs, context);
    let consent = consent(raw, place, inputs, context);
    Some(OAuth2Flow {
        grant: grant?,
        endpoints: context.alike.endpoints.one(urls),
        client_id,
        client_auth,
        scopes: raw.scopes.clone().unwrap_or_default(),
        params,
        outputs: raw.outputs.into_iter().map(|(name, pointer)| (name.clone(), pointer.clone())).collect(),
        dpop,
        id_token: context.alike.id_tokens.one(id_token),
        rotates: raw.rotates != Some(false),
        rejected_errors: raw.rejected_errors.clone().unwrap_or_default(),
        revoke_on_exit: raw.revoke_on_exit == Some(true),
        consent: context.alike.consents.one(consent),
    })
}

/// What is revoked at the end has to come again at the next start.
fn check_revoke_on_exit(
    raw: &raw::Credential,
    grant: Option<Grant>,
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    if raw.revoke_on_exit != Some(true) {
        return;
    }
    let at = place.key("revoke_on_exit");
    if grant.is_some_and(Grant::renews_by_refresh_token) {
        let problem = context.findings.error(at, "with the token, this grant would lose what renews it");
        problem.help("`bearerd logout` revokes it when nobody needs it any more");
    } else if raw.revocation_url.is_none() && raw.issuer.is_none() {
        context.findings.missing(place, "revocation_url", "`revoke_on_exit` tells the issuer there");
    }
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
        ("revocation_url", &raw.revocation_url, false, "tokens are revoked there"),
    ];
    let [token, authorization, device_authorization, revocation] =
        needed.map(|(key, text, is_needed, why)| {
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
    let by_certificate = certificate::is_bound(raw);
    Endpoints { issuer, token, authorization, device_authorization, revocation, by_certificate, plaintext }
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
