//! `bearerd version`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output;

/// The arguments of `bearerd version`.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the version.
pub fn run(_: &Arguments) -> ExitCode {
    output::data(concat!("bearerd ", env!("CARGO_PKG_VERSION"), "\n"))
}
