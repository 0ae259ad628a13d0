//! Who may call: users over TCP and Unix sockets, groups, control groups, and names of certificates.
//!
//! The callers of other users are threads of this process with credentials of their own, which only root
//! can give them.

mod tokens;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::support::configuration::fixed;
use crate::support::{PATIENCE, Sidecar, Upstream, canary};

/// Runs something as another user with these groups, the first of which is its own.
fn as_user<T: Send + 'static>(uid: u32, gids: &[u32], run: impl FnOnce() -> T + Send + 'static) -> T {
    let gids: Vec<Gid> = gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let caller = thread::spawn(move || {
        set_thread_groups(&gids[1..]).expect("root may set the groups of a thread");
        set_thread_res_gid(gids[0], gids[0], gids[0]).expect("root may set the group of a thread");
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).expect("root may set the user of a thread");
        run()
    });
    caller.join().expect("a caller")
}

/// The whole answer to a GET, over any stream.
fn get(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn over_tcp(address: SocketAddr) -> String {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    get(stream)
}

fn over_unix(path: &Path) -> String {
    get(UnixStream::connect(path).expect("the socket takes connections"))
}

#[track_caller]
fn assert_passes(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[track_caller]
fn assert_denied(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"caller_denied\""), "{answer}");
    assert!(answer.to_lowercase().contains("proxy-status: bearerd; error=http_request_denied"), "{answer}");
}

/// A sidecar whose listener `app` has these lines, and another on a Unix socket with those.
fn ready(app: &str, local: &str, upstream: &Upstream) -> Sidecar {
    let route = format!(
        "listener = \"app\"\n[listeners.local]\nbind = \"unix:{{folder}}/local.sock\"\n{local}\n\
         [routes.local]\nlistener = \"local\"\nupstream = \"{}\"\ncredential = \"key\"\n",
        upstream.origin()
    );
    let bearerd = Sidecar::ready(&format!("{app}\n{}{route}", fixed(&canary::token(), upstream)));
    // Others may look for the socket, and see nothing else.
    fs::set_permissions(bearerd.folder(), fs::Permissions::from_mode(0o711)).expect("a mode");
    bearerd
}

#[test]
fn over_tcp_on_loopback_exactly_the_users_of_allow_call() {
    let upstream = Upstream::start();
    let bearerd = ready("allow = { uids = [1001, 1003] }", "", &upstream);
    let address = bearerd.address("app");
    for (uid, may_call) in [(1001, true), (1002, false), (1003, true), (0, false)] {
        let answer = as_user(uid, &[uid], move || over_tcp(address));
        if may_call { assert_passes(&answer) } else { assert_denied(&answer) }
    }
    assert_denied(&over_tcp(address));
    assert_eq!(upstream.requests().len(), 2);
    bearerd.log("whom it denied", |line| {
        let cause = line["cause"].as_str().unwrap_or_default();
        cause == "the caller's uid, 1002, is not in `uids`" && line["code"] == "caller_denied"
    });
    assert_eq!(bearerd.metric("bearerd_errors_total{route=\"\",code=\"caller_denied\"}"), 3);
}

#[test]
fn a_user_is_known_over_ipv6_and_through_sockets_of_ipv6_that_speak_ipv4() {
    let upstream = Upstream::start();
    for bind in ["[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let other = format!(
            "[listeners.six]\nbind = \"{bind}\"\nallow = {{ uids = [1001] }}\n\
             [routes.six]\nlistener = \"six\"\nupstream = \"{}\"\ncredential = \"key\"\n",
            upstream.origin()
        );
        let bearerd = ready("allow = { uids = [1001] }", &other, &upstream);
        let six = bearerd.address("six");
        let four = bearerd.address("app");
        let mapped = format!("[::ffff:127.0.0.1]:{}", four.port()).parse().expect("an address");
        for address in [six, mapped] {
            assert_passes(&as_user(1001, &[1001], move || over_tcp(address)));
            assert_denied(&as_user(1002, &[1002], move || over_tcp(address)));
        }
    }
}

#[test]
fn a_connection_that_was_closed_before_it_was_accepted_is_nobodys() {
    let upstream = Upstream::start();
    let bearerd = ready("max_connections = 1\nallow = { uids = [0] }", "", &upstream);
    let client = bearerd.app();
    let mut first = client.connect();
    first.send(client.head("GET", "/api/x", "", 0));
    assert_eq!(first.answer().status(), 200);
    // It waits in the kernel until the first is gone, and has shut its half by then.
    let mut second = client.ask("GET", "/api/x", "Connection: close\r\n");
    second.finish();
    drop(first);
    let answer = second.answer();
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (403, Some("caller_denied")));
    assert_eq!(upstream.requests().len(), 1);
    bearerd.log("why", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.contains("has closed the connection already"))
    });
}

#[test]
fn over_a_unix_socket_exactly_the_users_and_groups_of_allow_call() {
    let upstream = Upstream::start();
    for (allow, uid, gids, may_call) in [
        ("uids = [1001]", 1001, vec![1001], true),
        ("uids = [1001]", 1002, vec![1001], false),
        ("uids = [1001]", 0, vec![0], false),
        ("gids = [2000]", 1002, vec![2000], true),
        ("gids = [7, 2000]", 1002, vec![1002, 5, 2000], true),
        ("gids = [2000]", 1002, vec![1002, 2001], false),
        ("gids = [2000]", 0, vec![0], false),
        ("uids = [1001], gids = [2000]", 1001, vec![2000], true),
        ("uids = [1001], gids = [2000]", 1001, vec![1001], false),
        ("uids = [1001], gids = [2000]", 1002, vec![2000], false),
    ] {
        let bearerd = ready("", &format!("allow = {{ {allow} }}"), &upstream);
        let socket = bearerd.folder().join("local.sock");
        let answer = as_user(uid, &gids, move || over_unix(&socket));
        if may_call { assert_passes(&answer) } else { assert_denied(&answer) }
    }
}

#[test]
fn without_allow_no_other_user_can_even_connect_to_a_unix_socket() {
    let upstream = Upstream::start();
    let bearerd = ready("", "allow = {}", &upstream);
    let socket = bearerd.folder().join("local.sock");
    let own = socket.clone();
    let refused = as_user(1001, &[1001], move || UnixStream::connect(socket).map(drop));
    assert_eq!(refused.expect_err("refused").kind(), std::io::ErrorKind::PermissionDenied);
    assert_passes(&over_unix(&own));
}

#[test]
fn a_process_calls_from_the_control_groups_of_allow() {
    let upstream = Upstream::start();
    let cgroups = fs::read_to_string("/proc/self/cgroup").expect("this process's control group");
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).expect("a unified hierarchy");
    let own = if own == "/" { "/*" } else { own };
    for (pattern, may_call) in [(own, true), ("/no.slice/such.service", false)] {
        let bearerd = ready("", &format!("allow = {{ cgroups = [\"{pattern}\"] }}"), &upstream);
        let answer = over_unix(&bearerd.folder().join("local.sock"));
        if may_call { assert_passes(&answer) } else { assert_denied(&answer) }
    }
}

#[test]
fn a_reload_counts_for_connections_that_come_after_it() {
    let upstream = Upstream::start();
    let bearerd = ready("allow = { uids = [1001] }", "", &upstream);
    let address = bearerd.address("app");
    assert_denied(&as_user(1002, &[1002], move || over_tcp(address)));
    let file = bearerd.folder().join("bearerd.toml");
    let before = fs::read_to_string(file).expect("the configuration");
    bearerd.replace_file("bearerd.toml", &before.replace("uids = [1001]", "uids = [1002]"));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_passes(&as_user(1002, &[1002], move || over_tcp(address)));
    assert_denied(&as_user(1001, &[1001], move || over_tcp(address)));
}
