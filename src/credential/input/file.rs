//! Secrets in files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::credential::input::{LARGEST, without_line_break};
use crate::secret::{Secret, SecretBuffer};

/// How long a read may take: a network file system, or a pipe that nobody writes to.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads a secret, and tells when its file was written. The error says what is wrong with the file.
pub(super) async fn read(path: &Path) -> Result<(Secret, Option<Timestamp>), String> {
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_now(&owned));
    let outcome = match tokio::time::timeout(LIMIT, reading).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("could not be read, since bearerd is ending".to_owned()),
        Err(_) => Err(format!("could not be read within {LIMIT:?}")),
    };
    outcome.map_err(|what| format!("the file {} {what}", path.display()))
}

fn read_now(path: &Path) -> Result<(Secret, Option<Timestamp>), String> {
    let mut file = File::open(path).map_err(|error| reason(&error))?;
    let metadata = file.metadata().map_err(|error| reason(&error))?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    let bytes = SecretBuffer::read(&mut file, LARGEST).map_err(|error| reason(&error))?;
    if bytes.len() > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes: is it the right one?"));
    }
    let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    Ok((without_line_break(bytes)?, written))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by the user that bearerd runs as".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}
