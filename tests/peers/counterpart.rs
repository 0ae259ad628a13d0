//! Programs of others, run beside a test.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;

/// A running server of others; it is killed when this is dropped.
pub struct Counterpart {
    process: Child,
    /// The line of its output that says that it is up.
    pub greeting: String,
}

/// Where the counterparts are installed. Installs them if they are not there yet.
pub fn peers() -> PathBuf {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let status = Command::new(here("install.sh")).status().expect("a shell");
        assert!(status.success(), "tests/peers/install.sh failed: its output says what is missing");
    });
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// A file beside these tests.
pub fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// A command of node's, such as `node` itself or `prism`.
pub fn node(name: &str) -> Command {
    let folder = peers();
    let binaries = folder.join("node_modules/.bin");
    let mut command = Command::new(binaries.join(name));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", binaries.display())).env("PEERS", folder);
    command
}

impl Counterpart {
    /// Starts a server and waits for the line of its standard output that contains `greeting`.
    #[track_caller]
    pub fn start(command: &mut Command, greeting: &str) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let greeting = lines.find(|line| line.contains(greeting));
        let greeting = greeting.unwrap_or_else(|| panic!("{command:?} ended before it was up"));
        // What it says later is read away, so that its pipe never fills.
        thread::spawn(move || lines.for_each(drop));
        Self { process, greeting }
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        // What it started has to go with it.
        let group = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.process.wait();
    }
}
