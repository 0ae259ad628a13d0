//! `bearerd sandbox`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Exit;

/// The arguments of `bearerd sandbox`.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
