//! The steps of a login as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::Several;
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, TextOr};

/// One HTTP exchange of a login.
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
    /// The first group of a regular expression over the body.
    pub(crate) regex: Option<String>,
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

/// `expires_at`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpiresAt {
    /// A JSON pointer to the time.
    pub(crate) json: Option<String>,
    /// `"rfc3339"` (the default), `"epoch_s"`, `"epoch_ms"`, or a pattern such as
    /// `"%Y-%m-%d %H:%M:%S"`.
    pub(crate) format: Option<String>,
    /// The zone of a time that names none, such as `"+05:30"`; default UTC.
    pub(crate) zone: Option<String>,
    /// The output whose `exp` claim says it.
    pub(crate) jwt: Option<String>,
}
