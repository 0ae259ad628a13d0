//! Commands of the configuration: started here, or by the helper where this process may start none.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

#[cfg(target_os = "linux")]
use crate::confinement::helper::{Asked, Helper};

/// All that a command sees of the environment; the rest may hold secrets of others.
pub const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// What of the environment a command sees.
pub(super) fn environment() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)))
}

/// A command that runs. Dropping it ends it, and all that it started.
#[derive(Debug)]
pub enum Command {
    /// A child of this process.
    Here(Group),
    /// A child of the helper.
    #[cfg(target_os = "linux")]
    There(Asked),
}

impl Command {
    /// Starts a command that writes to `output`. It runs without a shell, without input, in a process group
    /// of its own. What it says on standard error is dropped: it may hold a secret. The error says why it
    /// cannot be started.
    pub fn start(argv: &[String], output: OwnedFd) -> Result<Self, String> {
        // A pipe into which nobody writes is at its end: that needs no file, not even `/dev/null`.
        let (nothing, _) = io::pipe().map_err(|error| cannot_start(argv, &error))?;
        Self::start_with(argv, nothing.into(), output)
    }

    /// The same, with something to read on standard input.
    pub fn start_with(argv: &[String], input: OwnedFd, output: OwnedFd) -> Result<Self, String> {
        #[cfg(target_os = "linux")]
        if let Some(helper) = Helper::of_process() {
            return helper.ask(argv, input.as_fd(), output.as_fd()).map(Self::There);
        }
        Group::start(argv, input, output).map(Self::Here).map_err(|error| cannot_start(argv, &error))
    }

    /// Waits for its end. The error says how it failed.
    pub async fn ended(&mut self) -> Result<(), String> {
        match self {
            Self::Here(group) => group.ended().await,
            #[cfg(target_os = "linux")]
            Self::There(asked) => asked.ended().await,
        }
    }
}

/// Why a command cannot be started, and what to do, as the end of a sentence about its program.
pub(super) fn cannot_start(argv: &[String], error: &io::Error) -> String {
    let is_path = argv.first().is_some_and(|program| program.contains('/'));
    match error.kind() {
        io::ErrorKind::NotFound if is_path => {
            "does not exist, or is a script whose first line names a program that does not: correct the path"
                .to_owned()
        }
        io::ErrorKind::NotFound => "is in no folder of `PATH`: write its whole path".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be executed by the user that bearerd runs as: see its mode and those of its folders"
                .to_owned()
        }
        kind => format!("cannot be started: {kind}"),
    }
}

/// A child with its process group, which is killed on the way out unless it has ended.
#[derive(Debug)]
pub struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Group {
    pub(super) fn start(argv: &[String], input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment())
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    pub(super) async fn ended(&mut self) -> Result<(), String> {
        let status = self.child.wait().await;
        let status = status.map_err(|error| format!("could not be followed: {}", error.kind()))?;
        self.group = None;
        if status.success() {
            return Ok(());
        }
        Err(format!("failed ({status}); run it by hand to see what it says"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // A group that is gone by now is as it should be.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
