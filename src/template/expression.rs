//! What stands between the braces of a template.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::secret::{Secret, append};
use crate::template::digest::Digest;
use crate::template::{Body, RenderError, Scene, pem};

/// What stands for a text that is not shown.
pub(super) const HIDDEN: &str = "..";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Text(String),
    Name(String),
    Uuid,
    Now(Precision),
    /// The body of the message at hand.
    Body,
    /// A member of it, or a field of a form, at the top; nothing if there is none.
    Member(String),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Rfc3339,
    Seconds,
    Milliseconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Base64,
    Base64Url,
    Hex,
    Sha256,
    HmacSha256,
    Der,
    RsaOaep,
    Json,
}

impl Expression {
    /// Shows each part of the expression to `look`, outer ones first.
    pub(super) fn walk<'a>(&'a self, look: &mut dyn FnMut(&'a Self)) {
        look(self);
        if let Self::Call(_, arguments) = self {
            for argument in arguments {
                argument.walk(look);
            }
        }
    }

    pub(super) fn is_stable(&self) -> bool {
        match self {
            Self::Text(_) | Self::Name(_) => true,
            // What is sealed is sealed anew each time.
            Self::Uuid | Self::Now(_) | Self::Body | Self::Member(_) | Self::Call(Function::RsaOaep, _) => {
                false
            }
            Self::Call(_, arguments) => arguments.iter().all(Self::is_stable),
        }
    }

    /// Whether a value of a name goes into it.
    pub(super) fn has_name(&self) -> bool {
        let mut has_name = false;
        self.walk(&mut |part| has_name |= matches!(part, Self::Name(_)));
        has_name
    }

    pub(super) fn is_digest(&self) -> bool {
        matches!(self, Self::Call(function, _) if function.is_digest())
    }

    /// What it is made of: names in brackets, no text.
    pub(super) fn outline(&self) -> String {
        match self {
            Self::Text(_) => HIDDEN.to_owned(),
            Self::Name(name) => format!("[{name}]"),
            Self::Uuid => "[uuid]".to_owned(),
            Self::Now(precision) => format!("[{}]", precision.name()),
            Self::Body => "[body]".to_owned(),
            Self::Member(name) => format!("[body.{name}]"),
            Self::Call(function, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(Self::outline).collect();
                format!("{}({})", function.name(), arguments.join(", "))
            }
        }
    }

    /// Puts something in place of each name for which `change` gives it.
    pub(super) fn change(self, change: &dyn Fn(&str) -> Option<Self>) -> Self {
        match self {
            Self::Name(name) => change(&name).unwrap_or(Self::Name(name)),
            Self::Call(function, arguments) => {
                Self::Call(function, arguments.into_iter().map(|argument| argument.change(change)).collect())
            }
            other => other,
        }
    }

    /// The call that makes a digest of the whole body.
    pub(super) fn body_digest(&self) -> Option<(Function, &[Self])> {
        let Self::Call(function, arguments) = self else { return None };
        if function.is_digest() && function.text_of(arguments).contains(&Self::Body) {
            return Some((*function, arguments));
        }
        arguments.iter().find_map(Self::body_digest)
    }

    pub(super) fn render(&self, scene: &Scene<'_>) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let mut rendered = Zeroizing::new(Vec::new());
        self.feed(scene, &mut |piece| append(&mut rendered, piece))?;
        Ok(rendered)
    }

    /// Hands what the expression stands for to `sink`, long texts without a copy.
    pub(super) fn feed(&self, scene: &Scene<'_>, sink: &mut dyn FnMut(&[u8])) -> Result<(), RenderError> {
        match self {
            Self::Text(text) => sink(text.as_bytes()),
            Self::Name(name) => {
                let value: Secret = (scene.values)(name).ok_or_else(|| RenderError::Missing(name.clone()))?;
                sink(value.expose());
            }
            Self::Uuid => sink(scene.clock.uuid().as_bytes()),
            Self::Now(Precision::Rfc3339) => sink(format!("{:.3}", scene.now).as_bytes()),
            Self::Now(Precision::Seconds) => sink(scene.now.as_second().to_string().as_bytes()),
            Self::Now(Precision::Milliseconds) => sink(scene.now.as_millisecond().to_string().as_bytes()),
            Self::Body => {
                if let Body::Whole { bytes, .. } = scene.body {
                    sink(bytes);
                }
            }
            Self::Member(name) => {
                if let Body::Whole { member, .. } = scene.body
                    && let Some(value) = member(name)
                {
                    sink(&value);
                }
            }
            Self::Call(function, arguments) => sink(&function.call(arguments, scene)?),
        }
        Ok(())
    }
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::Rfc3339 => "now",
            Self::Seconds => "now_s",
            Self::Milliseconds => "now_ms",
        }
    }
}

impl Function {
    const ALL: [Self; 8] = [
        Self::Base64,
        Self::Base64Url,
        Self::Hex,
        Self::Sha256,
        Self::HmacSha256,
        Self::Der,
        Self::RsaOaep,
        Self::Json,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
            Self::Sha256 => "sha256",
            Self::HmacSha256 => "hmac_sha256",
            Self::Der => "der",
            Self::RsaOaep => "rsa_oaep",
            Self::Json => "json",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    fn is_digest(self) -> bool {
        matches!(self, Self::Sha256 | Self::HmacSha256)
    }

    /// The arguments but for a key.
    fn text_of(self, arguments: &[Expression]) -> &[Expression] {
        match (self, arguments) {
            (Self::HmacSha256, [_key, text @ ..]) => text,
            (_, text) => text,
        }
    }

    /// A digest over nothing yet, with the key if there is to be one.
    pub(super) fn begin(self, arguments: &[Expression], scene: &Scene<'_>) -> Result<Digest, RenderError> {
        let key = match (self, arguments) {
            (Self::HmacSha256, [key, ..]) => Some(key.render(scene)?),
            _ => None,
        };
        Ok(Digest::begin(key.as_deref().map(Vec::as_slice)))
    }

    /// The arguments of a digest before the body, and those behind it.
    pub(super) fn around_body(self, arguments: &[Expression]) -> (&[Expression], &[Expression]) {
        let text = self.text_of(arguments);
        let at = text.iter().position(|argument| *argument == Expression::Body).unwrap_or(text.len());
        (&text[..at], text.get(at + 1..).unwrap_or_default())
    }

    fn call(self, arguments: &[Expression], scene: &Scene<'_>) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        if self.is_digest() {
            if let Body::Digested(digest) = scene.body
                && self.text_of(arguments).contains(&Expression::Body)
            {
                return Ok(Zeroizing::new(digest.to_vec()));
            }
            let mut digest = self.begin(arguments, scene)?;
            for argument in self.text_of(arguments) {
                argument.feed(scene, &mut |piece| digest.update(piece))?;
            }
            return Ok(Zeroizing::new(digest.finish()));
        }
        let (first, further) = match (self, arguments) {
            (Self::RsaOaep | Self::Json, [first, further @ ..]) => (first.render(scene)?, further),
            (_, all) => (Zeroizing::default(), all),
        };
        let mut input = Zeroizing::new(Vec::new());
        for argument in further {
            argument.feed(scene, &mut |piece| append(&mut input, piece))?;
        }
        Ok(Zeroizing::new(match self {
            Self::Base64 => BASE64_STANDARD.encode(&*input).into_bytes(),
            Self::Base64Url => BASE64_URL_SAFE_NO_PAD.encode(&*input).into_bytes(),
            Self::Hex | Self::Sha256 | Self::HmacSha256 => hex(&input).into_bytes(),
            Self::Der => pem::first(&input)?,
            Self::Json => part(&first, &input)?,
            Self::RsaOaep => pem::encrypt(&first, &input)?,
        }))
    }
}

/// The text, number or boolean at a pointer of a JSON document.
fn part(document: &[u8], pointer: &[u8]) -> Result<Vec<u8>, RenderError> {
    const NOTHING: RenderError = RenderError::Unusable("the document of `json` has nothing at its pointer");
    let document: serde_json::Value = serde_json::from_slice(document)
        .map_err(|_| RenderError::Unusable("the document of `json` is not JSON"))?;
    let found = std::str::from_utf8(pointer).ok().and_then(|pointer| document.pointer(pointer));
    match found {
        Some(serde_json::Value::String(text)) => Ok(text.as_bytes().to_vec()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(value.to_string().into_bytes())
        }
        _ => Err(NOTHING),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
