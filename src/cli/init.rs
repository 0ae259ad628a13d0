//! `bearerd init`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;

/// The arguments of `bearerd init`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Presets to begin with; see `bearerd presets`
    #[arg(value_name = "PRESET")]
    pub presets: Vec<String>,
}

/// Runs it.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
