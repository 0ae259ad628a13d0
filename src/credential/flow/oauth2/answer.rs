//! The answer of a token endpoint (RFC 6749, sections 5.1 and 5.2), which not every issuer writes
//! as the RFC says.

use std::time::Duration;

use serde_json::Value;

use crate::credential::flow::classify::{by_status, quote, status_text, transient};
use crate::credential::flow::json::{Json, scalar_text};
use crate::credential::flow::lifetime::from_now;
use crate::credential::flow::oauth2::{Grant, OAuth2Flow, dpop, error};
use crate::credential::flow::{Exchange, MintError, jwt, unread};
use crate::credential::{Lifetime, Minted, Outputs};
use crate::jose::proof::KEY_OUTPUT;
use crate::secret::Secret;
use crate::upstream::Url;
use crate::upstream::exchange::Answer;

/// The longest token that is taken, in bytes: more does not fit into a request's head anywhere.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Members that tell how long a refresh token lasts if it is not used: no standard has a name for it.
const LAPSES: [&str; 2] = ["refresh_expires_in", "refresh_token_expires_in"];

/// What RFC 8693, section 3, calls a refresh token.
const REFRESH_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:refresh_token";

/// The issuer's error code, if the answer has one.
pub(in crate::credential) fn error_of(answer: &Answer) -> Option<String> {
    error::told(&Json::parse(&answer.body)?)
}

/// Makes tokens of an answer, or says what its failure means.
pub(super) fn read(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    url: &Url,
    answer: &Answer,
) -> Result<Minted, MintError> {
    let origin = &url.origin;
    let status = status_text(answer.status);
    let now = exchange.clock.wall();
    let json = Json::parse(&answer.body).filter(Json::is_object);
    let error = json.as_ref().and_then(error::told);
    if let Some(error) = &error {
        let shown = quote(error, exchange.inputs).unwrap_or_else(|| "(not shown)".to_owned());
        let message = format!("{origin} answered {status} with the error `{shown}`");
        let own = flow.rejected_errors.contains(error).then_some("for this issuer that means a wrong input");
        if let Some(meaning) = error::rejection(error).or(own) {
            let message = format!("{message}: {meaning}");
            return Err(match error.as_str() {
                "invalid_grant" => MintError::Withdrawn { message },
                _ => MintError::Rejected { message },
            });
        }
        if answer.status.is_success() {
            // The status that RFC 6749 asks for with any error is a 400.
            return Err(match error.as_str() {
                "server_error" | "temporarily_unavailable" | "slow_down" => transient(message),
                _ => MintError::Stubborn { message },
            });
        }
        return Err(by_status(answer, now, message));
    }
    if !answer.status.is_success() {
        return Err(by_status(answer, now, format!("{origin} answered {status}")));
    }
    let Some(json) = json else {
        return Err(transient(format!("{origin} answered {status}, but {}", what_it_is(answer))));
    };
    accept(flow, exchange, &json).map_err(|fault| {
        let error = match fault {
            Fault::Unreadable(what) => transient(format!("{origin} answered {status}, but {what}")),
            Fault::Unusable(what) => {
                MintError::Stubborn { message: format!("{origin} answered {status}, but {what}") }
            }
        };
        // The one that was used may be used up all the same.
        let renews = exchange.inputs.values.contains_key("refresh_token");
        error.with_successor(if renews { rotated(&json, exchange, &mut Vec::new()) } else { None })
    })
}

/// What is wrong with a success.
enum Fault {
    /// It may be better next time.
    Unreadable(String),
    /// It is as the issuer wants it, and of no use.
    Unusable(String),
}

fn accept(flow: &OAuth2Flow, exchange: &Exchange<'_>, json: &Json) -> Result<Minted, Fault> {
    let mut warnings = Vec::new();
    let access_token = token(json, "access_token").map_err(Fault::Unreadable)?;
    check_type(flow, json, exchange)?;
    warnings.extend(exchange.check_upstream(json).map_err(Fault::Unusable)?);
    let lifetime = seconds(json, "expires_in").or_else(|| jwt::expiry(&access_token).map(Lifetime::Until));
    if lifetime.is_none() {
        warnings.extend(unread_seconds(json, "expires_in"));
    }
    let renews = flow.grant.renews_by_refresh_token();
    let rotated = if renews { rotated(json, exchange, &mut warnings) } else { None }.map(Secret::locked);
    let lapses = LAPSES
        .iter()
        .find_map(|name| seconds(json, name))
        // Some issuers say 0 of one that does not end.
        .filter(|lapses| *lapses != Lifetime::For(Duration::ZERO));
    warnings.extend(LAPSES.iter().filter_map(|name| unread_seconds(json, name)));
    warnings.extend(missing_scopes(flow, json, exchange));
    let mut outputs = Outputs::new();
    if let Some(dpop) = &flow.dpop {
        let key = dpop::key(dpop, exchange).map_err(|_| Fault::Unusable("its key is gone".to_owned()))?;
        outputs.insert(KEY_OUTPUT.to_owned(), key);
    }
    outputs.insert("access_token".to_owned(), access_token);
    if let Ok(id_token) = token(json, "id_token") {
        outputs.insert("id_token".to_owned(), id_token);
    }
    for (name, pointer) in &flow.outputs {
        // The token itself is good, and a refresh token may have been used up for it: a lesser
        // field that is missing does not throw them away.
        match json.at(pointer).and_then(scalar_text).filter(|text| !text.is_empty()) {
            Some(text) => {
                outputs.insert(name.clone(), Secret::from(text));
            }
            None => warnings
                .push(format!("the token answer has no text at `{pointer}`, which output `{name}` is")),
        }
    }
    Ok(Minted { outputs, lifetime, rotated, lapses, warnings })
}

/// A lifetime by its member name: a number of seconds, or its text.
fn seconds(json: &Json, name: &str) -> Option<Lifetime> {
    from_now(json.member(name)?, Duration::from_secs(1))
}

/// Of a lifetime that is said and is no number of seconds.
fn unread_seconds(json: &Json, name: &str) -> Option<String> {
    let value = json.member(name).filter(|value| !value.is_null() && seconds(json, name).is_none())?;
    Some(format!("`{name}` in the token answer is not a number of seconds, but {}", unread::shape(value)))
}

/// A token by its member name: a text of visible ASCII, which is all that fits into a header, and
/// more than RFC 6750, section 2.1, allows, since issuers do.
fn token(json: &Json, name: &str) -> Result<Secret, String> {
    match json.member(name) {
        None | Some(Value::Null) => Err(format!("there is no `{name}` in it")),
        Some(Value::String(text)) if text.is_empty() => Err(format!("its `{name}` is empty")),
        Some(Value::String(text)) if text.len() > LONGEST_TOKEN => {
            Err(format!("its `{name}` is longer than {LONGEST_TOKEN} bytes"))
        }
        Some(Value::String(text)) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(format!("its `{name}` has blanks or control characters in it"))
        }
        Some(Value::String(text)) => Ok(Secret::from(text.as_str())),
        Some(_) => Err(format!("its `{name}` is not a text")),
    }
}

/// A token may only be used if its type is understood (RFC 6749, section 7.1): bearer tokens are. What
/// an exchange brings may be no access token at all (RFC 8693, section 2.2.1): whoever asks for one
/// knows what it is for. One that renews others is no token for a request.
fn check_type(flow: &OAuth2Flow, json: &Json, exchange: &Exchange<'_>) -> Result<(), Fault> {
    let is_exchange = flow.grant == Grant::TokenExchange;
    if is_exchange
        && json.member("issued_token_type").and_then(Value::as_str) == Some(REFRESH_TOKEN_TYPE)
        && !flow.params.iter().any(|(_, value)| value.as_text() == Some(REFRESH_TOKEN_TYPE))
    {
        let what = "its token is a refresh token, which was not asked for: say `requested_token_type`";
        return Err(Fault::Unusable(what.to_owned()));
    }
    let said = json.member("token_type");
    let kind = said.and_then(Value::as_str).map(|kind| kind.trim().to_ascii_lowercase());
    let is_understood = match (said, kind.as_deref()) {
        // An issuer that knows nothing of proofs gives a token that anybody can use (RFC 9449, section 5).
        (_, kind) if flow.dpop.is_some() => kind == Some("dpop"),
        (None | Some(Value::Null), _) | (_, Some("" | "bearer")) => true,
        (_, Some("n_a")) => is_exchange,
        _ => false,
    };
    if is_understood {
        return Ok(());
    }
    let shown = said.and_then(scalar_text).and_then(|kind| quote(&kind, exchange.inputs));
    let shown = shown.unwrap_or_else(|| "(not shown)".to_owned());
    let usable = match flow.dpop {
        Some(_) => "one that is bound to a key (`DPoP`) was asked for",
        None => "only bearer tokens can be used",
    };
    Err(Fault::Unusable(format!("its token is of the type `{shown}`, and {usable}")))
}

/// Tells which of the scopes that were asked for the issuer did not grant (RFC 6749, section 3.3). An
/// answer without `scope` grants them all.
fn missing_scopes(flow: &OAuth2Flow, json: &Json, exchange: &Exchange<'_>) -> Option<String> {
    let granted = json.member("scope")?.as_str().filter(|granted| !granted.trim().is_empty())?;
    // Some issuers write commas between them.
    let granted: Vec<&str> = granted.split([' ', ',']).collect();
    let missing = flow.scopes.iter().filter(|scope| !granted.contains(&scope.as_str()));
    let missing: Vec<String> = missing.filter_map(|scope| quote(scope, exchange.inputs)).collect();
    (!missing.is_empty()).then(|| format!("the issuer did not grant the scope {}", missing.join(" ")))
}

/// The refresh token that replaces the one just used (RFC 6749, section 6); `None` keeps that.
fn rotated(json: &Json, exchange: &Exchange<'_>, warnings: &mut Vec<String>) -> Option<Secret> {
    json.member("refresh_token")?;
    match token(json, "refresh_token") {
        Ok(new) if exchange.inputs.values.get("refresh_token") == Some(&new) => None,
        Ok(new) => Some(new),
        Err(what) => {
            warnings
                .push(format!("the refresh token is kept, since the answer brings no usable one: {what}"));
            None
        }
    }
}

/// What a body is that is no JSON object, for the message.
fn what_it_is(answer: &Answer) -> &'static str {
    let body = answer.body.expose();
    if body.is_empty() {
        "its body is empty"
    } else if body.trim_ascii_start().starts_with(b"<") {
        "its body is a web page: is this the token endpoint, or did something in between answer?"
    } else {
        "its body is not a JSON object"
    }
}
