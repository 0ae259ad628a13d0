//! `bearerd notify test`: one notice to each receiver, sent from here.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::cli::check::egress_of;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output, runtime};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::notification::{ReceiverSpec, deliver_test};
use crate::upstream::connect::Connector;

/// The arguments of `bearerd notify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

/// What can be done with receivers.
#[derive(Debug, Subcommand)]
enum Action {
    /// Send a notice to each receiver, or to those that are named
    Test {
        /// The receivers
        names: Vec<String>,
    },
}

/// Sends a notice to each receiver once, without another try, and tells which of them arrived.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = arguments.file.load(&Environment::of_process())?;
    let Action::Test { names } = &arguments.action;
    let known = &loaded.config.notify;
    for name in names {
        if !known.iter().any(|receiver| receiver.name == *name) {
            let wrong = format_args!("the configuration has no `[notify.{name}]`");
            return Err(Failure::new(wrong, Exit::Usage));
        }
    }
    let wanted = known.iter().filter(|receiver| names.is_empty() || names.contains(&receiver.name));
    let receivers: Vec<_> = wanted.cloned().collect();
    if receivers.is_empty() {
        let none = "the configuration has no receivers: `[notify.NAME]` makes one";
        return Err(Failure::new(none, Exit::Unavailable));
    }
    Ok(runtime()?.block_on(send_all(&loaded.config, &receivers)))
}

async fn send_all(config: &Config, receivers: &[Arc<ReceiverSpec>]) -> ExitCode {
    let clock = Clock::system();
    let mut told = String::new();
    let mut exit = Exit::Done;
    for receiver in receivers {
        let outcome = match Connector::new(&egress_of(config, &receiver.egress)) {
            Ok(connector) => {
                deliver_test(receiver, &connector, &clock).await.map_err(|failure| failure.message)
            }
            Err(error) => Err(error.0),
        };
        let (name, way) = (receiver.name.as_str(), receiver.way.as_str());
        match outcome {
            Ok(()) => told.extend([name, ": delivered (", way, ")\n"]),
            Err(reason) => {
                exit = Exit::Unavailable;
                output::talk(format_args!("bearerd: `{name}` ({way}): {reason}"));
            }
        }
    }
    let printed = output::data(told);
    if exit == Exit::Done { printed } else { exit.into() }
}
