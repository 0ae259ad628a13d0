//! From TOML to validated specs.
//!
//! ```text
//! file -> tree -> presets overlaid -> raw (serde) -> references resolved -> validated specs
//!           └──────────── every mistake on the way is a Problem; all are told at once
//! ```
//!
//! Only this floor knows TOML: each subsystem below owns its spec type.

mod deserialize;
mod findings;
mod later;
pub mod preset;
pub mod problem;
mod raw;
pub mod schema;
pub mod secrets;
mod shape;
mod suggest;
mod text;
mod tree;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::admin::AdminSpec;
use crate::config::findings::Findings;
use crate::config::text::Text;
use crate::config::tree::{Node, Place};
use crate::config::validate::context::Context;
use crate::confinement::{Confinement, Sandbox};
use crate::credential::keeper::SleepRules;
use crate::credential::store::spec::StoreSpec;
use crate::credential::{CredentialName, CredentialSpec};
use crate::memory;
use crate::notification::ReceiverSpec;
use crate::route::RouteSpec;
use crate::secret::{self, Secret};
use crate::server::ListenerSpec;
use crate::server::inherited::Inherited;
use crate::telemetry::LogSpec;
use crate::upstream::EgressSpec;

pub use crate::config::problem::{Location, Problem, Problems, Severity};
pub(crate) use crate::config::raw::scalar::parse_duration;
pub use crate::telemetry::AccessLog;

/// A whole valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerSpec,
    /// `[store]`.
    pub store: StoreSpec,
    /// `[admin]`; always there, by default on 127.0.0.1:9180.
    pub admin: AdminSpec,
    /// `[listeners]`.
    pub listeners: Vec<ListenerSpec>,
    /// `[egress]`; the default one is not listed.
    pub egress: Vec<EgressSpec>,
    /// `[credentials]`, parents before their dependents.
    pub credentials: Vec<Arc<CredentialSpec>>,
    /// `[routes]`.
    pub routes: Vec<Arc<RouteSpec>>,
    /// `[notify]`.
    pub notify: Vec<Arc<ReceiverSpec>>,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Data-plane threads.
    pub workers: usize,
    /// How long SIGTERM waits for requests in flight.
    pub drain: Duration,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Reload when the file changes.
    pub watch: bool,
    /// How logs are written.
    pub log: LogSpec,
    /// Exchanges at once with one issuer.
    pub issuer_concurrency: usize,
    /// Logins of people under way at once.
    pub max_logins: usize,
    /// When subjects sleep.
    pub sleep: SleepRules,
    /// Whether the process gives up what it does not need.
    pub sandbox: Sandbox,
}

/// The largest configuration file in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The surroundings that a configuration refers to, read once at start.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, Secret>,
    /// Where systemd puts credentials: `$CREDENTIALS_DIRECTORY`.
    pub credentials_directory: Option<PathBuf>,
    /// Sockets that this process was passed, for listeners at `fd:NAME`.
    pub inherited: Inherited,
    /// What this process gave up at its start.
    pub confinement: Confinement,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<Secret> {
        self.variables.get(std::ffi::OsStr::new(name)).cloned()
    }

    /// The value of a variable that names a file.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(OsString::from_vec(value.expose().to_vec())))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), Secret::new(value.into().into_vec()).locked()))
            .collect();
        let mut environment = Self { variables, ..Self::default() };
        environment.credentials_directory = environment.path("CREDENTIALS_DIRECTORY");
        environment
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&OsString> = self.variables.keys().collect();
        formatter.debug_struct("Environment").field("variables", &names).finish_non_exhaustive()
    }
}

/// A configuration that was read and accepted.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth telling at every start.
    pub warnings: Vec<Problem>,
    /// What only `check` tells.
    pub hints: Vec<Problem>,
    /// All files that were read for it, the configuration first; secrets are not among them.
    pub files: Vec<PathBuf>,
    /// Where each secret reference stands.
    pub secrets: Vec<SecretPlace>,
    /// The variables of the environment that it took secrets from.
    pub variables: BTreeSet<String>,
    /// To read it took so much memory that it is worth while to give that back at once.
    pub is_large: bool,
}

impl Loaded {
    /// Lets go of what only `check` tells: a process that runs for months needs none of it.
    pub fn forget_advice(&mut self) {
        (self.hints, self.secrets) = (Vec::new(), Vec::new());
    }
}

/// Where a secret reference stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPlace {
    /// The credential whose input it is; `None` for the admin token and the keys of the store.
    pub owner: Option<CredentialName>,
    /// The input's name.
    pub input: String,
    /// The place.
    pub location: Location,
}

/// The configuration that is meant: `--config`, else `$BEARERD_CONFIG`, else `./bearerd.toml`, else
/// `/etc/bearerd/bearerd.toml`. A problem if none of the last two is there.
pub fn find(named: Option<&Path>, environment: &Environment) -> Result<PathBuf, Problems> {
    if let Some(path) = named.map(Path::to_owned).or_else(|| environment.path("BEARERD_CONFIG")) {
        return Ok(path);
    }
    let usual = [Path::new("bearerd.toml"), Path::new("/etc/bearerd/bearerd.toml")];
    usual.into_iter().find(|path| path.exists()).map(Path::to_owned).ok_or_else(|| {
        let mut problem = Problem::nowhere("there is no configuration");
        problem.help(
            "neither ./bearerd.toml nor /etc/bearerd/bearerd.toml is there; --config or $BEARERD_CONFIG \
             names another, and `bearerd init` prints one to start from",
        );
        Problems::one(problem)
    })
}

/// Reads and validates a configuration file. Relative paths in it start at its folder.
///
/// Blocks on the file system: it reads the file, looks at the secret files that it names, and reads
/// the environment from `environment`. It talks to nobody.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let unreadable = |reason: String| {
        Problems::one(Problem::nowhere(format!("the configuration {name} cannot be read: {reason}")))
    };
    std::fs::metadata(path).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        unreadable(if is_missing { "there is no such file".to_owned() } else { error.kind().to_string() })
    })?;
    let bytes = content(path, MAX_FILE, "16 MiB").map_err(|reason| unreadable(format!("it {reason}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..at];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = at - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1) + 1;
        // The bytes may hold secrets as any text does.
        drop(Zeroizing::new(error.into_bytes()));
        unreadable(format!("it is not UTF-8 at {name}:{line}:{column}"))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut loaded = load_from(&name, &Zeroizing::new(text), folder, environment)?;
    loaded.files.insert(0, path.to_owned());
    Ok(loaded)
}

/// What is in a file of `limit` bytes at most. A reload that waits for a pipe would be the last one: nothing but a
/// regular file is read. The error says what is wrong, in words that follow the file's name.
fn content(path: &Path, limit: u64, said: &str) -> Result<Vec<u8>, String> {
    let (file, _) = secret::open_file(path)?;
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {}", error.kind()))?;
    if bytes.len() as u64 > limit { Err(format!("is larger than {said}")) } else { Ok(bytes) }
}

/// Validates a configuration that is in no file; `name` stands in its problems. Relative paths in it
/// start at the current folder.
pub fn load_text(name: &str, text: &str, environment: &Environment) -> Result<Loaded, Problems> {
    load_from(name, &Zeroizing::new(text.to_owned()), Path::new(""), environment)
}

fn load_from(
    name: &str,
    text: &Zeroizing<String>,
    folder: &Path,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let is_large = text.len() > LARGE;
    let no_room = |error| Problem::nowhere(format!("there is no room to read the configuration: {error}"));
    let read = || read(name, text, folder);
    let (tree, raw, files, findings) =
        if is_large { memory::apart(read).map_err(|error| Problems::one(no_room(error)))? } else { read() }?;
    let mut context = Context::new(environment, folder, findings);
    context.files.extend(files);
    let config = validate::file(&raw, Place::new(&tree), &mut context);
    let told = context.findings.finish()?;
    let (hints, warnings) = told.into_iter().partition(|problem| problem.severity == Severity::Hint);
    let Some(config) = config else {
        // Whatever keeps a spec from being built is told where it is found.
        return Err(Problems::one(Problem::nowhere(
            "the configuration is not whole, and it is not known why",
        )));
    };
    Ok(Loaded {
        config,
        warnings,
        hints,
        files: context.files.into_iter().collect(),
        secrets: context.secrets,
        variables: context.variables,
        is_large,
    })
}

/// Bytes of a configuration from which on it is read apart ([`memory::apart`]): a parsed file takes several times
/// the memory of what is made of it.
const LARGE: usize = 32 * 1024;

/// The file as a tree and as what it says, with presets laid under it, the files that it brings them from,
/// and what was found on the way.
fn read(
    name: &str,
    text: &Zeroizing<String>,
    folder: &Path,
) -> Result<(Node, raw::File, Vec<PathBuf>, Findings), Problems> {
    let (mut tree, values) = Node::parse(text).map_err(|mistakes| {
        let mut findings = Findings::new(Text::broken(name, text.clone()));
        for (span, message) in mistakes {
            findings.error_at(span, message);
        }
        findings.finish().err().unwrap_or_else(|| Problems(Vec::new()))
    })?;
    let mut findings = Findings::new(Text::parsed(name, text.clone(), values));
    let own = preset::own::read(&tree, folder, &mut findings);
    preset::overlay(&mut tree, &own, &mut findings);
    let raw = shape::file(&mut tree, &mut findings);
    Ok((tree, raw, own.files, findings))
}
