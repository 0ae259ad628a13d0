//! What of a request is looked at before anything else: may it pass, and what must not pass with it.
//!
//! hyper parses heads leniently and leaves much to its user; each check below names what hyper lets
//! through. Framing that hyper hides (`Content-Length` beside `Transfer-Encoding`, a raw `#`) is
//! caught before hyper, by the server.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::proxy::ProxyError;
use crate::proxy::error::Code;
use crate::route::metrics::ListenerMetrics;

/// What requests know of the listener that they came through.
#[derive(Debug)]
pub struct Door {
    /// The listener's name in the configuration.
    pub listener: String,
    /// The address, if it is TCP; a Unix socket takes any `Host` and is out of reach for browsers.
    pub address: Option<SocketAddr>,
    /// Names that `Host` may have beside the loopback ones, in lower case.
    pub hosts: HashSet<String>,
    /// Without progress of a request body.
    pub body_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For the head of a later request.
    pub head_timeout: Duration,
    /// The listener's numbers.
    pub metrics: Arc<ListenerMetrics>,
}

/// What one pass over a request head found.
#[derive(Debug, Default)]
pub struct Found {
    /// The body is chunked.
    pub chunked: bool,
    /// The length of the body, if it is said.
    pub content_length: Option<u64>,
    /// Hop-by-hop and other fields that end here.
    pub remove: Vec<HeaderName>,
    /// There is an `Authorization`.
    pub authorization: bool,
    /// Some field has an underscore in its name.
    pub underscores: bool,
    /// `OPTIONS` with `Max-Forwards: 0`: answered here (RFC 9110, section 7.6.2).
    pub answer_here: bool,
}

/// Fields that end at this hop (RFC 9110, section 7.6.1), that speak of how the request came here,
/// or that hold a credential for this hop.
fn ends_here(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::UPGRADE
            | header::EXPECT
            | header::TRAILER
            | header::FORWARDED
            | header::PROXY_AUTHORIZATION
            | header::PROXY_AUTHENTICATE
    ) || is_named_to_end_here(name.as_str())
}

fn is_named_to_end_here(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'k') => name == "keep-alive",
        Some(b'p') => matches!(name, "proxy-connection" | "proxy_authorization" | "proxy_connection"),
        Some(b'h') => name == "http2-settings",
        Some(b'x') => name.starts_with("x-forwarded-") || name.starts_with("x_forwarded_"),
        _ => false,
    }
}

/// Whether a request may pass this door, and what was found in its head. `host_of_route` says
/// whether a route of this listener asks for a host.
pub fn admit(
    door: &Door,
    parts: &Parts,
    pseudonym: &str,
    host_of_route: &dyn Fn(&str) -> bool,
) -> Result<Found, ProxyError> {
    check_method(&parts.method)?;
    check_target(door, parts, host_of_route)?;
    let mut found = Found::default();
    let mut host = None;
    let mut hosts = 0_usize;
    let mut hops = 0_usize;
    for (name, value) in &parts.headers {
        match *name {
            header::HOST => {
                hosts += 1;
                host = Some(value);
            }
            header::CONTENT_LENGTH => found.content_length = Some(content_length(value)?),
            header::TRANSFER_ENCODING => {
                if found.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed("`Transfer-Encoding` is not exactly `chunked`"));
                }
                found.chunked = true;
            }
            header::EXPECT if parts.version == Version::HTTP_11 => {
                let is_known = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
                if !is_known || parts.headers.get_all(header::EXPECT).iter().nth(1).is_some() {
                    return Err(malformed("`Expect` is not exactly `100-continue`"));
                }
                found.remove.push(header::EXPECT);
            }
            header::AUTHORIZATION => found.authorization = true,
            header::VIA => hops += count_hops(value, pseudonym)?,
            header::ORIGIN => check_origin(door, value, host_of_route)?,
            header::CONNECTION => {
                found.remove.push(header::CONNECTION);
                found.remove.extend(listed(value));
            }
            header::MAX_FORWARDS => {
                found.answer_here |= parts.method == Method::OPTIONS && value.as_bytes() == b"0";
            }
            _ => {
                if ends_here(name) {
                    found.remove.push(name.clone());
                } else {
                    check_other(door, name, value, &mut found)?;
                }
            }
        }
    }
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Err(malformed("a request has exactly one `Host`"));
    }
    if let Some(host) = host {
        check_host(door, host, host_of_route)?;
    }
    if hops > MAXIMUM_HOPS {
        return Err(ProxyError::new(Code::Loop, "the request came through too many bearerds"));
    }
    Ok(found)
}

/// More than so many bearerds in a row are taken for a loop.
const MAXIMUM_HOPS: usize = 10;

/// The name of every bearerd in `Via` begins with this.
pub const PSEUDONYM: &str = "bearerd-";

fn malformed(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::BadRequest, detail).and_close()
}

fn denied(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::CallerDenied, detail).and_close()
}

/// hyper would open a tunnel for CONNECT, forwards TRACE (which echoes what is injected) and takes
/// `get` for a method of its own.
fn check_method(method: &Method) -> Result<(), ProxyError> {
    let refused = match *method {
        Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::PATCH => false,
        Method::CONNECT | Method::TRACE => true,
        _ => method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()),
    };
    if refused {
        let detail = "CONNECT, TRACE and methods in lower case are not forwarded";
        return Err(ProxyError::new(Code::MethodNotAllowed, detail).and_close());
    }
    Ok(())
}

/// Only origin-form, absolute-form for the listener's own authority, and `*` for OPTIONS (RFC 9112,
/// section 3.2), all of it ASCII (RFC 3986, section 2). hyper passes other authorities, `host:port` as
/// an empty path, and any UTF-8.
fn check_target(door: &Door, parts: &Parts, host_of_route: &dyn Fn(&str) -> bool) -> Result<(), ProxyError> {
    let uri = &parts.uri;
    if uri.path_and_query().is_some_and(|target| !target.as_str().is_ascii()) {
        return Err(malformed("the target has a byte that must be percent-encoded"));
    }
    if let Some(authority) = uri.authority() {
        if uri.scheme_str() != Some("http") || !is_authority(authority) {
            return Err(malformed("the target is not a path"));
        }
        let host = authority.host().to_ascii_lowercase();
        if !is_own_host(door, &host, host_of_route) {
            return Err(malformed("the target names another host"));
        }
        return Ok(());
    }
    let path = uri.path();
    if path.starts_with('/') || (path == "*" && parts.method == Method::OPTIONS) {
        Ok(())
    } else {
        Err(malformed("the target is not a path"))
    }
}

fn is_authority(authority: &Authority) -> bool {
    host_and_port(authority.as_str().as_bytes()).is_some()
}

fn check_host(
    door: &Door,
    value: &HeaderValue,
    host_of_route: &dyn Fn(&str) -> bool,
) -> Result<(), ProxyError> {
    let host = host_and_port(value.as_bytes()).ok_or_else(|| malformed("`Host` is not a host"))?;
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    let is_own = if is_lower {
        is_own_host(door, host, host_of_route)
    } else {
        is_own_host(door, &host.to_ascii_lowercase(), host_of_route)
    };
    if is_own { Ok(()) } else { Err(denied("`Host` does not name this listener")) }
}

/// A listener on TCP answers only to names that cannot be made to point at it by someone else's DNS.
fn is_own_host(door: &Door, host: &str, host_of_route: &dyn Fn(&str) -> bool) -> bool {
    let Some(address) = door.address else { return true };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        || door.hosts.contains(host)
        || host_of_route(host)
        || is_address(host, address)
}

fn is_address(host: &str, address: SocketAddr) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    !address.ip().is_unspecified() && host.parse().is_ok_and(|named: std::net::IpAddr| named == address.ip())
}

/// The host of `host[:port]`, an IPv6 address with its brackets; `None` if it is not of that form
/// (RFC 9110, section 7.2).
pub fn host_and_port(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, port) = text.split_at(end);
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(port) => {
            port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.trim_end_matches(']').parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    (is_port && is_host).then_some(host)
}

/// The host of a request, in lower case; empty if it names none.
pub fn host(headers: &HeaderMap, uri: &http::Uri) -> String {
    let named = uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = named.or_else(|| headers.get(header::HOST).map(HeaderValue::as_bytes));
    named.and_then(host_and_port).unwrap_or_default().to_ascii_lowercase()
}

/// A page of another site that the user's browser shows cannot call (RFC 6454 and Fetch Metadata).
fn check_origin(
    door: &Door,
    value: &HeaderValue,
    host_of_route: &dyn Fn(&str) -> bool,
) -> Result<(), ProxyError> {
    let Some(address) = door.address else { return Ok(()) };
    let own = || {
        let authority = value.as_bytes().strip_prefix(b"http://")?;
        let host = host_and_port(authority)?;
        let port = match &authority[host.len()..] {
            [] => 80,
            [_, port @ ..] => std::str::from_utf8(port).ok()?.parse::<u16>().ok()?,
        };
        let is_own = is_own_host(door, &host.to_ascii_lowercase(), host_of_route);
        (is_own && port == address.port()).then_some(())
    };
    own().ok_or_else(|| denied("pages of other origins may not call"))
}

fn check_other(
    door: &Door,
    name: &HeaderName,
    value: &HeaderValue,
    found: &mut Found,
) -> Result<(), ProxyError> {
    let name = name.as_str();
    if name == "sec-fetch-site" {
        let is_own = matches!(value.as_bytes(), b"same-origin" | b"none");
        if door.address.is_some() && !is_own {
            return Err(denied("pages of other sites may not call"));
        }
    }
    if memchr::memchr(b'_', name.as_bytes()).is_some() {
        // Servers that make variables of fields would take these for the framing.
        if matches!(name, "transfer_encoding" | "content_length") {
            return Err(malformed("a framing field is spelled with an underscore"));
        }
        found.underscores = true;
    }
    Ok(())
}

/// hyper leaves spellings such as `01` in place; a length that is not one is refused by it.
fn content_length(value: &HeaderValue) -> Result<u64, ProxyError> {
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.ok_or_else(|| malformed("`Content-Length` is not a number"))
}

/// Names listed in `Connection`, but for those that frame the message.
fn listed(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).filter(|name| {
        !matches!(
            *name,
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION
        ) && !matches!(name.as_str(), "keep-alive" | "close")
    })
}

fn count_hops(value: &HeaderValue, pseudonym: &str) -> Result<usize, ProxyError> {
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.contains(pseudonym) {
        return Err(ProxyError::new(Code::Loop, "the request came through this bearerd before"));
    }
    Ok(text.matches(PSEUDONYM).count())
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (value, host) in [
            ("localhost", Some("localhost")),
            ("LocalHost:8080", Some("LocalHost")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a_b.example", Some("a_b.example")),
            ("localhost:", Some("localhost")),
            ("", None),
            (":80", None),
            ("u@evil", None),
            ("a/evil", None),
            ("a, b", None),
            ("a b", None),
            ("a:99999", None),
            ("a:+1", None),
            ("a:80:80", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[evil]", None),
            ("a\u{e9}", None),
        ] {
            assert_eq!(host_and_port(value.as_bytes()), host, "{value}");
        }
    }
}
