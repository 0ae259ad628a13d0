//! Injection and refusal as they are written, on a preset, a credential or a route.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, Size, TextOr};

/// What is put on a request: templates over the credential's outputs. The nearest of route,
/// credential and preset counts, as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Inject {
    /// Header fields, such as `Authorization = "Bearer {token}"`; or a signature over the body.
    pub(crate) headers: Map<TextOr<Signed>>,
    /// Query parameters.
    pub(crate) query: Map<String>,
    /// Cookies.
    pub(crate) cookies: Map<String>,
    /// Members of a JSON object or fields of a form, whichever the request's body is: texts with
    /// placeholders, numbers, `true` or `false`.
    pub(crate) body: Map<Json>,
    /// What a body becomes that is empty and of no type, where something is put into it: `"json"` (the
    /// default) or `"form"`.
    pub(crate) empty_body: Option<EmptyBody>,
}

/// What an empty body becomes.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmptyBody {
    /// An object.
    Json,
    /// A form.
    Form,
}

/// A field that is not a template.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Signed {
    /// A detached signature (JWS, RFC 7515, appendix F) over the body as it is sent (RFC 7797).
    pub(crate) jws: Option<Jws>,
}

/// A detached signature.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Jws {
    /// The name of the credential's secret (or output) that is the private key: PEM or JWK.
    pub(crate) key: Option<String>,
    /// `RS256`, `PS256`, `ES256`, `EdDSA` and their longer kin; default by the key.
    pub(crate) alg: Option<String>,
    /// Header parameters beside `alg`, `b64` and `crit`, such as `kid`.
    pub(crate) header: Map<Json>,
}

/// What answers have to fit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Verify {
    /// The field of an answer that says what its body comes to.
    pub(crate) header: Option<String>,
    /// What it has to say, such as `"{base64(hmac_sha256(client_secret, body))}"`.
    pub(crate) value: Option<String>,
    /// Whether an answer without the field is refused; default `false`.
    pub(crate) required: Option<bool>,
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
    /// Requests that are sent once more only after a refusal that proves that nothing was done.
    pub(crate) proof: Option<Proof>,
}

/// What proves that nothing was done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Proof {
    /// The requests that need it, such as `"POST /payments/**"`, over the path upstream.
    pub(crate) requests: Vec<String>,
    /// JSON pointers into an answer with the value, or the values, that prove it.
    pub(crate) json: Map<Json>,
}
