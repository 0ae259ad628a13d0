//! The built binary, run beside a test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::message::Message;
use super::{Client, PATIENCE, canary};

/// The token that changes over the admin listener want.
pub const ADMIN_TOKEN: &str = "the-admin-token-of-the-tests";

/// The binary that is tested: the one that was built with the tests, if `BEARERD_BINARY` names no other.
pub fn binary() -> OsString {
    std::env::var_os("BEARERD_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_bearerd").into())
}

/// The tested binary with arguments, ready to be run, and nothing of this process's environment.
pub fn bearerd(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// The same, with listening sockets that it inherits under their names, two at most: as systemd passes
/// them (sd_listen_fds(3)).
pub fn bearerd_with(sockets: Vec<(&str, OwnedFd)>, arguments: &[&str]) -> Command {
    let (names, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    let script = format!(
        "exec 3<&0 4<&1 </dev/null >/dev/null; \
         LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={} exec \"$@\"",
        sockets.len(),
        names.join(":"),
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh"]).arg(binary()).args(arguments).env_clear();
    let mut sockets = sockets.into_iter();
    command.stdin(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command
}

/// A running bearerd with a folder of its own; it is killed when this is dropped, and its logs are
/// then searched for canaries.
pub struct Sidecar {
    folder: TempDir,
    environment: Vec<(String, String)>,
    process: Child,
    logs: Arc<Logs>,
}

/// What a bearerd is started with.
pub struct Setup {
    folder: TempDir,
    server: String,
    admin: String,
    rest: String,
    environment: Vec<(String, String)>,
    sockets: Vec<(&'static str, OwnedFd)>,
    wrapper: Vec<String>,
}

#[derive(Default)]
struct Logs {
    lines: Mutex<Vec<Value>>,
    news: Condvar,
}

impl Setup {
    /// A configuration of credentials and routes. `[server]`, `[admin]` and one listener are added.
    pub fn new(rest: &str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            server: String::new(),
            admin: String::new(),
            rest: rest.into(),
            environment: Vec::new(),
            sockets: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Changes the configuration of credentials and routes, and starts.
    #[track_caller]
    pub fn with(mut self, change: impl FnOnce(&str) -> String) -> Sidecar {
        self.rest = change(&self.rest);
        self.start()
    }

    /// Passes it a listening socket under a name.
    pub fn passing(mut self, name: &'static str, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push((name, socket.into()));
        self
    }

    /// Has another program start it, which becomes it: its words come first.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Adds a line to `[server]`.
    pub fn server(mut self, line: &str) -> Self {
        self.server += line;
        self.server.push('\n');
        self
    }

    /// Adds a line to `[admin]`.
    pub fn admin(mut self, line: &str) -> Self {
        self.admin += line;
        self.admin.push('\n');
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Writes a file beside the configuration, readable by its owner alone. `{folder}` in the
    /// configuration stands for where it is.
    pub fn file(self, name: &str, content: &str) -> Self {
        write_private(&self.folder.path().join(name), content);
        self
    }

    /// The same configuration with another text in place of one that it has.
    #[track_caller]
    pub fn replacing(mut self, text: &str, other: &str) -> Self {
        assert!(self.rest.contains(text), "{text}");
        self.rest = self.rest.replace(text, other);
        self
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration and says where.
    pub fn write(&self) -> PathBuf {
        let path = self.folder.path().join("bearerd.toml");
        write_private(&path, &self.configuration(&self.rest));
        path
    }

    fn configuration(&self, rest: &str) -> String {
        let (server, admin, folder) = (&self.server, &self.admin, self.folder.path().display().to_string());
        let workers = if server.contains("workers = ") { "" } else { "workers = 1\n" };
        let listen = if admin.contains("listen = ") { "" } else { "listen = \"127.0.0.1:0\"\n" };
        let head = format!(
            "[server]\n{workers}log_format = \"json\"\n{server}\n\
             [admin]\n{listen}token = {{ value = \"{ADMIN_TOKEN}\" }}\n{admin}\n\
             [listeners.app]\nbind = \"127.0.0.1:0\"\n\n"
        );
        (head + rest).replace("{folder}", &folder)
    }

    /// Starts bearerd and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Sidecar {
        let path = self.write();
        let mut command = if let [program, words @ ..] = &*self.wrapper {
            let mut command = Command::new(program);
            command.args(words).arg(binary()).args(["run", "--config"]).env_clear();
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        } else if self.sockets.is_empty() {
            let mut command = bearerd(&["run", "--config"]);
            command.stdout(Stdio::null());
            command
        } else {
            bearerd_with(self.sockets, &["run", "--config"])
        };
        command.arg(path).envs(self.environment.clone());
        let (process, logs) = spawn(command);
        let sidecar = Sidecar { folder: self.folder, environment: self.environment, process, logs };
        sidecar.log("listening on app", |line| is_listening(line, "app"));
        sidecar
    }

    /// Starts bearerd and waits for its end: how it ended, and what it said.
    #[track_caller]
    pub fn start_in_vain(&self) -> (Option<i32>, String) {
        let mut command = bearerd(&["run", "--config"]);
        command.arg(self.write()).envs(self.environment.clone());
        let output = run(command, "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Setup {
    /// Starts bearerd as a user to whom the rights to files mean something, with what [`Self::write`] has
    /// written, and waits for its end.
    pub fn start_unprivileged_in_vain(&self) -> (Option<i32>, String) {
        let mut command = bearerd(&["run", "--config"]);
        command.arg(self.folder.path().join("bearerd.toml")).envs(self.environment.clone());
        if rustix::process::geteuid().is_root() {
            let files =
                std::fs::read_dir(self.folder.path()).expect("a folder").flatten().map(|file| file.path());
            for path in files.chain([self.folder.path().to_owned()]) {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = run(command, "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The user whom nothing belongs to.
const NOBODY: u32 = 65_534;

/// Starts a process and collects its logs.
fn spawn(mut command: Command) -> (Child, Arc<Logs>) {
    let mut process = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
    let logs = Arc::<Logs>::default();
    let collected = Arc::clone(&logs);
    let stderr = BufReader::new(process.stderr.take().expect("a pipe"));
    thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| collected.push(&line)));
    (process, logs)
}

impl Sidecar {
    /// Starts a bearerd with credentials and routes and waits until it is ready.
    #[track_caller]
    pub fn ready(rest: &str) -> Self {
        let sidecar = Setup::new(rest).start();
        sidecar.wait_until_ready();
        sidecar
    }

    /// Ends the process by a signal, and looks for canaries in what it said.
    #[track_caller]
    pub fn end_by(&mut self, signal: Signal) {
        // It may have ended by itself.
        let _ = kill_process(self.process(), signal);
        self.wait_for_exit();
        self.judge_logs();
    }

    /// Starts it again, with the same configuration, and waits until it listens.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.spawn_again();
        self.log("listening on app", |line| is_listening(line, "app"));
    }

    /// Starts it again, and waits for nothing.
    pub fn spawn_again(&mut self) {
        let mut command = bearerd(&["run", "--config"]);
        command.arg(self.folder.path().join("bearerd.toml")).envs(self.environment.clone());
        command.stdout(Stdio::null());
        (self.process, self.logs) = spawn(command);
    }

    fn judge_logs(&self) {
        let logs = self.logs_as_text();
        canary::assert_unseen(logs.as_bytes(), "the log");
        canary::assert_no_secret_found();
        assert!(!logs.contains("a defect in bearerd"), "bearerd panicked:\n{logs}");
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The memory that the process holds, in KiB: now, and at most so far.
    #[track_caller]
    pub fn memory(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("a running process");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    /// The count that a sample of the metrics has, by its name and labels as they are written; 0 if it
    /// is not there.
    #[track_caller]
    pub fn metric(&self, sample: &str) -> u64 {
        let text = self.admin().get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The app's client of the proxy.
    #[track_caller]
    pub fn app(&self) -> Client {
        Client::new(self.address("app"))
    }

    /// A client of the admin listener.
    #[track_caller]
    pub fn admin(&self) -> Client {
        Client::new(self.address("admin"))
    }

    /// A request with the admin token.
    #[track_caller]
    pub fn control(&self, method: &str, target: &str, body: &[u8]) -> Message {
        self.admin().request(method, target, &format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"), body)
    }

    /// Where a listener listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let line = self.log("listening", |line| is_listening(line, listener));
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address in the log")
    }

    /// Waits until `/ready` says so.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        self.wait("readiness", || (self.admin().get("/ready").status() == 200).then_some(()));
    }

    /// What the admin listener says of a credential.
    #[track_caller]
    pub fn credential(&self, name: &str) -> Value {
        self.admin().get(&format!("/v1/credentials/{name}")).json()
    }

    /// Waits until a credential is in a state, and returns what the admin listener says of it.
    #[track_caller]
    pub fn wait_for_state(&self, name: &str, state: &str) -> Value {
        self.wait(&format!("state {state} of {name}"), || {
            Some(self.credential(name)).filter(|credential| credential["state"] == state)
        })
    }

    /// Waits until a credential has reached a generation, and returns what is said of it.
    #[track_caller]
    pub fn wait_for_generation(&self, name: &str, generation: u64) -> Value {
        self.wait(&format!("generation {generation} of {name}"), || {
            Some(self.credential(name)).filter(|said| said["generation"].as_u64() >= Some(generation))
        })
    }

    /// Asks again and again, until there is something or patience ends.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let pause = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            if let Some(found) = ask() {
                return found;
            }
            thread::sleep(pause);
        }
        panic!("{what} did not come; the logs:\n{}", self.logs_as_text());
    }

    /// Waits for a log line.
    #[track_caller]
    pub fn log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = self.logs.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |lines: &mut Vec<Value>| !lines.iter().any(&wanted);
        let lines = self.logs.news.wait_timeout_while(lines, PATIENCE, missing);
        let lines = lines.unwrap_or_else(PoisonError::into_inner).0;
        let found = lines.iter().find(|line| wanted(line)).cloned();
        drop(lines);
        found.unwrap_or_else(|| panic!("no log line says `{what}`:\n{}", self.logs_as_text()))
    }

    /// All log lines so far.
    pub fn logs(&self) -> Vec<Value> {
        self.logs.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn logs_as_text(&self) -> String {
        self.logs().iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Replaces the configuration's credentials and routes on disk.
    pub fn rewrite(&self, rest: &str) {
        let path = self.folder.path().join("bearerd.toml");
        let old = std::fs::read_to_string(&path).expect("the configuration");
        let head = old.split_once("[credentials").map_or(old.as_str(), |(head, _)| head);
        write_private(&path, &(head.to_owned() + rest));
    }

    /// Writes a file beside the configuration, at once and whole: written aside, then renamed.
    pub fn replace_file(&self, name: &str, content: &str) {
        let aside = self.folder.path().join(format!(".{name}.new"));
        write_private(&aside, content);
        std::fs::rename(aside, self.folder.path().join(name)).expect("a rename");
    }

    /// The process.
    pub fn process(&self) -> Pid {
        i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("a signal");
    }

    /// No descriptor that the process opens from now on has this number or a higher one: 0 lets it open none.
    pub fn limit_descriptors(&self, number: u64) {
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(number), maximum };
        prlimit(Some(self.process()), Resource::Nofile, limit).expect("a limit");
    }

    /// The number of the process's descriptors.
    pub fn descriptors(&self) -> u64 {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("its descriptors");
        open.count() as u64
    }

    /// Lets the process write no file beyond so many bytes; `None` lifts the limit.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
        prlimit(Some(self.process()), Resource::Fsize, Rlimit { current: bytes, maximum }).expect("a limit");
    }

    /// Waits for the process's end.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let pause = Duration::from_millis(10);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            if let Some(status) = self.process.try_wait().expect("a status") {
                return status;
            }
            thread::sleep(pause);
        }
        panic!("bearerd did not end; the logs:\n{}", self.logs_as_text());
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("a status").is_none()
    }

    /// Runs a command against this bearerd, with `input` on its standard input.
    #[track_caller]
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = bearerd(arguments);
        command.env("BEARERD_ADMIN", self.address("admin").to_string());
        command.env("BEARERD_ADMIN_TOKEN", ADMIN_TOKEN);
        run(command, input)
    }
}

/// Runs a command to its end, with `input` on its standard input; no output may show a canary.
#[track_caller]
pub fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    canary::assert_unseen(&output.stdout, "a command's standard output");
    canary::assert_unseen(&output.stderr, "a command's standard error");
    output
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            return;
        }
        self.judge_logs();
    }
}

impl Logs {
    fn push(&self, line: &str) {
        let line = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.into()));
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.news.notify_all();
    }
}

fn is_listening(line: &Value, listener: &str) -> bool {
    line["message"] == "listening" && line["listener"] == listener
}

fn write_private(path: &Path, content: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a writable file");
    file.write_all(content.as_bytes()).expect("a written file");
}
