//! What ends beside a token, and how a value is replaced before it ends, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::scalar::Time;
use crate::config::raw::step::LoginStep;

/// `rotate`: the value that `steps` of the credential read can be replaced by another one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rotate {
    /// The inputs whose credentials are renewed first, since the new value lives no longer than they do.
    pub(crate) fresh: Vec<String>,
    /// How long a value still works after its end, or after it was replaced; default `"0"`.
    pub(crate) grace: Option<Time>,
    /// The exchanges that replace it, with the same outputs. Templates may name the value in use.
    pub(crate) steps: Vec<LoginStep>,
    /// Exchanges that succeed with a value that works: the old one is kept until they do.
    pub(crate) verify: Vec<LoginStep>,
}

/// `deadline`: what ends beside the token. Warned about from 14 days before on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Deadline {
    /// What ends, for people.
    pub(crate) of: Option<String>,
    /// The output that is a signed token.
    pub(crate) jwt: Option<String>,
    /// A JSON pointer into its claims.
    pub(crate) claim: Option<String>,
}
