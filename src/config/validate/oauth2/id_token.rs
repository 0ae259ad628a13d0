//! How ID tokens are checked, and whether something relies on them.

use std::sync::Arc;

use crate::config::raw;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::config::validate::plaintext::is_exposed;
use crate::credential::flow::IdTokenSpec;
use crate::credential::{CredentialSpec, Flow, Source};
use crate::inject::Injection;
use crate::route::RouteSpec;
use crate::upstream::Url;

const OUTPUT: &str = "id_token";

/// What `id_token` says.
pub(super) fn id_token(raw: &raw::Credential, place: Place<'_>, context: &mut Context<'_>) -> IdTokenSpec {
    let Some(given) = &raw.id_token else { return IdTokenSpec::default() };
    let place = place.key(OUTPUT);
    let jwks = given.jwks_url.as_ref().and_then(|text| jwks(text, raw, place.key("jwks_url"), context));
    if given.jwks_url.is_none() && raw.issuer.is_none() && !place.is_spoiled("jwks_url") {
        context.findings.missing(
            place,
            "jwks_url",
            "the keys of the signatures lie there; an `issuer` tells it too",
        );
    }
    if given.issuer.is_none() && raw.issuer.is_none() && !place.is_spoiled("issuer") {
        context.findings.missing(place, "issuer", "a token of another issuer is none");
    }
    IdTokenSpec {
        issuer: given.issuer.clone().or_else(|| raw.issuer.clone()),
        jwks,
        audience: given.audience.clone(),
        required: true,
    }
}

fn jwks(text: &str, raw: &raw::Credential, place: Place<'_>, context: &mut Context<'_>) -> Option<Url> {
    let url: Url = match text.parse() {
        Ok(url) => url,
        Err(error) => {
            context.findings.error(place, error);
            return None;
        }
    };
    if is_exposed(&url.origin, raw.egress.as_deref(), context) && raw.allow_plaintext != Some(true) {
        let problem =
            context.findings.error(place, "over plain HTTP anybody on the way could show other keys");
        problem.help("use https://");
    }
    Some(url)
}

/// Notes which credentials' ID tokens something relies on: an injection, or another credential. One that
/// nobody can verify is warned about.
pub(crate) fn note_uses<'a>(
    credentials: &mut [Credential],
    routes: impl Iterator<Item = &'a RouteSpec>,
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    let mut used: Vec<String> = routes
        .filter(|route| injects(&route.injection))
        .map(|route| route.credential.as_str().to_owned())
        .collect();
    let inputs = credentials.iter().flat_map(|credential| credential.spec.inputs.values());
    used.extend(inputs.filter_map(|source| match source {
        Source::Output { credential, output } if output == OUTPUT => Some(credential.as_str().to_owned()),
        _ => None,
    }));
    for Credential { spec: CredentialSpec { name, flow, .. }, .. } in credentials {
        let Flow::OAuth2(flow) = flow else { continue };
        if !used.iter().any(|used| used == name.as_str()) {
            continue;
        }
        Arc::make_mut(&mut flow.id_token).required = true;
        if flow.id_token.jwks.is_none() && flow.endpoints.issuer.is_none() {
            let message =
                format!("the ID token of `{name}` is used, and nothing says by which keys it is signed");
            let problem = context.findings.warning(place.key(name.as_str()), message);
            problem.help(
                "say `issuer`, or `id_token = { issuer, jwks_url }`: until then only its claims are checked",
            );
        }
    }
}

fn injects(injection: &Injection) -> bool {
    injection.names().any(|name| name == OUTPUT)
}
