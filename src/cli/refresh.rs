//! `bearerd refresh NAME`.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use crate::cli::client::{self, PATIENT, Question, Target};
use crate::cli::exit::Exit;
use crate::cli::output;

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

#[derive(Deserialize)]
struct Outcome {
    outcome: String,
}

/// Renews a credential now, waits for it and tells the outcome.
pub fn run(arguments: &Arguments) -> ExitCode {
    let query = if arguments.force { "/refresh?wait=true&force=true" } else { "/refresh?wait=true" };
    let question = Question::post(client::credential_path(&arguments.name, query), PATIENT);
    client::ask(&arguments.target, question, |reply| {
        let outcome =
            serde_json::from_slice(&reply.body).map_or_else(|_| String::new(), |Outcome { outcome }| outcome);
        let (exit, meaning) = match outcome.as_str() {
            "ok" => (Exit::Done, "it has a new token"),
            "rejected" => (
                Exit::Unavailable,
                "its input is refused, or was three times, so that only --force asks again; it is tried again by \
                 itself when the input changes, and `bearerd status` tells more",
            ),
            "ambiguous" => {
                (Exit::Unavailable, "the answer was lost, and may have used up its single-use input")
            }
            _ => (Exit::Unavailable, "it failed and is tried again"),
        };
        output::talk(format_args!("bearerd: `{}`: {meaning}", arguments.name));
        if exit == Exit::Done { output::data(outcome + "\n") } else { exit.into() }
    })
}
