//! Templates: text with `{placeholders}`, checked when the configuration is read.
//!
//! ```text
//! Bearer {access_token}                    an output, an input or a parameter
//! {user.access_token}                      an output of another credential
//! Basic {base64(username, ":", password)}  a function over names and quoted text, concatenated
//! {uuid} {now} {now_s} {now_ms}            made anew at each use; {now} is RFC 3339 in UTC
//! {{ and }}                                the braces themselves
//! ```
//!
//! Where a template belongs to a message, `{body}` is its body and `{body.name}` a member of it.
//!
//! Functions are `base64`, `base64url` (no padding), `hex`, `sha256`, `hmac_sha256` (its first
//! argument is the key), `der` (the bytes of what a PEM text holds first, such as a certificate),
//! `rsa_oaep` (RFC 8017, section 7.1, with SHA-1; its first argument is the public key in PEM) and `json`
//! (what stands in a document, the first argument, at a pointer of RFC 6901). A digest that is not
//! passed through an encoding is written in hex.
//! There is no logic in a template on purpose.

mod digest;
mod expression;
mod parser;
mod pem;

use std::fmt;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::secret::{Secret, append};
use crate::template::digest::Digest;
use crate::template::expression::{Expression, hex};
use crate::template::parser::Parser;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Expression),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where in the text, in bytes from its start.
    pub offset: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (at character {})", self.message, self.offset + 1)
    }
}

impl std::error::Error for TemplateError {}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// A name had no value.
    Missing(String),
    /// A function could make nothing of its arguments.
    Unusable(&'static str),
}

impl fmt::Display for RenderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(formatter, "`{name}` has no value"),
            Self::Unusable(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for RenderError {}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser::new(text);
        let mut pieces = Vec::new();
        let mut literal = String::new();
        while let Some(next) = parser.peek() {
            match next {
                '{' if parser.rest().starts_with("{{") => {
                    literal.push('{');
                    parser.at += 2;
                }
                '}' if parser.rest().starts_with("}}") => {
                    literal.push('}');
                    parser.at += 2;
                }
                '}' => return Err(parser.error("a `}` without its `{` (write `}}` for the brace itself)")),
                '{' => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    parser.at += 1;
                    pieces.push(Piece::Value(parser.expression()?));
                    parser.expect('}')?;
                }
                other => {
                    literal.push(other);
                    parser.at += other.len_utf8();
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// A template of plain text, braces and all.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// The names that it needs values for, `credential.output` in one string, with repetitions.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.walk(&mut |part| {
            if let Expression::Name(name) = part {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Whether the body of the message at hand has to be there, whole.
    pub fn takes_body(&self) -> bool {
        self.has(&|part| matches!(part, Expression::Body | Expression::Member(_)))
    }

    /// The members of the body that it names, with repetitions.
    pub fn members(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.walk(&mut |part| {
            if let Expression::Member(name) = part {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Whether it can be rendered over a body that comes in pieces and is not kept: it has the body once,
    /// in a digest, and nothing else that changes.
    pub fn is_digest_of_body(&self) -> bool {
        let (mut bodies, mut others) = (0, 0);
        self.walk(&mut |part| match part {
            Expression::Body => bodies += 1,
            Expression::Member(_) | Expression::Uuid | Expression::Now(_) => others += 1,
            _ => {}
        });
        let digests = self.0.iter().filter_map(|piece| match piece {
            Piece::Value(expression) => expression.body_digest(),
            Piece::Text(_) => None,
        });
        digests.count() == 1 && bodies == 1 && others == 0
    }

    /// Whether the body stands in it as a whole.
    pub fn has_body(&self) -> bool {
        self.has(&|part| *part == Expression::Body)
    }

    fn has(&self, is_it: &dyn Fn(&Expression) -> bool) -> bool {
        let mut found = false;
        self.walk(&mut |part| found |= is_it(part));
        found
    }

    fn walk<'a>(&'a self, look: &mut dyn FnMut(&'a Expression)) {
        for piece in &self.0 {
            if let Piece::Value(expression) = piece {
                expression.walk(look);
            }
        }
    }

    /// Whether it gives the same text each time as long as its values stay the same: no `uuid`,
    /// no time, no body.
    pub fn is_stable(&self) -> bool {
        self.0.iter().all(|piece| match piece {
            Piece::Text(_) => true,
            Piece::Value(expression) => expression.is_stable(),
        })
    }

    /// The text before the first placeholder.
    pub fn literal_prefix(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// The whole text, if there is no placeholder in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it is made of, without any text but that before the first placeholder: names in brackets, functions by
    /// their names.
    pub fn outline(&self) -> String {
        let part = |(at, piece): (usize, &Piece)| match piece {
            Piece::Text(text) if at == 0 => text.clone(),
            Piece::Text(_) => expression::HIDDEN.to_owned(),
            Piece::Value(expression) => expression.outline(),
        };
        self.0.iter().enumerate().map(part).collect()
    }

    /// The plain texts of the template, quoted ones in functions left out.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Value(_) => None,
        })
    }

    /// Puts plain values in place of names once and for all; other names stay.
    #[must_use]
    pub fn bind(self, value: &dyn Fn(&str) -> Option<String>) -> Self {
        self.change(&|name| value(name).map(Expression::Text))
    }

    /// Has `body` and `body.name` stand for the body of the message at hand and its members, but where
    /// `is_value` says that the name has a value of its own.
    #[must_use]
    pub fn over_message(self, is_value: &dyn Fn(&str) -> bool) -> Self {
        self.change(&|name| match name.strip_prefix("body") {
            _ if is_value(name) => None,
            Some("") => Some(Expression::Body),
            Some(rest) => Some(Expression::Member(rest.strip_prefix('.')?.to_owned())),
            None => None,
        })
    }

    fn change(self, change: &dyn Fn(&str) -> Option<Expression>) -> Self {
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.0.len());
        for piece in self.0 {
            let piece = match piece {
                Piece::Value(expression) => match expression.change(change) {
                    Expression::Text(text) => Piece::Text(text),
                    other => Piece::Value(other),
                },
                text @ Piece::Text(_) => text,
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
        Self(pieces)
    }

    /// Renders with the values that `value` gives for names.
    pub fn render(
        &self,
        value: &dyn Fn(&str) -> Option<Secret>,
        clock: &Clock,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        self.render_over(&Scene::new(value, clock))
    }

    /// Renders over all that a scene has.
    pub fn render_over(&self, scene: &Scene<'_>) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        self.render_in(scene, &|bytes| bytes)
    }

    /// Renders with each placeholder's value passed through `encode`, so that it cannot break out
    /// of its place (of a URL, for one). The text around stays as it is.
    pub fn render_encoded(
        &self,
        value: &dyn Fn(&str) -> Option<Secret>,
        clock: &Clock,
        encode: &dyn Fn(Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        self.render_in(&Scene::new(value, clock), encode)
    }

    fn render_in(
        &self,
        scene: &Scene<'_>,
        encode: &dyn Fn(Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let mut rendered = Zeroizing::new(Vec::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => append(&mut rendered, text.as_bytes()),
                Piece::Value(expression) if expression.is_digest() => {
                    append(&mut rendered, hex(&expression.render(scene)?).as_bytes());
                }
                Piece::Value(expression) => append(&mut rendered, &encode(expression.render(scene)?)),
            }
        }
        Ok(rendered)
    }

    /// Whether functions make something of named values that is the same each time.
    pub fn derives(&self) -> bool {
        self.deriving().next().is_some()
    }

    fn deriving(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(call @ Expression::Call(..)) if call.is_stable() && call.has_name() => Some(call),
            Piece::Value(_) | Piece::Text(_) => None,
        })
    }

    /// What functions make of named values and is the same each time; nothing of what cannot be made.
    pub fn derived(&self, scene: &Scene<'_>) -> Vec<Secret> {
        let made = self.deriving().filter_map(|call| {
            let made = call.render(scene).ok()?;
            Some(if call.is_digest() { Secret::from(hex(&made)) } else { Secret::new(made.to_vec()) })
        });
        made.collect()
    }

    /// Begins to render over a body that comes in pieces, if [`Self::is_digest_of_body`].
    pub fn begin(&self, scene: &Scene<'_>) -> Option<Result<BodyDigest, RenderError>> {
        let (function, arguments) = self.0.iter().find_map(|piece| match piece {
            Piece::Value(expression) => expression.body_digest(),
            Piece::Text(_) => None,
        })?;
        let begin = || {
            let mut digest = function.begin(arguments, scene)?;
            let (before, behind) = function.around_body(arguments);
            for argument in before {
                argument.feed(scene, &mut |piece| digest.update(piece))?;
            }
            let mut rest = Zeroizing::new(Vec::new());
            for argument in behind {
                argument.feed(scene, &mut |piece| append(&mut rest, piece))?;
            }
            Ok(BodyDigest { digest, rest })
        };
        Some(begin())
    }
}

/// A digest over a body that comes in pieces.
pub struct BodyDigest {
    digest: Digest,
    /// What stands behind the body.
    rest: Zeroizing<Vec<u8>>,
}

impl BodyDigest {
    /// More of the body.
    pub fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
    }

    /// The digest, for [`Body::Digested`].
    pub fn finish(mut self) -> Vec<u8> {
        self.digest.update(&self.rest);
        self.digest.finish()
    }
}

/// What a template is rendered over. All that is rendered over one scene sees the same time.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    values: &'a dyn Fn(&str) -> Option<Secret>,
    clock: &'a Clock,
    now: Timestamp,
    body: Body<'a>,
}

/// The body of the message that a template belongs to.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// All of it.
    Whole {
        /// Its bytes.
        bytes: &'a [u8],
        /// The text of a member of it.
        member: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    },
    /// What the one digest over it comes to.
    Digested(&'a [u8]),
}

impl<'a> Scene<'a> {
    /// A scene of this moment, without a message.
    pub fn new(values: &'a dyn Fn(&str) -> Option<Secret>, clock: &'a Clock) -> Self {
        let body = Body::Whole { bytes: &[], member: &|_| None };
        Self { values, clock, now: clock.wall(), body }
    }

    /// The same with a message.
    #[must_use]
    pub fn with(self, body: Body<'a>) -> Self {
        Self { body, ..self }
    }
}

#[cfg(test)]
mod tests;
