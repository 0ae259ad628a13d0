//! ID tokens, checked before anything relies on them (OpenID Connect Core 1.0, section 3.1.3.7).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::credential::Minted;
use crate::credential::flow::lifetime::{number, timestamp};
use crate::credential::flow::oauth2::endpoints::Metadata;
use crate::credential::flow::oauth2::{OAuth2Flow, Occasion};
use crate::credential::flow::{Exchange, MintError};
use crate::jose::verify::{SignedToken, Unverified};
use crate::secret::Secret;
use crate::upstream::{Scheme, Url};

/// The output.
pub(in crate::credential) const OUTPUT: &str = "id_token";

/// How much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// Said of a token that something relies on, where nobody knows the issuer's keys.
const UNSIGNED: &str = "the ID token's signature is not checked, since nothing says by which keys it is made: the \
                        connection to the token endpoint speaks for it; say `issuer` or `id_token`";

/// What is said about checking ID tokens, over what an issuer's metadata says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdTokenSpec {
    /// Who makes them (`iss`).
    pub issuer: Option<String>,
    /// Where the keys of their signatures lie.
    pub jwks: Option<Url>,
    /// Whom they are for (`aud`), if that is not the client.
    pub audience: Option<String>,
    /// Something relies on them: a token that cannot be checked fails the exchange.
    pub required: bool,
}

/// What one ID token has to say.
struct Expected<'a> {
    issuer: Option<&'a str>,
    audience: &'a str,
    client_id: &'a str,
    /// `None` where none was sent.
    nonce: Option<&'a Secret>,
    now: Timestamp,
}

/// Has the keys at hand before anything is asked for, where something relies on the ID token.
pub(super) async fn prepare(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &Metadata,
) -> Result<(), MintError> {
    match flow.id_token.jwks.as_ref().or(metadata.jwks.as_ref()) {
        Some(jwks) if flow.id_token.required => exchange.memory.key_sets.fetch(jwks, exchange).await,
        _ => Ok(()),
    }
}

/// Checks the ID token that came with the others, if one did: the one place where that is done, for logins
/// and renewals. One that does not hold is taken away, with a warning; if something relies on it, that
/// fails. A login always relies on it: it carries the nonce.
pub(super) async fn check(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &Metadata,
    occasion: Occasion<'_>,
    minted: &mut Minted,
) -> Result<(), MintError> {
    let Some(token) = minted.outputs.get(OUTPUT).cloned() else { return Ok(()) };
    let spec = &flow.id_token;
    let jwks = spec.jwks.as_ref().or(metadata.jwks.as_ref());
    let nonce = match occasion {
        Occasion::Login { nonce } => nonce,
        // Nobody says how, and nobody relies on it.
        Occasion::Renewal if jwks.is_none() && !spec.required => return Ok(()),
        Occasion::Renewal => None,
    };
    let required = spec.required || matches!(occasion, Occasion::Login { .. });
    let client_id = exchange.render(&flow.client_id)?;
    let client_id = std::str::from_utf8(&client_id).unwrap_or_default();
    let expected = Expected {
        issuer: spec.issuer.as_deref().or(metadata.issuer.as_deref()),
        audience: spec.audience.as_deref().unwrap_or(client_id),
        client_id,
        nonce,
        now: exchange.clock.wall(),
    };
    let verdict = match token.expose_str().ok_or("is not text").and_then(SignedToken::parse) {
        Err(what) => Err(what.to_owned()),
        Ok(token) => match verify(&token, jwks, metadata, exchange).await {
            Ok(verdict) => verdict.and_then(|()| expected.compare(&token)),
            Err(error) if required => return Err(error),
            Err(error) => Err(format!("cannot be checked: {}", error.message())),
        },
    };
    let Err(what) = verdict else {
        if jwks.is_none() && spec.required {
            minted.warnings.push(UNSIGNED.to_owned());
        }
        return Ok(());
    };
    let message = format!("the ID token {what}");
    if required {
        return Err(MintError::IdToken { message });
    }
    minted.outputs.retain(|name, _| name != OUTPUT);
    minted.warnings.push(format!("{message}: it is not used"));
    Ok(())
}

/// Whether somebody who can be trusted made the token: the issuer by its signature or, where its keys are
/// not known, the token endpoint by the connection that it came over (section 3.1.3.7, 6).
async fn verify(
    token: &SignedToken<'_>,
    jwks: Option<&Url>,
    metadata: &Metadata,
    exchange: &Exchange<'_>,
) -> Result<Result<(), String>, MintError> {
    let Some(jwks) = jwks else {
        let speaks_for_it = |url: &Url| url.origin.scheme == Scheme::Https || url.origin.is_loopback();
        let is_trusted = metadata.token.as_ref().is_some_and(speaks_for_it);
        let what =
            "came over plain HTTP, and nothing says by which keys it is signed: say `issuer` or `jwks_url`";
        return Ok(if is_trusted { Ok(()) } else { Err(what.to_owned()) });
    };
    Ok(match exchange.memory.key_sets.verify(jwks, token, exchange).await? {
        Ok(()) => Ok(()),
        Err(Unverified::UnknownKey) => Err("is signed by a key that its issuer does not show".to_owned()),
        Err(Unverified::Forged) => Err("has a signature that its issuer did not make".to_owned()),
    })
}

impl Expected<'_> {
    /// Compares the claims of a token that can be trusted.
    fn compare(&self, token: &SignedToken<'_>) -> Result<(), String> {
        let wrong = |what: &str| Err(what.to_owned());
        // A token for another purpose may be signed by the same key (RFC 8725, section 3.11).
        if token.kind().is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
            return wrong("is a token of another kind");
        }
        let text = |name: &str| token.claim(name).and_then(Value::as_str);
        if let Some(nonce) = self.nonce
            && text("nonce").map(Secret::from).as_ref() != Some(nonce)
        {
            return wrong("does not carry the nonce of this login: it may be another's");
        }
        if self.issuer.is_some_and(|issuer| text("iss") != Some(issuer)) {
            return wrong("is not of the issuer that was asked");
        }
        let audiences: Vec<&str> = match token.claim("aud") {
            Some(Value::String(audience)) => vec![audience],
            Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !audiences.contains(&self.audience) {
            return wrong("is for another client");
        }
        // Beside others, it has to say that it was made for this one.
        let authorized = text("azp");
        if authorized.is_some_and(|party| party != self.client_id && party != self.audience)
            || (audiences.len() > 1 && authorized.is_none())
        {
            return wrong("was made for another client");
        }
        let time = |name: &str| token.claim(name).and_then(number).and_then(timestamp);
        let later = |time: Timestamp| time.saturating_add(LEEWAY).unwrap_or(Timestamp::MAX);
        match time("exp") {
            None => return wrong("has no end"),
            Some(end) if later(end) <= self.now => {
                return wrong("has ended already: does this machine's clock go right?");
            }
            Some(_) => {}
        }
        if time("iat").is_none() {
            return wrong("does not say when it was made");
        }
        if ["iat", "nbf"].iter().any(|name| time(name).is_some_and(|time| time > later(self.now))) {
            return wrong("is of the future: does this machine's clock go right?");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
