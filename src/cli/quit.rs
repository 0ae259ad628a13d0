//! `bearerd quit`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::Target;
use crate::cli::exit::Exit;

/// The arguments of `bearerd quit`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Ends it.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
