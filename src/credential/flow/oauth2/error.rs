//! The error of a token endpoint (RFC 6749, section 5.2), wherever the issuer writes its name.
//!
//! Only an exact name counts, never a piece of a text: `invalid_grant` stops all tries, and a sentence
//! may well speak of one without meaning it.

use serde_json::{Map, Value};

use crate::credential::flow::json::{Json, scalar_text};

/// The errors that RFC 6749 (section 5.2), RFC 8628 (3.5), RFC 8693 (2.2.2), RFC 8707 (2) and RFC 9449
/// (5) name: what may be recognised at the beginning of a text.
const NAMES: [&str; 16] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "invalid_target",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "invalid_token",
];

/// Members of an answer that tell of an error by its name, or by a text that begins with it.
const DESCRIPTIONS: [&str; 6] = ["code", "type", "error", "error_description", "message", "errorMessage"];

/// The error that an answer tells, if it tells one: some issuers send `error` empty with every
/// success.
pub(super) fn told(json: &Json) -> Option<String> {
    let members = json.members()?;
    match members.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::String(error)) if error.is_empty() => {}
        Some(Value::String(error)) if !error.contains([' ', ':']) => return Some(error.clone()),
        // A sentence, a number or an object: the name may stand in it, or beside it.
        Some(other) => {
            let within = match other {
                Value::Object(members) => described(members),
                Value::String(text) => leading_name(text),
                _ => None,
            };
            let name = within.or_else(|| described(members)).map(str::to_owned);
            return name.or_else(|| scalar_text(other)).or_else(|| Some("an object".to_owned()));
        }
    }
    // A success needs no reason, whatever its texts say.
    let is_success = matches!(members.get("access_token"), Some(Value::String(token)) if !token.is_empty());
    if is_success { None } else { described(members).map(str::to_owned) }
}

/// The name of an error in one of the members that describe it.
fn described(members: &Map<String, Value>) -> Option<&'static str> {
    DESCRIPTIONS.iter().find_map(|name| leading_name(members.get(*name)?.as_str()?))
}

/// The name that a text begins with, as a whole word: of `invalid_grant: expired`, not of
/// `invalid_grants`.
fn leading_name(text: &str) -> Option<&'static str> {
    let is_part = |next: char| next.is_alphanumeric() || matches!(next, '_' | '-');
    let word = text.split(|next| !is_part(next)).next()?;
    NAMES.into_iter().find(|name| *name == word)
}

/// What an error means that stops all further tries, by its exact name.
pub(super) fn rejection(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid_grant" => {
            "what was granted (refresh token, password, assertion or subject token) is not valid, or no longer"
        }
        "invalid_client" => "the client's identifier, its secret or the kind of `client_auth` is wrong",
        "unauthorized_client" => "this client may not use this grant",
        "invalid_scope" => "a scope is unknown, or this client may not ask for it",
        "unsupported_grant_type" => "this issuer does not offer this grant",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::told;
    use crate::credential::flow::json::Json;
    use crate::secret::Secret;

    fn of(body: &str) -> Option<String> {
        told(&Json::parse(&Secret::from(body)).expect("JSON"))
    }

    #[test]
    fn a_name_is_recognised_where_the_issuer_writes_it() {
        for body in [
            r#"{"error": "invalid_grant"}"#,
            r#"{"error_description": "invalid_grant: the token has expired"}"#,
            r#"{"error_description": "invalid_grant"}"#,
            r#"{"message": "invalid_grant, try again"}"#,
            r#"{"code": "invalid_grant", "message": "no"}"#,
            r#"{"error": "Bad Request", "error_description": "invalid_grant - expired"}"#,
            r#"{"error": "invalid_grant: expired"}"#,
            r#"{"error": {"code": "invalid_grant", "message": "expired"}}"#,
            r#"{"error": {"code": 400, "message": "invalid_grant: expired"}}"#,
            r#"{"error": true, "message": "invalid_grant"}"#,
            r#"{"access_token": "", "message": "invalid_grant"}"#,
        ] {
            assert_eq!(of(body).as_deref(), Some("invalid_grant"), "{body}");
        }
    }

    #[test]
    fn a_name_is_never_found_inside_a_text() {
        for body in [
            r#"{"message": "the error invalid_grant"}"#,
            r#"{"message": "invalid_grants"}"#,
            r#"{"message": "invalid_grant_type: none"}"#,
            r#"{"message": "invalid_grant-like"}"#,
            r#"{"message": "Invalid_Grant: x"}"#,
            r#"{"message": "\"invalid_grant\""}"#,
            r#"{"status": "invalid_grant"}"#,
            r#"{"message": ["invalid_grant"]}"#,
            r#"{"access_token": "t", "message": "invalid_grant: or not"}"#,
            r#"{"error": "", "access_token": "t"}"#,
            "{}",
        ] {
            assert_eq!(of(body), None, "{body}");
        }
    }

    #[test]
    fn a_code_of_the_issuers_own_stands_as_it_is() {
        let own = of(r#"{"error": "no_such_tenant", "error_description": "invalid_grant"}"#);
        assert_eq!(own.as_deref(), Some("no_such_tenant"));
        assert_eq!(of(r#"{"error": 5}"#).as_deref(), Some("5"));
        assert_eq!(of(r#"{"error": ["x"]}"#).as_deref(), Some("an object"));
        assert_eq!(of(r#"{"error": "went wrong"}"#).as_deref(), Some("went wrong"));
    }
}
