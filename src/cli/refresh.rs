//! `bearerd refresh`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::Target;
use crate::cli::exit::Exit;

/// The arguments of `bearerd refresh`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The credential
    pub name: String,
    /// Try again although the issuer rejected the input as often as it may
    #[arg(long)]
    pub force: bool,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Renews a credential.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
