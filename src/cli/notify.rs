//! `bearerd notify test`: one notice to each receiver, sent from here.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::cli::exit::Exit;
use crate::cli::{ConfigFile, output};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::notification::{ReceiverSpec, deliver_test};
use crate::upstream::EgressSpec;
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
pub fn run(arguments: &Arguments) -> ExitCode {
    let loaded = match arguments.file.load(&Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::talk(problems);
            return Exit::Configuration.into();
        }
    };
    let Action::Test { names } = &arguments.action;
    let known = &loaded.config.notify;
    for name in names {
        if !known.iter().any(|receiver| receiver.name == *name) {
            output::talk(format_args!("bearerd: the configuration has no `[notify.{name}]`"));
            return Exit::Usage.into();
        }
    }
    let wanted = known.iter().filter(|receiver| names.is_empty() || names.contains(&receiver.name));
    let receivers: Vec<_> = wanted.cloned().collect();
    if receivers.is_empty() {
        output::talk("bearerd: the configuration has no receivers: `[notify.NAME]` makes one");
        return Exit::Unavailable.into();
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(send_all(&loaded.config, &receivers)),
        Err(error) => {
            output::talk(format_args!("bearerd: cannot start: {error}"));
            Exit::Internal.into()
        }
    }
}

async fn send_all(config: &Config, receivers: &[Arc<ReceiverSpec>]) -> ExitCode {
    let (clock, default) = (Clock::system(), EgressSpec::default());
    let mut told = String::new();
    let mut exit = Exit::Done;
    for receiver in receivers {
        let spec = config.egress.iter().find(|spec| spec.name == receiver.egress).unwrap_or(&default);
        let outcome = match Connector::new(spec) {
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
