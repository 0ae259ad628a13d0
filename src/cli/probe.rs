//! `bearerd probe`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::client::Target;
use crate::cli::exit::Exit;

/// The arguments of `bearerd probe`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to ask
    pub question: Question,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Does it run?
    Live,
    /// Has it the tokens that it needs, and is it not about to end?
    Ready,
}

/// Asks.
pub fn run(_: &Arguments) -> ExitCode {
    Exit::Unavailable.into()
}
