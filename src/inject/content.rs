//! The content of a request, held so that something can be put into it or made of it.
//!
//! ```text
//! what the app sent ── read ──▶ Content ── put ──▶ what is sent, byte for byte the same but for what is
//!   │ unfit: 415, 400           without what goes by an injected name      injected
//! ```
//!
//! Members and fields stand where parsers differ most: of two by one name one server takes the first
//! and another the last. So what the app sent by an injected name, in any spelling, is taken out, and
//! what cannot be read in one way only is refused.

pub(super) mod form;
mod json;

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::inject::{BodyForm, Injection, names};
use json::Object;

/// What a request says of its content.
#[derive(Debug, Clone, Default)]
pub struct Description<'a> {
    /// Each `Content-Type`.
    pub types: Vec<&'a [u8]>,
    /// It is compressed, or encoded in another way.
    pub is_encoded: bool,
    /// Its method gives a content a meaning (RFC 9110, section 9.3).
    pub has_meaning: bool,
}

impl Description<'_> {
    /// Whether a method gives a content a meaning.
    pub fn gives_meaning(method: &Method) -> bool {
        ![Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::TRACE].contains(method)
    }
}

/// The content of one request, without what goes by an injected name.
#[derive(Debug, Clone)]
pub struct Content {
    rest: Bytes,
    form: Form,
    /// The app said no type: the injection gives it one.
    is_untyped: bool,
    /// Members that templates name, and their texts.
    members: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing is put in.
    Opaque,
    /// An object: where members can be put in, and whether it has others.
    Json {
        inside: usize,
        has_members: bool,
    },
    Fields,
}

/// Why nothing can be put into a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It is of another type, or encoded.
    Kind(&'static str),
    /// It is not what its type says, or can be read in two ways.
    Malformed(&'static str),
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Kind(why) | Self::Malformed(why)) = self;
        formatter.write_str(why)
    }
}

impl std::error::Error for Unfit {}

/// An empty object.
const NOTHING: &[u8] = b"{}";

impl Content {
    /// Reads what the app sent, for what an injection does with it.
    pub fn read(sent: Bytes, description: &Description<'_>, injection: &Injection) -> Result<Self, Unfit> {
        let opaque = |rest| Self { rest, form: Form::Opaque, is_untyped: false, members: Vec::new() };
        if !injection.reads_body() || (sent.is_empty() && !description.has_meaning) {
            return Ok(opaque(sent));
        }
        if description.is_encoded {
            return Err(Unfit::Kind(
                "something is put into the body of this request, which must not be compressed or encoded for it",
            ));
        }
        let form = match description.types.as_slice() {
            [one] => form_of(one)?,
            [] if sent.is_empty() => injection.empty_body,
            [] => {
                return Err(Unfit::Kind("something is put into the body of this request, which has no type"));
            }
            _ => {
                return Err(Unfit::Kind(
                    "something is put into the body of this request, which has two types",
                ));
            }
        };
        let is_untyped = description.types.is_empty();
        let content = match form {
            BodyForm::Json => Self::of_json(&sent, injection)?,
            BodyForm::Form => Self::of_fields(&sent, injection)?,
        };
        Ok(Self { is_untyped, ..content })
    }

    fn of_json(sent: &[u8], injection: &Injection) -> Result<Self, Unfit> {
        let text = if sent.trim_ascii().is_empty() { NOTHING } else { sent };
        let object = Object::read(text).map_err(Unfit::Malformed)?;
        let is_taken = |name: &str| injection.body.iter().any(|(own, _)| is_same(own, name));
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for member in &object.members {
            if !is_taken(&member.name) && injection.names_member(&member.name) {
                if members.iter().any(|(name, _)| *name == member.name) {
                    return Err(Unfit::Malformed(TWICE));
                }
                let text = match serde_json::from_slice(&text[member.value.clone()]) {
                    Ok(serde_json::Value::String(text)) => text.into_bytes(),
                    Ok(serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                        text[member.value.clone()].to_vec()
                    }
                    _ => Vec::new(),
                };
                members.push((member.name.clone(), text));
            }
        }
        let (rest, inside, has_members) = object.without(|member| is_taken(&member.name));
        let form = Form::Json { inside, has_members };
        Ok(Self { rest: rest.into(), form, is_untyped: false, members })
    }

    fn of_fields(sent: &[u8], injection: &Injection) -> Result<Self, Unfit> {
        let rest = form::without(sent, |piece| form::goes_by_any(piece, &injection.body));
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for field in rest.split(|byte| *byte == b'&') {
            let (name, value) = form::split(field);
            let Ok(name) = String::from_utf8(form::decoded(name)) else { continue };
            if injection.names_member(&name) {
                if members.iter().any(|(known, _)| *known == name) {
                    return Err(Unfit::Malformed(TWICE));
                }
                members.push((name, form::decoded(value)));
            }
        }
        Ok(Self { rest: rest.into(), form: Form::Fields, is_untyped: false, members })
    }

    /// An empty object, for a trial.
    pub(super) fn empty() -> Self {
        let form = Form::Json { inside: 1, has_members: false };
        Self { rest: Bytes::from_static(NOTHING), form, is_untyped: false, members: Vec::new() }
    }

    /// Its bytes, without what goes by an injected name.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.rest
    }

    /// The text of a member that templates name.
    pub(super) fn member(&self, name: &str) -> Option<Vec<u8>> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    }

    /// Whether something is put into it.
    pub(super) fn takes_fields(&self) -> bool {
        self.form != Form::Opaque
    }

    /// The type that it has for want of another.
    pub(super) fn made_type(&self) -> Option<HeaderValue> {
        match self.form {
            Form::Json { .. } if self.is_untyped => Some(HeaderValue::from_static("application/json")),
            Form::Fields if self.is_untyped => {
                Some(HeaderValue::from_static("application/x-www-form-urlencoded"))
            }
            _ => None,
        }
    }

    /// The content with these put in: of each the name, the value as JSON, and as text.
    pub(super) fn put(&self, values: &[Put<'_>]) -> Bytes {
        match self.form {
            _ if values.is_empty() => self.rest.clone(),
            Form::Opaque => self.rest.clone(),
            Form::Json { inside, has_members } => {
                let (before, behind) = self.rest.split_at(inside);
                let mut whole = before.to_vec();
                for (index, put) in values.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "," };
                    let name = serde_json::Value::from(put.name);
                    whole.extend_from_slice(format!("{separator}{name}:{}", put.json).as_bytes());
                }
                if has_members {
                    whole.push(b',');
                }
                whole.extend_from_slice(behind);
                whole.into()
            }
            Form::Fields => {
                let mut whole = self.rest.to_vec();
                for put in values {
                    if !whole.is_empty() {
                        whole.push(b'&');
                    }
                    let (name, value) = (put.name.as_bytes(), put.text.as_bytes());
                    let field = format!("{}={}", names::percent_encode(name), names::percent_encode(value));
                    whole.extend_from_slice(field.as_bytes());
                }
                whole.into()
            }
        }
    }
}

/// One value that is put into a content.
pub(super) struct Put<'a> {
    pub(super) name: &'a str,
    pub(super) json: String,
    pub(super) text: String,
}

const TWICE: &str = "the request body has a member twice that something is made of";

/// How a content of this type is read (RFC 9110, section 8.3.1).
fn form_of(said: &[u8]) -> Result<BodyForm, Unfit> {
    let other = Unfit::Kind(
        "something is put into the body of this request: it can be JSON in UTF-8, or a form of one part",
    );
    let said = std::str::from_utf8(said).map_err(|_| other.clone())?;
    let mut parts = said.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_readable = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    });
    match essence.as_str() {
        _ if !is_readable => Err(other),
        "application/json" | "text/json" => Ok(BodyForm::Json),
        "application/x-www-form-urlencoded" => Ok(BodyForm::Form),
        essence if essence.ends_with("+json") => Ok(BodyForm::Json),
        _ => Err(other),
    }
}

/// Whether a server might take two names for one: letter case (also of letters beyond ASCII that fold to
/// some within), `-` or `_`, and what follows a NUL, do not count.
pub fn is_same(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    let fold = |letter: char| letter.to_uppercase().flat_map(char::to_lowercase);
    name.split('\0').next().unwrap_or_default().chars().flat_map(fold).map(|letter| match letter {
        '_' => '-',
        other => other,
    })
}

#[cfg(test)]
mod tests;
