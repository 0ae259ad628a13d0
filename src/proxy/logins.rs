//! What an app asks of its users' logins, on a listener with `control = true`: it gets states and URLs,
//! never tokens.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use zeroize::Zeroizing;

use crate::body::Source;
use crate::control::{Control, LONGEST_BODY, Place, Refusal};
use crate::credential::{Owner, Subject};
use crate::proxy::admit::{Door, Found};
use crate::proxy::error::{Code, Login, ProxyError};
use crate::proxy::record::Record;
use crate::proxy::upload::{self, Caller};
use crate::proxy::watch::{Phase, Watch};
use crate::proxy::{Asking, Shared, callers};
use crate::route::Route;

/// What is not a route's on such a listener.
pub const OWN_PATHS: &str = "/.bearerd/";
/// Where the credentials are.
const CREDENTIALS: &str = "/.bearerd/v1/credentials/";

/// Answers what an app asks.
pub(super) async fn answer<S: Caller>(
    shared: &Shared,
    record: &Record,
    asking: Asking<'_>,
    found: &Found<'_>,
    caller: &mut S,
) -> Result<Response<Bytes>, ProxyError> {
    let (door, method) = (record.door(), &asking.head.method);
    let nothing = || ProxyError::new(Code::NoRoute, "there is no such thing below `/.bearerd/`");
    let control = shared.control.as_ref().ok_or_else(nothing)?;
    let segments: Vec<&str> = found.path.strip_prefix(CREDENTIALS).ok_or_else(nothing)?.split('/').collect();
    let place = Place::at(&segments).filter(Place::is_for_apps).ok_or_else(nothing)?;
    check_use(shared, door, place.credential().as_str(), asking)?.ok_or_else(nothing)?;
    if !place.takes(method) {
        return Ok(other_methods(&place));
    }
    let body = collect(caller, record.watch(), door.body_timeout).await?;
    record.watch().enter(Phase::Busy, Duration::ZERO);
    let query = found.query.unwrap_or_default();
    Ok(match control.answer(&place, method, query, &body).await {
        Ok((status, document)) if document.is_null() => made(status, "", String::new()),
        Ok((status, document)) => made(status, "application/json", document.to_string()),
        Err(refusal) => refused(&refusal),
    })
}

/// Whether a route of the listener uses the credential: the others are none of this app's business. Whom no
/// such route takes gets the last one's refusal; a rule that names subjects opens none of this.
fn check_use(
    shared: &Shared,
    door: &Door,
    credential: &str,
    asking: Asking<'_>,
) -> Result<Option<()>, ProxyError> {
    let table = shared.table.load();
    let routes = table.routes().iter().map(|route| &route.spec);
    let mut use_of_it = Ok(None);
    for spec in
        routes.filter(|spec| *spec.listener == *door.listener && spec.credential.as_str() == credential)
    {
        match callers::check_route(&spec.callers, None, door, asking, &shared.clock) {
            Ok(()) => return Ok(Some(())),
            Err(refused) => use_of_it = Err(refused),
        }
    }
    use_of_it
}

/// The whole body, in memory that is wiped: it may hold a code or a password.
async fn collect<S: Source>(
    caller: &mut S,
    watch: &Watch,
    limit: Duration,
) -> Result<Zeroizing<Vec<u8>>, ProxyError> {
    let mut whole = Zeroizing::new(Vec::with_capacity(4096));
    let keep = |data: &[u8]| {
        if data.len() > LONGEST_BODY - whole.len() {
            let error = ProxyError::new(Code::TooLarge, "a request of a login is at most 64 KiB long");
            return Err(error.and_close());
        }
        whole.extend_from_slice(data);
        Ok(())
    };
    upload::collect(caller, (watch, limit), keep).await?;
    Ok(whole)
}

fn refused(refusal: &Refusal) -> Response<Bytes> {
    let document = refusal.document().to_string();
    let mut response = made(refusal.status(), "application/problem+json", document);
    let status = format!("bearerd; error=proxy_internal_response; details=\"{}\"", refusal.0.code());
    if let Ok(value) = HeaderValue::try_from(status) {
        response.headers_mut().insert(HeaderName::from_static("proxy-status"), value);
    }
    if let Some(pause) = refusal.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause));
    }
    response
}

fn other_methods(place: &Place) -> Response<Bytes> {
    let error = ProxyError::new(Code::MethodNotAllowed, format!("this path takes {}", place.methods()));
    let mut response = error.response(None, None);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(place.methods()));
    response
}

fn made(status: StatusCode, media_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !media_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    response
}

/// How the person may log in for want of whose consent a request is refused.
pub(super) fn invitation(
    error: &ProxyError,
    control: Option<&Control>,
    door: &Door,
    route: Option<&Route>,
) -> Option<Login> {
    let control = control.filter(|_| error.code == Code::LoginRequired)?;
    let subject = error.subject.as_deref().and_then(|subject| Subject::new(subject).ok());
    let owner = Owner { credential: route?.spec.credential.clone(), subject };
    let owner = control.consents.who_logs_in(&owner)?;
    let name =
        percent_encoding::utf8_percent_encode(owner.credential.as_str(), percent_encoding::NON_ALPHANUMERIC);
    Some(Login {
        url: control.consents.invite(&owner),
        // With subjects there is an app that has to ask, if not here then on another listener.
        path: (door.control || owner.subject.is_some()).then(|| format!("{CREDENTIALS}{name}/authorize")),
    })
}
