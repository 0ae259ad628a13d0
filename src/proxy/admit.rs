//! What of a request is looked at before anything else: may it pass, and what must not pass with it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::caller::Rule;
use crate::caller::account::Accounts;
use crate::http1::field::{by_letters, is_same_name, members};
use crate::http1::{Framing, Kind, RequestHead};
use crate::proxy::ProxyError;
use crate::proxy::error::Code;
use crate::route::matcher::Matcher;
use crate::route::metrics::ListenerMetrics;
use crate::route::{Guesses, Rate};
use crate::upstream::http1::content_length;

/// How much is read and dropped of a request body that was answered before its end, so that the connection can go
/// on, or the app does not lose the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipLimits {
    /// Bytes; beyond, an HTTP/1.1 connection ends, and a stream of HTTP/2 is reset.
    pub bytes: usize,
    /// For all of it; zero for no limit.
    pub time: Duration,
}

impl Default for SkipLimits {
    fn default() -> Self {
        Self { bytes: 256 * 1024, time: Duration::from_secs(2) }
    }
}

/// What requests know of the listener that they came through.
#[derive(Debug)]
pub struct Door {
    /// The listener's name in the configuration.
    pub listener: String,
    /// The address, if it is TCP; a Unix socket takes any `Host` and is out of reach for browsers.
    pub address: Option<SocketAddr>,
    /// Apps call by `https`.
    pub is_tls: bool,
    /// Names that `Host` may have beside the loopback ones, in lower case.
    pub hosts: HashSet<String>,
    /// Apps may ask of their users' logins.
    pub control: bool,
    /// Without progress of a request body.
    pub body_timeout: Duration,
    /// What is read and dropped of a request body that was answered before its end.
    pub skipped: SkipLimits,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For the head of a later request.
    pub head_timeout: Duration,
    /// Who may call.
    pub allow: Option<Arc<Rule>>,
    /// Service accounts that may call, here or on some route.
    pub accounts: Vec<Arc<Accounts>>,
    /// The wrong tokens that were shown.
    pub wrong_bearers: Guesses,
    /// How many of one caller are looked at.
    pub max_wrong_bearers: Rate,
    /// The listener's numbers.
    pub metrics: Arc<ListenerMetrics>,
}

impl Door {
    /// What the listener's URLs begin with, up to the authority.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https://" } else { "http://" }
    }
}

/// What one pass over a request head found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The path as it was sent.
    pub path: &'a str,
    /// What stands behind the `?`, if there is one.
    pub query: Option<&'a str>,
    /// Under which authority the app called: of the target, else `Host`; empty if it named none.
    pub authority: &'a [u8],
    /// The body is chunked.
    pub chunked: bool,
    /// The length of the body, if it is said.
    pub content_length: Option<u64>,
    /// What `Connection` lists beside options of the connection itself, in the order of [`by_letters`].
    pub listed: Vec<&'a [u8]>,
    /// The connection ends with this request.
    pub closes: bool,
    /// The app waits for a 100 before it sends the body.
    pub expects_continue: bool,
    /// The app asks for another protocol.
    pub upgrades: bool,
    /// The app takes trailers.
    pub takes_trailers: bool,
    /// Some field has an underscore in its name.
    pub underscores: bool,
    /// `OPTIONS` with `Max-Forwards: 0`: answered here (RFC 9110, section 7.6.2).
    pub answer_here: bool,
}

impl Found<'_> {
    /// Whether `Connection` lists a field.
    pub fn lists(&self, name: &[u8]) -> bool {
        self.listed.binary_search_by(|listed| by_letters(listed, name)).is_ok()
    }

    /// The host under which the app called, in lower case.
    pub fn host(&self) -> Cow<'_, str> {
        let host = host_and_port(self.authority).unwrap_or_default();
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        }
    }

    /// The path and the query, as they were sent.
    pub fn target(&self) -> impl Iterator<Item = &str> {
        [self.path].into_iter().chain(self.query.into_iter().flat_map(|query| ["?", query]))
    }

    /// How the body is delimited on this connection.
    pub fn framing(&self) -> Framing {
        if self.chunked { Framing::Chunked } else { Framing::Length(self.content_length.unwrap_or(0)) }
    }
}

/// Whether a request may pass this door, and what was found in its head. `routes` are those of this
/// listener: what host they ask for is a name of the listener.
pub fn admit<'a>(
    door: &Door,
    head: &'a RequestHead,
    pseudonym: &str,
    routes: Option<&Matcher>,
) -> Result<Found<'a>, ProxyError> {
    let names = Names { door, routes };
    check_method(&head.method)?;
    let Target { path, query, authority } = target(head, &names)?;
    let mut found = Found {
        path,
        query,
        authority: authority.map(str::as_bytes).unwrap_or_default(),
        chunked: false,
        content_length: None,
        listed: Vec::new(),
        closes: head.is_http10,
        expects_continue: false,
        upgrades: false,
        takes_trailers: false,
        underscores: false,
        answer_here: false,
    };
    let mut host = None;
    let (mut hops, mut upgrade, mut lists_upgrade) = (0_usize, false, false);
    for field in head.fields.iter() {
        match field.kind {
            Kind::Host if host.replace(field.value).is_some() => return Err(ONE_HOST.error()),
            Kind::ContentLength => {
                let length = content_length(field.value)
                    .ok_or_else(|| malformed("`Content-Length` is not a number"))?;
                if found.content_length.replace(length).is_some_and(|before| before != length) {
                    return Err(malformed("`Content-Length` stands in one request twice, with two numbers"));
                }
            }
            Kind::TransferEncoding => {
                if found.chunked || head.is_http10 || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed("`Transfer-Encoding` is not exactly `chunked`"));
                }
                found.chunked = true;
            }
            Kind::Expect if !head.is_http10 => {
                if found.expects_continue || !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(malformed("`Expect` is not exactly `100-continue`"));
                }
                found.expects_continue = true;
            }
            Kind::Via => hops += count_hops(field.value, pseudonym)?,
            Kind::Origin => check_origin(&names, field.value)?,
            Kind::SecFetchSite => check_site(door, field.value)?,
            Kind::Connection => {
                for name in members(field.value) {
                    if name.eq_ignore_ascii_case(b"close") {
                        found.closes = true;
                    } else if name.eq_ignore_ascii_case(b"upgrade") {
                        lists_upgrade = true;
                    } else if !name.eq_ignore_ascii_case(b"keep-alive") {
                        found.listed.push(name);
                    }
                }
            }
            // HTTP/2 would take the connection out of sight: such an upgrade is not offered.
            Kind::Upgrade => upgrade = !members(field.value).any(|name| name.eq_ignore_ascii_case(b"h2c")),
            Kind::Te => {
                found.takes_trailers |=
                    members(field.value).any(|name| name.eq_ignore_ascii_case(b"trailers"));
            }
            Kind::MaxForwards => {
                found.answer_here |= head.method == Method::OPTIONS && field.value == b"0";
            }
            Kind::Underscore => {
                // Servers that make variables of fields would take these for the framing.
                if is_same_name(field.name, b"transfer-encoding")
                    || is_same_name(field.name, b"content-length")
                {
                    return Err(malformed("a framing field is spelled with an underscore"));
                }
                found.underscores = true;
            }
            _ => {}
        }
    }
    // Sorted, since an app may list as many names as it sends fields.
    found.listed.sort_unstable_by(|one, other| by_letters(one, other));
    if found.chunked && found.content_length.is_some() {
        return Err(malformed("`Content-Length` and `Transfer-Encoding` stand in one request"));
    }
    match host {
        Some(host) => {
            check_host(&names, host)?;
            if authority.is_none() {
                found.authority = host;
            }
        }
        None if head.is_http10 => {}
        None => return Err(ONE_HOST.error()),
    }
    if hops > MAXIMUM_HOPS {
        return Err(ProxyError::new(Code::Loop, "the request came through too many bearerds"));
    }
    found.upgrades = upgrade && lists_upgrade && !head.is_http10 && !head.is_http2;
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

/// CONNECT would open a tunnel, TRACE would echo what is injected, and so would TRACK at some servers; PRI begins
/// HTTP/2 (RFC 9113, section 11.4); `get` is a method of its own that some servers take for GET.
fn check_method(method: &Method) -> Result<(), ProxyError> {
    let refused = match *method {
        Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::PATCH => false,
        Method::CONNECT | Method::TRACE => true,
        _ => {
            let name = method.as_str();
            matches!(name, "TRACK" | "PRI")
                || name.len() > LONGEST_METHOD
                || name.bytes().any(|byte| byte.is_ascii_lowercase())
        }
    };
    if refused {
        let detail = "CONNECT, TRACE and methods in lower case, or without end, are not forwarded";
        return Err(ProxyError::new(Code::MethodNotAllowed, detail).and_close());
    }
    Ok(())
}

/// Letters of a method; `UPDATEREDIRECTREF` is the longest that is registered.
const LONGEST_METHOD: usize = 64;

/// A problem that is found in more than one place.
struct Malformed(&'static str);

impl Malformed {
    fn error(&self) -> ProxyError {
        malformed(self.0)
    }
}

const ONE_HOST: Malformed = Malformed("a request has exactly one `Host`");

/// What may stand in a target.
struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
    authority: Option<&'a str>,
}

/// Bytes that a path, or a query, may have (RFC 3986, with the braces, bars and quotes that programs
/// send all the same); everything else must be percent-encoded.
const ALLOWED: [[bool; 256]; 2] = {
    let (mut path, mut query) = ([false; 256], [false; 256]);
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        path[byte as usize] = !matches!(byte, b'#' | b'<' | b'>' | b'?' | b'`');
        query[byte as usize] = !matches!(byte, b'"' | b'#' | b'<' | b'>');
        byte += 1;
    }
    [path, query]
};

/// Only origin-form, absolute-form for the listener's own authority, and `*` for OPTIONS (RFC 9112,
/// section 3.2).
fn target<'a>(head: &'a RequestHead, names: &Names<'_>) -> Result<Target<'a>, ProxyError> {
    // No form of a target has a `#`: what has one is refused in any case, and told apart then.
    form_of_target(head, names).map_err(|error| {
        if head.target().contains(&b'#') {
            ProxyError::new(Code::PathAmbiguous, "the target has a `#`").and_close()
        } else {
            error
        }
    })
}

fn form_of_target<'a>(head: &'a RequestHead, names: &Names<'_>) -> Result<Target<'a>, ProxyError> {
    let text = std::str::from_utf8(head.target()).map_err(|_| malformed(NOT_ENCODED))?;
    let (authority, text) = match text.as_bytes().first() {
        Some(b'/') => (None, text),
        Some(b'*') if text.len() == 1 && head.method == Method::OPTIONS => (None, text),
        _ => absolute(text, names)?,
    };
    let (path, query) = match memchr::memchr(b'?', text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    // Only an absolute form can have an empty path, which stands for the root (RFC 9112, section 3.2.1).
    let path = if path.is_empty() { "/" } else { path };
    let is_encoded = |part: &str, allowed: &[bool; 256]| part.bytes().all(|byte| allowed[usize::from(byte)]);
    if !is_encoded(path, &ALLOWED[0]) || !query.is_none_or(|query| is_encoded(query, &ALLOWED[1])) {
        return Err(malformed(NOT_ENCODED));
    }
    Ok(Target { path, query, authority })
}

const NOT_ENCODED: &str = "the target has a byte that must be percent-encoded";

/// The authority, and the rest, of a target in absolute form.
fn absolute<'a>(text: &'a str, names: &Names<'_>) -> Result<(Option<&'a str>, &'a str), ProxyError> {
    let scheme = names.door.scheme();
    let (own, rest) = text.split_at_checked(scheme.len()).unwrap_or_default();
    let rest = own.eq_ignore_ascii_case(scheme).then_some(rest);
    let rest = rest.ok_or_else(|| malformed("the target is not a path"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = host_and_port(authority.as_bytes()).ok_or_else(|| malformed("the target is not a path"))?;
    if !names.has(host) {
        return Err(malformed("the target names another host"));
    }
    Ok((Some(authority), rest))
}

/// The names of a listener.
struct Names<'a> {
    door: &'a Door,
    routes: Option<&'a Matcher>,
}

impl Names<'_> {
    /// A listener on TCP answers only to names that cannot be made to point at it by someone else's
    /// DNS.
    fn has(&self, host: &str) -> bool {
        let Some(address) = self.door.address else { return true };
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return true;
        }
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.has(&host.to_ascii_lowercase());
        }
        self.door.hosts.contains(host)
            || self.routes.is_some_and(|routes| routes.has_host(host))
            || is_address(host, address)
    }
}

fn check_host(names: &Names<'_>, value: &[u8]) -> Result<(), ProxyError> {
    let host = host_and_port(value).ok_or_else(|| malformed("`Host` is not a host"))?;
    if names.has(host) { Ok(()) } else { Err(denied("`Host` does not name this listener")) }
}

fn is_address(host: &str, address: SocketAddr) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    !address.ip().is_unspecified() && host.parse().is_ok_and(|named: std::net::IpAddr| named == address.ip())
}

/// The host of `host[:port]`, an IPv6 address with its brackets; `None` if it is not of that form
/// (RFC 9110, section 7.2).
pub fn host_and_port(value: &[u8]) -> Option<&str> {
    let (host, port) = if value.first() == Some(&b'[') {
        let (host, port) = value.split_at(memchr::memchr(b']', value)? + 1);
        std::str::from_utf8(&host[1..host.len() - 1]).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let (host, port) =
            value.split_at(value.iter().take_while(|byte| IN_NAMES[usize::from(**byte)]).count());
        if host.is_empty() {
            return None;
        }
        (host, port)
    };
    let is_port = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => content_length(digits).is_some_and(|port| digits.len() <= 5 && port <= 0xffff),
        _ => false,
    };
    if is_port { std::str::from_utf8(host).ok() } else { None }
}

/// Bytes that the name of a host may have.
const IN_NAMES: [bool; 256] = {
    let (mut names, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        names[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    names
};

/// A page of another site that the user's browser shows cannot call (RFC 6454 and Fetch Metadata).
fn check_origin(names: &Names<'_>, value: &[u8]) -> Result<(), ProxyError> {
    let Some(address) = names.door.address else { return Ok(()) };
    let own = || {
        let authority = value.strip_prefix(names.door.scheme().as_bytes())?;
        let host = host_and_port(authority)?;
        let port = match &authority[host.len()..] {
            [] if names.door.is_tls => 443,
            [] => 80,
            [_, port @ ..] => std::str::from_utf8(port).ok()?.parse::<u16>().ok()?,
        };
        (names.has(host) && port == address.port()).then_some(())
    };
    own().ok_or_else(|| denied("pages of other origins may not call"))
}

fn check_site(door: &Door, value: &[u8]) -> Result<(), ProxyError> {
    if door.address.is_some() && !matches!(value, b"same-origin" | b"none") {
        return Err(denied("pages of other sites may not call"));
    }
    Ok(())
}

fn count_hops(value: &[u8], pseudonym: &str) -> Result<usize, ProxyError> {
    let text = String::from_utf8_lossy(value);
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
