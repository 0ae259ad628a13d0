//! Secret references: where the raw material of a credential comes from.

mod assertion;
mod command;
mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::clock::Clock;
use crate::credential::flow::json::{Json, scalar_text};
use crate::credential::{CredentialName, CredentialSpec};
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;

/// Where a secret comes from. Files are watched; the environment was read at start.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file, read at each use. `{ systemd = NAME }` is one too, under `$CREDENTIALS_DIRECTORY`.
    File(Arc<Path>),
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
    /// What stands at a JSON pointer (RFC 6901) of a JSON document.
    Part {
        /// The document.
        document: Box<Self>,
        /// The pointer.
        pointer: String,
    },
}

impl Source {
    /// Whether another credential gives it.
    pub(in crate::credential) fn is_output(&self) -> bool {
        matches!(self.leaf(), Self::Output { .. })
    }

    /// What is read in the end: the key of an assertion, the document of a part, else the source itself.
    pub(crate) fn leaf(&self) -> &Self {
        match self {
            Self::Jwt(assertion) => assertion.key.leaf(),
            Self::Part { document, .. } => document.leaf(),
            other => other,
        }
    }
}

/// `{ jwt = { key, alg, header, claims, lifetime } }`.
#[derive(Debug, Clone, PartialEq)]
pub struct AssertionSpec {
    /// The private key: PEM, or a JWK (RFC 7517).
    pub key: Source,
    /// `RS256`, `PS256`, `ES256`, `EdDSA`, `HS256` and their longer kin (RFC 7518, section 3.1);
    /// `None` chooses by the key.
    pub algorithm: Option<String>,
    /// Header parameters beside `alg` and `typ`. Texts are templates.
    pub header: BTreeMap<String, Claim>,
    /// Claims; `iat`, `exp` and `jti` are added where they are missing. Texts are templates.
    pub claims: BTreeMap<String, Claim>,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// How long before now `iat` lies.
    pub backdate: Duration,
}

/// The value of a claim, or of a header parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// A text with placeholders.
    Text(Template),
    /// Any other JSON value.
    Json(Value),
    /// The time in seconds since 1970, as a number (RFC 7519, section 2, `NumericDate`).
    Now,
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
    pub modified: Option<Timestamp>,
    /// When the token ends that was set in place of the configured one, if that was said.
    pub until: Option<Timestamp>,
}

/// The largest secret that is read from a file or a command, in bytes.
const LARGEST: usize = 1024 * 1024;

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
    let (assertions, others): (Vec<_>, Vec<_>) =
        spec.inputs.iter().partition(|(_, source)| matches!(source, Source::Jwt(_)));
    for (name, source) in others.into_iter().chain(assertions) {
        let read = read_one(name, source, parents, clock, &inputs.values).await?;
        inputs.modified = inputs.modified.max(read.written);
        inputs.identity.insert(name.to_owned(), read.identity);
        inputs.values.insert(name.to_owned(), read.value);
    }
    Ok(inputs)
}

/// The same inputs with all assertions signed anew: an issuer may take each of them only once.
pub fn signed_anew(spec: &CredentialSpec, inputs: &Inputs, clock: &Clock) -> Result<Inputs, InputError> {
    let mut anew = inputs.clone();
    for (name, source) in &spec.inputs {
        // What identifies an assertion over time is its key.
        if let (Source::Jwt(assertion), Some(key)) = (source, inputs.identity.get(name)) {
            let value = assertion::sign(assertion, key, &inputs.values, clock)
                .map_err(|message| InputError::new(name, message))?;
            anew.values.insert(name.to_owned(), value);
        }
    }
    Ok(anew)
}

/// Reads one source that stands alone, such as the admin token; `name` is for the error.
pub async fn read_source(
    name: &str,
    source: &Source,
    parents: Parents<'_>,
    clock: &Clock,
) -> Result<Secret, InputError> {
    Ok(read_one(name, source, parents, clock, &BTreeMap::new()).await?.value)
}

/// What one source brought.
struct Read {
    value: Secret,
    /// What stands for the value over time.
    identity: Secret,
    /// When its file was written.
    written: Option<Timestamp>,
}

async fn read_one(
    name: &str,
    source: &Source,
    parents: Parents<'_>,
    clock: &Clock,
    known: &BTreeMap<String, Secret>,
) -> Result<Read, InputError> {
    let Source::Jwt(assertion) = source else {
        return read_material(name, source, parents).await;
    };
    let key = read_material(name, &assertion.key, parents).await?;
    let value = assertion::sign(assertion, &key.value, known, clock)
        .map_err(|message| InputError::new(name, message))?;
    Ok(Read { value, ..key })
}

/// Reads anything but an assertion.
async fn read_material(name: &str, source: &Source, parents: Parents<'_>) -> Result<Read, InputError> {
    let failed = |message| InputError::new(name, message);
    let (value, written) = match source {
        Source::Value(value) => (value.clone(), None),
        Source::File(path) => file::read(path).await.map_err(failed)?,
        Source::Command { argv, timeout } => (command::run(argv, *timeout).await.map_err(failed)?, None),
        Source::Output { credential, output } => {
            let value = parents(credential, output).ok_or_else(|| InputError {
                waits_for: Some(credential.clone()),
                ..failed(format!("the credential `{credential}` has no usable `{output}` yet"))
            })?;
            (value, None)
        }
        Source::Part { document, pointer } => {
            let document = Box::pin(read_material(name, document, parents)).await?;
            (part(&document.value, pointer).map_err(failed)?, document.written)
        }
        Source::Jwt(_) => {
            return Err(failed("the key of an assertion cannot be an assertion itself".to_owned()));
        }
    };
    let value = value.locked();
    Ok(Read { identity: value.clone(), value, written })
}

/// The text or number at a pointer of a JSON document.
fn part(document: &Secret, pointer: &str) -> Result<Secret, String> {
    let json = Json::parse(document).ok_or_else(|| "is not JSON".to_owned())?;
    let found = json.at(pointer).ok_or_else(|| format!("has nothing at `{pointer}`"))?;
    let text = scalar_text(found).ok_or_else(|| format!("has neither a text nor a number at `{pointer}`"))?;
    if text.is_empty() { Err(format!("is empty at `{pointer}`")) } else { Ok(Secret::from(text)) }
}

/// Takes the one line break off that editors and `echo` leave at the end. Empty is an error.
fn without_line_break(bytes: SecretBuffer) -> Result<Secret, String> {
    let kept = bytes.without_line_break();
    if kept.is_empty() { Err("is empty".to_owned()) } else { Ok(kept) }
}

impl InputError {
    fn new(input: &str, message: String) -> Self {
        Self { input: input.to_owned(), message, waits_for: None }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.input, self.message)
    }
}

impl std::error::Error for InputError {}

#[cfg(test)]
mod tests;
