//! `bearerd set`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::Target;
use crate::cli::exit::Exit;

/// The arguments of `bearerd set`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The credential
    pub name: String,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Replaces a static token.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
