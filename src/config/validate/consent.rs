//! How a person is asked: what the grants `authorization_code` and `device_code` need.

use crate::config::raw;
use crate::config::raw::consent::{Otp, OtpBody as RawBody};
use crate::config::raw::credential::Grant;
use crate::config::raw::scalar::{Map, Plain};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::config::validate::inject::check_pointer;
use crate::credential::consent::ConsentSpec;
use crate::credential::consent::spec::{OtpBody, OtpSpec};
use crate::template::Template;
use crate::upstream::{Scheme, Url};

/// Parameters of an authorization request that bearerd makes itself.
const OWN_PARAMETERS: [&str; 13] = [
    "response_type",
    "response_mode",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "request",
    "request_uri",
];

/// What stands in the answer of `authorize` by itself.
const OWN_MEMBERS: [&str; 7] = [
    "url",
    "redirect_uri",
    "state",
    "expires_in",
    "user_code",
    "verification_uri",
    "verification_uri_complete",
];

pub(crate) fn consent(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &Inputs,
    context: &mut Context<'_>,
) -> ConsentSpec {
    if let Some(uri) = &raw.redirect_uri
        && let Err(why) = check_redirect(uri, raw.allow_plaintext == Some(true))
    {
        context.findings.error(place.key("redirect_uri"), why);
    }
    if raw.grant == Some(Grant::AuthorizationCode)
        && raw.redirect_uri.is_none()
        && !context.has_callback
        && !place.is_spoiled("redirect_uri")
    {
        let message =
            "no browser comes back to an admin listener on a Unix socket, and there is no `redirect_uri`";
        let problem = context.findings.warning(place, message);
        problem.help("only `bearerd login` can log in; name the URI that is registered with the issuer");
    }
    let at = place.key("authorization_params");
    for (name, _) in &raw.authorization_params {
        check_parameter(name, at.key(name).key_span(), context);
    }
    let accepted = place.key("authorize_accepts");
    for (index, name) in raw.authorize_accepts.iter().flatten().enumerate() {
        check_parameter(name, accepted.item(index).span(), context);
    }
    let otp = raw.otp.as_ref().filter(|_| raw.grant == Some(Grant::DeviceCode));
    ConsentSpec {
        redirect_uri: raw.redirect_uri.clone(),
        par: raw.par == Some(true),
        params: params(&raw.authorization_params, at, inputs, context),
        accepts: raw.authorize_accepts.clone().unwrap_or_default(),
        return_to: return_to(raw, place.key("return_to"), context),
        otp: otp.map(|otp| one_time_password(otp, place.key("otp"), inputs, context)),
    }
}

fn params(
    raw: &Map<Plain>,
    place: Place<'_>,
    inputs: &Inputs,
    context: &mut Context<'_>,
) -> Vec<(String, Template)> {
    let template = |(name, value): (&String, &Plain)| {
        Some((name.clone(), inputs.names.template(&value.text, place.key(name), &[], context)?))
    };
    raw.into_iter().filter_map(template).collect()
}

fn pairs(raw: &Map<String>) -> Vec<(String, String)> {
    raw.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn check_parameter(name: &str, span: crate::config::text::Span, context: &mut Context<'_>) {
    if OWN_PARAMETERS.contains(&name) {
        context.findings.error_at(span, format!("`{name}` is made by bearerd itself"));
    }
}

/// A redirect URI is absolute and has no fragment (RFC 6749, section 3.1.2). It is compared byte for
/// byte by the issuer, so it stays as it is written.
fn check_redirect(uri: &str, allow_plaintext: bool) -> Result<(), &'static str> {
    if uri.contains('#') {
        return Err("a redirect URI has no fragment (`#`)");
    }
    if uri.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("a redirect URI has no blanks and is percent-encoded");
    }
    match uri.split_once(':') {
        Some(("http" | "https", _)) => {
            let url: Url = uri.parse()?;
            if url.origin.scheme == Scheme::Http && !url.origin.is_loopback() && !allow_plaintext {
                return Err("codes would come back over plain HTTP: use https://, or a loopback address");
            }
            Ok(())
        }
        // An app's own scheme, such as `com.example.app:/callback` (RFC 8252, section 7.1).
        Some((scheme, rest)) if scheme.contains('.') && !rest.is_empty() => Ok(()),
        _ => Err("a redirect URI is absolute, such as \"https://app.example/callback\""),
    }
}

fn return_to(raw: &raw::Credential, place: Place<'_>, context: &mut Context<'_>) -> Vec<Url> {
    let mut allowed = Vec::new();
    for (index, text) in raw.return_to.iter().flatten().enumerate() {
        match text.parse::<Url>() {
            Ok(url) if url.path_and_query.query().is_some() => {
                context.findings.error(place.item(index), "a place to return to has no query here");
            }
            Ok(url) => allowed.push(url),
            Err(why) => {
                context.findings.error(place.item(index), why);
            }
        }
    }
    allowed
}

fn one_time_password(raw: &Otp, place: Place<'_>, inputs: &Inputs, context: &mut Context<'_>) -> OtpSpec {
    if raw.asks.is_empty() && !place.is_spoiled("asks") {
        context.findings.missing(place, "asks", "whoever logs in says to whom the password is sent");
    }
    for (name, _) in &raw.asks {
        if matches!(name.as_str(), "subject" | "return_to" | "params" | "loopback_port") {
            let span = place.key("asks").key(name).key_span();
            context.findings.error_at(span, format!("`{name}` has a meaning of its own in `authorize`"));
        }
    }
    for (name, pointer) in &raw.shows {
        let at = place.key("shows").key(name);
        check_pointer(pointer, at, context);
        if OWN_MEMBERS.contains(&name.as_str()) {
            let message = format!("`{name}` has a meaning of its own in the answer of `authorize`");
            context.findings.error_at(at.key_span(), message);
        }
    }
    OtpSpec {
        body: match raw.body {
            Some(RawBody::Json) => OtpBody::Json,
            Some(RawBody::Form) | None => OtpBody::Form,
        },
        params: params(&raw.params, place.key("params"), inputs, context),
        asks: pairs(&raw.asks),
        shows: pairs(&raw.shows),
        field: raw.field.clone().unwrap_or_else(|| "otp".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_redirect;

    #[test]
    fn a_redirect_uri_is_https_or_on_this_machine_or_an_apps_own() {
        for good in [
            "https://app.example/callback?x=1",
            "http://127.0.0.1:9180/oauth/callback",
            "http://[::1]/cb",
            "http://localhost/cb",
            "com.example.app:/callback",
        ] {
            assert_eq!(check_redirect(good, false), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/callback",
            "app.example/cb",
            "http://app.example/cb",
            "https://a/b#c",
            "urn:x",
            "https://a b",
        ] {
            assert!(check_redirect(bad, false).is_err(), "{bad}");
        }
        assert_eq!(check_redirect("http://app.example/cb", true), Ok(()));
    }
}
