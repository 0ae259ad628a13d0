//! Secrets that a command prints: a password manager, a vault's own client.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::credential::input::{LARGEST, without_line_break};
use crate::secret::{Secret, SecretBuffer};

/// All that a command sees of the environment; the rest may hold secrets of others.
pub(super) const ENVIRONMENT: [&str; 12] = [
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

/// Runs a command and takes what it prints on standard output. It runs without a shell, without
/// input, in a process group of its own that is ended with it when the time is over. What it says
/// on standard error is dropped: it may hold the secret.
pub(super) async fn run(argv: &[String], limit: Duration) -> Result<Secret, String> {
    let [program, arguments @ ..] = argv else {
        return Err("the command is empty".to_owned());
    };
    let about = |what: String| format!("the command `{program}` {what}");
    let environment = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| about(format!("cannot be started: {}", error.kind())))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (printed, status) = match tokio::time::timeout(limit, finish(&mut child)).await {
        Ok(outcome) => outcome.map_err(about)?,
        Err(_) => return Err(about(format!("did not end within {limit:?}, and was killed"))),
    };
    group.0 = None;
    if !status.success() {
        return Err(about(format!("failed ({status}); run it by hand to see what it says")));
    }
    without_line_break(printed).map_err(|_| about("printed nothing".to_owned()))
}

/// Waits for the output's end and the command's.
async fn finish(child: &mut Child) -> Result<(SecretBuffer, ExitStatus), String> {
    let failed = |error: std::io::Error| format!("could not be followed: {}", error.kind());
    let mut printed = SecretBuffer::default();
    if let Some(mut output) = child.stdout.take() {
        let mut piece = zeroize::Zeroizing::new([0; 4096]);
        loop {
            let length = output.read(&mut *piece).await.map_err(failed)?;
            if length == 0 {
                break;
            }
            printed.push(&piece[..length]);
            if printed.len() > LARGEST {
                return Err(format!("printed more than {LARGEST} bytes, and was killed"));
            }
        }
    }
    Ok((printed, child.wait().await.map_err(failed)?))
}

/// A process group that is killed on the way out, unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that is gone by now is as it should be.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
