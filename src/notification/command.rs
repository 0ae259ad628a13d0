//! Notices to a program: the document on its standard input, and a line break behind it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use crate::confinement::Command;
use crate::notification::{Failure, Notice};

/// Runs a command without a shell, and waits until it has ended well. When the time is over it is ended, with
/// all that it started. What it prints is not looked at.
pub(super) async fn run(argv: &[String], notice: &Notice, limit: Duration) -> Result<(), Failure> {
    let program = argv.first().map_or("", String::as_str);
    let about = |what: String| Failure::for_now(format!("the command `{program}` {what}"));
    let mut document = serde_json::to_vec(notice).map_err(|error| Failure::for_good(error.to_string()))?;
    document.push(b'\n');
    let no_pipe = |error: std::io::Error| about(format!("cannot be started: {}", error.kind()));
    let (input, writing) = std::io::pipe().map_err(no_pipe)?;
    let (reading, output) = std::io::pipe().map_err(no_pipe)?;
    let mut writing = pipe::Sender::from_owned_fd(writing.into()).map_err(no_pipe)?;
    let mut reading = pipe::Receiver::from_owned_fd(reading.into()).map_err(no_pipe)?;
    let mut command = Command::start_with(argv, input.into(), output.into()).map_err(about)?;
    let talk = async {
        let telling = async {
            // Whoever does not read it to its end has read enough.
            let _ = writing.write_all(&document).await;
            drop(writing);
        };
        let listening = async {
            let mut piece = [0; 1024];
            while reading.read(&mut piece).await.is_ok_and(|length| length > 0) {}
        };
        tokio::join!(telling, listening);
        command.ended().await
    };
    match tokio::time::timeout(limit, talk).await {
        Ok(outcome) => outcome.map_err(about),
        Err(_) => Err(about(format!("did not end within {limit:?}, and was killed"))),
    }
}
