//! `bearerd completions SHELL`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::output;

/// The arguments of `bearerd completions`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Whose language to write
    pub shell: Shell,
}

/// Prints the completion script.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "bearerd", &mut script);
    output::data(script)
}
