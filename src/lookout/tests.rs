use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{LONGEST_CHAIN_OF_LINKS, Look, Lookout, collect_folders, run};

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = BTreeSet::new();
    collect_folders(path, LONGEST_CHAIN_OF_LINKS, &mut folders);
    folders.into_iter().collect()
}

#[test]
fn the_folders_of_all_links_on_the_way_are_watched() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a path");
    fs::create_dir_all(root.join("v1/deep")).expect("made");
    fs::create_dir(root.join("elsewhere")).expect("made");
    symlink("v1", root.join("current")).expect("linked");
    symlink(root.join("elsewhere/token"), root.join("v1/deep/token")).expect("linked");
    let found = folders(&root.join("current/deep/token"));
    let expected = ["", "current/deep", "elsewhere", "v1/deep"].map(|path| root.join(path));
    for folder in expected {
        let is_there = found.iter().any(|it| it.components().eq(folder.components()));
        assert!(is_there, "{} is not among {found:?}", folder.display());
    }
}

#[test]
fn a_loop_of_links_ends() {
    let root = tempfile::tempdir().expect("a folder");
    symlink("b", root.path().join("a")).expect("linked");
    symlink("a", root.path().join("b")).expect("linked");
    assert!(!folders(&root.path().join("a/token")).is_empty());
}

#[test]
fn the_sweep_finds_what_nobody_told() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("token");
    let (events, _told) = mpsc::unbounded_channel();
    let mut lookout = Lookout { watcher: None, ..Lookout::new(events) };
    lookout.look(Look::For(Arc::new(BTreeSet::from([Arc::from(path.as_path())]))));
    assert!(lookout.look(Look::Everywhere).is_empty(), "it is not there, as before");
    fs::write(&path, "one").expect("written");
    assert_eq!(lookout.look(Look::Everywhere), std::slice::from_ref(&path));
    assert!(lookout.look(Look::Everywhere).is_empty());
    fs::write(&path, "three").expect("written");
    assert_eq!(lookout.look(Look::Everywhere), std::slice::from_ref(&path));
    lookout.look(Look::For(Arc::default()));
    fs::remove_file(&path).expect("removed");
    assert!(lookout.look(Look::Everywhere).is_empty(), "nobody asks for it any more");
    assert!(lookout.folders.is_empty() && lookout.files.is_empty());
}

/// A file that is looked after.
struct Watched {
    path: PathBuf,
    told: mpsc::UnboundedReceiver<Vec<PathBuf>>,
    _files: watch::Sender<Arc<BTreeSet<Arc<Path>>>>,
}

impl Watched {
    fn new(path: &Path) -> Self {
        let files = watch::Sender::new(Arc::new(BTreeSet::from([path.into()])));
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(run(files.subscribe(), move |changed| drop(tell.send(changed))));
        Self { path: path.to_owned(), told, _files: files }
    }

    /// Waits until the file is told with this text in it; well before the sweep would find it.
    async fn holds(&mut self, text: &str) {
        let arrives = async {
            while let Some(changed) = self.told.recv().await {
                if changed.contains(&self.path) && fs::read_to_string(&self.path).is_ok_and(|it| it == text) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), arrives).await;
        in_time.unwrap_or_else(|_| panic!("`{text}` was not told"));
    }
}

#[tokio::test]
async fn a_file_that_is_written_replaced_or_made_again_is_followed() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("token");
    let mut watched = Watched::new(&path);
    fs::write(&path, "made").expect("written");
    watched.holds("made").await;
    fs::write(&path, "written").expect("written");
    watched.holds("written").await;
    fs::write(root.path().join(".token.swp"), "renamed").expect("written");
    fs::rename(root.path().join(".token.swp"), &path).expect("renamed");
    watched.holds("renamed").await;
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "again").expect("written");
    watched.holds("again").await;
}

#[tokio::test]
async fn a_relative_path_is_followed_from_the_current_folder() {
    let root = tempfile::tempdir().expect("a folder");
    let here = std::env::current_dir().expect("a folder");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let path = root.path().join("token");
    let mut watched = Watched::new(&up.join(path.strip_prefix("/").expect("an absolute path")));
    fs::write(&path, "made").expect("written");
    watched.holds("made").await;
    fs::write(&path, "written").expect("written");
    watched.holds("written").await;
}

#[tokio::test]
async fn a_kubernetes_volume_is_followed_through_its_swaps() {
    let root = tempfile::tempdir().expect("a folder");
    let version = |name: &str, token: &str| {
        fs::create_dir(root.path().join(name)).expect("made");
        fs::write(root.path().join(name).join("token"), token).expect("written");
        symlink(name, root.path().join("..data_tmp")).expect("linked");
        fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).expect("renamed");
    };
    version("..2026_01", "one");
    symlink("..data/token", root.path().join("token")).expect("linked");
    let mut watched = Watched::new(&root.path().join("token"));
    watched.holds("one").await;
    for (name, before, token) in [("..2026_02", "..2026_01", "two"), ("..2026_03", "..2026_02", "six")] {
        version(name, token);
        fs::remove_dir_all(root.path().join(before)).expect("removed");
        watched.holds(token).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_a_link_is_followed_to_its_next_target() {
    let root = tempfile::tempdir().expect("a folder");
    for (folder, token) in [("v1", "one"), ("v2", "two")] {
        fs::create_dir(root.path().join(folder)).expect("made");
        fs::write(root.path().join(folder).join("token"), token).expect("written");
    }
    symlink("v1", root.path().join("current")).expect("linked");
    let mut watched = Watched::new(&root.path().join("current/token"));
    watched.holds("one").await;
    symlink("v2", root.path().join("next")).expect("linked");
    fs::rename(root.path().join("next"), root.path().join("current")).expect("renamed");
    watched.holds("two").await;
    fs::write(root.path().join("v2/token"), "three").expect("written");
    watched.holds("three").await;
}

#[tokio::test]
async fn a_folder_that_is_moved_away_or_removed_and_made_again_is_followed() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("secrets");
    let path = folder.join("token");
    fs::create_dir(&folder).expect("made");
    let mut watched = Watched::new(&path);
    fs::write(&path, "one").expect("written");
    watched.holds("one").await;
    for text in ["two", "three"] {
        if text == "two" {
            fs::rename(&folder, root.path().join("before")).expect("moved");
        } else {
            fs::remove_dir_all(&folder).expect("removed");
        }
        // It is noticed that it is gone.
        watched.told.recv().await.expect("told");
        fs::create_dir(&folder).expect("made");
        fs::write(&path, text).expect("written");
        watched.holds(text).await;
        fs::write(&path, "written again").expect("written");
        watched.holds("written again").await;
    }
}
