//! `/v1/session`: whether changes can be made, and the way of the console to make them.

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Refusal, empty, json};
use crate::admin::guard::{Caller, shown_token};
use crate::admin::session::Attempt;
use crate::credential::input;
use crate::route::Guesser;
use crate::secret::Secret;

/// The token that changes have to show; `None` where none is asked for, or none is configured.
pub(super) async fn configured_token(admin: &Admin, caller: Caller) -> Result<Option<Secret>, Refusal> {
    let spec = admin.spec.load_full();
    let Some(source) = spec.token.as_ref().filter(|_| matches!(caller, Caller::Tcp { .. })) else {
        return Ok(None);
    };
    let token = input::read_source("token", source, &|_, _| None, &admin.clock).await;
    token.map(Some).map_err(|error| {
        tracing::error!(error = error.message, "the admin token cannot be read");
        Refusal::TokenUnreadable(error.message)
    })
}

/// `GET` tells what a change takes, `POST` with the token opens a session, `DELETE` ends it.
pub(super) async fn session(admin: &Admin, caller: Caller, head: &Parts) -> Result<Answer, Refusal> {
    let configured = configured_token(admin, caller).await?;
    match (&head.method, caller, configured) {
        (&Method::GET | &Method::HEAD, Caller::Unix(_), _) => Ok(tell("open", None)),
        (&Method::GET | &Method::HEAD, Caller::Tcp { .. }, None) => Ok(tell("off", None)),
        (&Method::GET | &Method::HEAD, Caller::Tcp { .. }, Some(token)) => {
            let left = admin.sessions.check(&head.headers, &token).ok();
            Ok(tell("token", left.map(|left| left.as_secs())))
        }
        (&Method::DELETE, ..) => {
            let mut answer = empty(StatusCode::NO_CONTENT);
            answer.headers_mut().insert(SET_COOKIE, admin.sessions.close(&head.headers));
            Ok(answer)
        }
        (_, Caller::Unix(_), _) => {
            Err(Refusal::Conflict("a caller over the Unix socket needs no session".to_owned()))
        }
        (_, Caller::Tcp { .. }, None) => Err(Refusal::NoTokenConfigured),
        (_, Caller::Tcp { who, .. }, Some(token)) => sign_in(admin, head, who, &token),
    }
}

/// `access` is `open` (changes take nothing), `token` (a session or the token) or `off`.
fn tell(access: &str, signed_in_for: Option<u64>) -> Answer {
    json(StatusCode::OK, &json!({ "access": access, "expires_in": signed_in_for }))
}

fn sign_in(admin: &Admin, head: &Parts, who: Guesser, configured: &Secret) -> Result<Answer, Refusal> {
    let spec = admin.spec.load();
    let (lifetime, most_wrong) = (spec.session_lifetime, spec.max_wrong_sign_ins);
    let shown = shown_token(head);
    let attempt = Attempt { shown: shown.as_ref(), who, most_wrong };
    let opened = admin.sessions.open(&attempt, configured, lifetime).map_err(|error| {
        tracing::warn!(?error, "nobody was signed in to the console");
        Refusal::from(error)
    })?;
    tracing::info!("signed in to the console");
    // It goes to the one who showed the token, and ends with the session.
    let document = json!({ "proof": opened.proof.expose_str(), "expires_in": lifetime.as_secs() });
    let mut answer = json(StatusCode::OK, &document);
    answer.headers_mut().insert(SET_COOKIE, opened.set_cookie);
    Ok(answer)
}
