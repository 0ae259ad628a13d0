//! `bearerd reload`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::{self, PATIENT, Question, Target};
use crate::cli::exit::Exit;
use crate::cli::output;

/// The arguments of `bearerd reload`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Has a running bearerd read its configuration again, and tells the problems if it was refused.
pub fn run(arguments: &Arguments) -> ExitCode {
    client::ask(&arguments.target, Question::post("/v1/reload", PATIENT), |_| {
        output::talk("bearerd: the new configuration is in force");
        Exit::Done.into()
    })
}
