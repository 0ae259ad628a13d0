//! tinyproxy between bearerd and everything that it talks to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use tempfile::TempDir;

use crate::counterpart::{Counterpart, peers};
use crate::support::{Issuer, Setup, Upstream, canary};

/// A running tinyproxy that knows one user.
struct Tinyproxy {
    address: SocketAddr,
    _folder: TempDir,
    _process: Counterpart,
}

impl Tinyproxy {
    fn start(user: &str, password: &str) -> Self {
        peers();
        let folder = tempfile::tempdir().expect("a folder");
        // It cannot be asked which port it got: this one was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let file = folder.path().join("tinyproxy.conf");
        let port = address.port();
        let configuration = format!(
            "Listen 127.0.0.1\nPort {port}\nTimeout 60\nAllow 127.0.0.1\nBasicAuth {user} {password}\n"
        );
        fs::write(&file, configuration).expect("a file");
        let mut command = Command::new("tinyproxy");
        let process = Counterpart::start(command.arg("-d").arg("-c").arg(file), "Accepting connections");
        Self { address, _folder: folder, _process: process }
    }
}

#[test]
fn exchanges_and_requests_pass_a_proxy_that_knows_bearerd_and_no_other() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    let (secret, password) = (canary::secret(), canary::secret());
    let proxy = Tinyproxy::start("bearerd", &password);
    let configuration = format!(
        "[egress.out]\nproxy = \"http://{}\"\nproxy_user = \"bearerd\"\nproxy_password = {{ file = \"password\" }}\n\n\
         [credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{secret}\" }}\negress = \"out\"\n\n\
         [routes.api]\nupstream = \"{}\"\ncredential = \"api\"\negress = \"out\"\n",
        proxy.address,
        issuer.url(),
        upstream.origin()
    );
    let sidecar = Setup::new(&configuration).file("password", "another").start();
    let refused = sidecar.wait("a refusal", || {
        let status = sidecar.credential("api");
        status["last_error"]["message"].as_str().map(str::to_owned)
    });
    // It says 407 of no password and 401 of a wrong one.
    assert!(refused.contains(&proxy.address.to_string()) && refused.contains("401"), "{refused}");
    assert!(issuer.requests().is_empty());

    sidecar.replace_file("password", &format!("{password}\n"));
    sidecar.wait_until_ready();
    let body = "x".repeat(300_000);
    for _ in 0..3 {
        let answer = sidecar.app().post("/orders", &body);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    for request in upstream.requests() {
        assert_eq!(request.body.len(), body.len());
        assert_eq!(request.field("authorization"), Some(format!("Bearer {}", issuer.token())));
        assert_eq!(request.field("proxy-authorization"), None);
    }
}
