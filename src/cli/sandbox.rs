//! `bearerd sandbox`: the simulated vendors until a signal comes.
//!
//! Standard output gets the configuration that fits, so that `bearerd sandbox > bearerd.toml` and
//! `bearerd run` beside it are a whole setup; standard error tells what the vendors are asked.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::{Exit, Failure};
use crate::cli::{output, runtime};
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
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let clock = Clock::system();
    let filter = if arguments.quiet { "warn" } else { "info" };
    let logs = telemetry::start(&LogSpec { filter: filter.into(), json: false }, &clock);
    let _logs = logs.map_err(|error| Failure::new(error, Exit::Internal))?;
    runtime()?.block_on(serve(arguments, &clock))
}

async fn serve(arguments: &Arguments, clock: &Clock) -> Result<ExitCode, Failure> {
    let port = arguments.port;
    let sandbox = Sandbox::start(port, &arguments.faults, clock).await.map_err(|error| {
        let reason = format_args!(
            "the sandbox cannot listen on 127.0.0.1 from port {port}: {error}; name other ports with --port"
        );
        Failure::new(reason, Exit::Unavailable)
    })?;
    for station in sandbox.stations() {
        output::talk(format_args!("{:<12} {}", station.vendor(), station.origin()));
    }
    output::talk(format_args!("{:<12} {}", "mailbox", sandbox.mailbox()));
    let mut configuration = sandbox.configuration(APP, ADMIN);
    if arguments.portal {
        let mailbox = match &arguments.maildir {
            None => sandbox.mailbox(),
            Some(folder) => {
                sandbox.postbox().also_into(folder).map_err(|error| {
                    let reason = format_args!("{} cannot be made a Maildir: {error}", folder.display());
                    Failure::new(reason, Exit::Unavailable)
                })?;
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
    let unwatched = |error| Failure::new(format_args!("signals cannot be watched: {error}"), Exit::Internal);
    interrupted().await.map(|()| printed).map_err(unwatched)
}

async fn interrupted() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
