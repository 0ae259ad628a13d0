//! Templates as they are written.

use crate::template::TemplateError;
use crate::template::expression::{Expression, Function, Precision};

/// Reads a template from its text.
pub(super) struct Parser<'a> {
    text: &'a str,
    /// The next byte to be read.
    pub(super) at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError { offset: self.at, message: message.into() }
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    pub(super) fn expect(&mut self, wanted: char) -> Result<(), TemplateError> {
        self.skip_spaces();
        if self.peek() == Some(wanted) {
            self.at += wanted.len_utf8();
            Ok(())
        } else {
            Err(self.error(format!("`{wanted}` is missing")))
        }
    }

    pub(super) fn expression(&mut self) -> Result<Expression, TemplateError> {
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
