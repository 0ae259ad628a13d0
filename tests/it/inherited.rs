//! Listeners at sockets that were bound for bearerd: socket activation.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use rustix::process::Signal;

use crate::support::configuration::fixed;
use crate::support::sidecar::{bearerd_with, run};
use crate::support::{Client, Setup, Upstream, canary};

/// A route to `upstream` behind the listener `passed` at `fd:web`.
fn at_web(upstream: &Upstream) -> String {
    let route = "listener = \"passed\"\n[listeners.passed]\nbind = \"fd:web\"\n";
    format!("{}{route}", fixed(&canary::token(), upstream))
}

#[test]
fn a_tcp_socket_is_taken_over_with_the_connections_that_wait() {
    let upstream = Upstream::start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let client = Client::new(address);
    let mut early = client.connect();
    early.send(client.head("GET", "/api/early", "", 0));
    let bearerd = Setup::new(&at_web(&upstream)).passing("web", socket).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.address("passed"), address);
    assert_eq!(early.answer().status(), 200, "it waited in the socket");
    let foreign = client.get_with("/api/x", "Origin: http://localhost:1\r\n");
    assert_eq!(foreign.status(), 403, "the port is the socket's");
}

#[test]
fn a_unix_socket_is_taken_over_and_stays_where_it_is() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.sock");
    let socket = UnixListener::bind(&path).expect("a socket");
    let other = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let bearerd = Setup::new(&at_web(&upstream)).passing("spare", other).passing("web", socket).start();
    bearerd.wait_until_ready();
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.write_all(b"GET /api/x HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(bearerd);
    assert!(path.exists(), "it is not bearerd's to remove");
}

#[test]
fn a_reload_keeps_an_inherited_socket_even_while_no_listener_is_at_it() {
    let upstream = Upstream::start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let client = Client::new(socket.local_addr().expect("an address"));
    let with = at_web(&upstream);
    let bearerd = Setup::new(&with).passing("web", socket).start();
    bearerd.wait_until_ready();
    let mut kept = client.connect();
    for _ in 0..2 {
        assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
        kept.send(client.head("GET", "/api/x", "", 0));
        assert_eq!(kept.answer().status(), 200);
    }
    bearerd.rewrite(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    let mut waiting = client.connect();
    waiting.send(client.head("GET", "/api/x", "", 0));
    bearerd.rewrite(&with);
    bearerd.signal(Signal::HUP);
    assert_eq!(waiting.answer().status(), 200, "it waited in the socket");
}

#[test]
fn a_socket_that_was_not_passed_ends_with_78_and_the_names_of_those_that_were() {
    let upstream = Upstream::start();
    let setup = Setup::new(&at_web(&upstream));
    let path = setup.write();
    let path = path.to_str().expect("a path");
    let socket = || TcpListener::bind("127.0.0.1:0").expect("a socket").into();
    let datagrams = || std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket").into();
    let ends = |command: Command, reason: &str| {
        let mut command = command;
        let output = command.output().expect("an end");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains(reason), "{told}");
    };
    let arguments = ["run", "--config", path];
    ends(bearerd_with(Vec::new(), &arguments), "no socket was passed to this process");
    ends(bearerd_with(vec![("a", socket()), ("b", socket())], &arguments), "there is a, b");
    ends(
        bearerd_with(vec![("web", socket()), ("web", socket())], &arguments),
        "several sockets of this name",
    );
    ends(bearerd_with(vec![("web", datagrams())], &arguments), "does not listen for streams");
    // The sockets are the service's: whoever looks at its configuration has none.
    let check = run(crate::support::bearerd(&["check", "--config", path]), "");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
