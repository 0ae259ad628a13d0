//! `bearerd check`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::{ConfigFile, output};
use crate::clock::Clock;
use crate::config::{self, Environment, Loaded, Location, Problem, Severity, secrets};
use crate::credential::Flow;
use crate::upstream::connect::{Connector, Offer};
use crate::upstream::{EgressSpec, Origin};

/// The arguments of `bearerd check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Connect to each issuer too, without sending anything
    #[arg(long)]
    pub connect: bool,
}

/// How long a connection to an issuer may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Validates the configuration, reads every secret that it names, and tells all that is wrong. An issuer that
/// cannot be reached is not the configuration's fault: then it ends with 69.
pub fn run(arguments: &Arguments) -> ExitCode {
    let environment = Environment::of_process();
    let loaded = config::find(arguments.file.config.as_deref(), &environment)
        .and_then(|path| config::load(&path, &environment));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            tell(&problems.0);
            output::talk(format_args!("\n{} found", count(problems.0.len(), "problem")));
            return Exit::Configuration.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::talk(format_args!("bearerd: cannot start: {error}"));
            return Exit::Internal.into();
        }
    };
    let mut problems = runtime.block_on(examine(&loaded));
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    let unreached = if arguments.connect { runtime.block_on(connect_all(&loaded)) } else { Vec::new() };
    let is_unavailable = !unreached.is_empty();
    problems.extend(unreached);
    tell(&problems);
    if has_errors || is_unavailable {
        output::talk(format_args!("\n{} found", count(problems.len(), "problem")));
        return if has_errors { Exit::Configuration } else { Exit::Unavailable }.into();
    }
    output::data(summary(&loaded, &problems))
}

/// All that is to be told of a configuration that was accepted.
async fn examine(loaded: &Loaded) -> Vec<Problem> {
    let unreadable = secrets::read_all(loaded, &Clock::system()).await;
    let errors = unreadable.iter().filter(|problem| problem.severity == Severity::Error);
    let places: Vec<&Location> = errors.filter_map(|problem| problem.location.as_ref()).collect();
    // That a file is not there is told once, as the mistake that it is here.
    let is_told = |problem: &&Problem| {
        problem
            .location
            .as_ref()
            .is_some_and(|location| places.iter().any(|place| place.line == location.line))
    };
    let mut problems: Vec<Problem> =
        loaded.warnings.iter().chain(&loaded.hints).filter(|problem| !is_told(problem)).cloned().collect();
    problems.extend(unreadable);
    problems
        .sort_by_key(|problem| problem.location.as_ref().map(|location| (location.line, location.column)));
    problems
}

/// Connects to each issuer by the egress of its credential, TLS included, and sends nothing.
async fn connect_all(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    let issuers: BTreeSet<(&str, Origin)> = loaded
        .config
        .credentials
        .iter()
        .flat_map(|spec| origins(&spec.flow).into_iter().map(|origin| (spec.egress.as_str(), origin)))
        .collect();
    let default = EgressSpec::default();
    for (egress, origin) in issuers {
        let spec = loaded.config.egress.iter().find(|spec| spec.name == egress).unwrap_or(&default);
        let reached = match Connector::new(spec) {
            Ok(connector) => connector
                .connect(&origin, Offer::Http1, CONNECT_LIMIT)
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.0),
        };
        if let Err(reason) = reached {
            problems.push(Problem::nowhere(format!("{origin} cannot be reached: {reason}")));
        }
    }
    problems
}

/// Where a flow asks.
pub(super) fn origins(flow: &Flow) -> Vec<Origin> {
    match flow {
        Flow::Static(_) => Vec::new(),
        Flow::OAuth2(flow) => flow.endpoints.origin().cloned().into_iter().collect(),
        Flow::Login(flow) => flow.origins(),
    }
}

fn tell(problems: &[Problem]) {
    for (index, problem) in problems.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        output::talk(format_args!("{gap}{problem}"));
    }
}

/// One line that says that all is well.
fn summary(loaded: &Loaded, problems: &[Problem]) -> String {
    let file = loaded.files.first().map(|file| file.display().to_string()).unwrap_or_default();
    let config = &loaded.config;
    let parts = [
        count(config.listeners.len(), "listener"),
        count(config.credentials.len(), "credential"),
        count(config.routes.len(), "route"),
        count(problems.len(), "warning"),
    ];
    format!("{file} is valid: {}\n", parts.join(", "))
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
