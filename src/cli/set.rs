//! `bearerd set NAME`.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::Method;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::cli::client::{self, PROMPT, Question, Target};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

/// More than any token, and as much as the admin listener takes.
const LONGEST: u64 = 64 * 1024;

/// The arguments of `bearerd set`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The credential, of the flow `static`
    pub name: String,
    /// When the token ends (RFC 3339), if not as `expires` says
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Timestamp>,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

/// Replaces a static token in a running bearerd; the token comes from standard input.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        output::talk("bearerd: type or paste the token, then Enter and Ctrl-D");
    }
    let mut token = Zeroizing::new(Vec::with_capacity(4096));
    input.lock().take(LONGEST + 1).read_to_end(&mut token).map_err(|error| {
        Failure::new(format_args!("standard input cannot be read: {error}"), Exit::Internal)
    })?;
    if token.len() as u64 > LONGEST || token.trim_ascii().is_empty() {
        let wrong = if token.trim_ascii().is_empty() { "empty" } else { "longer than 64 KiB" };
        let reason = format_args!("standard input should hold the token, and it is {wrong}");
        return Err(Failure::new(reason, Exit::Usage));
    }
    let expires = arguments.expires.map(|end| format!("?expires={end}"));
    let rest = format!("/token{}", expires.unwrap_or_default());
    let question = Question {
        method: Method::PUT,
        path: client::credential_path(&arguments.name, &rest),
        body: Bytes::from_owner(token),
        limit: PROMPT,
    };
    Ok(client::ask(&arguments.target, question, |_| {
        output::talk(format_args!("bearerd: `{}` has the new token", arguments.name));
        Exit::Done.into()
    }))
}
