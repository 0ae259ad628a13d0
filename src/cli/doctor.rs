//! `bearerd doctor`: looks at what surrounds a bearerd, and says what to do about it.

mod finding;
mod machine;
mod network;
mod permissions;
mod unit;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::{ConfigFile, output};
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
pub fn run(arguments: &Arguments) -> ExitCode {
    let environment = Environment::of_process();
    let loaded = match arguments.file.load(&environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::talk(problems);
            return Exit::Configuration.into();
        }
    };
    let clock = Clock::system();
    let mut findings = examine(&loaded, &clock);
    if arguments.connect {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                output::talk(format_args!("bearerd: cannot start: {error}"));
                return Exit::Internal.into();
            }
        };
        findings.extend(runtime.block_on(network::clocks(&loaded.config, &clock)));
        findings.extend(runtime.block_on(network::addresses(&loaded.config)));
    }
    findings.sort_by_key(|finding| finding.severity);
    let text = if arguments.json { finding::json(&findings) } else { finding::text(&findings) };
    let told = output::data(text);
    if findings.iter().any(|finding| finding.severity == Severity::Fault) { Exit::No.into() } else { told }
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
