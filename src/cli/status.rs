//! `bearerd status`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::Target;
use crate::cli::exit::Exit;

/// The arguments of `bearerd status`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the answer of the admin listener as it is
    #[arg(long)]
    pub json: bool,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Shows the credentials.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
