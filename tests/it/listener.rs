//! Where apps connect: TCP, Unix sockets, several workers, and how many may.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;

use crate::support::configuration::fixed;
use crate::support::{Setup, Sidecar, Upstream, canary};

#[test]
fn several_workers_serve_and_none_knows_less_than_another() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Setup::new(&fixed(&token, &upstream).replace("{", "{")).server("").start();
    let client = bearerd.app();
    let apps: Vec<_> = (0..12)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = client.connect();
                for _ in 0..10 {
                    connection.send(&client.head("GET", "/api/x", "", 0));
                    assert_eq!(connection.answer().status(), 200);
                }
            })
        })
        .collect();
    for app in apps {
        app.join().expect("all are answered");
    }
    for seen in upstream.wait_for(120) {
        assert_eq!(seen.fields("authorization"), [format!("Bearer {token}")]);
    }
}
