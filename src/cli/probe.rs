//! `bearerd probe live|ready`: for the probes of orchestrators and for scripts.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::client::{self, Question, Target};
use crate::cli::output;

/// The arguments of `bearerd probe`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to ask
    pub what: Probe,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Does it run?
    Live,
    /// Has it the tokens that it needs, and is it not about to end?
    Ready,
}

/// Asks; the exit code is the answer.
pub fn run(arguments: &Arguments) -> ExitCode {
    let path = match arguments.what {
        Probe::Live => "/live",
        Probe::Ready => "/ready",
    };
    client::ask(&arguments.target, Question::get(path), |reply| output::data(reply.body))
}
