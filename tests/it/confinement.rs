//! What the process gives up at its start, and what follows from it.

mod missing;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use bearerd::confinement::{Confinement, Measure, Needs, Sandbox};
use rustix::fs::{Gid, Uid};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::support::sidecar::{ADMIN_TOKEN, Setup, Sidecar, bearerd, run};
use crate::support::{PATIENCE, Upstream, canary};

/// A user that nothing else runs as, if this is root; else nobody.
fn other_user() -> Option<u32> {
    rustix::process::getuid().is_root().then_some(65_533)
}

/// A route to `upstream` with a token that `source` gives.
fn route(upstream: &Upstream, source: &str) -> String {
    format!(
        "[credentials.api]\nflow = \"static\"\ntoken = {source}\nexpires = \"never\"\n\n\
         [routes.api]\nupstream = \"{}\"\ncredential = \"api\"\n",
        upstream.origin()
    )
}

fn confinement(sidecar: &Sidecar, measure: &str) -> u64 {
    sidecar.metric(&format!("bearerd_confinement{{measure=\"{measure}\"}}"))
}

#[test]
fn a_secret_of_the_environment_is_not_in_proc() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let sidecar = Setup::new(&route(&upstream, "{ env = \"API_TOKEN\" }"))
        .variable("BEFORE", "kept-before")
        .variable("API_TOKEN", &token)
        .variable("LATER", "kept-later")
        .start();
    assert_eq!(sidecar.app().get("/").status(), 200);
    assert_eq!(upstream.request().field("authorization"), Some(format!("Bearer {token}")));
    let block = fs::read(format!("/proc/{}/environ", sidecar.id())).expect("the environment");
    let text = String::from_utf8_lossy(&block);
    assert!(!text.contains(&token), "{text}");
    assert!(text.contains("API_TOKEN=\0") && text.contains("kept-before") && text.contains("kept-later"));
    assert_eq!(confinement(&sidecar, "environment"), 1);

    // A reload still knows the value.
    sidecar.rewrite(&route(&upstream, "{ env = \"API_TOKEN\" }"));
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(sidecar.app().get("/").status(), 200);
}

#[test]
fn it_leaves_no_core_and_every_thread_is_confined() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::ready(&route(&upstream, &format!("{{ value = \"{}\" }}", canary::token())));
    let file = |name: &str| {
        fs::read_to_string(format!("/proc/{}/{name}", sidecar.id())).expect("a file of the process")
    };
    let limits = file("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_ascii_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    assert_eq!(file("coredump_filter").trim(), "00000000");
    let tasks = fs::read_dir(format!("/proc/{}/task", sidecar.id())).expect("its threads");
    let tasks: Vec<_> = tasks.map(|task| task.expect("a thread").file_name()).collect();
    assert!(tasks.len() > 1, "{tasks:?}");
    for task in tasks {
        let status = file(&format!("task/{}/status", task.display()));
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.lines().any(|found| found == line), "{line} in\n{status}");
        }
    }
    for measure in ["environment", "dumps", "memory", "privileges", "files", "system_calls"] {
        assert_eq!(confinement(&sidecar, measure), 1, "{measure}");
    }
}

#[test]
fn a_command_that_reads_a_secret_leaves_no_core_either() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::ready(&route(&upstream, &format!("{{ value = \"{}\" }}", canary::token())));
    let mut command = bearerd(&["set", "api"]);
    command
        .env("BEARERD_ADMIN", sidecar.address("admin").to_string())
        .env("BEARERD_ADMIN_TOKEN", ADMIN_TOKEN);
    let mut command = command.stdin(Stdio::piped()).spawn().expect("a process");
    sidecar.wait("its limit", || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", command.id())).expect("a running process");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        (core.split_ascii_whitespace().filter(|word| *word == "0").count() == 2).then_some(())
    });
    let mut input = command.stdin.take().expect("a pipe");
    input.write_all(canary::token().as_bytes()).expect("a token");
    drop(input);
    assert!(command.wait().expect("an end").success());
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bearerd.toml");
    let configuration = "[admin]\nlisten = \"127.0.0.1:0\"\n[listeners.app]\nbind = \"127.0.0.1:0\"\n";
    fs::write(&path, configuration).expect("a configuration");
    let as_other = |mut command: Command| {
        if let Some(user) = other_user() {
            command.uid(user).gid(user);
        }
        command
    };
    if let Some(user) = other_user() {
        for place in [folder.path(), &path] {
            chown(place, Some(user), Some(user)).expect("another owner");
        }
    }
    // The binary lies where that user may not go: it gets a copy.
    let binary = folder.path().join("bearerd");
    fs::copy(crate::support::binary(), &binary).expect("a copy");
    let mut command = Command::new(&binary);
    command.args(["run", "--config"]).arg(&path).env_clear().env("VISIBLE", "to-nobody");
    let mut bearerd = as_other(command).stderr(Stdio::piped()).spawn().expect("a process");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(bearerd.stderr.take().expect("a pipe")));
    assert!(lines.any(|line| line.expect("a line").contains(" ready ")), "it starts");

    let look = |process: u32, file: &str| {
        let mut command = Command::new("/bin/cat");
        command.arg(format!("/proc/{process}/{file}"));
        as_other(command).stdout(Stdio::null()).output().expect("cat")
    };
    for file in ["environ", "mem", "maps", "auxv", "stack"] {
        let output = look(bearerd.id(), file);
        assert!(!output.status.success(), "{file}");
    }
    // Nor trace it: to take a descriptor of it wants the same right (ptrace(2), "Ptrace access mode checking").
    let take = |process: u32| {
        let process = rustix::process::Pid::from_raw(process.cast_signed()).expect("a number");
        let take = move || {
            if let Some(user) = other_user() {
                let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
                set_thread_res_gid(group, group, group).expect("root may set the group of a thread");
                set_thread_res_uid(user, user, user).expect("root may set the user of a thread");
            }
            let process = pidfd_open(process, PidfdFlags::empty()).expect("a process");
            pidfd_getfd(process, 2, PidfdGetfdFlags::empty()).map(drop)
        };
        thread::spawn(take).join().expect("a thread")
    };
    assert_eq!(take(bearerd.id()), Err(rustix::io::Errno::PERM));
    // Of any other process of that user it could.
    let mut sleeping = Command::new("/bin/sleep");
    sleeping.arg("60");
    let mut sleeping = as_other(sleeping).spawn().expect("a process");
    assert!(look(sleeping.id(), "environ").status.success() && look(sleeping.id(), "maps").status.success());
    for process in [&mut sleeping, &mut bearerd] {
        process.kill().expect("a running process");
        process.wait().expect("its end");
    }
}

#[test]
fn a_command_of_the_configuration_runs_and_no_other() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let command = |text: &str| format!("{{ command = [\"/bin/sh\", \"-c\", \"{text}\"] }}");
    let setup = Setup::new(&route(&upstream, &command("cat {folder}/token"))).file("token", &token);
    let mut sidecar = setup.variable("PATH", "/usr/bin:/bin").start();
    sidecar.wait_until_ready();
    assert_eq!(sidecar.app().get("/").status(), 200);
    assert_eq!(upstream.request().field("authorization"), Some(format!("Bearer {token}")));

    let children = format!("/proc/{0}/task/{0}/children", sidecar.id());
    let helper: u32 = fs::read_to_string(children).expect("its children").trim().parse().expect("one child");
    let words = fs::read_to_string(format!("/proc/{helper}/cmdline")).expect("its arguments");
    assert!(!words.contains("token"), "{words}");
    assert_eq!(fs::read_dir(format!("/proc/{helper}/task")).expect("its threads").count(), 1);

    sidecar.rewrite(&route(&upstream, &command("echo another")));
    let answer = sidecar.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 422);
    assert!(answer.text().contains("restart needed"), "{}", answer.text());
    assert_eq!(sidecar.app().get("/").status(), 200, "the old configuration is in force");

    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
    for _ in 0..PATIENCE.as_millis() / 10 {
        let stat = fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or_default();
        // Gone, or a zombie that nobody has collected yet.
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the helper outlives the process that started it");
}

#[test]
fn a_command_that_fails_or_hangs_is_told_and_ended() {
    let upstream = Upstream::start();
    let hanging = "{ command = [\"/bin/sh\", \"-c\", \"sleep 60 & echo $! > {folder}/child; wait\"], \
                   timeout = \"300ms\" }";
    let sidecar = Setup::new(&route(&upstream, hanging)).variable("PATH", "/usr/bin:/bin").start();
    let told = sidecar.wait("the failure", || {
        Some(sidecar.credential("api")["last_error"]["message"].as_str()?.to_owned())
    });
    assert!(told.contains("did not end within 300ms"), "{told}");
    let child = fs::read_to_string(sidecar.folder().join("child")).expect("the child's number");
    sidecar.wait("the end of what the command started", || {
        let stat = fs::read_to_string(Path::new("/proc").join(child.trim()).join("stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    let failing = "{ command = [\"/bin/sh\", \"-c\", \"exit 3\"] }";
    let sidecar = Setup::new(&route(&upstream, failing)).start();
    let told = sidecar.wait("the failure", || {
        Some(sidecar.credential("api")["last_error"]["message"].as_str()?.to_owned())
    });
    assert!(told.contains("failed (exit status: 3)"), "{told}");
}

#[test]
fn a_reload_that_reads_elsewhere_needs_a_restart_and_changes_nothing() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let sidecar = Setup::new(&route(&upstream, "{ file = \"token\" }")).file("token", &token).start();
    sidecar.wait_until_ready();
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::write(elsewhere.path().join("token"), canary::token()).expect("a file");
    sidecar.rewrite(&route(&upstream, &format!("{{ file = \"{}/token\" }}", elsewhere.path().display())));
    let answer = sidecar.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 422);
    let place = elsewhere.path().display().to_string();
    assert!(answer.text().contains("restart needed") && answer.text().contains(&place), "{}", answer.text());
    assert_eq!(sidecar.app().get("/").status(), 200);

    // Another file of the same folder, or a deeper one, is no new need.
    fs::create_dir(sidecar.folder().join("deeper")).expect("a folder");
    sidecar.replace_file("other", &token);
    fs::rename(sidecar.folder().join("other"), sidecar.folder().join("deeper/other")).expect("a rename");
    sidecar.rewrite(&route(&upstream, "{ file = \"deeper/other\" }"));
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    sidecar.wait_until_ready();
    assert_eq!(sidecar.app().get("/").status(), 200);
}

#[test]
fn ports_that_were_chosen_by_chance_are_confined_only_where_that_is_wanted() {
    let (upstream, other, token) = (Upstream::start(), Upstream::start(), canary::token());
    let source = format!("{{ value = \"{token}\" }}");
    let sidecar = Sidecar::ready(&route(&upstream, &source));
    assert_eq!(confinement(&sidecar, "ports"), 0);
    sidecar.rewrite(&route(&other, &source));
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(sidecar.app().get("/").status(), 200);

    let strict = Setup::new(&route(&upstream, &source)).server("sandbox = \"strict\"").start();
    strict.wait_until_ready();
    assert_eq!(confinement(&strict, "ports"), 1);
    assert_eq!(strict.app().get("/").status(), 200);
    strict.rewrite(&route(&other, &source));
    let answer = strict.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 422);
    assert!(answer.text().contains("to connect to port"), "{}", answer.text());
}

#[test]
fn off_gives_up_nothing_but_dumps() {
    let upstream = Upstream::start();
    let configuration = route(&upstream, &format!("{{ value = \"{}\" }}", canary::token()));
    let sidecar = Setup::new(&configuration).server("sandbox = \"off\"").start();
    sidecar.wait_until_ready();
    let held: Vec<_> = Measure::ALL.map(Measure::as_str).map(|name| confinement(&sidecar, name)).into();
    assert_eq!(held, [1, 1, 1, 0, 0, 0, 0]);
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.id())).expect("a status");
    assert!(status.contains("Seccomp:\t0") && status.contains("NoNewPrivs:\t0"), "{status}");
}

#[test]
fn outside_of_what_was_granted_everything_is_denied() {
    let granted = tempfile::tempdir().expect("a folder");
    let foreign = tempfile::tempdir().expect("a folder");
    fs::write(foreign.path().join("secret"), "foreign").expect("a file");
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut needs = Needs::default();
    needs.read_file(&granted.path().join("secret"));
    needs.write_file(&granted.path().join("state"));
    needs.connect.insert(upstream.local_addr().expect("an address").port());
    // Threads that are there already are not confined, so that this one is the whole process.
    let confined = thread::spawn(move || {
        let confinement =
            Confinement::of_process(Sandbox::Strict, needs, &[""; 0]).expect("this machine has all");
        assert!(Measure::ALL.iter().all(|measure| confinement.holds(*measure)), "{confinement:?}");
        let denied = Some(ErrorKind::PermissionDenied);

        fs::write(granted.path().join("state"), "1").expect("a file in the granted folder");
        assert_eq!(fs::read_to_string(granted.path().join("state")).expect("a file"), "1");
        fs::rename(granted.path().join("state"), granted.path().join("moved")).expect("a rename");
        fs::remove_file(granted.path().join("moved")).expect("a removal");
        for path in ["/etc/shadow", "/root/.bashrc"]
            .map(Path::new)
            .into_iter()
            .chain([&*foreign.path().join("secret")])
        {
            let error = fs::read(path).err().map(|error| error.kind());
            assert!(error == denied || error == Some(ErrorKind::NotFound), "{}: {error:?}", path.display());
        }
        assert_eq!(fs::write(foreign.path().join("new"), "1").err().map(|error| error.kind()), denied);

        let address = upstream.local_addr().expect("an address");
        TcpStream::connect(address).expect("the configured port");
        let elsewhere = TcpStream::connect(other.local_addr().expect("an address"));
        assert_eq!(elsewhere.err().map(|error| error.kind()), denied);
        assert_eq!(TcpListener::bind("127.0.0.1:18099").err().map(|error| error.kind()), denied);

        assert_eq!(Command::new("/bin/true").spawn().err().map(|error| error.kind()), denied);
        assert_eq!(rustix::process::chroot("/"), Err(rustix::io::Errno::PERM));
        // What is needed still works: threads, and looking names up.
        assert_eq!(thread::spawn(|| 1).join().expect("a thread"), 1);
        let found = ("localhost", 80).to_socket_addrs().expect("a known name").count();
        assert!(found > 0);
    });
    confined.join().expect("all as it should be");
}

#[test]
fn the_helper_is_of_no_use_to_others() {
    let output = run(bearerd(&["helper-for-commands"]), "anything");
    assert_eq!(output.status.code(), Some(64));
}
