//! How a person is asked, as it is written: keys of `[credentials.NAME]` that are tables themselves.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::scalar::{Map, Plain};

/// `otp`: a device authorization that ends with a one-time password, which the issuer sends to the
/// person.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otp {
    /// How the request for the password is written; default `"form"`.
    pub(crate) body: Option<OtpBody>,
    /// Its fixed fields, beside `client_id`.
    pub(crate) params: Map<Plain>,
    /// What is asked of whoever logs in, one of them: the name in `authorize`, and the field.
    pub(crate) asks: Map<String>,
    /// What of the answer the person may see: a name, and a JSON pointer.
    pub(crate) shows: Map<String>,
    /// The field of the token request that takes the password; default `"otp"`.
    pub(crate) field: Option<String>,
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtpBody {
    /// A form.
    Form,
    /// A JSON object.
    Json,
}
