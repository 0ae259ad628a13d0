//! Tells which files may have changed: those that secrets and certificates are read from.
//!
//! Folders are watched, not files: editors replace a file by renaming, Kubernetes swaps the `..data`
//! link beside it, and it may not exist yet. Links on the way to a file have their folders watched
//! too. A slow sweep finds what the system does not tell of (network file systems, exhausted watches).
//! Whether the content really changed is for those to see who read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::num::NonZeroU64;
use std::path::{self, Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// Writers are given so long to finish what they began.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How often all files are looked at without being told.
const SWEEP: Duration = Duration::from_secs(30);

/// So many links are followed on the way to a file; more are a loop.
const LONGEST_CHAIN_OF_LINKS: usize = 16;

/// The files that are looked after; whoever sends another set has that one looked after.
pub type Files = watch::Receiver<Arc<BTreeSet<Arc<Path>>>>;

/// Looks after `files` for as long as somebody says which, and tells `changed` those that may have
/// changed. A file that is new among them is told too: it may have changed since it was first read.
pub async fn run(mut files: Files, changed: impl Fn(Vec<PathBuf>)) {
    // Without files there is nothing to watch with: that takes a thread.
    if files.wait_for(|files| !files.is_empty()).await.is_err() {
        return;
    }
    // What happens meanwhile is not missed, since all that is new is told: so who has just started serves first.
    tokio::time::sleep(DEBOUNCE).await;
    let (events, mut told) = mpsc::unbounded_channel();
    files.mark_changed();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.reset();
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lookout = Lookout::new(events);
    loop {
        let look = tokio::select! {
            others = files.changed() => match others {
                Ok(()) => Look::For(Arc::clone(&files.borrow_and_update())),
                Err(_gone) => return,
            },
            Some(path) = told.recv() => {
                tokio::time::sleep(DEBOUNCE).await;
                let mut paths = BTreeSet::from([path]);
                while let Ok(path) = told.try_recv() {
                    paths.insert(path);
                }
                Look::Near(paths)
            }
            _ = sweep.tick() => Look::Everywhere,
        };
        // Files may lie on a slow disk: the control thread does not wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            let found = lookout.look(look);
            (lookout, found)
        });
        let Ok((back, found)) = looked.await else { return };
        lookout = back;
        if !found.is_empty() {
            changed(found);
        }
    }
}

/// Where to look.
enum Look {
    /// From now on for these files.
    For(Arc<BTreeSet<Arc<Path>>>),
    /// At the files that something happened to, or near.
    Near(BTreeSet<PathBuf>),
    /// At all files.
    Everywhere,
}

/// What is watched, and how it looked last.
struct Lookout {
    /// `None` if the system has no watcher for us: then only the sweep finds changes.
    watcher: Option<RecommendedWatcher>,
    files: BTreeMap<Arc<Path>, Seen>,
    /// By watched folder: the files whose way leads through it.
    folders: BTreeMap<Arc<Path>, BTreeSet<Arc<Path>>>,
    /// The folders of the file that was looked at last: those that lie side by side have them in common.
    last_way: Arc<[Arc<Path>]>,
}

/// A file as it was seen last.
#[derive(Default)]
struct Seen {
    look: Option<Signature>,
    folders: Arc<[Arc<Path>]>,
}

/// What differs when a file was replaced or written: a number that is made of its device and number, length, and time.
/// There may be thousands of files.
type Signature = NonZeroU64;

impl Lookout {
    fn new(events: mpsc::UnboundedSender<PathBuf>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To read a file is an event too: ours would answer themselves for ever.
            for path in
                event.into_iter().filter(|event| !event.kind.is_access()).flat_map(|event| event.paths)
            {
                // A receiver that is gone needs no more news.
                let _ = events.send(path);
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "files cannot be watched: they are looked at every {SWEEP:?}");
        });
        let (files, folders) = (BTreeMap::new(), BTreeMap::new());
        Self { watcher: watcher.ok(), files, folders, last_way: Arc::default() }
    }

    /// Looks, and says which files may have changed.
    fn look(&mut self, look: Look) -> Vec<PathBuf> {
        match look {
            Look::For(wanted) => {
                let gone: Vec<_> =
                    self.files.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
                for path in gone {
                    self.forget(&path);
                }
                let new: Vec<_> =
                    wanted.iter().filter(|path| !self.files.contains_key(*path)).cloned().collect();
                // What is made of sorted pairs at once has no gaps.
                let seen: Vec<_> = new.iter().map(|path| (Arc::clone(path), self.see(path))).collect();
                self.files.append(&mut seen.into_iter().collect());
                for files in self.folders.values_mut() {
                    *files = std::mem::take(files).into_iter().collect();
                }
                owned(new)
            }
            Look::Near(paths) => {
                let mut near = BTreeSet::new();
                for folder in paths.iter().flat_map(|path| [Some(path.as_path()), path.parent()]).flatten() {
                    near.extend(self.folders.get(folder).into_iter().flatten().cloned());
                }
                // What was named may have been written without a change of its looks.
                let is_named = |path: &Path| path::absolute(path).is_ok_and(|path| paths.contains(&path));
                near.retain(|path| self.has_changed(path) || is_named(path));
                owned(near)
            }
            Look::Everywhere => {
                let mut all: Vec<_> = self.files.keys().cloned().collect();
                all.retain(|path| self.has_changed(path));
                owned(all)
            }
        }
    }

    /// Watches the way to a file as it is now, and says whether the file looks different.
    fn has_changed(&mut self, path: &Arc<Path>) -> bool {
        let now = self.see(path);
        // In its place, which leaves no gaps in the map.
        let seen = self.files.entry(Arc::clone(path)).or_default();
        let left =
            seen.folders.iter().filter(|folder| !now.folders.contains(folder)).cloned().collect::<Vec<_>>();
        let has_changed = seen.look != now.look;
        *seen = now;
        self.leave(path, &left);
        has_changed
    }

    /// Watches the way to a file, and looks at it.
    fn see(&mut self, path: &Arc<Path>) -> Seen {
        let mut folders = folders_of(path);
        // One that is not there will be made in one that is.
        let makers = |folder: &PathBuf| folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned);
        folders.extend(folders.iter().filter_map(makers).collect::<Vec<_>>());
        // A folder that was deleted and made again has to be watched again: so each time, all.
        let way: Vec<_> = folders.iter().map(|folder| self.lead_through(folder, path)).collect();
        if *self.last_way != *way {
            self.last_way = way.into();
        }
        Seen { look: signature(path).ok(), folders: Arc::clone(&self.last_way) }
    }

    /// Watches a folder on the way to a file.
    fn lead_through(&mut self, folder: &Path, path: &Arc<Path>) -> Arc<Path> {
        self.watch(folder);
        let known = self.folders.get_key_value(folder);
        let folder = known.map_or_else(|| folder.into(), |(folder, _)| Arc::clone(folder));
        self.folders.entry(Arc::clone(&folder)).or_default().insert(Arc::clone(path));
        folder
    }

    fn forget(&mut self, path: &Path) {
        if let Some(seen) = self.files.remove(path) {
            self.leave(path, &*seen.folders);
        }
    }

    /// The way to a file leads no longer through these folders.
    fn leave<'a>(&mut self, path: &Path, folders: impl IntoIterator<Item = &'a Arc<Path>>) {
        for folder in folders {
            let Some(files) = self.folders.get_mut(folder) else { continue };
            files.remove(path);
            if files.is_empty() {
                self.folders.remove(folder);
                if let Some(watcher) = &mut self.watcher {
                    // It is not watched any more if it was deleted: that is as good.
                    let _ = watcher.unwatch(folder);
                }
            }
        }
    }

    fn watch(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
            && !matches!(&error.kind, notify::ErrorKind::PathNotFound)
            && !matches!(&error.kind, notify::ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound)
        {
            let folder = folder.display();
            tracing::debug!(%folder, %error, "a folder cannot be watched: it is looked at every {SWEEP:?}");
        }
    }
}

fn owned(paths: impl IntoIterator<Item = Arc<Path>>) -> Vec<PathBuf> {
    paths.into_iter().map(|path| path.to_path_buf()).collect()
}

/// The folders in which something happens when a file is replaced, or a link on the way to it; from
/// the root on, as the system tells of them.
pub(crate) fn folders_of(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    collect_folders(path, LONGEST_CHAIN_OF_LINKS, &mut folders);
    folders
}

fn collect_folders(path: &Path, links_left: usize, folders: &mut BTreeSet<PathBuf>) {
    let mut way = PathBuf::new();
    for component in path.components() {
        way.push(component);
        let is_last = way.as_os_str().len() == path.as_os_str().len();
        let link = if matches!(component, Component::Normal(_)) { fs::read_link(&way).ok() } else { None };
        if (link.is_some() || is_last)
            && let Some(folder) = way.parent()
        {
            // A relative path of one component lies in the current folder.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            folders.insert(path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
            if let Some(target) = link
                && links_left > 0
            {
                let rest = path.strip_prefix(&way).unwrap_or(Path::new(""));
                let target = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
                collect_folders(&folder.join(target), links_left - 1, folders);
            }
        }
    }
}

fn signature(path: &Path) -> io::Result<Signature> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let identity = (0, 0);
    let mut hasher = DefaultHasher::new();
    (identity, metadata.len(), metadata.modified().ok()).hash(&mut hasher);
    Ok(Signature::new(hasher.finish()).unwrap_or(Signature::MIN))
}

#[cfg(test)]
mod tests;
