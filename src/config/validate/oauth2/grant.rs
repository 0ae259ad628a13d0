//! Which grant, the inputs that it takes, and the fields that say what token is wanted.

use crate::config::raw;
use crate::config::raw::choice::Texts;
use crate::config::raw::credential::Grant as RawGrant;
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::credential::Source;
use crate::credential::flow::oauth2::Grant;
use crate::template::Template;

/// What RFC 8693, section 3, puts before the names of token types.
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:";

/// The names behind it.
const TOKEN_TYPES: [&str; 6] = ["access_token", "id_token", "jwt", "refresh_token", "saml1", "saml2"];

/// Further fields of the token request.
type Params = Vec<(String, Template)>;

/// The grant; its inputs and fields are put to the others.
pub(super) fn grant(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    params: &mut Params,
    context: &mut Context<'_>,
) -> Option<Grant> {
    let Some(grant) = raw.grant else {
        let why = "`authorization_code`, `device_code`, `client_credentials`, `refresh_token`, `password`, \
                   `jwt_bearer` or `token_exchange`";
        context.findings.missing(place, "grant", why);
        return None;
    };
    check_keys(raw, grant, place, context);
    let grant = match grant {
        RawGrant::ClientCredentials => Grant::ClientCredentials,
        RawGrant::RefreshToken => {
            needed("refresh_token", raw.refresh_token.as_ref(), place, inputs, context);
            if raw.rotates != Some(false) {
                let message = "the refresh token may rotate, and no durable store keeps the next one";
                let loss = "after a restart the configured refresh token may be used up";
                context.warn_unless_durable(place.key("grant"), message, loss);
            }
            Grant::RefreshToken
        }
        RawGrant::AuthorizationCode | RawGrant::DeviceCode => {
            let message = "no durable store keeps what a person consents to";
            let loss = "after a restart everybody has to log in again";
            context.warn_unless_durable(place.key("grant"), message, loss);
            if grant == RawGrant::AuthorizationCode { Grant::AuthorizationCode } else { Grant::DeviceCode }
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
            Grant::Password
        }
        RawGrant::JwtBearer => {
            needed("assertion", raw.assertion.as_ref(), place, inputs, context);
            Grant::JwtBearer
        }
        RawGrant::TokenExchange => {
            exchanged(raw, place, inputs, params, context);
            Grant::TokenExchange
        }
    };
    targets("audience", raw.audience.as_ref(), place, inputs, params, context);
    targets("resource", raw.resource.as_ref(), place, inputs, params, context);
    Some(grant)
}

/// The tokens of an exchange and their types (RFC 8693, section 2.1).
fn exchanged(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    params: &mut Params,
    context: &mut Context<'_>,
) {
    needed("subject_token", raw.subject_token.as_ref(), place, inputs, context);
    if let Some(actor) = &raw.actor_token {
        inputs.add("actor_token", actor, place.key("actor_token"), context);
    } else if raw.actor_token_type.is_some() {
        context.findings.missing(place, "actor_token", "`actor_token_type` tells of it");
    }
    let mut say = |key: &str, said: Option<&str>, otherwise: Option<&str>| {
        let said = said.map(|name| token_type(name, place.key(key), context));
        let Some(name) = said.unwrap_or_else(|| otherwise.map(|name| format!("{TOKEN_TYPE}{name}"))) else {
            return;
        };
        params.push((key.to_owned(), Template::text(name)));
    };
    say(
        "subject_token_type",
        raw.subject_token_type.as_deref(),
        Some(natural_type(raw.subject_token.as_ref())),
    );
    let actor = raw.actor_token.as_ref();
    say("actor_token_type", raw.actor_token_type.as_deref(), actor.map(|token| natural_type(Some(token))));
    say("requested_token_type", raw.requested_token_type.as_deref(), None);
}

/// The type of a token whose type is not said: a file, such as Kubernetes writes, holds a JWT; an
/// output of another credential is what its name says.
fn natural_type(token: Option<&SecretReference>) -> &'static str {
    match token {
        Some(SecretReference { credential: Some(_), output, .. }) => match output.as_deref() {
            Some("id_token") => "id_token",
            _ => "access_token",
        },
        _ => "jwt",
    }
}

/// The URI of a token type; tells it if it is none.
fn token_type(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    if TOKEN_TYPES.contains(&name) {
        return Some(format!("{TOKEN_TYPE}{name}"));
    }
    if name.contains(':') && !name.contains(|next: char| next.is_whitespace() || next.is_control()) {
        return Some(name.to_owned());
    }
    let problem = context.findings.error(place, "this is neither a token type nor a URI of one");
    problem.meant_or(nearest(name, TOKEN_TYPES), || format!("names are {}", list(TOKEN_TYPES)));
    None
}

/// For whom or what the token is to be: a field for each.
fn targets(
    key: &str,
    raw: Option<&Texts>,
    place: Place<'_>,
    inputs: &Inputs,
    params: &mut Params,
    context: &mut Context<'_>,
) {
    let Some(Texts(targets)) = raw else { return };
    if targets.iter().any(String::is_empty) || targets.is_empty() {
        context.findings.error(place.key(key), format!("`{key}` names at least one, and none is empty"));
    }
    for target in targets {
        let Some(template) = inputs.names.template(target, place.key(key), &[], context) else { continue };
        // RFC 8707, section 2: absolute, without a fragment.
        let is_uri = |text: &str| text.contains(':') && !text.contains('#');
        if key == "resource" && template.as_text().is_some_and(|text| !is_uri(text)) {
            let problem = context.findings.error(place.key(key), "a resource is an absolute URI without `#`");
            problem.help("a name that only the issuer knows is an `audience`");
        }
        params.push((key.to_owned(), template));
    }
}

/// Tells keys that only an exchange of tokens takes.
fn check_keys(raw: &raw::Credential, grant: RawGrant, place: Place<'_>, context: &mut Context<'_>) {
    if grant == RawGrant::TokenExchange {
        return;
    }
    for (key, given) in [
        ("subject_token", raw.subject_token.is_some()),
        ("subject_token_type", raw.subject_token_type.is_some()),
        ("actor_token", raw.actor_token.is_some()),
        ("actor_token_type", raw.actor_token_type.is_some()),
        ("requested_token_type", raw.requested_token_type.is_some()),
    ] {
        if given {
            let message = format!("`{key}` belongs to the grant `token_exchange`");
            context.findings.error_at(place.key(key).key_span(), message);
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
