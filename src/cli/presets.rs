//! `bearerd presets`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;

/// The arguments of `bearerd presets`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The preset to print; all are listed without it
    pub name: Option<String>,
}

/// Runs it.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
