//! `bearerd logout NAME`.

use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::cli::client::{self, PATIENT, Question, Target};
use crate::cli::exit::Exit;
use crate::cli::output;

/// The arguments of `bearerd logout`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The credential
    pub name: String,
    /// Whose tokens of the credential
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Has a running bearerd forget the tokens of a credential, or of one of its subjects.
pub fn run(arguments: &Arguments) -> ExitCode {
    let path = client::credential_path(&arguments.name, "/logout");
    let body = Bytes::from(json!({ "subject": arguments.subject }).to_string());
    client::ask(&arguments.target, Question { body, ..Question::post(path, PATIENT) }, |_| {
        output::talk(format_args!("bearerd: logged out of `{}`", arguments.name));
        Exit::Done.into()
    })
}
