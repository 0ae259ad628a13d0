//! `bearerd doctor`: looks at what surrounds a bearerd, and says what to do about it.

mod finding;
mod machine;
mod network;
mod permissions;
mod unit;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output, runtime};
use crate::clock::Clock;
use crate::config::{Environment, Loaded};
use finding::{Finding, Severity};

/// The arguments of `bearerd doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Ask each issuer for its time, and each echo for the address that it sees, without any credential
    #[arg(long)]
    pub connect: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything and tells what it found: 1 if something has to be mended. What is wrong in the
/// configuration itself is for `check`.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    let loaded = arguments.file.load(&environment)?;
    let clock = Clock::system();
    let mut findings = examine(&loaded, &clock);
    if arguments.connect {
        let runtime = runtime()?;
        findings.extend(runtime.block_on(network::clocks(&loaded.config, &clock)));
        findings.extend(runtime.block_on(network::addresses(&loaded.config)));
    }
    findings.sort_by_key(|finding| finding.severity);
    let text = if arguments.json { finding::json(&findings) } else { finding::text(&findings) };
    let told = output::data(text);
    let is_ill = findings.iter().any(|finding| finding.severity == Severity::Fault);
    Ok(if is_ill { Exit::No.into() } else { told })
}

/// All that can be seen without a network.
fn examine(loaded: &Loaded, clock: &Clock) -> Vec<Finding> {
    let root = Path::new("/");
    let mut findings = permissions::look(loaded);
    findings.extend(machine::look(root, loaded));
    findings.extend(unit::look(root, loaded));
    findings.extend(network::look(&loaded.config, clock));
    findings
}
