//! The head of an answer, made fit for the app.

use std::borrow::Cow;

use http::StatusCode;

use crate::guard::Mode;
use crate::http1::field::{Field, Revision, by_letters, is_same_name, members};
use crate::http1::{AnswerHead, Kind, RequestHead};
use crate::jose::proof::NONCE_FIELD;
use crate::proxy::admit::Door;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::subject::{Claim, put_back};
use crate::route::{Route, SubjectSource};
use crate::upstream::Url;

/// Refuses a 101 to a protocol that the app did not offer (RFC 9110, section 7.8).
pub fn check_switch(request: &RequestHead, answer: &AnswerHead) -> Result<(), ProxyError> {
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let offers = |protocol: &[u8]| {
        let mut offered = request.fields.all(Kind::Upgrade).flat_map(members);
        offered.any(|offer| offer.eq_ignore_ascii_case(protocol))
    };
    if answer.fields.get(Kind::Upgrade).is_some_and(offers) {
        return Ok(());
    }
    let detail = "the upstream switched to a protocol that was not offered";
    Err(ProxyError::new(Code::UpstreamProtocol, detail))
}

/// Takes away what ends at this hop (RFC 9110, section 7.6.1), what would lead the app past the
/// proxy, and cookies of injected names. A `Location` that leads to the upstream's origin leads
/// through the route afterwards; `authority` is the one under which the app called. How the body is
/// delimited is said anew by whoever writes the head.
pub fn sanitize(head: &mut AnswerHead, route: &Route, claim: &Claim<'_>, authority: &[u8], door: &Door) {
    let listed = head.listed();
    let is_guarded = route.guard != Mode::Off;
    let is_switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    head.fields.revise(|field| match field.kind {
        Kind::Upgrade if is_switching => Revision::Keep,
        Kind::Connection
        | Kind::KeepAlive
        | Kind::TransferEncoding
        | Kind::Upgrade
        | Kind::Te
        | Kind::ProxyAuthenticate
        | Kind::AltSvc => Revision::Drop,
        _ if route.injected.has_proof() && is_same_name(field.name, NONCE_FIELD.as_str().as_bytes()) => {
            Revision::Drop
        }
        Kind::SetCookie if is_injected(&field, route) => Revision::Drop,
        Kind::Other if is_guarded && is_same_name(field.name, b"sec-websocket-extensions") => Revision::Drop,
        Kind::Location => {
            relocated(&field, route, claim.segment, authority, door).map_or(Revision::Keep, Revision::Replace)
        }
        _ if listed.binary_search_by(|name| by_letters(name, field.name)).is_ok() => Revision::Drop,
        _ => Revision::Keep,
    });
}

fn is_injected(cookie: &Field<'_>, route: &Route) -> bool {
    let name = cookie.value.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
    route.injected.has_cookie(name.trim_ascii())
}

fn relocated(
    location: &Field<'_>,
    route: &Route,
    segment: Option<&str>,
    authority: &[u8],
    door: &Door,
) -> Option<Vec<u8>> {
    let own = || door.address.map_or_else(|| "localhost".to_owned(), |address| address.to_string());
    let own = if authority.is_empty() { own() } else { String::from_utf8_lossy(authority).into_owned() };
    let own = format!("{}{own}", door.scheme());
    relocate(std::str::from_utf8(location.value).ok()?, route, segment, &own).map(String::into_bytes)
}

/// The place of `location` behind the route, with the subject's segment in it; `None` if it is somewhere
/// else.
fn relocate(location: &str, route: &Route, segment: Option<&str>, own: &str) -> Option<String> {
    let origin = route.spec.upstream.origin.in_links();
    let prefix = route.prefix();
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{}", behind_base(location, route, segment)?));
    }
    // `//host/path` means the scheme at hand.
    let absolute = match location.strip_prefix("//") {
        Some(rest) => format!("{}://{rest}", origin.scheme.as_str()),
        None => location.to_owned(),
    };
    let (url, fragment) =
        absolute.split_once('#').map_or((&*absolute, None), |(url, rest)| (url, Some(rest)));
    let url: Url = url.parse().ok()?;
    if url.origin != origin {
        return None;
    }
    let mut text = format!("{own}{prefix}{}", behind_base(url.path_and_query.as_str(), route, segment)?);
    if let Some(fragment) = fragment {
        text.push('#');
        text.push_str(fragment);
    }
    Some(text)
}

/// What of an upstream path lies behind the route's upstream path, as the app has to ask for it.
fn behind_base<'a>(path: &'a str, route: &Route, segment: Option<&str>) -> Option<Cow<'a, str>> {
    let rest = path.strip_prefix(route.base())?;
    let is_behind = rest.is_empty() || rest.starts_with(['/', '?', '#']);
    match (route.subject(), segment) {
        _ if !is_behind => None,
        (Some(SubjectSource::Path(number)), Some(segment)) => {
            put_back(rest, *number, segment).map(Cow::Owned)
        }
        _ => Some(Cow::Borrowed(rest)),
    }
}
