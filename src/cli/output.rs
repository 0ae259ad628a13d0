//! Where commands write: data to standard output, talk to standard error.
//!
//! `println!` panics when the reader has gone away (`bearerd presets | head -1`); these do not. A
//! reader that left has seen enough, so a closed pipe is a success.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::cli::exit::Exit;

/// Writes data to standard output as it is, and says whether that went well.
pub fn data(text: impl AsRef<[u8]>) -> ExitCode {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_ref()).and_then(|()| output.flush()) {
        Ok(()) => Exit::Done.into(),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(error) => {
            talk(format_args!("bearerd: cannot write to standard output: {error}"));
            Exit::Internal.into()
        }
    }
}

/// Writes one line for people to standard error.
pub fn talk(line: impl Display) {
    // There is nowhere left to tell that standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
