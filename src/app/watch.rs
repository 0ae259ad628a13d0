//! `server.watch = true`: reloads when the configuration's file changes.
//!
//! It looks at the file instead of waiting for events, since a Kubernetes volume swaps a link two
//! folders further up. A change counts once the file has stood still for a moment, so that one that
//! is being written is not read by half.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::Command;
use crate::config::Loaded;

/// Between two looks at the file.
const INTERVAL: Duration = Duration::from_millis(500);

/// What tells one state of a file from another: device, inode, size and time of change.
type Mark = (u64, u64, u64, i64, i64);

/// The mark of each watched file; `None` while it cannot be seen.
pub(super) type Marks = BTreeMap<PathBuf, Option<Mark>>;

/// The files whose change means a new configuration; none unless `server.watch` says so.
pub(super) fn files(loaded: &Loaded) -> Vec<PathBuf> {
    if loaded.config.server.watch { loaded.files.clone() } else { Vec::new() }
}

/// Has the configuration reloaded whenever one of `files` differs from what is in force.
pub(super) async fn run(
    mut files: watch::Receiver<Vec<PathBuf>>,
    mut in_force: Marks,
    commands: mpsc::UnboundedSender<Command>,
) {
    loop {
        let watched = files.borrow_and_update().clone();
        // A file that a reload has brought is in force as it is; one that left is forgotten.
        let mut found = look_aside(&watched).await;
        for (file, mark) in &mut found {
            *mark = in_force.get(file).copied().unwrap_or(*mark);
        }
        in_force = found;
        tokio::select! {
            changed = files.changed() => if changed.is_err() { return },
            now = change(&watched, &in_force) => {
                tracing::info!("the configuration's file has changed");
                in_force = now;
                let (answer, outcome) = oneshot::channel();
                if commands.send(Command::Reload(answer)).is_err() {
                    return;
                }
                // The outcome is logged where it happens.
                let _ = outcome.await;
            }
        }
    }
}

/// Waits until a file differs from what is in force, and has stood still for an interval.
async fn change(files: &[PathBuf], in_force: &Marks) -> Marks {
    if files.is_empty() {
        return std::future::pending().await;
    }
    let mut before = in_force.clone();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = look_aside(files).await;
        if now != *in_force && now == before && now.values().all(Option::is_some) {
            return now;
        }
        before = now;
    }
}

/// The mark of each file.
pub(super) fn look(files: &[PathBuf]) -> Marks {
    let mark = |data: Metadata| (data.dev(), data.ino(), data.size(), data.mtime(), data.mtime_nsec());
    files.iter().map(|file| (file.clone(), std::fs::metadata(file).ok().map(mark))).collect()
}

/// The same, beside the control thread: a network's file system may take its time.
async fn look_aside(files: &[PathBuf]) -> Marks {
    if files.is_empty() {
        // No thread is begun for nothing.
        return Marks::default();
    }
    let files = files.to_vec();
    tokio::task::spawn_blocking(move || look(&files)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::{mpsc, watch};

    use super::{look, run};
    use crate::admin::Command;

    async fn next(inbox: &mut mpsc::UnboundedReceiver<Command>) {
        match inbox.recv().await {
            Some(Command::Reload(answer)) => answer.send(Ok(())).expect("the watcher"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_changed_file_and_a_swapped_link_reload_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("a"), folder.path().join("bearerd.toml"));
        fs::write(&file, "1").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let files = watch::Sender::new(vec![link.clone()]);
        let (commands, mut inbox) = mpsc::unbounded_channel();
        let in_force = look(&files.borrow());
        let watching = tokio::spawn(run(files.subscribe(), in_force, commands));

        fs::write(&file, "22").expect("a file");
        next(&mut inbox).await;

        let (other, aside) = (folder.path().join("b"), folder.path().join("aside"));
        fs::write(&other, "3").expect("a file");
        std::os::unix::fs::symlink(&other, &aside).expect("a link");
        fs::rename(&aside, &link).expect("a swap");
        next(&mut inbox).await;

        files.send_replace(Vec::new());
        fs::write(&other, "4444").expect("a file");
        tokio::time::sleep(super::INTERVAL * 3).await;
        assert!(inbox.try_recv().is_err(), "nothing is watched any more");
        watching.abort();
    }
}
