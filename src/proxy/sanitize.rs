//! From what the app sent to what may be forwarded.
//!
//! ```text
//! head of the app ── sanitize ──▶ Sanitized ── inject ──▶ Outbound ── forward ──▶ upstream
//! ```
//!
//! Only [`Sanitized::new`] makes the first, only [`Outbound::new`] the second, and only an outbound
//! request is forwarded: a wrong order does not compile. Both borrow the app's head; nothing is copied
//! before the outbound head is written.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};

use crate::buffer::Output;
use crate::guard::Mode;
use crate::http1::body::put_field;
use crate::http1::field::{Field, is_same_name};
use crate::http1::{Framing, Kind, RequestHead};
use crate::inject::{Content, Prepared, Rendered};
use crate::jose::proof;
use crate::proxy::admit::Found;
use crate::route::Route;

/// A request head without anything that ends here or that the app may not say.
#[derive(Debug, Clone, Copy)]
pub struct Sanitized<'a> {
    head: &'a RequestHead,
    found: &'a Found<'a>,
    route: &'a Route,
    rest: &'a str,
    via: &'a str,
}

/// A request head with the credential on it.
pub struct Outbound<'a> {
    sanitized: Sanitized<'a>,
    prepared: &'a Prepared,
    rendered: Rendered,
}

impl<'a> Sanitized<'a> {
    /// What of the app's head goes to `route`, with `rest` as what is left of its path; `via` is this
    /// process's own entry.
    pub fn new(
        head: &'a RequestHead,
        found: &'a Found<'a>,
        route: &'a Route,
        rest: &'a str,
        via: &'a str,
    ) -> Self {
        Self { head, found, route, rest, via }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The target, before anything is injected into its query.
    pub fn target(&self) -> String {
        let mut target = Vec::new();
        self.put_target(&mut |part| target.extend_from_slice(part));
        String::from_utf8_lossy(&target).into_owned()
    }

    /// The URI that the upstream is asked for, without its query.
    fn uri(&self) -> String {
        format!("{}{}", self.route.spec.upstream.origin.in_links(), self.path())
    }

    /// The path that the upstream is asked for.
    pub fn path(&self) -> String {
        let (base, stripped) = (self.route.base(), self.route.strip(self.found.path));
        let path = if base.is_empty() && stripped.is_empty() { "/" } else { stripped };
        format!("{base}{path}")
    }

    /// Whether another protocol is asked for.
    pub fn upgrades(&self) -> bool {
        self.found.upgrades
    }

    /// Upstream path, stripped path and query, byte for byte but for injected parameters. Returns
    /// whether there is a query.
    fn put_target(&self, put: &mut impl FnMut(&[u8])) -> bool {
        let (base, stripped) = (self.route.base(), self.rest);
        put(base.as_bytes());
        put(if base.is_empty() && stripped.is_empty() { b"/" } else { stripped.as_bytes() });
        let Some(query) = self.found.query else { return false };
        let injected = &self.route.injected;
        if !injected.has_any_parameter(query) {
            put(b"?");
            put(query.as_bytes());
            return true;
        }
        let mut separator: &[u8] = b"?";
        for parameter in query.split('&').filter(|parameter| !injected.has_parameter(parameter)) {
            put(separator);
            put(parameter.as_bytes());
            separator = b"&";
        }
        separator == b"&"
    }

    /// The fields that pass, in their order. Cookies are told by [`Self::cookies`] where some are
    /// injected.
    fn put_fields(&self, put: &mut impl FnMut(&[u8], &[u8])) {
        // A refusal inside the answer must be readable, and so must a secret; a digest is of what is not
        // compressed on its way.
        let wants_plain = !self.route.refusal.json.is_empty() || self.is_guarded() || self.route.verifies;
        for field in self.head.fields.iter() {
            match field.kind {
                Kind::Host
                | Kind::ContentLength
                | Kind::TransferEncoding
                | Kind::Connection
                | Kind::Upgrade
                | Kind::Expect
                | Kind::Te
                | Kind::Trailer
                | Kind::KeepAlive
                | Kind::Http2Settings
                | Kind::ProxyAuthorization
                | Kind::ProxyAuthenticate
                | Kind::Authorization
                | Kind::Forwarded => {}
                Kind::AcceptEncoding if wants_plain => {}
                Kind::Cookie if self.route.injected.has_cookies() => {}
                Kind::MethodOverride if self.route.policy.is_restricted() => {}
                _ if self.is_taken(&field) => {}
                Kind::MaxForwards if self.head.method == Method::OPTIONS => put_once_less(&field, put),
                _ => put(field.name, field.value),
            }
        }
        if wants_plain {
            put(b"accept-encoding", b"identity");
        }
    }

    /// Whether a field is listed in `Connection`, or stands under a name that bearerd itself uses.
    fn is_taken(&self, field: &Field<'_>) -> bool {
        let is_reserved = || {
            let names: [&[u8]; 3] = [b"authorization", b"proxy-authorization", b"proxy-connection"];
            names.iter().any(|name| is_same_name(name, field.name))
        };
        // Nobody could look into messages that an extension compresses (RFC 7692).
        let is_extension = || self.is_guarded() && is_same_name(field.name, b"sec-websocket-extensions");
        self.route.takes_header(field.name)
            || is_extension()
            || self.found.lists(field.name)
            || (field.kind == Kind::Underscore && is_reserved())
    }

    /// Whether the answer will be looked through.
    fn is_guarded(&self) -> bool {
        self.route.guard != Mode::Off
    }

    /// The app's cookies but for those that are injected.
    fn cookies(&self) -> Vec<u8> {
        let injected = &self.route.injected;
        let mut kept: Vec<u8> = Vec::new();
        for field in self.head.fields.iter().filter(|field| field.kind == Kind::Cookie) {
            if self.is_taken(&field) {
                continue;
            }
            for pair in field.value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                if !pair.is_empty() && !injected.has_any_cookie(pair) {
                    put_cookie(&mut kept, pair);
                }
            }
        }
        kept
    }
}

/// RFC 9110, section 7.6.2; zero was answered before.
fn put_once_less(field: &Field<'_>, put: &mut impl FnMut(&[u8], &[u8])) {
    let hops = std::str::from_utf8(field.value).ok().and_then(|value| value.parse::<u32>().ok());
    match hops {
        Some(hops) => put(field.name, itoa::Buffer::new().format(hops.saturating_sub(1)).as_bytes()),
        None => put(field.name, field.value),
    }
}

fn put_cookie(cookies: &mut Vec<u8>, pair: &[u8]) {
    if !cookies.is_empty() {
        cookies.extend_from_slice(b"; ");
    }
    cookies.extend_from_slice(pair);
}

impl<'a> Outbound<'a> {
    /// Puts a credential on a request, and into the content that it holds. An error says which value could
    /// not be made, never with one.
    pub fn new(
        sanitized: Sanitized<'a>,
        prepared: &'a Prepared,
        content: Option<&Content>,
    ) -> Result<Self, String> {
        let mut rendered = prepared.dynamic(content).transpose()?.unwrap_or_default();
        if prepared.wants_proof() {
            let nonce = sanitized.route.destination.nonce.load();
            let (method, uri) = (sanitized.head.method.as_str(), sanitized.uri());
            let proof = prepared.proof(method, &uri, nonce.as_deref()).transpose()?;
            rendered.headers.extend(proof.map(|proof| (proof::FIELD, proof)));
        }
        Ok(Self { sanitized, prepared, rendered })
    }

    /// What is sent as content, where it was held.
    pub fn content(&self) -> Option<&Bytes> {
        self.rendered.content.as_ref()
    }

    /// Writes the head for HTTP/1.1.
    pub fn write(&self, framing: Framing, output: &mut Output) {
        let Sanitized { head, found, route, via, .. } = self.sanitized;
        output.put(head.method.as_str().as_bytes());
        output.put(b" ");
        self.put_target(&mut |part| output.put(part));
        output.put(b" HTTP/1.1\r\n");
        put_field(output, b"Host", route.destination.authority.as_bytes());
        self.sanitized.put_fields(&mut |name, value| put_field(output, name, value));
        output.put(&self.prepared.lines);
        for (name, value) in &self.rendered.headers {
            put_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
        if let Some(cookies) = self.cookies() {
            put_field(output, b"Cookie", &cookies);
        }
        put_field(output, b"Via", via.as_bytes());
        if found.upgrades {
            for protocols in head.fields.all(Kind::Upgrade) {
                put_field(output, b"Upgrade", protocols);
            }
            output.put(b"Connection: upgrade\r\n");
        }
        match framing {
            Framing::Chunked => output.put(b"Transfer-Encoding: chunked\r\n"),
            Framing::Length(length) if length > 0 || found.content_length.is_some() => {
                put_field(output, b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::Length(_) | Framing::Close => {}
        }
        output.put(b"\r\n");
    }

    /// The head for HTTP/2, where the framing is not in the fields but for a length that is known. An
    /// error says what cannot stand there.
    pub fn request(&self, framing: Framing) -> Result<Request<()>, String> {
        let Sanitized { head, found, route, via, .. } = self.sanitized;
        let origin = &route.spec.upstream.origin;
        // `:scheme` is that of a URL (RFC 9113, section 8.3.1), whatever names the protocol in the configuration.
        let mut uri = format!("{}://{}", origin.in_links().scheme.as_str(), origin.authority()).into_bytes();
        self.put_target(&mut |part| uri.extend_from_slice(part));
        let uri = http::Uri::from_maybe_shared(Bytes::from(uri)).map_err(|_| "the target is too long")?;
        let mut request = Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        let headers = request.headers_mut();
        headers.reserve(head.fields.len() + 4);
        let mut put = |name: &[u8], value: &[u8]| {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        };
        self.sanitized.put_fields(&mut put);
        put(b"via", via.as_bytes());
        if found.takes_trailers {
            put(b"te", b"trailers");
        }
        if let Framing::Length(length) = framing
            && (length > 0 || found.content_length.is_some())
        {
            put(b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        for (name, value) in self.prepared.fields().chain(self.rendered.headers.iter().cloned()) {
            headers.insert(name, value);
        }
        if let Some(cookies) = self.cookies() {
            let mut value =
                HeaderValue::from_bytes(&cookies).map_err(|_| "the injected cookies are no field value")?;
            value.set_sensitive(true);
            headers.insert(http::header::COOKIE, value);
        }
        Ok(request)
    }

    fn put_target(&self, put: &mut impl FnMut(&[u8])) {
        let mut separator: &[u8] = if self.sanitized.put_target(put) { b"&" } else { b"?" };
        for pair in self.prepared.query().iter().chain(&self.rendered.query) {
            put(separator);
            put(pair.expose());
            separator = b"&";
        }
    }

    /// The one field of cookies, where some are injected: the app's own and those.
    fn cookies(&self) -> Option<Vec<u8>> {
        if !self.sanitized.route.injected.has_cookies() {
            return None;
        }
        let mut cookies = self.sanitized.cookies();
        for pair in self.prepared.cookies().iter().chain(&self.rendered.cookies) {
            put_cookie(&mut cookies, pair.expose());
        }
        (!cookies.is_empty()).then_some(cookies)
    }
}

#[cfg(test)]
mod tests;
