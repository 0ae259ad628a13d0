//! `bearerd check`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output, runtime};
use crate::clock::Clock;
use crate::config::{Config, Environment, Loaded, Location, Problem, Severity, secrets};
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
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    let loaded = match arguments.file.load(&environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            tell(&problems.0);
            return Ok(Exit::Configuration.into());
        }
    };
    let runtime = runtime()?;
    let mut problems = runtime.block_on(examine(&loaded));
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    let unreached = if arguments.connect { runtime.block_on(connect_all(&loaded)) } else { Vec::new() };
    let is_unavailable = !unreached.is_empty();
    problems.extend(unreached);
    if has_errors || is_unavailable {
        tell(&problems);
        return Ok(if has_errors { Exit::Configuration } else { Exit::Unavailable }.into());
    }
    problems.iter().enumerate().for_each(tell_one);
    Ok(output::data(summary(&loaded, &problems)))
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
    for (egress, origin) in issuers(&loaded.config) {
        let reached = match Connector::new(&egress) {
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

/// Where credentials ask, each place once for each egress that it is asked by.
pub(super) fn issuers(config: &Config) -> Vec<(EgressSpec, Origin)> {
    let credentials = config.credentials.iter();
    let asked: BTreeSet<(&str, Origin)> = credentials
        .flat_map(|spec| origins(&spec.flow).into_iter().map(|origin| (spec.egress.as_str(), origin)))
        .collect();
    asked.into_iter().map(|(egress, origin)| (egress_of(config, egress), origin)).collect()
}

/// The egress of a name: the default one for the empty name.
pub(super) fn egress_of(config: &Config, name: &str) -> EgressSpec {
    config.egress.iter().find(|spec| spec.name == name).cloned().unwrap_or_default()
}

/// Where a flow asks.
fn origins(flow: &Flow) -> Vec<Origin> {
    match flow {
        Flow::Static(_) => Vec::new(),
        Flow::OAuth2(flow) => flow.endpoints.origin().cloned().into_iter().collect(),
        Flow::Login(flow) => flow.origins(),
    }
}

/// Tells problems for which it ends, and how many they are.
fn tell(problems: &[Problem]) {
    problems.iter().enumerate().for_each(tell_one);
    output::talk(format_args!("\n{} found", count(problems.len(), "problem")));
}

fn tell_one((index, problem): (usize, &Problem)) {
    let gap = if index == 0 { "" } else { "\n" };
    output::talk(format_args!("{gap}{problem}"));
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
