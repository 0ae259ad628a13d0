//! The steps of a login as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::{Listed, Several, Texts};
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, TextOr};

/// One step of a login: an HTTP exchange, or a message that is waited for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoginStep {
    /// The method; default `POST` with a body, else `GET`.
    pub(crate) method: Option<String>,
    /// The absolute URL, with placeholders.
    pub(crate) url: Option<String>,
    /// Header fields.
    pub(crate) headers: Map<String>,
    /// Query parameters, appended to the URL's own.
    pub(crate) query: Map<String>,
    /// A body of `application/x-www-form-urlencoded`.
    pub(crate) form: Option<Map<String>>,
    /// A body of `application/json`, whose texts may have placeholders.
    pub(crate) json: Option<Json>,
    /// A body as it is.
    pub(crate) body: Option<String>,
    /// A CSS selector of a form on the page before: it is sent back by `POST`, with its hidden fields and what
    /// `form` says; without a `url`, to where the form says, if that is the same server.
    pub(crate) submit: Option<String>,
    /// Redirects on the same server are followed, and the last page is the answer; default `false`.
    pub(crate) follow: Option<bool>,
    /// In place of all that asks: a message is waited for.
    pub(crate) mail: Option<Mail>,
    /// What an answer must be to succeed, all of it; default any 2xx.
    pub(crate) success: Condition,
    /// What means "the input is wrong", any of it; default status 401.
    pub(crate) reject: Condition,
    /// What is taken from the answer: a JSON pointer, or a table.
    pub(crate) outputs: Map<TextOr<Extract>>,
    /// In how long the outputs end: a duration, `{ json, unit }` or `{ jwt }`.
    pub(crate) expires_in: Option<TextOr<ExpiresIn>>,
    /// When the outputs end: `{ json, format, zone }` or `{ jwt }`, or a list of them, of which the first
    /// counts that can be read.
    pub(crate) expires_at: Option<Several<ExpiresAt>>,
    /// A JSON pointer to a text that is worth a warning.
    pub(crate) warn: Option<String>,
}

/// Tests over an answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Condition {
    /// Statuses.
    pub(crate) status: Option<Vec<u16>>,
    /// JSON pointers with the value, or the values, that they may point at.
    pub(crate) json: Map<Json>,
    /// CSS selectors that match something on the page; one or several.
    pub(crate) css: Option<Texts>,
    /// CSS selectors that match nothing on the page; one or several.
    pub(crate) css_absent: Option<Texts>,
    /// Regular expressions that match something in the body; one or several.
    pub(crate) regex: Option<Texts>,
}

/// A message that is waited for. It counts if it comes after the login began, from the right sender, and has
/// all outputs in it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mail {
    /// Where it comes: `"imaps://HOST[:PORT][/FOLDER]"`, `"imap://.."` with STARTTLS, or `"maildir:PATH"`.
    pub(crate) mailbox: Option<String>,
    /// Of `imap://`: TLS begins before anything is told; default `true`, but on loopback.
    pub(crate) starttls: Option<bool>,
    /// Whose account it is, with placeholders. For a server only, like the two below.
    pub(crate) username: Option<String>,
    /// Its password, with placeholders.
    pub(crate) password: Option<String>,
    /// What that is: `"password"` (the default), or `"access_token"` for one of OAuth (XOAUTH2,
    /// OAUTHBEARER).
    pub(crate) auth: Option<String>,
    /// The address that it comes from.
    pub(crate) from: Option<String>,
    /// A regular expression that its subject matches.
    pub(crate) subject: Option<String>,
    /// How long it is waited for; default `"50m"`.
    pub(crate) wait: Option<String>,
    /// What becomes of it: `"seen"` (the default), `"delete"` or `"move:FOLDER"`.
    pub(crate) then: Option<String>,
}

/// Where in an answer an output is: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Extract {
    /// A JSON pointer.
    pub(crate) json: Option<String>,
    /// A header field.
    pub(crate) header: Option<String>,
    /// A cookie that the answer sets.
    pub(crate) cookie: Option<String>,
    /// The first group of a regular expression over the body; of a message, over its text.
    pub(crate) regex: Option<String>,
    /// The first element of the page that a CSS selector matches: its text.
    pub(crate) css: Option<String>,
    /// With `css`: this attribute of it, in place of its text.
    pub(crate) attribute: Option<String>,
}

/// `expires_in` as a table.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpiresIn {
    /// A JSON pointer to a number, or to its text.
    pub(crate) json: Option<String>,
    /// `"s"` (the default), `"ms"`, `"m"`, `"h"` or `"d"`.
    pub(crate) unit: Option<String>,
    /// The output whose `exp` claim says it.
    pub(crate) jwt: Option<String>,
}

impl Listed for ExpiresAt {
    const WANTED: &'static str = "a table or a list of tables";
}

/// `expires_at`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpiresAt {
    /// A JSON pointer to the time.
    pub(crate) json: Option<String>,
    /// In place of it: the output that is the time, wherever it was found.
    pub(crate) output: Option<String>,
    /// `"rfc3339"` (the default), `"epoch_s"`, `"epoch_ms"`, or a pattern such as
    /// `"%Y-%m-%d %H:%M:%S"`.
    pub(crate) format: Option<String>,
    /// The zone of a time that names none, such as `"+05:30"`; default UTC.
    pub(crate) zone: Option<String>,
    /// The output whose `exp` claim says it.
    pub(crate) jwt: Option<String>,
}
