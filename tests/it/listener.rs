//! Where apps connect: several workers, Unix sockets, and how many may.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::configuration::fixed;
use crate::support::{Setup, Sidecar, Upstream, binary, canary};

#[test]
fn several_workers_serve_alike() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Setup::new(&fixed(&token, &upstream)).server("workers = 3").start();
    bearerd.wait_until_ready();
    let client = bearerd.app();
    let app = move || {
        let mut connection = client.connect();
        for _ in 0..10 {
            connection.send(client.head("GET", "/api/x", "", 0));
            assert_eq!(connection.answer().status(), 200);
        }
    };
    for app in (0..12).map(|_| thread::spawn(app)).collect::<Vec<_>>() {
        app.join().expect("all are answered");
    }
    for seen in upstream.wait_for(120) {
        assert_eq!(seen.fields("authorization"), [format!("Bearer {token}")]);
    }
}

/// A listener `local` on a Unix socket with further lines, and the same route behind it.
fn on_a_unix_socket(lines: &str, upstream: &Upstream) -> Sidecar {
    let routes = fixed(&canary::token(), upstream);
    let local = format!("[listeners.local]\nbind = \"unix:{{folder}}/local.sock\"\n{lines}\n");
    let route = format!(
        "listener = \"app\"\n[routes.local]\nlistener = \"local\"\nupstream = \"{}\"\ncredential = \"key\"\n",
        upstream.origin()
    );
    Sidecar::ready(&format!("{local}{routes}{route}"))
}

fn call(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("the socket takes connections");
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn a_unix_socket_takes_any_host_and_only_its_own_user() {
    let upstream = Upstream::start();
    let bearerd = on_a_unix_socket("", &upstream);
    let socket = bearerd.folder().join("local.sock");
    assert!(call(&socket).starts_with("HTTP/1.1 200"));
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_unix_socket_with_allow_takes_exactly_those_users() {
    let upstream = Upstream::start();
    let other = rustix::process::getuid().as_raw() + 1;
    let bearerd = on_a_unix_socket(&format!("allow = {{ uids = [{other}] }}"), &upstream);
    let answer = call(&bearerd.folder().join("local.sock"));
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("caller_denied"), "{answer}");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn beyond_max_connections_accepting_pauses_and_goes_on() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&format!("max_connections = 2\n{}", fixed(&canary::token(), &upstream)));
    let client = bearerd.app();
    let head = client.head("GET", "/api/x", "", 0);
    let mut open = [client.connect(), client.connect()];
    for connection in &mut open {
        connection.send(&head);
        assert_eq!(connection.answer().status(), 200);
    }
    let mut waiting = client.connect();
    waiting.send(&head);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(upstream.requests().len(), 2, "the third has no place yet");
    drop(open);
    assert_eq!(waiting.answer().status(), 200);
    let metrics = bearerd.admin().get("/metrics").text();
    // Once or twice: the third may get its place before the second of those before has ended.
    let paused = metrics
        .lines()
        .find_map(|line| line.strip_prefix("bearerd_limited_total{limit=\"max_connections\"} "));
    assert!(matches!(paused, Some("1" | "2")), "{metrics}");
}

#[test]
fn without_file_descriptors_accepting_pauses_and_goes_on() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let client = bearerd.app();
    // The connection to the upstream is there before.
    assert_eq!(client.get("/api/x").status(), 200);
    bearerd.limit_descriptors(bearerd.descriptors() + 4);
    // More than can be accepted, whatever was just being closed.
    let open: Vec<_> = (0..64).map(|_| client.connect()).collect();
    bearerd.log("accepting pauses", |line| line["message"] == "accepting pauses");
    let mut waiting = client.connect();
    waiting.send(client.head("GET", "/api/x", "", 0));
    // Ten tries.
    assert!(!waiting.stirs_within(Duration::from_secs(1)), "it was accepted all the same");
    let told = bearerd.logs().iter().filter(|line| line["message"] == "accepting pauses").count();
    assert!(told < 4, "a pause is told once, not with each try: {told} times");
    drop(open);
    assert_eq!(waiting.answer().status(), 200);
}

#[test]
fn with_too_few_file_descriptors_it_serves_or_ends_and_never_only_seems_to_run() {
    let setup = Setup::new(&fixed(&canary::token(), &Upstream::start()));
    let (file, told) = (setup.write(), setup.folder().join("told"));
    for limit in 8..24 {
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let mut process = Command::new("/bin/sh")
            .args(["-c", &script, "sh"])
            .arg(binary())
            .args(["run", "--config"])
            .arg(&file)
            .stderr(fs::File::create(&told).expect("a file"))
            .spawn()
            .expect("a process");
        let served = loop {
            if let Some(status) = process.try_wait().expect("a status") {
                assert!(!status.success(), "{limit}");
                break None;
            }
            let log = fs::read_to_string(&told).expect("a log");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> = lines.collect();
            if lines.iter().any(|line| line["message"] == "ready") {
                let app = lines.iter().find(|line| line["listener"] == "app").expect("where it listens");
                break Some(TcpStream::connect(app["address"].as_str().expect("an address")));
            }
            thread::sleep(Duration::from_millis(10));
        };
        let _ = process.kill();
        process.wait().expect("an end");
        assert!(!matches!(served, Some(Err(_))), "{limit}: {served:?}");
    }
}
