//! What an ID token says (OpenID Connect Core, section 3.1.3.7), compared with what was asked.

use jiff::Timestamp;
use serde_json::Value;

use crate::credential::Minted;
use crate::credential::consent::ConsentError;
use crate::credential::flow::oauth2::OAuth2Flow;
use crate::credential::flow::oauth2::endpoints::Metadata;
use crate::credential::flow::{Exchange, jwt};
use crate::secret::Secret;

/// How much clocks may differ, in seconds.
const LEEWAY: i64 = 60;

/// What an ID token has to say.
pub(super) struct Expected<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) client_id: &'a str,
    /// `None` where none was sent.
    pub(super) nonce: Option<&'a Secret>,
}

/// Checks the ID token that came with the tokens, if one did.
pub(super) fn check(
    flow: &OAuth2Flow,
    minted: &Minted,
    expected: &Expected<'_>,
    exchange: &Exchange<'_>,
) -> Result<(), ConsentError> {
    let Some(token) = minted.outputs.get("id_token") else { return Ok(()) };
    let asked = flow.scopes.iter().any(|scope| scope == "openid");
    let expected = Expected { nonce: expected.nonce.filter(|_| asked), ..*expected };
    claims(token, &expected, exchange.clock.wall()).map_err(ConsentError::IdToken)
}

/// Compares the claims.
fn claims(token: &Secret, expected: &Expected<'_>, now: Timestamp) -> Result<(), String> {
    let wrong = |what: &str| format!("the ID token {what}");
    let claims = jwt::claims(token).ok_or_else(|| wrong("is not a signed token"))?;
    let text = |name: &str| claims.member(name).and_then(Value::as_str);
    if let Some(nonce) = expected.nonce
        && text("nonce").map(Secret::from).as_ref() != Some(nonce)
    {
        return Err(wrong("does not carry the nonce of this login: it may be another's"));
    }
    if let Some(issuer) = &expected.metadata.issuer
        && text("iss") != Some(issuer)
    {
        return Err(wrong("is not of the issuer that was asked"));
    }
    let is_for_us = match claims.member("aud") {
        Some(Value::String(audience)) => audience == expected.client_id,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == expected.client_id),
        _ => false,
    };
    if !is_for_us {
        return Err(wrong("is for another client"));
    }
    let end = jwt::expiry(token).ok_or_else(|| wrong("has no end"))?;
    if end.as_second() + LEEWAY <= now.as_second() {
        return Err(wrong("has ended already: does this machine's clock go right?"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jiff::Timestamp;

    use super::{Expected, claims};
    use crate::credential::flow::oauth2::endpoints::Metadata;
    use crate::secret::Secret;

    fn check(text: &str) -> Result<(), String> {
        let metadata = Metadata { issuer: Some("https://i".to_owned()), ..Metadata::default() };
        let nonce = Secret::from("n-1");
        let expected = Expected { metadata: &metadata, client_id: "me", nonce: Some(&nonce) };
        let token = format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(text));
        claims(&Secret::from(token), &expected, Timestamp::constant(1000, 0))
    }

    #[test]
    fn nonce_issuer_audience_and_end_are_compared() {
        assert_eq!(check(r#"{"nonce": "n-1", "iss": "https://i", "aud": "me", "exp": 2000}"#), Ok(()));
        assert_eq!(check(r#"{"nonce": "n-1", "iss": "https://i", "aud": ["x", "me"], "exp": 941}"#), Ok(()));
        for (text, what) in [
            (r#"{"iss": "https://i", "aud": "me", "exp": 2000}"#, "nonce"),
            (r#"{"nonce": "n-2", "iss": "https://i", "aud": "me", "exp": 2000}"#, "nonce"),
            (r#"{"nonce": "n-1", "iss": "https://i/", "aud": "me", "exp": 2000}"#, "issuer"),
            (r#"{"nonce": "n-1", "iss": "https://i", "aud": "you", "exp": 2000}"#, "another client"),
            (r#"{"nonce": "n-1", "iss": "https://i", "exp": 2000}"#, "another client"),
            (r#"{"nonce": "n-1", "iss": "https://i", "aud": "me"}"#, "no end"),
            (r#"{"nonce": "n-1", "iss": "https://i", "aud": "me", "exp": 940}"#, "has ended"),
            ("x", "not a signed token"),
        ] {
            assert!(check(text).is_err_and(|error| error.contains(what)), "{text}");
        }
    }
}
