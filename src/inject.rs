//! Putting a credential on a request: what is injected replaces whatever the app sent under that
//! name, in any case or spelling.
//!
//! An [`Injection`] is what the configuration says; [`Injection::prepare`] renders it once per
//! generation into a [`Prepared`], whose field values are marked sensitive (hyper's `Debug` and the
//! HPACK encoder obey that). What holds a time or a random number is rendered at each request.

pub mod names;

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::clock::Clock;
use crate::jose::proof::{self, Proof, ProofKey};
use crate::named::Named;
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;

pub use names::InjectedNames;

/// What is put on a request: templates over a credential's outputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Header fields, in the order of the configuration.
    pub headers: Vec<(HeaderName, Template)>,
    /// Query parameters, by their decoded names.
    pub query: Vec<(String, Template)>,
    /// Cookies.
    pub cookies: Vec<(String, Template)>,
    /// The token is bound to a key: a proof goes with it (DPoP, RFC 9449), made anew for each request.
    pub dpop: bool,
}

/// An injection rendered for one generation.
pub struct Prepared {
    /// Header fields whose value stays for the whole generation, as HTTP/1.1 writes them: lines with their
    /// ends, ready to be copied. They are wiped when the last holder goes.
    pub lines: Bytes,
    /// `None` for what most injections are: fields that stay.
    more: Option<Box<More>>,
}

/// What not every injection has.
struct More {
    /// `name=value` pairs for the query, percent-encoded.
    query: Vec<Secret>,
    /// `name=value` pairs for the `Cookie` field.
    cookies: Vec<Secret>,
    /// What is rendered anew at each request; `None` if there is no such thing.
    dynamic: Option<Dynamic>,
    /// What makes proofs; `None` where the token is not bound to a key.
    prover: Option<Prover>,
}

/// Makes the proofs of one generation.
struct Prover {
    key: ProofKey,
    token_digest: String,
    clock: Clock,
}

/// Templates with a time or a random number in them, and what they need.
struct Dynamic {
    injection: Injection,
    outputs: Named<Secret>,
    clock: Clock,
}

/// What is put on one request.
#[derive(Default)]
pub struct Rendered {
    /// Fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `name=value` pairs for the query, percent-encoded.
    pub query: Vec<Secret>,
    /// `name=value` pairs for the `Cookie` field.
    pub cookies: Vec<Secret>,
}

impl Injection {
    /// Renders the injection for one generation of a credential. An error says which field cannot be
    /// made of it and why, never with a value.
    pub fn prepare(&self, outputs: &Named<Secret>, clock: &Clock) -> Result<Prepared, String> {
        let (stable, unstable) = self.split();
        // What changes with each request is tried once, so that a missing output is told now.
        render(&unstable, outputs, clock)?;
        let Rendered { headers, query, cookies } = render(&stable, outputs, clock)?;
        let dynamic = (unstable != Self::default()).then(|| Dynamic {
            injection: unstable,
            outputs: outputs.clone(),
            clock: clock.clone(),
        });
        let prover = self.dpop.then(|| prover(outputs, clock)).transpose()?;
        let is_plain = query.is_empty() && cookies.is_empty() && dynamic.is_none() && prover.is_none();
        let more = (!is_plain).then(|| Box::new(More { query, cookies, dynamic, prover }));
        Ok(Prepared { lines: lines(&headers), more })
    }

    /// What stays the same for a generation, and what does not.
    fn split(&self) -> (Self, Self) {
        let (mut stable, mut unstable) = (self.clone(), self.clone());
        let stays = Template::is_stable;
        stable.headers.retain(|(_, template)| stays(template));
        stable.query.retain(|(_, template)| stays(template));
        stable.cookies.retain(|(_, template)| stays(template));
        (stable.dpop, unstable.dpop) = (false, false);
        unstable.headers.retain(|(_, template)| !stays(template));
        unstable.query.retain(|(_, template)| !stays(template));
        unstable.cookies.retain(|(_, template)| !stays(template));
        (stable, unstable)
    }
}

impl Prepared {
    /// What is rendered for this request alone, if anything is.
    pub fn dynamic(&self) -> Option<Result<Rendered, String>> {
        let dynamic = self.more.as_ref()?.dynamic.as_ref()?;
        Some(render(&dynamic.injection, &dynamic.outputs, &dynamic.clock))
    }

    /// The fields of [`Self::lines`] by themselves, marked sensitive; they share its memory.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = self.lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
        lines.filter_map(|line| {
            let (name, value) = line.split_at(memchr::memmem::find(line, SEPARATOR)?);
            let value = self.lines.slice_ref(&value[SEPARATOR.len()..]);
            // They were fields before they were lines.
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name).ok()?, value))
        })
    }

    /// `name=value` pairs for the query, percent-encoded.
    pub fn query(&self) -> &[Secret] {
        self.more.as_ref().map_or(&[], |more| &more.query)
    }

    /// `name=value` pairs for the `Cookie` field.
    pub fn cookies(&self) -> &[Secret] {
        self.more.as_ref().map_or(&[], |more| &more.cookies)
    }

    /// Whether a proof goes with the token.
    pub fn wants_proof(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.prover.is_some())
    }

    /// The proof for one request to `uri` (without query and fragment), if one goes with the token.
    pub fn proof(
        &self,
        method: &str,
        uri: &str,
        nonce: Option<&HeaderValue>,
    ) -> Option<Result<HeaderValue, String>> {
        let Prover { key, token_digest, clock } = self.more.as_ref()?.prover.as_ref()?;
        Some(key.prove(&Proof { method, uri, nonce, token: Some(token_digest) }, clock))
    }
}

/// Between a field's name and its value.
const SEPARATOR: &[u8] = b": ";

/// Fields as HTTP/1.1 writes them.
fn lines(fields: &[(HeaderName, HeaderValue)]) -> Bytes {
    struct Exposed(SecretBuffer);
    impl AsRef<[u8]> for Exposed {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    let length = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + 4;
    let mut lines = SecretBuffer::with_capacity(fields.iter().map(length).sum());
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), SEPARATOR, value.as_bytes(), b"\r\n"] {
            lines.push(part);
        }
    }
    Bytes::from_owner(Exposed(lines))
}

fn prover(outputs: &Named<Secret>, clock: &Clock) -> Result<Prover, String> {
    let output = |name: &str| outputs.get(name).ok_or_else(|| format!("the credential has no `{name}`"));
    let key = ProofKey::open(output(proof::KEY_OUTPUT)?)?;
    let token_digest = proof::token_digest(output("access_token")?);
    Ok(Prover { key, token_digest, clock: clock.clone() })
}

fn render(injection: &Injection, outputs: &Named<Secret>, clock: &Clock) -> Result<Rendered, String> {
    let value = |name: &str| outputs.get(name).cloned();
    let text = |what: &str, name: &str, template: &Template| {
        template.render(&value, clock).map_err(|missing| format!("{what} `{name}`: {missing}"))
    };
    let mut rendered = Rendered {
        headers: Vec::with_capacity(injection.headers.len()),
        query: Vec::with_capacity(injection.query.len()),
        cookies: Vec::with_capacity(injection.cookies.len()),
    };
    for (name, template) in &injection.headers {
        let bytes = text("header", name.as_str(), template)?;
        let mut field = HeaderValue::from_bytes(&bytes).map_err(|_| {
            format!("header `{name}`: the value has a control character, such as a line break")
        })?;
        if field.is_empty() || bytes.trim_ascii().len() != bytes.len() {
            return Err(format!("header `{name}`: the value is empty, or begins or ends with a space"));
        }
        field.set_sensitive(true);
        rendered.headers.push((name.clone(), field));
    }
    for (name, template) in &injection.query {
        let bytes = text("query parameter", name, template)?;
        let pair = format!("{}={}", names::percent_encode(name.as_bytes()), names::percent_encode(&bytes));
        rendered.query.push(Secret::from(pair));
    }
    for (name, template) in &injection.cookies {
        let bytes = text("cookie", name, template)?;
        // The bytes that RFC 6265, section 4.1.1, allows in a cookie's value.
        let is_allowed =
            |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
        if !bytes.iter().all(is_allowed) {
            return Err(format!("cookie `{name}`: the value has a byte that a cookie cannot hold"));
        }
        rendered.cookies.push(Secret::new([name.as_bytes(), b"=", &bytes].concat()));
    }
    Ok(rendered)
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.fields().map(|(name, _)| name);
        formatter
            .debug_struct("Prepared")
            .field("headers", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
