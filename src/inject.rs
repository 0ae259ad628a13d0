//! Putting a credential on a request: what is injected replaces whatever the app sent under that
//! name, in any case or spelling.
//!
//! An [`Injection`] is what the configuration says; [`Injection::prepare`] renders it once per
//! generation into a [`Prepared`], whose field values are marked sensitive (hyper's `Debug` and the
//! HPACK encoder obey that). What holds a time or a random number is rendered at each request, and so is
//! what is put into its [`Content`] or made of it.

pub mod content;
mod derived;
pub mod names;
mod rendered;
pub mod verification;

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::jose::detached::DetachedSigner;
use crate::jose::proof::{self, Proof, ProofKey};
use crate::named::Named;
use crate::secret::Secret;
use crate::template::Template;
use rendered::render;

pub use content::Content;
pub use derived::Derived;
pub use names::InjectedNames;
pub use rendered::Rendered;
pub use verification::{Verification, Verifier};

/// What is put on a request: templates over a credential's outputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Header fields, in the order of the configuration.
    pub headers: Vec<(HeaderName, Template)>,
    /// Query parameters, by their decoded names.
    pub query: Vec<(String, Template)>,
    /// Cookies.
    pub cookies: Vec<(String, Template)>,
    /// Members of a JSON object, or fields of a form.
    pub body: Vec<(String, BodyValue)>,
    /// What a body that the app leaves empty becomes.
    pub empty_body: BodyForm,
    /// Fields that sign the content.
    pub signatures: Vec<(HeaderName, SignatureSpec)>,
    /// The token is bound to a key: a proof goes with it (DPoP, RFC 9449), made anew for each request.
    pub dpop: bool,
}

/// What is put into a body.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyValue {
    /// A text.
    Text(Template),
    /// A number, or `true` or `false`; a form has its text.
    Literal(serde_json::Value),
}

/// How a body is written into which something is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyForm {
    /// A JSON object (RFC 8259).
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// A detached signature over the content ([`crate::jose::detached`]).
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureSpec {
    /// The name of the input or output that is the key.
    pub key: String,
    /// The algorithm; `None` lets the key choose.
    pub algorithm: Option<String>,
    /// Further parameters of the header.
    pub header: Vec<(String, serde_json::Value)>,
}

/// An injection rendered for one generation.
pub struct Prepared {
    /// Header fields whose value stays for the whole generation, as HTTP/1.1 writes them: lines with their
    /// ends, ready to be copied.
    pub lines: Zeroizing<Box<[u8]>>,
    /// `None` for what most injections are: fields that stay.
    more: Option<Box<More>>,
}

/// What not every injection has.
#[derive(Default)]
struct More {
    /// `name=value` pairs for the query, percent-encoded.
    query: Vec<Secret>,
    /// `name=value` pairs for the `Cookie` field.
    cookies: Vec<Secret>,
    /// What is rendered anew at each request; `None` if there is no such thing.
    dynamic: Option<Dynamic>,
    /// What makes proofs; `None` where the token is not bound to a key.
    prover: Option<Prover>,
    /// What answers have to fit; `None` where they are not verified.
    verifier: Option<Arc<Verifier>>,
    /// What is made of values; `None` where they are put on as they are.
    derived: Option<Derived>,
}

impl More {
    fn is_empty(&self) -> bool {
        let Self { query, cookies, dynamic, prover, verifier, derived } = self;
        let has_pairs = !query.is_empty() || !cookies.is_empty();
        !has_pairs && dynamic.is_none() && prover.is_none() && verifier.is_none() && derived.is_none()
    }
}

/// Makes the proofs of one generation.
struct Prover {
    key: ProofKey,
    token_digest: String,
    clock: Clock,
}

/// What is rendered for each request, and what it needs.
struct Dynamic {
    injection: Injection,
    signers: Vec<(HeaderName, DetachedSigner)>,
    outputs: Named<Secret>,
    clock: Clock,
}

impl Injection {
    /// Whether the content of a request has to be there before its head can be written.
    pub fn holds_content(&self) -> bool {
        !self.signatures.is_empty() || !self.body.is_empty() || self.templates().any(Template::takes_body)
    }

    /// Whether it makes something of values that is as secret as they are ([`Prepared::derived`]).
    pub fn derives(&self) -> bool {
        self.templates().any(Template::derives)
    }

    /// Whether it has to be known how the content is written: something is put in, or made of a member.
    pub fn reads_body(&self) -> bool {
        !self.body.is_empty() || self.templates().any(|template| !template.members().is_empty())
    }

    /// Whether something is made of the member of this name.
    fn names_member(&self, name: &str) -> bool {
        self.templates().any(|template| template.members().contains(&name))
    }

    /// All templates.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let fields = self.headers.iter().map(|(_, template)| template);
        let pairs = self.query.iter().chain(&self.cookies).map(|(_, template)| template);
        let body = self.body.iter().filter_map(|(_, value)| match value {
            BodyValue::Text(template) => Some(template),
            BodyValue::Literal(_) => None,
        });
        fields.chain(pairs).chain(body)
    }

    /// The names of the values that it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let keys = self.signatures.iter().map(|(_, signature)| signature.key.as_str());
        self.templates().flat_map(Template::names).chain(keys)
    }

    /// Whether nothing is put on a request.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.query.is_empty()
            && self.cookies.is_empty()
            && self.body.is_empty()
            && self.signatures.is_empty()
    }

    /// Renders the injection for one generation of a credential. An error says which field cannot be
    /// made of it and why, never with a value.
    pub fn prepare(&self, outputs: &Named<Secret>, clock: &Clock) -> Result<Prepared, String> {
        let (stable, unstable) = self.split();
        let Rendered { headers, query, cookies, .. } = render(&stable, &[], outputs, clock, None)?;
        let dynamic = (!unstable.is_empty()).then(|| unstable.dynamic(outputs, clock)).transpose()?;
        let prover = self.dpop.then(|| prover(outputs, clock)).transpose()?;
        let derived = Derived::of(self, outputs, clock);
        let more = More { query, cookies, dynamic, prover, verifier: None, derived };
        let more = (!more.is_empty()).then(|| Box::new(more));
        Ok(Prepared { lines: lines(&headers), more })
    }

    fn dynamic(self, outputs: &Named<Secret>, clock: &Clock) -> Result<Dynamic, String> {
        let mut signers = Vec::with_capacity(self.signatures.len());
        for (name, signature) in &self.signatures {
            let SignatureSpec { key, algorithm, header } = signature;
            let told = |error: &str| format!("header `{name}`: {error}");
            let key = outputs.get(key).ok_or_else(|| told(&format!("`{key}` has no value")))?;
            let signer = DetachedSigner::read(key, algorithm.as_deref(), header);
            signers.push((name.clone(), signer.map_err(|error| told(&error))?));
        }
        // What changes with each request is tried once, so that a missing output is told now.
        let mut tried = self.clone();
        // Of an empty body nothing may come that could stand in a field.
        tried.headers.retain(|(_, template)| template.members().is_empty());
        render(&tried, &[], outputs, clock, Some(&Content::empty()))?;
        let (outputs, clock) = (outputs.clone(), clock.clone());
        Ok(Dynamic { injection: self, signers, outputs, clock })
    }

    /// What stays the same for a generation, and what does not.
    fn split(&self) -> (Self, Self) {
        let (mut stable, mut unstable) = (self.clone(), self.clone());
        let stays = Template::is_stable;
        stable.headers.retain(|(_, template)| stays(template));
        stable.query.retain(|(_, template)| stays(template));
        stable.cookies.retain(|(_, template)| stays(template));
        (stable.dpop, unstable.dpop) = (false, false);
        (stable.body, stable.signatures) = (Vec::new(), Vec::new());
        unstable.headers.retain(|(_, template)| !stays(template));
        unstable.query.retain(|(_, template)| !stays(template));
        unstable.cookies.retain(|(_, template)| !stays(template));
        (stable, unstable)
    }
}

impl Prepared {
    /// Has answers verified.
    pub fn verifying(
        mut self,
        by: &Arc<Verification>,
        outputs: &Named<Secret>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let verifier = Some(Arc::new(Verifier::new(by, outputs, clock)?));
        self.more.get_or_insert_default().verifier = verifier;
        Ok(self)
    }

    /// What answers have to fit.
    pub fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.more.as_ref()?.verifier.as_ref()
    }

    /// What is made of the values and stays the same for each request, if anything is.
    pub fn derived(&self) -> Option<&Derived> {
        self.more.as_ref()?.derived.as_ref()
    }

    /// What is rendered for this request alone, if anything is; `content` is what it holds, where the
    /// injection wants that.
    pub fn dynamic(&self, content: Option<&Content>) -> Option<Result<Rendered, String>> {
        let Dynamic { injection, signers, outputs, clock } = self.more.as_ref()?.dynamic.as_ref()?;
        Some(render(injection, signers, outputs, clock, content))
    }

    /// The fields of [`Self::lines`] by themselves, marked sensitive, and wiped when the last who holds them lets go.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = self.lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
        lines.filter_map(|line| {
            let (name, value) = line.split_at(memchr::memmem::find(line, SEPARATOR)?);
            // They were fields before they were lines.
            let value = Secret::new(&value[SEPARATOR.len()..]).into_bytes();
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
fn lines(fields: &[(HeaderName, HeaderValue)]) -> Zeroizing<Box<[u8]>> {
    let length = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + 4;
    let mut lines = Vec::with_capacity(fields.iter().map(length).sum());
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), SEPARATOR, value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    Zeroizing::new(lines.into())
}

fn prover(outputs: &Named<Secret>, clock: &Clock) -> Result<Prover, String> {
    let output = |name: &str| outputs.get(name).ok_or_else(|| format!("the credential has no `{name}`"));
    let key = ProofKey::open(output(proof::KEY_OUTPUT)?)?;
    let token_digest = proof::token_digest(output("access_token")?);
    Ok(Prover { key, token_digest, clock: clock.clone() })
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
