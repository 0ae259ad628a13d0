//! What is asked, and who answers it.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::oneshot;

use crate::admin::answer::{self, Answer, Refusal, empty, json, text, typed};
use crate::admin::guard::{Caller, check_change, check_host, check_source};
use crate::admin::overview::Observer;
use crate::admin::view::{CredentialView, CredentialsView, EgressesView, subjects_of};
use crate::admin::{
    Admin, BODY_TIMEOUT, Command, MAX_BODY, access, console, events, exposition, login, metrics, readiness,
};
use crate::control;
use crate::credential::keeper::SetError;
use crate::credential::{CredentialName, Owner};
use crate::secret::{Secret, without_line_break};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Front,
    Live,
    Ready,
    Metrics,
    Session,
    Overview,
    Events,
    Egress,
    Credentials,
    Credential(CredentialName),
    Refresh(CredentialName),
    Token(CredentialName),
    Login(control::Place),
    OAuthCallback,
    OAuthLogin,
    Reload,
    Quit,
}

impl Place {
    fn at(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments.as_slice() {
            [""] => Self::Front,
            ["live"] => Self::Live,
            ["ready"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["v1", "session"] => Self::Session,
            ["v1", "overview"] => Self::Overview,
            ["v1", "events"] => Self::Events,
            ["v1", "egress"] => Self::Egress,
            ["v1", "credentials"] => Self::Credentials,
            ["v1", "credentials", name] => Self::Credential(control::place::credential(name)?),
            ["v1", "credentials", name, "refresh"] => Self::Refresh(control::place::credential(name)?),
            ["v1", "credentials", name, "token"] => Self::Token(control::place::credential(name)?),
            ["v1", "credentials", rest @ ..] => Self::Login(control::Place::at(rest)?),
            ["oauth", "callback"] => Self::OAuthCallback,
            ["oauth", "login"] => Self::OAuthLogin,
            ["v1", "reload"] => Self::Reload,
            ["v1", "quit"] => Self::Quit,
            _ => return None,
        })
    }

    /// The methods that it takes, as `Allow` lists them.
    fn methods(&self) -> &'static str {
        match self {
            Self::Refresh(_) | Self::Reload | Self::Quit => "POST",
            Self::Token(_) => "PUT",
            Self::Login(place) => place.methods(),
            // A look ahead must not use a login up.
            Self::OAuthCallback | Self::OAuthLogin | Self::Events => "GET",
            Self::Session => "GET, HEAD, POST, DELETE",
            _ => "GET, HEAD",
        }
    }

    /// Whether a browser comes to it from other sites' pages.
    fn is_visited(&self) -> bool {
        matches!(self, Self::OAuthCallback | Self::OAuthLogin)
    }

    /// Whether it tells who has tokens. What an app calls its users may be a number or an address of
    /// theirs: it takes what a change takes.
    fn names_people(&self) -> bool {
        matches!(self, Self::Login(control::Place::Subjects(_)))
    }

    /// Whether anybody may read it under any name: what probes and scrapers ask for.
    fn is_open(&self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Metrics)
    }
}

/// Answers one request.
pub(super) async fn answer(admin: &Arc<Admin>, caller: Caller, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    match serve(admin, caller, &head, body).await {
        Ok(answer) => answer,
        Err(refusal) => {
            tracing::debug!(method = %head.method, path = head.uri.path(), ?refusal, "admin request refused");
            refusal.answer()
        }
    }
}

async fn serve(admin: &Arc<Admin>, caller: Caller, head: &Parts, body: Incoming) -> Result<Answer, Refusal> {
    let place = Place::at(head.uri.path());
    match &place {
        Some(place) if place.is_open() => {}
        Some(place) if place.is_visited() => check_host(caller, head)?,
        _ => check_source(caller, head)?,
    }
    let place = place.ok_or_else(|| Refusal::NotFound("GET / lists what is here".to_owned()))?;
    let methods = place.methods();
    if !methods.split(", ").any(|method| method == head.method.as_str()) {
        return Err(Refusal::MethodNotAllowed(methods));
    }
    let is_change = !matches!(head.method, Method::GET | Method::HEAD);
    let is_free = place == Place::Session || place == Place::Quit && admin.spec.load().allow_quit;
    if is_change && !is_free || place.names_people() {
        let configured = access::configured_token(admin, caller).await?;
        let most_wrong = admin.spec.load().max_wrong_tokens;
        check_change(caller, head, configured.as_ref(), &admin.sessions, most_wrong)?;
    }
    match place {
        Place::Front => Ok(console::page()),
        Place::Session => access::session(admin, caller, head).await,
        Place::Overview => Ok(json(StatusCode::OK, &Observer::default().whole(admin).await)),
        Place::Events => events::stream(admin).map(answer::events).ok_or(Refusal::TooManyStreams),
        Place::Live => Ok(text(StatusCode::OK, "live\n")),
        Place::Ready => match readiness::unready(admin) {
            None => Ok(text(StatusCode::OK, "ready\n")),
            Some(why) => Err(Refusal::NotReady(why)),
        },
        Place::Metrics => Ok(typed(StatusCode::OK, exposition::MEDIA_TYPE, metrics::encode(admin).await)),
        Place::Egress => Ok(json(StatusCode::OK, &EgressesView::of(&admin.egress.borrow()))),
        Place::Credentials => {
            let mut credentials = Vec::new();
            for status in admin.keeper.statuses() {
                let subjects = subjects_of(&admin.keeper, &status.owner.credential).await;
                credentials.push(CredentialView::new(status, subjects));
            }
            Ok(json(StatusCode::OK, &CredentialsView { credentials }))
        }
        Place::Credential(name) => {
            let status = admin.keeper.status(&Owner::from(&name)).ok_or_else(|| no_credential(&name))?;
            let subjects = subjects_of(&admin.keeper, &name).await;
            Ok(json(StatusCode::OK, &CredentialView::new(status, subjects)))
        }
        Place::Refresh(name) => refresh(admin, &name, head.uri.query().unwrap_or_default()).await,
        Place::Token(name) => set_token(admin, &name, head.uri.query().unwrap_or_default(), body).await,
        Place::Login(place) => login::answer(admin, &place, head, body).await,
        Place::OAuthCallback => login::callback(admin, head).await,
        Place::OAuthLogin => login::begin(admin, head).await,
        Place::Reload => reload(admin).await,
        Place::Quit => {
            tracing::info!("asked to quit over the admin listener");
            // Without a reader the process is ending already.
            let _ = admin.commands.send(Command::Quit);
            Ok(empty(StatusCode::ACCEPTED))
        }
    }
}

fn no_credential(name: &CredentialName) -> Refusal {
    Refusal::NotFound(format!("there is no credential `{name}`"))
}

async fn refresh(admin: &Admin, name: &CredentialName, query: &str) -> Result<Answer, Refusal> {
    let flag = |wanted: &str| -> Result<bool, Refusal> {
        match form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted) {
            None => Ok(false),
            Some((_, value)) => match &*value {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(Refusal::BadRequest(format!("`{wanted}` is true or false"))),
            },
        }
    };
    let (wait, force) = (flag("wait")?, flag("force")?);
    let outcome = admin.keeper.refresh(&Owner::from(name), force).ok_or_else(|| no_credential(name))?;
    tracing::info!(credential = %name, force, "asked to renew over the admin listener");
    if !wait {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    Ok(json(StatusCode::OK, &json!({ "outcome": outcome.await })))
}

async fn set_token(
    admin: &Admin,
    name: &CredentialName,
    query: &str,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let expires = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "expires");
    // A plus in a query means a blank, and in a zone of a time it is meant.
    let expires = expires.map(|(_, value)| value.replace(' ', "+").parse::<Timestamp>());
    let wrong = |_| Refusal::BadRequest("`expires` is a time with its zone (RFC 3339)".to_owned());
    let expires = expires.transpose().map_err(wrong)?;
    let body = read(body).await?;
    let token = without_line_break(&body);
    if token.is_empty() {
        return Err(Refusal::BadRequest("the body is the token, and it is empty".to_owned()));
    }
    match admin.keeper.set_token(name, Secret::new(token), expires).await {
        Ok(()) => {
            tracing::info!(credential = %name, "token replaced over the admin listener");
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Err(SetError::Unknown) => Err(no_credential(name)),
        // Static tokens have no subjects.
        Err(SetError::NotStatic | SetError::NoSubject) => Err(Refusal::Conflict(format!(
            "`{name}` obtains its tokens by itself: only a static one can be set"
        ))),
        Err(SetError::Unusable(why)) => Err(Refusal::BadRequest(why)),
    }
}

/// The whole body, in a buffer that is wiped.
pub(super) async fn read(body: Incoming) -> Result<zeroize::Zeroizing<Vec<u8>>, Refusal> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let bytes: Bytes = match whole {
        Err(_) => return Err(Refusal::TooSlow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
        Ok(Err(_)) => return Err(Refusal::BadRequest("the body broke off".to_owned())),
        Ok(Ok(body)) => body.to_bytes(),
    };
    Ok(zeroize::Zeroizing::new(bytes.to_vec()))
}

async fn reload(admin: &Admin) -> Result<Answer, Refusal> {
    let (answer, outcome) = oneshot::channel();
    let ending = || Refusal::Conflict("bearerd is ending".to_owned());
    admin.commands.send(Command::Reload(answer)).map_err(|_| ending())?;
    match outcome.await.map_err(|_| ending())? {
        Ok(()) => Ok(json(StatusCode::OK, &json!({ "outcome": "ok" }))),
        Err(problems) => Err(Refusal::InvalidConfiguration(problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn paths_are_found_exactly() {
        assert_eq!(Place::at("/"), Some(Place::Front));
        assert_eq!(Place::at("/v1/credentials"), Some(Place::Credentials));
        assert_eq!(Place::at("/v1/credentials/a%20b/refresh"), Some(Place::Refresh("a b".into())));
        for nowhere in
            ["", "*", "//live", "/live/", "/v1", "/v1/credentials/", "/v1/credentials/%ff", "/v2/reload"]
        {
            assert_eq!(Place::at(nowhere), None, "{nowhere}");
        }
    }
}
