//! Notices to receivers that others wrote: the library of Standard Webhooks, and aiosmtpd.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::counterpart::{here, peers};
use crate::support::tls::{Authority, Identity};
use crate::support::{Issuer, PATIENCE, Reply, Setup, canary};

/// A server in Python that says a line for each thing that comes.
struct Server {
    process: Child,
    port: u16,
    lines: Receiver<String>,
}

impl Server {
    #[track_caller]
    fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(peers().join("python/bin/python"));
        command.arg(here(script)).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python");
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let greeting = lines.recv_timeout(PATIENCE).expect("a greeting");
        let port = greeting.strip_prefix("listening on ").and_then(|port| port.parse().ok());
        Self { process, port: port.expect("a port"), lines }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("something that came")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A credential whose input its issuer refuses.
fn refused() -> String {
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::json(401, &serde_json::json!({"error": "invalid_client"}))));
    crate::support::configuration::granted_to(&issuer, "http://127.0.0.1:1")
}

#[test]
fn the_library_of_standard_webhooks_takes_a_notice_for_true() {
    // 24 bytes in base64.
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let server = Server::start("hook.py", &[key]);
    let configuration = refused()
        + &format!(
            "\n[notify.ops]\nwebhook = \"http://127.0.0.1:{}/hook?for=ops\"\nkey = {{ file = \"key\" }}\n",
            server.port
        );
    let bearerd = Setup::new(&configuration).file("key", key).start();
    assert_eq!(server.next(), "verified rejected api");
    bearerd.wait("a delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"sent\"}") == 1).then_some(())
    });
    assert!(server.lines.try_recv().is_err(), "it said more");
}

/// A mail server, and what the test of one way of it needs.
fn mail_server(way: &str, mechanism: &str, password: &str, shown: &Identity) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &shown.cert).expect("a file");
    std::fs::write(path("key.pem"), &shown.key).expect("a file");
    let server = Server::start("mail.py", &[way, &path("cert.pem"), &path("key.pem"), password, mechanism]);
    (server, folder)
}

#[test]
fn aiosmtpd_takes_mails_by_tls_and_starttls_from_a_user_that_it_knows() {
    let authority = Authority::new();
    for (way, mechanism, scheme) in
        [("starttls", "PLAIN", "smtp"), ("starttls", "LOGIN", "smtp"), ("tls", "LOGIN", "smtps")]
    {
        let password = canary::secret();
        let (server, _folder) = mail_server(way, mechanism, &password, &authority.server());
        let starttls = if way == "starttls" { "starttls = true\n" } else { "" };
        let configuration = refused()
            + &format!(
                "[egress.mail]\nca = \"{{folder}}/ca.pem\"\n\
                 [notify.people]\nmail = \"Ops <ops@example.org>\"\nfrom = \"bearerd@example.org\"\n\
                 server = \"{scheme}://localhost:{}\"\nuser = \"bearerd\"\npassword = {{ file = \"password\" }}\n\
                 {starttls}egress = \"mail\"\n",
                server.port
            );
        let bearerd =
            Setup::new(&configuration).file("ca.pem", &authority.pem()).file("password", &password).start();
        assert_eq!(
            server.next(),
            "mail bearerd@example.org ops@example.org secured known 0 [bearerd] api: rejected",
            "{way} {mechanism}"
        );
        assert_eq!(server.next(), "line event:   rejected");
        bearerd.wait("a delivery", || {
            (bearerd.metric("bearerd_notifications_total{receiver=\"people\",outcome=\"sent\"}") == 1)
                .then_some(())
        });
    }
}

#[test]
fn nothing_is_mailed_to_a_server_that_nobody_vouches_for_nor_with_a_wrong_password_again_and_again() {
    let authority = Authority::new();
    let (server, _folder) = mail_server("starttls", "PLAIN", "right", &authority.server());
    let receiver = |ca: &Authority, password: &str| {
        let configuration = refused()
            + &format!(
                "[egress.mail]\nca = \"{{folder}}/ca.pem\"\n\
                 [notify.people]\nmail = \"ops@example.org\"\nfrom = \"bearerd@example.org\"\n\
                 server = \"smtp://localhost:{}\"\nuser = \"bearerd\"\npassword = {{ file = \"password\" }}\n\
                 starttls = true\negress = \"mail\"\n",
                server.port
            );
        Setup::new(&configuration).file("ca.pem", &ca.pem()).file("password", password).start()
    };
    let stranger = receiver(&Authority::called("another"), "right");
    stranger.log("the certificate", |line| {
        line["reason"].as_str().is_some_and(|reason| reason.contains("not trusted"))
    });
    let forgetful = receiver(&authority, "wrong");
    forgetful.log("the end of it", |line| {
        line["message"] == "a notice could not be delivered"
            && line["reason"].as_str().is_some_and(|reason| reason.contains("535"))
    });
    assert!(server.lines.try_recv().is_err(), "a mail came");
}
