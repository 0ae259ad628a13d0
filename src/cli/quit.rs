//! `bearerd quit`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::client::{self, PROMPT, Question, Target};
use crate::cli::exit::Exit;
use crate::cli::output;

/// The arguments of `bearerd quit`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Has a running bearerd drain and end; does not wait for it.
pub fn run(arguments: &Arguments) -> ExitCode {
    client::ask(&arguments.target, Question::post("/v1/quit", PROMPT), |_| {
        output::talk("bearerd: it finishes the requests in flight and ends");
        Exit::Done.into()
    })
}
