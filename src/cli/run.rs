//! `bearerd run`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::ConfigFile;
use crate::cli::exit::Exit;

/// The arguments of `bearerd run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Runs the proxy until it is told to end.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
