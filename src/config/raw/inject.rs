//! Injection and refusal as they are written, on a preset, a credential or a route.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, Size};

/// What is put on a request: templates over the credential's outputs. The nearest of route,
/// credential and preset counts, as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Inject {
    /// Header fields, such as `Authorization = "Bearer {token}"`.
    pub(crate) headers: Map<String>,
    /// Query parameters.
    pub(crate) query: Map<String>,
    /// Cookies.
    pub(crate) cookies: Map<String>,
}

/// How an upstream says that the token is dead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RefusalRule {
    /// Statuses that refuse; default `[401]`.
    pub(crate) status: Option<Vec<u16>>,
    /// Statuses that never refuse.
    pub(crate) except: Option<Vec<u16>>,
    /// JSON pointers into an answer with the value, or the values, that refuse.
    pub(crate) json: Map<Json>,
    /// How much of a JSON answer is looked at; default `"4KiB"`.
    pub(crate) peek: Option<Size>,
}
