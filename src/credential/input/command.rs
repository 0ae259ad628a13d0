//! Secrets that a command prints: a password manager, a vault's own client.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::confinement::Command;
use crate::credential::input::{LARGEST, without_line_break};
use crate::secret::{Secret, SecretBuffer};

/// Runs a command and takes what it prints on standard output. When the time is over it is ended, with
/// all that it started.
pub(super) async fn run(argv: &[String], limit: Duration) -> Result<Secret, String> {
    let Some(program) = argv.first() else { return Err("the command is empty".to_owned()) };
    let about = |what: String| format!("the command `{program}` {what}");
    let no_pipe = |error: std::io::Error| about(format!("cannot be started: {}", error.kind()));
    let (output, input) = std::io::pipe().map_err(no_pipe)?;
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(no_pipe)?;
    let mut command = Command::start(argv, input.into()).map_err(about)?;
    match tokio::time::timeout(limit, finish(&mut command, output)).await {
        Ok(Ok(printed)) => without_line_break(printed).map_err(|_| about("printed nothing".to_owned())),
        Ok(Err(what)) => Err(about(what)),
        Err(_) => Err(about(format!("did not end within {limit:?}, and was killed"))),
    }
}

/// Waits for the output's end and the command's.
async fn finish(command: &mut Command, mut output: pipe::Receiver) -> Result<SecretBuffer, String> {
    let mut printed = SecretBuffer::default();
    let mut piece = zeroize::Zeroizing::new([0; 4096]);
    loop {
        let length = output.read(&mut *piece).await;
        let length = length.map_err(|error| format!("could not be followed: {}", error.kind()))?;
        if length == 0 {
            break;
        }
        printed.push(&piece[..length]);
        if printed.len() > LARGEST {
            return Err(format!("printed more than {LARGEST} bytes, and was killed"));
        }
    }
    command.ended().await?;
    Ok(printed)
}
