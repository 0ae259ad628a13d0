//! `bearerd check`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::ConfigFile;
use crate::cli::exit::Exit;

/// The arguments of `bearerd check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Runs it.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
