//! Secret references: where the raw material of a credential comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::credential::{CredentialName, CredentialSpec};
use crate::secret::Secret;
use crate::template::Template;

/// Where a secret comes from. Files are watched; the environment was read at start.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file, read at each use. `{ systemd = NAME }` is one too, under `$CREDENTIALS_DIRECTORY`.
    File(PathBuf),
    /// A value that the configuration or the environment held at start.
    Value(Secret),
    /// The standard output of a command, run at each use.
    Command {
        /// The program and its arguments; no shell.
        argv: Vec<String>,
        /// How long it may run.
        timeout: Duration,
    },
    /// An output of another credential: a link of a chain.
    Output {
        /// The other credential.
        credential: CredentialName,
        /// Which of its outputs.
        output: String,
    },
    /// A signed assertion (RFC 7523), minted at each use.
    Jwt(Box<AssertionSpec>),
}

/// `{ jwt = { key, alg, header, claims, lifetime } }`.
#[derive(Debug, Clone, PartialEq)]
pub struct AssertionSpec {
    /// The private key: PEM, or a JWK (RFC 7517).
    pub key: Source,
    /// `RS256`, `PS256`, `ES256`, `EdDSA`, `HS256` and their longer kin (RFC 7518, section 3.1);
    /// `None` chooses by the key.
    pub algorithm: Option<String>,
    /// Header parameters beside `alg` and `typ`.
    pub header: BTreeMap<String, Value>,
    /// Claims; `iat`, `exp` and `jti` are added where they are missing. Texts are templates.
    pub claims: BTreeMap<String, Claim>,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
}

/// The value of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// A text with placeholders.
    Text(Template),
    /// Any other JSON value.
    Json(Value),
}

/// The inputs of one exchange, read just before it.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The values by name, as flows and templates use them.
    pub values: BTreeMap<String, Secret>,
    /// What identifies them over time, for [`crate::credential::store::Store::fingerprint`]: the
    /// same values, but for an assertion, which is new each time, its key.
    pub identity: BTreeMap<String, Secret>,
    /// When the youngest of their files was written.
    pub modified: Option<jiff::Timestamp>,
}

/// An input that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The name of the input.
    pub input: String,
    /// What is wrong with it, without its value.
    pub message: String,
    /// The credential that it waits for, if it is another's output that is not there yet.
    pub waits_for: Option<CredentialName>,
}

/// Gives an output of another credential, or `None` while that has no usable one.
pub type Parents<'a> = &'a (dyn Fn(&CredentialName, &str) -> Option<Secret> + Send + Sync);

/// Reads all inputs of a credential. Assertions are signed last, since their claims may name other
/// inputs.
pub async fn read(spec: &CredentialSpec, parents: Parents<'_>, clock: &Clock) -> Result<Inputs, InputError> {
    let mut inputs = Inputs::default();
    for (name, source) in &spec.inputs {
        let value = read_source(name, source, parents, clock).await?;
        inputs.identity.insert(name.clone(), value.clone());
        inputs.values.insert(name.clone(), value);
    }
    Ok(inputs)
}

/// Reads one source that stands alone, such as the admin token; `name` is for the error.
pub async fn read_source(
    name: &str,
    source: &Source,
    parents: Parents<'_>,
    clock: &Clock,
) -> Result<Secret, InputError> {
    let _ = clock;
    let failed = |message, waits_for| InputError { input: name.to_owned(), message, waits_for };
    match source {
        Source::Value(value) => Ok(value.clone()),
        Source::Output { credential, output } => parents(credential, output).ok_or_else(|| {
            failed(format!("the credential `{credential}` has no `{output}` yet"), Some(credential.clone()))
        }),
        Source::File(path) => match tokio::fs::read(path).await {
            Ok(bytes) => Ok(Secret::new(bytes)),
            Err(error) => Err(failed(format!("{} cannot be read: {}", path.display(), error.kind()), None)),
        },
        Source::Command { .. } | Source::Jwt(_) => Err(failed("it cannot be read yet".to_owned(), None)),
    }
}
