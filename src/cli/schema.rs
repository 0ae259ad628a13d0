//! `bearerd schema`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output;
use crate::config::schema::schema;

/// The arguments of `bearerd schema`.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the JSON Schema of the configuration.
pub fn run(_: &Arguments) -> ExitCode {
    output::data(format!("{:#}\n", schema()))
}
