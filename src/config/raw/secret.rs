//! Secret references as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::config::raw::choice::Listed;
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, Time};
use crate::secret::Secret;

/// Where a secret comes from: exactly one of `file`, `env`, `systemd`, `command`, `credential`, `secret`,
/// `jwt` and `value`. One trailing newline is stripped; empty is an error.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    { "required": ["file"] }, { "required": ["env"] }, { "required": ["systemd"] }, { "required": ["command"] },
    { "required": ["credential"] }, { "required": ["secret"] }, { "required": ["jwt"] }, { "required": ["value"] },
]))]
pub(crate) struct SecretReference {
    /// A file, watched for changes. A relative path starts at the configuration's folder.
    pub(crate) file: Option<String>,
    /// A variable of the environment, read once at start.
    pub(crate) env: Option<String>,
    /// A credential of systemd, by its name under `$CREDENTIALS_DIRECTORY`.
    pub(crate) systemd: Option<String>,
    /// A program and its arguments (no shell), whose standard output is the secret.
    pub(crate) command: Option<Vec<String>>,
    /// How long `command` may run; default `"10s"`.
    pub(crate) timeout: Option<Time>,
    /// Another credential, whose `output` is the secret: a link of a chain.
    pub(crate) credential: Option<String>,
    /// Which output of `credential`; default its token.
    pub(crate) output: Option<String>,
    /// Another secret of the same credential, by its name in `secrets`.
    pub(crate) secret: Option<String>,
    /// A JSON pointer: the secret is what stands there in a JSON document.
    pub(crate) json: Option<String>,
    /// A signed assertion (RFC 7523), minted at each use.
    pub(crate) jwt: Option<Box<Assertion>>,
    /// The secret itself. Warned about: the file then is a secret.
    pub(crate) value: Option<Literal>,
}

/// A signed assertion.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Assertion {
    /// The private key: PEM or JWK.
    pub(crate) key: Option<SecretReference>,
    /// `RS256`, `PS256`, `ES256`, `EdDSA`, `HS256` and their longer kin; default by the key.
    pub(crate) alg: Option<String>,
    /// Header parameters beside `alg` and `typ`; texts may have placeholders.
    pub(crate) header: Map<Json>,
    /// Claims; texts may have placeholders. `iat`, `exp` and `jti` are added where they are missing.
    pub(crate) claims: Map<Json>,
    /// From `iat` to `exp`; default `"60s"`.
    pub(crate) lifetime: Option<Time>,
    /// How long before now `iat` lies, for an issuer whose clock is behind; default `"0"`.
    pub(crate) backdate: Option<Time>,
}

impl Listed for SecretReference {
    const WANTED: &'static str = "a secret reference, or a list of them";
}

/// A secret that stands in the file itself.
#[derive(Debug, Clone)]
pub(crate) struct Literal(pub(crate) Secret);

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LiteralVisitor;
        impl Visitor<'_> for LiteralVisitor {
            type Value = Literal;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Literal, E> {
                Ok(Literal(Secret::from(text)))
            }
        }
        deserializer.deserialize_str(LiteralVisitor)
    }
}

impl JsonSchema for Literal {
    fn schema_name() -> Cow<'static, str> {
        "Literal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
