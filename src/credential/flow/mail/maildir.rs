//! A Maildir: a folder with a file for each message, which come in `new` and are moved to `cur` once somebody
//! has looked at them.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::flow::mail::judge::Judge;
use crate::credential::flow::mail::{LARGEST_MESSAGE, Message, Name, Then, Trouble};

/// So often it is looked into.
const PAUSE: Duration = Duration::from_secs(1);

/// Both folders hold messages; another reader may have moved one already.
const FOLDERS: [&str; 2] = ["new", "cur"];

/// An open Maildir.
pub(super) struct Folder {
    path: PathBuf,
    clock: Clock,
    /// The messages that were there, or have been looked at, without their flags.
    known: HashSet<String>,
}

impl Folder {
    pub(super) async fn open(path: &Path, clock: &Clock) -> Result<Self, Trouble> {
        let path = path.to_owned();
        let (path, found) = aside(move || {
            let found = list(&path);
            (path, found)
        })
        .await?;
        let known = found.map_err(|error| lost(&error))?.into_iter().map(|(name, _)| name).collect();
        Ok(Self { path, clock: clock.clone(), known })
    }

    /// See [`super::Inbox::messages`].
    pub(super) async fn messages(&mut self, judge: &mut Judge<'_>) -> Result<Vec<Message>, Trouble> {
        let (path, known) = (self.path.clone(), std::mem::take(&mut self.known));
        let (read, known) = aside(move || {
            let fresh = list(&path)
                .map(|found| found.into_iter().filter(|(name, _)| !known.contains(name)).collect::<Vec<_>>());
            (fresh.map(read_all), known)
        })
        .await?;
        self.known = known;
        let mut wanted = Vec::new();
        for (name, file, text) in read.map_err(|error| lost(&error))? {
            self.known.insert(name);
            if judge.wants(head(&text)) {
                wanted.push(Message { name: Name::File(file), text });
            }
        }
        Ok(wanted)
    }

    pub(super) async fn pause(&self, longest: Duration) {
        self.clock.wait(PAUSE.min(longest)).await;
    }

    /// See [`super::Inbox::dispose`].
    pub(super) async fn dispose(&self, file: &Path, then: &Then) -> Result<(), String> {
        let (path, file, then) = (self.path.clone(), file.to_owned(), then.clone());
        let done = aside(move || dispose(&path, &file, &then)).await;
        done.map_err(|_| "bearerd is shutting down".to_owned())?.map_err(|error| error.kind().to_string())
    }
}

/// Runs what blocks on the file system beside the runtime.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Trouble::Lost("is not looked into any more: bearerd is shutting down".to_owned()))
}

fn lost(error: &io::Error) -> Trouble {
    Trouble::Lost(format!("cannot be read: {}", error.kind()))
}

/// All messages by their names without flags, the oldest first: a name begins with the time.
fn list(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(path.join(folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.file_type()?.is_file() {
                let name = name.split(':').next().unwrap_or_default().to_owned();
                found.push((entry.metadata()?.modified()?, name, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name, file)| (name, file)).collect())
}

/// The messages with their texts. One that was taken away meanwhile is not there.
fn read_all(files: Vec<(String, PathBuf)>) -> Vec<(String, PathBuf, Zeroizing<Vec<u8>>)> {
    let text = |file: &Path| {
        let mut text = Zeroizing::new(Vec::new());
        fs::File::open(file)?.take(LARGEST_MESSAGE as u64).read_to_end(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    files
        .into_iter()
        .filter_map(|(name, file)| Some((name, text(&file).ok()?, file)))
        .map(|(name, text, file)| (name, file, text))
        .collect()
}

/// The head with its empty line.
fn head(text: &[u8]) -> &[u8] {
    let end = |mark: &[u8]| text.windows(mark.len()).position(|at| at == mark).map(|at| at + mark.len());
    let end = [end(b"\r\n\r\n"), end(b"\n\n")].into_iter().flatten().min();
    &text[..end.unwrap_or(text.len())]
}

fn dispose(path: &Path, file: &Path, then: &Then) -> io::Result<()> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (unique, flags) = name.split_once(":2,").unwrap_or((name.as_str(), ""));
    let seen = if flags.contains('S') { flags.to_owned() } else { format!("{flags}S") };
    let seen = format!("{unique}:2,{seen}");
    match then {
        Then::Seen => fs::rename(file, path.join("cur").join(seen)),
        Then::Delete => fs::remove_file(file),
        Then::Move(folder) => {
            let folder = path.join(format!(".{folder}"));
            for part in ["tmp", "new", "cur"] {
                fs::create_dir_all(folder.join(part))?;
            }
            fs::rename(file, folder.join("cur").join(seen))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{dispose, head, list};
    use crate::credential::flow::mail::Then;

    fn names(path: &Path) -> Vec<String> {
        let found = list(path).expect("a Maildir");
        found
            .into_iter()
            .map(|(_, file)| file.strip_prefix(path).expect("below").display().to_string())
            .collect()
    }

    #[test]
    fn a_message_is_marked_moved_or_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for part in ["tmp", "new", "cur"] {
            fs::create_dir(path.join(part)).expect("a folder");
        }
        let put = |file: &str| {
            fs::write(path.join(file), "x").expect("a file");
            path.join(file)
        };
        dispose(path, &put("new/1.a"), &Then::Seen).expect("done");
        assert_eq!(names(path), ["cur/1.a:2,S"]);
        dispose(path, &path.join("cur/1.a:2,S"), &Then::Delete).expect("done");
        dispose(path, &put("cur/2.b:2,R"), &Then::Move("Tokens".to_owned())).expect("done");
        assert_eq!(names(path), [""; 0]);
        assert!(path.join(".Tokens/cur/2.b:2,RS").exists());
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(head(b"A: 1\r\n\r\nB\r\n\r\n"), b"A: 1\r\n\r\n");
        assert_eq!(head(b"A: 1\n\nB\r\n\r\n"), b"A: 1\n\n");
        assert_eq!(head(b"A: 1"), b"A: 1");
    }
}
