//! A Maildir: a folder with a file for each message, which come in `new` and are moved to `cur` once somebody
//! has looked at them.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::flow::mail::judge::Judge;
use crate::credential::flow::mail::{LARGEST_MESSAGE, Then, Trouble, utf7};
use crate::credential::store::Mark;
use crate::secret::unreadable;

/// So often it is looked into.
const PAUSE: Duration = Duration::from_secs(1);

/// Both folders hold messages; another reader may have moved one already.
const FOLDERS: [&str; 2] = ["new", "cur"];

/// No head is read further than this, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

/// An open Maildir.
pub(super) struct Folder {
    path: PathBuf,
    clock: Clock,
    /// The messages that were there, or have been looked at, without their flags.
    known: HashSet<String>,
    /// The time of the last message that was there.
    last: Timestamp,
    /// Messages that are worth reading and were not read yet.
    wanted: Vec<PathBuf>,
}

/// A message in the folder.
struct Entry {
    /// When it was written.
    at: SystemTime,
    /// Its file's name without flags.
    name: String,
    file: PathBuf,
}

impl Folder {
    /// Opens it. What is there is not looked at; or, if it was opened before, what was there then.
    pub(super) async fn open(path: &Path, clock: &Clock, mark: Option<Mark>) -> Result<Self, Trouble> {
        let path = path.to_owned();
        let (path, found) = aside(move || {
            let found = list(&path);
            (path, found)
        })
        .await?;
        let found = found.map_err(|error| lost(&error))?;
        let time = |entry: &Entry| Timestamp::try_from(entry.at).unwrap_or(Timestamp::MIN);
        let before = |entry: &&Entry| match mark {
            Some(Mark::Time(last)) => time(entry) <= last,
            Some(Mark::Number { .. }) | None => true,
        };
        let last = found.iter().map(time).max().unwrap_or(Timestamp::MIN);
        let known = found.iter().filter(before).map(|entry| entry.name.clone()).collect();
        Ok(Self { path, clock: clock.clone(), known, last, wanted: Vec::new() })
    }

    /// How far it was filled when it was opened.
    pub(super) fn mark(&self) -> Mark {
        Mark::Time(self.last)
    }

    /// Looks at the heads of what has come since the last look: those that are worth reading are read by
    /// [`Self::newest`].
    pub(super) async fn look(&mut self, judge: &mut Judge<'_>) -> Result<(), Trouble> {
        let (path, known) = (self.path.clone(), std::mem::take(&mut self.known));
        let (fresh, known) = aside(move || {
            let is_fresh = |entry: &Entry| !known.contains(&entry.name);
            let fresh = list(&path).map(|found| with_heads(found.into_iter().filter(is_fresh)));
            (fresh, known)
        })
        .await?;
        self.known = known;
        for (entry, start) in fresh.map_err(|error| lost(&error))? {
            if judge.wants(head(&start)) {
                self.wanted.push(entry.file);
            }
            self.known.insert(entry.name);
        }
        Ok(())
    }

    /// Takes the newest message that is worth reading. One that was taken away meanwhile is not there.
    pub(super) async fn newest(&mut self) -> Result<Option<(PathBuf, Zeroizing<Vec<u8>>)>, Trouble> {
        while let Some(file) = self.wanted.pop() {
            let (text, file) = aside(move || (start(&file, LARGEST_MESSAGE), file)).await?;
            if let Ok(text) = text {
                return Ok(Some((file, text)));
            }
        }
        Ok(None)
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
    Trouble::Lost(unreadable(error))
}

/// All messages, the oldest first.
fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(path.join(folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.file_type()?.is_file() {
                continue;
            }
            let name = name.split(':').next().unwrap_or_default().to_owned();
            // Another reader may be at it, too.
            let Ok(about) = entry.metadata() else { continue };
            found.push(Entry { at: about.modified()?, name, file: entry.path() });
        }
    }
    found.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
    Ok(found)
}

/// Messages with the starts of their texts. One that was taken away meanwhile is not there.
fn with_heads(entries: impl Iterator<Item = Entry>) -> Vec<(Entry, Zeroizing<Vec<u8>>)> {
    let with_head = |entry: Entry| start(&entry.file, LARGEST_HEAD).ok().map(|head| (entry, head));
    entries.filter_map(with_head).collect()
}

/// The first bytes of a file, at most so many.
fn start(file: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    fs::File::open(file)?.take(most as u64).read_to_end(&mut text)?;
    Ok(text)
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
            // Maildir++: folders lie side by side, with the way to them in their names.
            let folder = path.join(format!(".{}", utf7::encoded(folder).replace('/', ".")));
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

    use super::{Entry, dispose, head, list};
    use crate::credential::flow::mail::Then;

    fn names(path: &Path) -> Vec<String> {
        let found = list(path).expect("a Maildir");
        let below = |entry: Entry| entry.file.strip_prefix(path).expect("below").display().to_string();
        found.into_iter().map(below).collect()
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
        dispose(path, &put("new/3.c"), &Then::Move("Büro/Tokens".to_owned())).expect("done");
        assert_eq!(names(path), [""; 0]);
        assert!(path.join(".Tokens/cur/2.b:2,RS").exists());
        assert!(path.join(".B&APw-ro.Tokens/cur/3.c:2,S").exists());
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(head(b"A: 1\r\n\r\nB\r\n\r\n"), b"A: 1\r\n\r\n");
        assert_eq!(head(b"A: 1\n\nB\r\n\r\n"), b"A: 1\n\n");
        assert_eq!(head(b"A: 1"), b"A: 1");
    }
}
