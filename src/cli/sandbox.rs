//! `bearerd sandbox`: the simulated vendors until a signal comes.
//!
//! Standard output gets the configuration that fits, so that `bearerd sandbox > bearerd.toml` and
//! `bearerd run` beside it are a whole setup; standard error tells what the vendors are asked.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::clock::Clock;
use crate::sandbox::{Sandbox, ScriptedFault, fault};
use crate::telemetry::{self, LogSpec};

/// Where the printed configuration lets the app call.
const APP: &str = "127.0.0.1:8080";
/// Where the printed configuration puts the admin listener.
const ADMIN: &str = "127.0.0.1:9180";

/// The arguments of `bearerd sandbox`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The first of six ports on 127.0.0.1; 0 for any free ones
    #[arg(long, value_name = "PORT", default_value_t = 9190, value_parser = clap::value_parser!(u16).range(..=65530))]
    pub port: u16,
    /// Print also a credential for each of the neighbours: the common shapes of other token services
    #[arg(long)]
    pub neighbours: bool,
    /// Print also a credential that asks a portal for its token and takes that from the mail
    #[arg(long)]
    pub portal: bool,
    /// Put the portal's mails into this folder, too, and have that credential read them there
    #[arg(long, value_name = "FOLDER", requires = "portal")]
    pub maildir: Option<PathBuf>,
    /// A scripted fault, such as NAME=down:30s; may be given several times
    #[arg(long = "fault", value_name = "FAULT", long_help = format!("A scripted fault: {}", fault::SYNTAX))]
    pub faults: Vec<ScriptedFault>,
    /// Do not tell each request that the vendors receive, only what was off about some
    #[arg(long)]
    pub quiet: bool,
}

/// Runs the vendors until SIGINT or SIGTERM.
pub fn run(arguments: &Arguments) -> ExitCode {
    let clock = Clock::system();
    let filter = if arguments.quiet { "warn" } else { "info" };
    let logs = match telemetry::start(&LogSpec { filter: filter.into(), json: false }, &clock) {
        Ok(logs) => logs,
        Err(error) => {
            output::talk(format_args!("bearerd: {error}"));
            return Exit::Internal.into();
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::talk(format_args!("bearerd: the sandbox cannot run: {error}"));
            return Exit::Internal.into();
        }
    };
    let exit = runtime.block_on(serve(arguments, &clock));
    drop(logs);
    exit
}

async fn serve(arguments: &Arguments, clock: &Clock) -> ExitCode {
    let sandbox = match Sandbox::start(arguments.port, &arguments.faults, clock).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            output::talk(format_args!(
                "bearerd: the sandbox cannot listen on 127.0.0.1 from port {}: {error}; \
                 name other ports with --port",
                arguments.port
            ));
            return Exit::Unavailable.into();
        }
    };
    for station in sandbox.stations() {
        output::talk(format_args!("{:<12} {}", station.vendor(), station.origin()));
    }
    output::talk(format_args!("{:<12} {}", "mailbox", sandbox.mailbox()));
    let mut configuration = sandbox.configuration(APP, ADMIN);
    if arguments.portal {
        let mailbox = match &arguments.maildir {
            None => sandbox.mailbox(),
            Some(folder) => {
                if let Err(error) = sandbox.postbox().also_into(folder) {
                    output::talk(format_args!(
                        "bearerd: {} cannot be made a Maildir: {error}",
                        folder.display()
                    ));
                    return Exit::Unavailable.into();
                }
                format!("maildir:{}", folder.display())
            }
        };
        configuration = format!("{configuration}\n{}", sandbox.portal_configuration(&mailbox));
    }
    if arguments.neighbours {
        configuration += &sandbox.neighbours_configuration();
    }
    output::talk("The configuration for `bearerd run` is on standard output. Ctrl-C ends the sandbox.");
    let printed = output::data(configuration);
    match interrupted().await {
        Ok(()) => printed,
        Err(error) => {
            output::talk(format_args!("bearerd: signals cannot be watched: {error}"));
            Exit::Internal.into()
        }
    }
}

async fn interrupted() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
