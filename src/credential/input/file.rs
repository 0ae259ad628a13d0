//! Secrets in files.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::credential::input::{LARGEST, without_line_break};
use crate::secret::{Secret, read_file};

/// How long a read may take: on a network file system.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads a secret, and tells when its file was written. The error says what is wrong with the file.
pub(super) async fn read(path: &Path) -> Result<(Secret, Option<Timestamp>), String> {
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_now(&owned));
    let told = |what: &str| format!("the file {} {what}", path.display());
    match tokio::time::timeout(LIMIT, reading).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(told("could not be read, since bearerd is ending")),
        Err(_) => Err(told(&format!("could not be read within {LIMIT:?}"))),
    }
}

fn read_now(path: &Path) -> Result<(Secret, Option<Timestamp>), String> {
    let (bytes, about) = read_file(path, LARGEST)?;
    let written = about.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let secret = without_line_break(bytes).map_err(|what| format!("the file {} {what}", path.display()))?;
    Ok((secret, written))
}
