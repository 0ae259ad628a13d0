//! `bearerd explain`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::ConfigFile;
use crate::cli::exit::Exit;

/// The arguments of `bearerd explain`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The method, such as GET
    pub method: String,
    /// The URL as the app would call it, such as http://127.0.0.1:8080/ledger/user/me
    pub url: String,
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Explains.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
