//! From what the app sent to what may be forwarded.
//!
//! ```text
//! head of the app ── sanitize ──▶ Sanitized ── inject ──▶ Outbound ── forward ──▶ upstream
//! ```
//!
//! Only [`Sanitized::new`] makes the first, only [`Outbound::new`] the second, and only an outbound
//! request is forwarded: a wrong order does not compile. Whatever ends at this hop is gone before
//! the credential is put on, so that no field of the app can take it off again.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::inject::names::is_same_field;
use crate::inject::{InjectedNames, Prepared, Rendered};
use crate::proxy::admit::Found;
use crate::proxy::error::{Code, ProxyError};
use crate::route::Route;
use crate::secret::Secret;

/// A request head without anything that ends here or that the app may not say.
#[derive(Debug, Clone)]
pub struct Sanitized {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
}

/// A request head with the credential on it.
#[derive(Debug)]
pub struct Outbound {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
}

impl Sanitized {
    /// Makes the head for `route` of the app's head; `via` is this process's own entry.
    pub fn new(parts: Parts, found: &Found, route: &Route, via: &HeaderValue) -> Result<Self, ProxyError> {
        let target = target(&parts.uri, route)?;
        let mut headers = parts.headers;
        for name in &found.remove {
            headers.remove(name);
        }
        if found.authorization {
            headers.remove(header::AUTHORIZATION);
        }
        remove_injected(&mut headers, &route.injected, found.underscores);
        reframe(&mut headers, found);
        if parts.method == Method::OPTIONS {
            forward_once_less(&mut headers);
        }
        if !route.spec.refusal.json.is_empty() {
            // A refusal inside the answer must be readable.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        headers.insert(header::HOST, route.authority.clone());
        headers.append(header::VIA, via.clone());
        Ok(Self { method: parts.method, target, headers })
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target, before anything is injected into its query.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }
}

impl Outbound {
    /// Puts a credential on a request. An error says which value could not be made, never with one.
    pub fn new(sanitized: Sanitized, prepared: &Prepared) -> Result<Self, String> {
        let Sanitized { method, mut target, mut headers } = sanitized;
        let rendered = prepared.dynamic().transpose()?.unwrap_or_default();
        let Rendered { headers: fresh, query, cookies } = rendered;
        for (name, value) in prepared.headers.iter().cloned().chain(fresh) {
            headers.insert(name, value);
        }
        if !(prepared.query.is_empty() && query.is_empty()) {
            target = with_query(&target, prepared.query.iter().chain(&query))?;
        }
        if !(prepared.cookies.is_empty() && cookies.is_empty()) {
            add_cookies(&mut headers, prepared.cookies.iter().chain(&cookies))?;
        }
        Ok(Self { method, target, headers })
    }

    /// The request as hyper takes it.
    pub fn into_request<B>(self, body: B) -> http::Request<B> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        request
    }
}

/// Upstream path, stripped path and query, byte for byte but for injected parameters.
fn target(uri: &Uri, route: &Route) -> Result<PathAndQuery, ProxyError> {
    let stripped = route.strip(uri.path());
    let query = uri.query();
    let keeps_query = query.is_none_or(|query| !route.injected.has_any_parameter(query));
    if keeps_query
        && let Some(target) = uri.path_and_query()
        && route.base.is_empty()
        && stripped.len() == uri.path().len()
    {
        return Ok(target.clone());
    }
    let path = if route.base.is_empty() && stripped.is_empty() { "/" } else { stripped };
    let length = route.base.len() + path.len() + query.map_or(0, |query| query.len() + 1);
    let mut target = BytesMut::with_capacity(length);
    target.put_slice(route.base.as_bytes());
    target.put_slice(path.as_bytes());
    if let Some(query) = query {
        if keeps_query {
            target.put_u8(b'?');
            target.put_slice(query.as_bytes());
        } else {
            put_without_injected(&mut target, query, &route.injected);
        }
    }
    PathAndQuery::from_maybe_shared(target.freeze())
        .map_err(|_| ProxyError::new(Code::BadRequest, "the target has bytes that a target cannot have"))
}

/// Copies a query but for the parameters that are injected.
fn put_without_injected(target: &mut BytesMut, query: &str, injected: &InjectedNames) {
    let mut separator = b'?';
    for parameter in query.split('&') {
        if !injected.has_parameter(parameter) {
            target.put_u8(separator);
            target.put_slice(parameter.as_bytes());
            separator = b'&';
        }
    }
}

/// What is injected replaces whatever the app sent under that name, in any case or spelling.
fn remove_injected(headers: &mut HeaderMap, injected: &InjectedNames, underscores: bool) {
    for name in injected.headers() {
        headers.remove(name);
    }
    if underscores || injected.has_underscores() {
        let taken =
            |name: &HeaderName| injected.has_header(name) || is_same_field(name, &header::AUTHORIZATION);
        let names: Vec<HeaderName> = headers.keys().filter(|name| taken(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    if injected.has_cookies() {
        remove_cookies(headers, injected);
    }
}

fn remove_cookies(headers: &mut HeaderMap, injected: &InjectedNames) {
    let mut kept: Vec<u8> = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            if !pair.is_empty() && !injected.has_cookie(name.trim_ascii()) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
    }
    headers.remove(header::COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(header::COOKIE, value);
    }
}

/// One framing, in its one spelling. hyper sends a chunked GET as it is told only if it is told.
fn reframe(headers: &mut HeaderMap, found: &Found) {
    if found.chunked {
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else if let Some(length) = found.content_length
        && headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|value| value.as_bytes().starts_with(b"0") || value.as_bytes().starts_with(b"+"))
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// RFC 9110, section 7.6.2; zero was answered before.
fn forward_once_less(headers: &mut HeaderMap) {
    let hops = headers.get(header::MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    if let Some(hops) = hops {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops.saturating_sub(1)));
    }
}

fn with_query<'a>(
    target: &PathAndQuery,
    pairs: impl Iterator<Item = &'a Secret>,
) -> Result<PathAndQuery, String> {
    let mut text = BytesMut::from(target.as_str());
    let mut separator = match target.query() {
        None => b'?',
        Some(_) => b'&',
    };
    for pair in pairs {
        text.put_u8(separator);
        text.put_slice(pair.expose());
        separator = b'&';
    }
    PathAndQuery::from_maybe_shared(text.freeze()).map_err(|_| "the injected query is too long".into())
}

fn add_cookies<'a>(headers: &mut HeaderMap, pairs: impl Iterator<Item = &'a Secret>) -> Result<(), String> {
    let mut text = headers.get(header::COOKIE).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    for pair in pairs {
        if !text.is_empty() {
            text.extend_from_slice(b"; ");
        }
        text.extend_from_slice(pair.expose());
    }
    let mut value = HeaderValue::from_bytes(&text).map_err(|_| "the injected cookies are no field value")?;
    value.set_sensitive(true);
    headers.insert(header::COOKIE, value);
    Ok(())
}

#[cfg(test)]
mod tests;
