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
//! Functions are `base64`, `base64url` (no padding), `hex`, `sha256`, `hmac_sha256` (its first
//! argument is the key), `der` (the bytes of what a PEM text holds first, such as a certificate),
//! `rsa_oaep` (RFC 8017, section 7.1, with SHA-1; its first argument is the public key in PEM) and `json`
//! (what stands in a document, the first argument, at a pointer of RFC 6901). A digest that is not passed through an encoding is written in hex.
//! There is no logic in a template on purpose.

mod pem;

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::secret::Secret;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Expression),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Text(String),
    Name(String),
    Uuid,
    Now(Precision),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Rfc3339,
    Seconds,
    Milliseconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Base64,
    Base64Url,
    Hex,
    Sha256,
    HmacSha256,
    Der,
    RsaOaep,
    Json,
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
        let mut parser = Parser { text, at: 0 };
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
        for piece in &self.0 {
            if let Piece::Value(expression) = piece {
                expression.collect_names(&mut names);
            }
        }
        names
    }

    /// Whether it gives the same text each time as long as its values stay the same: no `uuid`,
    /// no time.
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
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.0.len());
        for piece in self.0 {
            let piece = match piece {
                Piece::Value(expression) => match expression.bind(value) {
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
        self.render_encoded(value, clock, &|bytes| bytes)
    }

    /// Renders with each placeholder's value passed through `encode`, so that it cannot break out
    /// of its place (of a URL, for one). The text around stays as it is.
    pub fn render_encoded(
        &self,
        value: &dyn Fn(&str) -> Option<Secret>,
        clock: &Clock,
        encode: &dyn Fn(Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let mut rendered = Zeroizing::new(Vec::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => append(&mut rendered, text.as_bytes()),
                Piece::Value(expression) => {
                    let bytes = expression.render(value, clock)?;
                    if expression.is_digest() {
                        append(&mut rendered, hex(&bytes).as_bytes());
                    } else {
                        append(&mut rendered, &encode(bytes));
                    }
                }
            }
        }
        Ok(rendered)
    }
}

impl Expression {
    fn collect_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Name(name) => names.push(name),
            Self::Call(_, arguments) => {
                for argument in arguments {
                    argument.collect_names(names);
                }
            }
            Self::Text(_) | Self::Uuid | Self::Now(_) => {}
        }
    }

    fn is_stable(&self) -> bool {
        match self {
            Self::Text(_) | Self::Name(_) => true,
            // What is sealed is sealed anew each time.
            Self::Uuid | Self::Now(_) | Self::Call(Function::RsaOaep, _) => false,
            Self::Call(_, arguments) => arguments.iter().all(Self::is_stable),
        }
    }

    fn is_digest(&self) -> bool {
        matches!(self, Self::Call(Function::Sha256 | Function::HmacSha256, _))
    }

    fn bind(self, value: &dyn Fn(&str) -> Option<String>) -> Self {
        match self {
            Self::Name(name) => value(&name).map_or(Self::Name(name), Self::Text),
            Self::Call(function, arguments) => {
                Self::Call(function, arguments.into_iter().map(|argument| argument.bind(value)).collect())
            }
            other => other,
        }
    }

    fn render(
        &self,
        value: &dyn Fn(&str) -> Option<Secret>,
        clock: &Clock,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let bytes = match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Name(name) => {
                value(name).ok_or_else(|| RenderError::Missing(name.clone()))?.expose().to_vec()
            }
            Self::Uuid => clock.uuid().into_bytes(),
            Self::Now(Precision::Rfc3339) => format!("{:.3}", clock.wall()).into_bytes(),
            Self::Now(Precision::Seconds) => clock.wall().as_second().to_string().into_bytes(),
            Self::Now(Precision::Milliseconds) => clock.wall().as_millisecond().to_string().into_bytes(),
            Self::Call(function, arguments) => return function.call(arguments, value, clock),
        };
        Ok(Zeroizing::new(bytes))
    }
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "base64" => Self::Base64,
            "base64url" => Self::Base64Url,
            "hex" => Self::Hex,
            "sha256" => Self::Sha256,
            "hmac_sha256" => Self::HmacSha256,
            "der" => Self::Der,
            "rsa_oaep" => Self::RsaOaep,
            "json" => Self::Json,
            _ => return None,
        })
    }

    fn call(
        self,
        arguments: &[Expression],
        value: &dyn Fn(&str) -> Option<Secret>,
        clock: &Clock,
    ) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let (key, message) = match (self, arguments) {
            (Self::HmacSha256 | Self::RsaOaep | Self::Json, [key, message @ ..]) => {
                (Some(key.render(value, clock)?), message)
            }
            (_, message) => (None, message),
        };
        let mut input = Zeroizing::new(Vec::new());
        for argument in message {
            append(&mut input, &argument.render(value, clock)?);
        }
        Ok(Zeroizing::new(match (self, key) {
            (Self::HmacSha256, key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_deref().map_or(&[], |key| key));
                hmac::sign(&key, &input).as_ref().to_vec()
            }
            (Self::Sha256, _) => digest::digest(&digest::SHA256, &input).as_ref().to_vec(),
            (Self::Base64, _) => BASE64_STANDARD.encode(&*input).into_bytes(),
            (Self::Base64Url, _) => BASE64_URL_SAFE_NO_PAD.encode(&*input).into_bytes(),
            (Self::Hex, _) => hex(&input).into_bytes(),
            (Self::Der, _) => pem::first(&input)?,
            (Self::Json, document) => part(document.as_deref().map_or(&[], |it| it), &input)?,
            (Self::RsaOaep, key) => pem::encrypt(key.as_deref().map_or(&[], |key| key), &input)?,
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

/// Appends without leaving the old bytes behind in memory when the buffer has to grow.
fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((buffer.len() + bytes.len()).max(64) * 2));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError { offset: self.at, message: message.into() }
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    fn expect(&mut self, wanted: char) -> Result<(), TemplateError> {
        self.skip_spaces();
        if self.peek() == Some(wanted) {
            self.at += wanted.len_utf8();
            Ok(())
        } else {
            Err(self.error(format!("`{wanted}` is missing")))
        }
    }

    fn expression(&mut self) -> Result<Expression, TemplateError> {
        self.skip_spaces();
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let start = self.at;
        let name = self.name()?;
        if self.peek() == Some('(') {
            let Some(function) = Function::named(name) else {
                self.at = start;
                return Err(self.error(format!(
                    "there is no function `{name}`: base64, base64url, hex, sha256, hmac_sha256, der, \
                     rsa_oaep and json are"
                )));
            };
            self.at += 1;
            let mut arguments = vec![self.expression()?];
            self.skip_spaces();
            while self.peek() == Some(',') {
                self.at += 1;
                arguments.push(self.expression()?);
                self.skip_spaces();
            }
            self.expect(')')?;
            return Ok(Expression::Call(function, arguments));
        }
        Ok(match name {
            "uuid" => Expression::Uuid,
            "now" => Expression::Now(Precision::Rfc3339),
            "now_s" => Expression::Now(Precision::Seconds),
            "now_ms" => Expression::Now(Precision::Milliseconds),
            name => Expression::Name(name.to_owned()),
        })
    }

    fn quoted(&mut self) -> Result<Expression, TemplateError> {
        let text = &self.rest()[1..];
        let Some(end) = text.find('"') else {
            return Err(self.error("the quoted text does not end"));
        };
        self.at += end + 2;
        Ok(Expression::Text(text[..end].to_owned()))
    }

    fn name(&mut self) -> Result<&'a str, TemplateError> {
        let is_part = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '-' | '.');
        let name = &self.rest()[..self.rest().find(|next| !is_part(next)).unwrap_or(self.rest().len())];
        if name.is_empty() || name.starts_with('.') || name.ends_with('.') || name.matches('.').count() > 1 {
            return Err(self.error("a name, `credential.output` or a function is wanted here"));
        }
        self.at += name.len();
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Template;
    use crate::clock::Clock;
    use crate::secret::Secret;

    fn render(template: &str) -> String {
        let values = |name: &str| match name {
            "user" => Some(Secret::from("Aladdin")),
            "password" => Some(Secret::from("open sesame")),
            "parent.token" => Some(Secret::from("t1")),
            _ => None,
        };
        let template = Template::parse(template).expect(template);
        String::from_utf8(template.render(&values, &Clock::system()).expect("values").to_vec()).expect("text")
    }

    #[test]
    fn names_functions_and_braces_are_rendered() {
        assert_eq!(render("Bearer {parent.token}"), "Bearer t1");
        assert_eq!(render(r#"Basic {base64(user, ":", password)}"#), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(render(r#"{{"a": "{user}"}}"#), r#"{"a": "Aladdin"}"#);
        // RFC 4231, test case 2, and FIPS 180-2, appendix B.1.
        assert_eq!(
            render(r#"{hmac_sha256("Jefe", "what do ya want ", "for nothing?")}"#),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(render(r#"{base64(sha256("abc"))}"#), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(render("{uuid}").len(), 36);
        let now = render("{now}");
        assert!(now.len() == "2024-07-16T11:33:34.509Z".len() && now.ends_with('Z'), "{now}");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = |text| Template::parse(text).expect_err(text).to_string();
        assert_eq!(error("a{b"), "`}` is missing (at character 4)");
        assert!(error("a}").starts_with("a `}` without its `{`"));
        assert!(error("{}").contains("a name"));
        assert!(error("{a.b.c}").contains("a name"));
        assert!(error("{md5(a)}").contains("no function `md5`"));
    }

    #[test]
    fn a_name_without_a_value_is_named() {
        let template = Template::parse("{base64(nobody)}").expect("a template");
        let missing = template.render(&|_| None, &Clock::system()).expect_err("no value");
        assert_eq!(missing.to_string(), "`nobody` has no value");
        assert_eq!(template.names(), ["nobody"]);
    }

    #[test]
    fn parameters_are_bound_at_load() {
        let template = Template::parse("{base_url}/login?{user}").expect("a template");
        let bound = template.bind(&|name| (name == "base_url").then(|| "https://a".to_owned()));
        assert_eq!(bound.literal_prefix(), "https://a/login?");
        assert_eq!(bound.names(), ["user"]);
        assert!(bound.is_stable() && !Template::parse("{now_s}").expect("a template").is_stable());
    }
}
