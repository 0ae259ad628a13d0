//! The command line: arguments, what to do, exit code.
//!
//! Data goes to standard output, talk to standard error. Each command is a file below: its `Arguments`, and `run`,
//! which does it and says how it went, or why it could not ([`exit`]).

pub mod check;
pub mod client;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod forecast;
pub mod init;
pub mod login;
pub mod logout;
pub mod man;
pub mod notify;
pub mod output;
pub mod presets;
pub mod probe;
pub mod quit;
pub mod refresh;
pub mod reload;
pub mod run;
pub mod sandbox;
pub mod schema;
pub mod set;
pub mod status;
pub mod store;
mod table;
pub mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::cli::exit::{Exit, Failure};
use crate::config::problem::Problems;
use crate::config::{self, Environment, Loaded};
#[cfg(target_os = "linux")]
use crate::confinement;
use crate::telemetry;

/// The arguments of bearerd.
#[derive(Debug, Parser)]
#[command(
    name = "bearerd",
    version,
    about = "A local reverse proxy that obtains, renews and injects API tokens",
    long_about = "A local reverse proxy that obtains, renews and injects API tokens.\n\n\
        bearerd sits on localhost between an app and the APIs that the app calls. It holds the \
        secrets, keeps the tokens fresh and puts them on the requests that pass, so that the app \
        never sees one.",
    after_help = "New here? `bearerd demo` shows it at work, `bearerd init` prints a configuration to start from.\n\
        \n\
        Exit codes: 0 done, 1 no (explain, demo, doctor), 64 usage, 69 unavailable, 70 internal fault,\n\
        78 configuration.",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

/// `--config`, taken before and after the command's name.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// The configuration [default: $BEARERD_CONFIG, ./bearerd.toml or /etc/bearerd/bearerd.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Finds, reads and validates the configuration.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Problems> {
        let path = config::find(self.config.as_deref(), environment)?;
        config::load(&path, environment)
    }
}

/// What bearerd can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    Run(run::Arguments),
    /// Print a commented configuration to start from
    Init(init::Arguments),
    /// Validate the configuration and read every secret that it names
    Check(check::Arguments),
    /// Look at the machine, the user and the files around, and say what to do
    Doctor(doctor::Arguments),
    /// Show bearerd at work, all on loopback and without a configuration
    Demo(demo::Arguments),
    /// Run simulators of token services on loopback, for laptops and CI
    Sandbox(sandbox::Arguments),
    /// Tell what would become of a request, without any network
    Explain(explain::Arguments),
    /// Tell every renewal, replacement and deadline to come, in virtual time
    Forecast(forecast::Arguments),
    /// Show the credentials of a running bearerd
    Status(status::Arguments),
    /// Log a person in to a credential of a running bearerd
    Login(login::Arguments),
    /// Forget what a person consented to
    Logout(logout::Arguments),
    /// Renew a credential now
    Refresh(refresh::Arguments),
    /// Replace a static token in a running bearerd, read from standard input
    Set(set::Arguments),
    /// Send a notice to the receivers of the configuration, to see whether it arrives
    Notify(notify::Arguments),
    /// List the presets, or print one
    Presets(presets::Arguments),
    /// Ask a running bearerd whether it lives, or whether it is ready
    Probe(probe::Arguments),
    /// Have a running bearerd read its configuration again
    Reload(reload::Arguments),
    /// Have a running bearerd drain and end
    Quit(quit::Arguments),
    /// List, export and import what survives a restart, or make a key for it
    Store(store::Arguments),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::Arguments),
    /// Print the version
    Version(version::Arguments),
    /// Print the completion script of a shell
    Completions(completions::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    telemetry::tell_panics();
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|argument| argument == confinement::HELPER) {
        return confinement::serve().map_or(Exit::Usage, |()| Exit::Done).into();
    }
    match Arguments::try_parse() {
        Ok(arguments) => {
            // They see secrets too. What runs for long gives up more, and this after its environment is overwritten.
            if !matches!(arguments.command, Command::Run(_)) {
                confinement::leave_no_dumps();
            }
            arguments.command.run()
        }
        Err(error) => {
            // A reader that went away has seen enough.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
        }
    }
}

impl Command {
    fn run(&self) -> ExitCode {
        exit::end(match self {
            Self::Run(arguments) => run::run(arguments),
            Self::Init(arguments) => init::run(arguments),
            Self::Check(arguments) => check::run(arguments),
            Self::Doctor(arguments) => doctor::run(arguments),
            Self::Demo(arguments) => demo::run(arguments),
            Self::Sandbox(arguments) => sandbox::run(arguments),
            Self::Explain(arguments) => explain::run(arguments),
            Self::Forecast(arguments) => forecast::run(arguments),
            Self::Status(arguments) => Ok(status::run(arguments)),
            Self::Login(arguments) => Ok(login::run(arguments)),
            Self::Logout(arguments) => Ok(logout::run(arguments)),
            Self::Refresh(arguments) => Ok(refresh::run(arguments)),
            Self::Set(arguments) => set::run(arguments),
            Self::Notify(arguments) => notify::run(arguments),
            Self::Presets(arguments) => presets::run(arguments),
            Self::Probe(arguments) => Ok(probe::run(arguments)),
            Self::Reload(arguments) => Ok(reload::run(arguments)),
            Self::Quit(arguments) => Ok(quit::run(arguments)),
            Self::Store(arguments) => store::run(arguments),
            Self::Schema(arguments) => Ok(schema::run(arguments)),
            Self::Version(arguments) => Ok(version::run(arguments)),
            Self::Completions(arguments) => Ok(completions::run(arguments)),
            Self::Man(arguments) => man::run(arguments),
        })
    }
}

/// What runs a command on this very thread.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::machine)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{CommandFactory, Parser};

    use super::{Arguments, Command};

    #[test]
    fn the_tree_of_commands_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_before_and_after_the_command() {
        for line in [["bearerd", "--config", "a.toml", "run"], ["bearerd", "run", "--config", "a.toml"]] {
            let arguments = Arguments::try_parse_from(line).expect("arguments");
            let Command::Run(run) = &arguments.command else { panic!("{arguments:?}") };
            assert_eq!(run.file.config.as_deref(), Some(Path::new("a.toml")));
        }
    }
}
