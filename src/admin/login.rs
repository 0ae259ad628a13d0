//! Logins of people on the admin listener: what [`crate::control`] answers, and the pages of a browser
//! on its way to an issuer and back.
//!
//! ```text
//! GET /oauth/login?ticket=TICKET   begins a login that a request without a token was told of
//! GET /oauth/callback?code&state   the browser comes back
//! ```
//!
//! Both take no admin token: the ticket and the state are the proof. Both are reached from other sites,
//! so what they do is bound to what nobody else can know.

use http::header::{LOCATION, REFERRER_POLICY, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::Incoming;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Refusal, empty, json, typed};
use crate::admin::dispatch::read;
use crate::control::{self, Place, page};
use crate::credential::consent::{ConsentError, Step, Wish};

/// Answers what is asked of logins.
pub(super) async fn answer(
    admin: &Admin,
    place: &Place,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let body = read(body).await?;
    let query = head.uri.query().unwrap_or_default();
    let (status, document) =
        admin.control.answer(place, &head.method, query, &body).await.map_err(Refusal::Login)?;
    Ok(if document.is_null() { empty(status) } else { json(status, &document) })
}

/// A browser comes back from an issuer: the login is ended, and it is sent on, or shown how it went.
pub(super) async fn callback(admin: &Admin, head: &Parts) -> Result<Answer, Refusal> {
    let returned = match control::returned(head.uri.query().unwrap_or_default()) {
        Ok(returned) => returned,
        Err(refusal) => return Ok(refused(&refusal.0)),
    };
    let finished = admin.control.consents.callback(None, returned).await;
    if let Some(location) = finished.return_to {
        return Ok(sent_to(&location));
    }
    Ok(match &finished.result {
        Ok(()) => shown(StatusCode::OK, page::done()),
        Err(error) => refused(error),
    })
}

/// A browser begins a login.
pub(super) async fn begin(admin: &Admin, head: &Parts) -> Result<Answer, Refusal> {
    let query = head.uri.query().unwrap_or_default();
    let ticket = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
    let owner = ticket.and_then(|(_, ticket)| admin.control.consents.invitations().read(&ticket));
    let Some(owner) = owner else { return Ok(refused(&ConsentError::UnknownState)) };
    Ok(match admin.control.consents.authorize(owner, Wish::default()).await {
        Ok(begun) => match begun.step {
            Step::Browse { url, .. } => sent_to(&url),
            Step::Device { user_code, verification_uri, verification_uri_complete } => {
                let complete = verification_uri_complete.as_deref();
                shown(StatusCode::OK, page::device(&user_code, &verification_uri, complete))
            }
            Step::Otp(_) => shown(StatusCode::OK, page::elsewhere()),
        },
        // To whom a password is sent is not known here.
        Err(ConsentError::BadRequest(_)) => shown(StatusCode::OK, page::elsewhere()),
        Err(error) => refused(&error),
    })
}

/// A page that says why not.
fn refused(error: &ConsentError) -> Answer {
    let refusal = control::Refusal(error.clone());
    let mut answer = shown(refusal.status(), page::failed(&error.to_string()));
    if let Some(pause) = refusal.retry_after() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause));
    }
    answer
}

/// A browser goes on elsewhere, by GET and without telling from where: the URL here holds a code.
fn sent_to(location: &str) -> Answer {
    let mut answer = empty(StatusCode::SEE_OTHER);
    match HeaderValue::try_from(location) {
        Ok(location) => {
            answer.headers_mut().insert(LOCATION, location);
        }
        Err(_) => return refused(&ConsentError::Unusable("the next page has no usable address".to_owned())),
    }
    guarded(answer)
}

fn shown(status: StatusCode, page: String) -> Answer {
    guarded(typed(status, "text/html; charset=utf-8", page))
}

fn guarded(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = HeaderName::from_static("content-security-policy");
    if let Ok(value) = HeaderValue::try_from(page::POLICY.as_str()) {
        headers.insert(policy, value);
    }
    answer
}
