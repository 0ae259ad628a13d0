//! The answer on its way to the app: its head made fit for this hop, its body byte for byte.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::proxy::forward::Lease;
use crate::proxy::record::Record;
use crate::proxy::refusal::Peeked;
use crate::proxy::watch::Phase;
use crate::route::Route;
use crate::upstream::Url;

/// What one pass over an answer's head found; most answers have nothing of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The answer says its length twice: then the coding counts (RFC 9112, section 6.3), and nothing
    /// else is read from that connection.
    pub two_framings: bool,
    /// There is a `Location`.
    pub location: bool,
}

/// Takes away what ends at this hop (RFC 9110, section 7.6.1), what would lead the app past the
/// proxy, and cookies of injected names.
pub fn sanitize(headers: &mut HeaderMap, route: &Route) -> Seen {
    let (mut seen, mut is_listing, mut is_coded, mut is_sized) = (Seen::default(), false, false, false);
    let mut ending: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        match *name {
            header::CONNECTION => is_listing = true,
            header::TRANSFER_ENCODING => is_coded = true,
            header::CONTENT_LENGTH => is_sized = true,
            header::LOCATION => seen.location = true,
            _ if ends_here(name) => ending.push(name.clone()),
            _ => {}
        }
    }
    if is_listing {
        remove_listed(headers);
    }
    for name in &ending {
        headers.remove(name);
    }
    if is_coded {
        headers.remove(header::TRANSFER_ENCODING);
        seen.two_framings = is_sized && headers.remove(header::CONTENT_LENGTH).is_some();
    }
    if route.injected.has_cookies() {
        remove_set_cookies(headers, route);
    }
    seen
}

fn ends_here(name: &HeaderName) -> bool {
    match *name {
        header::UPGRADE | header::TE | header::PROXY_AUTHENTICATE | header::ALT_SVC => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info"),
    }
}

fn remove_listed(headers: &mut HeaderMap) {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let listed = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // Options of the connection itself, which nearly every answer lists.
        let fields = listed.filter(|name| !matches!(*name, b"keep-alive" | b"close"));
        names.extend(fields.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }
    headers.remove(header::CONNECTION);
    // The length frames the body: a sender must not list it.
    for name in names.iter().filter(|name| **name != header::CONTENT_LENGTH) {
        headers.remove(name);
    }
}

fn remove_set_cookies(headers: &mut HeaderMap, route: &Route) {
    let is_injected = |value: &HeaderValue| {
        let name = value.as_bytes().split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        route.injected.has_cookie(name.trim_ascii())
    };
    if headers.get_all(header::SET_COOKIE).iter().any(is_injected) {
        let kept: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().filter(|value| !is_injected(value)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// Rewrites a `Location` that leads to the upstream's origin so that it leads through the route.
/// `own` is the authority under which the app called.
pub fn rewrite_location(headers: &mut HeaderMap, route: &Route, own: &str) {
    let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let rewritten = relocate(location, route, own).and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(value) = rewritten {
        headers.insert(header::LOCATION, value);
    }
}

/// The place of `location` behind the route; `None` if it is somewhere else.
fn relocate(location: &str, route: &Route, own: &str) -> Option<String> {
    let origin = route.spec.upstream.origin.in_links();
    let prefix = route.spec.path.trim_end_matches('/');
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{}", behind_base(location, route)?));
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
    let mut text = format!("http://{own}{prefix}{}", behind_base(url.path_and_query.as_str(), route)?);
    if let Some(fragment) = fragment {
        text.push('#');
        text.push_str(fragment);
    }
    Some(text)
}

/// What of an upstream path lies behind the route's upstream path.
fn behind_base<'a>(path: &'a str, route: &Route) -> Option<&'a str> {
    let rest = path.strip_prefix(route.base.as_str())?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// The body of an answer. Its end, or its drop, ends the request.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    /// Ends with the body; declared last, so that the connection is back in its pool before.
    record: Option<Record>,
}

#[derive(Debug)]
enum Source {
    /// Made here; empty for none.
    Own(Bytes),
    /// From the upstream: first what was looked into, then the rest.
    Upstream { peeked: Peeked, incoming: Incoming, lease: Lease, stall_timeout: Duration },
}

/// The upstream broke the answer off.
#[derive(Debug)]
pub struct BrokenAnswer;

impl std::fmt::Display for BrokenAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the upstream broke the answer off")
    }
}

impl std::error::Error for BrokenAnswer {}

impl AnswerBody {
    /// A body that bearerd made.
    pub fn own(bytes: impl Into<Bytes>, record: Record) -> Self {
        Self { source: Source::Own(bytes.into()), record: Some(record) }
    }

    /// The upstream's body, of which `peeked` was read already.
    pub fn upstream(
        peeked: Peeked,
        incoming: Incoming,
        mut lease: Lease,
        stall_timeout: Duration,
        record: Record,
    ) -> Self {
        if incoming.is_end_stream() {
            lease.finish();
        }
        record.watch().enter(Phase::Streaming, stall_timeout);
        Self { source: Source::Upstream { peeked, incoming, lease, stall_timeout }, record: Some(record) }
    }

    fn enter_streaming(&self, limit: Duration) {
        if let Some(record) = &self.record {
            record.watch().enter(Phase::Streaming, limit);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        let this = &mut *self;
        let Source::Upstream { peeked, incoming, lease, stall_timeout } = &mut this.source else {
            let Source::Own(bytes) = &mut this.source else { return Poll::Ready(None) };
            let bytes = std::mem::take(bytes);
            return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
        };
        if let Some(frame) = peeked.pop() {
            return Poll::Ready(Some(frame));
        }
        let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(context));
        let limit = *stall_timeout;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if incoming.is_end_stream() {
                    lease.finish();
                }
                this.enter_streaming(limit);
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                if let Some(record) = &mut this.record {
                    record.broken();
                }
                Some(Err(BrokenAnswer))
            }
            None => {
                lease.finish();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Upstream { peeked, incoming, .. } => peeked.is_empty() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream { peeked, incoming, .. } => {
                let held = peeked.length();
                let rest = incoming.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + held);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + held);
                }
                hint
            }
        }
    }
}
