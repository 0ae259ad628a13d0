//! A vendor's file, as it is written.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::house::read;

/// One vendor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Credentials and routes.
    pub configuration: String,
    /// The credential that failures are looked for at.
    pub credential: String,
    /// Files beside the configuration: a text, or a JSON document.
    #[serde(default)]
    pub files: BTreeMap<String, Value>,
    /// Own presets that lie beside the configuration, by the names of their files in
    /// `tests/vendors/presets`.
    #[serde(default)]
    pub presets: Vec<String>,
    /// What the issuer is asked and answers, in this order.
    #[serde(default)]
    pub issuer: Vec<Exchange>,
    /// What the app asks for, in this order.
    pub call: Vec<Call>,
    /// What other answers of the issuer mean.
    #[serde(default)]
    pub failure: Vec<Failure>,
}

/// One exchange with the issuer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub request: Expected,
    pub answer: Answer,
    /// How many seconds the credential then has left, about.
    pub lasts: Option<u64>,
}

/// A request as it has to come.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// Method and target, as they are in the start line.
    pub line: String,
    /// Fields and their values.
    pub headers: BTreeMap<String, Value>,
    /// Fields that must not be there.
    pub absent: Vec<String>,
    /// The fields of a form, all of them.
    pub form: Option<BTreeMap<String, Value>>,
    /// A JSON document, whole.
    pub json: Option<Value>,
    /// A body as it is.
    pub body: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub json: Option<Value>,
    pub body: Option<String>,
}

/// What an app asks for, and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Method and target.
    pub app: String,
    /// Further fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: String,
    /// What comes to the upstream, and what it answers: two, if the first is a refusal that leads to a
    /// renewal.
    pub upstream: Vec<Passed>,
    /// The status that the app gets; the answer is otherwise the last of the upstream's.
    pub status: u16,
}

/// One request at the upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    pub request: Expected,
    pub answer: Answer,
}

/// An answer of the issuer that brings no token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub answer: Answer,
    /// The class of the error: `rejected` or `transient`.
    pub class: String,
    /// What its message says, among other things.
    pub says: String,
}

impl Fixture {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        toml::from_str(&read(path)).map_err(|error| error.to_string())
    }
}
