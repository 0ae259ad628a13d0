//! Dovecot beside bearerd: an IMAP server as people run it, with a mailbox that a portal mails tokens to.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::counterpart::{Counterpart, peers};
use crate::support::tls::{Authority, Identity};
use crate::support::{Issuer, Reply, Setup, Sidecar, Upstream, canary};

const USER: &str = "me@example.org";
const SENDER: &str = "token@portal.example";

/// A Dovecot with one account, and its mailbox.
struct Dovecot {
    folder: TempDir,
    password: String,
    /// Of `imap://` and of `imaps://`.
    ports: [u16; 2],
    process: Mutex<Option<Counterpart>>,
    mailbox: Mailbox,
}

/// A mailbox that mails can be put into, from any thread.
#[derive(Clone)]
struct Mailbox {
    folder: PathBuf,
    count: Arc<AtomicUsize>,
}

impl Mailbox {
    /// A mail comes, with these lines behind `From`.
    fn deliver(&self, from: &str, rest: &str) {
        let name = format!("{}.of-the-test", self.count.fetch_add(1, Ordering::SeqCst));
        let (tmp, new) = (self.folder.join("tmp").join(&name), self.folder.join("new").join(&name));
        fs::write(&tmp, format!("From: {from}\nSubject: Your token\n{rest}\n")).expect("a file");
        give(&tmp);
        fs::rename(tmp, new).expect("a rename");
    }

    fn token(&self, from: &str, token: &str) {
        self.deliver(from, &format!("\nYour token is: {token}\n"));
    }

    /// The names of the files in a folder of it.
    fn names(&self, part: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join(part)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }
}

/// Whose the mailbox is: Dovecot runs nobody's sessions as root.
fn owner() -> (u32, u32) {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() { (65_534, 65_534) } else { (user.as_raw(), group.as_raw()) }
}

fn give(path: &Path) {
    let (user, group) = owner();
    std::os::unix::fs::chown(path, Some(user), Some(group)).expect("another owner");
}

fn free_port() -> u16 {
    // It cannot be asked which port it got: this one was free a moment ago.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    free.local_addr().expect("an address").port()
}

impl Dovecot {
    fn start(identity: &Identity) -> Self {
        Self::asking(identity, "http://127.0.0.1:1/")
    }

    /// One that asks this address what an access token is worth (RFC 7662).
    fn asking(identity: &Identity, introspection: &str) -> Self {
        peers();
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("rights");
        for part in ["run", "mail", "mail/tmp", "mail/new", "mail/cur"] {
            fs::create_dir(path(part)).expect("a folder");
            if part.starts_with("mail") {
                give(&path(part));
            }
        }
        fs::write(path("cert.pem"), &identity.cert).expect("a file");
        fs::write(path("key.pem"), &identity.key).expect("a file");
        let mailbox = Mailbox { folder: path("mail"), count: Arc::new(AtomicUsize::new(1)) };
        let ports = [free_port(), free_port()];
        let dovecot = Self { password: canary::secret(), ports, process: Mutex::default(), mailbox, folder };
        dovecot.configure(introspection);
        dovecot.wake();
        dovecot
    }

    fn configure(&self, introspection: &str) {
        let ([imap, imaps], (user, group)) = (self.ports, owner());
        let folder = self.folder.path().display();
        let internal = if rustix::process::geteuid().is_root() {
            String::new()
        } else {
            let name = std::env::var("USER").unwrap_or_default();
            format!("default_internal_user = {name}\ndefault_login_user = {name}\n")
        };
        let configuration = format!(
            "base_dir = {folder}/run\nstate_dir = {folder}/run\nlog_path = /dev/stdout\nprotocols = imap\n\
             listen = 127.0.0.1\nssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\n\
             {internal}auth_mechanisms = plain xoauth2 oauthbearer\nauth_failure_delay = 0\n\
             mail_location = maildir:{folder}/mail\nmailbox_idle_check_interval = 1s\nfirst_valid_uid = 1\n\
             passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {folder}/oauth2.conf\n}}\n\
             passdb {{\n  driver = passwd-file\n  mechanisms = plain\n  args = scheme=PLAIN {folder}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={user} gid={group} home={folder}/mail allow_all_users=yes\n}}\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {imap}\n  }}\n  \
             inet_listener imaps {{\n    port = {imaps}\n    ssl = yes\n  }}\n}}\n\
             service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n"
        );
        let oauth2 = format!(
            "introspection_mode = auth\nintrospection_url = {introspection}\nusername_attribute = username\n\
             active_attribute = active\nactive_value = true\n"
        );
        let write = |name: &str, text: &str| fs::write(self.folder.path().join(name), text).expect("a file");
        write("dovecot.conf", &configuration);
        write("oauth2.conf", &oauth2);
        write("users", &format!("{USER}:{{PLAIN}}{}\n", self.password));
    }

    fn wake(&self) {
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(self.folder.path().join("dovecot.conf"));
        let process = Counterpart::start(&mut command, "starting up");
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// Kills it and all its processes.
    fn kill(&self) {
        drop(self.process.lock().unwrap_or_else(PoisonError::into_inner).take());
        // It would take its own for another one that runs.
        let _ = fs::remove_file(self.folder.path().join("run/master.pid"));
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.ports[usize::from(scheme == "imaps")])
    }
}

/// A portal that does something whenever a token is asked for.
fn portal(asked: impl Fn() + Send + Sync + 'static) -> Upstream {
    Upstream::answering(move |request| {
        if request.head.starts_with(b"POST /token ") {
            asked();
        }
        Reply::text("A token is on its way.")
    })
}

/// A credential that has a token mailed. `lines` go into the table of the mail.
fn mailed(portal: &Upstream, mailbox: &str, password: &str, lines: &str) -> String {
    format!(
        "[egress.mail]\nca = \"{{folder}}/ca.pem\"\n\n\
         [credentials.portal]\nflow = \"login\"\negress = \"mail\"\ndefault_lifetime = \"1d\"\n\
         secrets = {{ mail_password = {password} }}\n\
         [[credentials.portal.steps]]\nurl = \"{}/token\"\nform = {{ user = \"me\" }}\n\
         [[credentials.portal.steps]]\n\
         outputs = {{ token = {{ regex = \"token is: ([A-Za-z0-9._-]{{{{8,}}}})\" }} }}\n\
         [credentials.portal.steps.mail]\nmailbox = \"{mailbox}\"\nusername = \"{USER}\"\n\
         password = \"{{mail_password}}\"\nfrom = \"{SENDER}\"\n{lines}\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"portal\"\n\
         inject = {{ headers = {{ Authorization = \"Bearer {{token}}\" }} }}\n",
        portal.origin(),
        portal.origin()
    )
    .replace("{{8,}}", "{8,}")
}

/// What a call brings to the upstream, which is the portal, too.
fn injected(bearerd: &Sidecar, portal: &Upstream) -> Option<String> {
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    portal.requests().pop().expect("a request").field("authorization")
}

fn error(bearerd: &Sidecar) -> String {
    bearerd.wait("an error", || {
        bearerd.credential("portal")["last_error"]["message"].as_str().map(str::to_owned)
    })
}

fn asked(portal: &Upstream) -> usize {
    portal.requests().iter().filter(|request| request.head.starts_with(b"POST /token ")).count()
}

#[test]
fn a_mailed_token_is_taken_over_tls_and_nobody_elses_mail_is_touched() {
    let authority = Authority::new();
    for (scheme, lines) in [
        ("imaps", ""),
        ("imap", "starttls = true\nthen = \"move:Entwürfe\"\n"),
        ("imaps", "then = \"delete\"\n"),
    ] {
        let dovecot = Dovecot::start(&authority.server());
        let (old, thief, token) = (canary::token(), canary::token(), canary::token());
        dovecot.mailbox.token(SENDER, &old);
        let (mailbox, mailed_token) = (dovecot.mailbox.clone(), token.clone());
        let portal = portal(move || {
            mailbox.token(&format!("\"{SENDER}\" <thief@elsewhere.example>"), &thief);
            mailbox.token(&format!("The Portal <{SENDER}>"), &mailed_token);
        });
        let password = format!("{{ value = \"{}\" }}", dovecot.password);
        let configuration = mailed(&portal, &dovecot.url(scheme), &password, lines);
        let bearerd = Setup::new(&configuration).file("ca.pem", &authority.pem()).start();
        bearerd.wait_until_ready();
        assert_eq!(injected(&bearerd, &portal), Some(format!("Bearer {token}")), "{scheme} {lines}");
        // Of the three mails the last one was the right one.
        let is_seen = |name: &String| name.rsplit_once(":2,").is_some_and(|(_, flags)| flags.contains('S'));
        let left = [dovecot.mailbox.names("cur"), dovecot.mailbox.names("new")].concat();
        assert_eq!(
            left.iter().filter(|name| is_seen(name)).count(),
            usize::from(lines.is_empty()),
            "{left:?}"
        );
        assert_eq!(left.len(), if lines.is_empty() { 3 } else { 2 }, "{left:?}");
        let moved =
            ["cur", "new"].map(|part| dovecot.mailbox.names(&format!(".Entw&APw-rfe/{part}"))).concat();
        assert_eq!(moved.len(), usize::from(lines.contains("move")), "{moved:?}");
    }
}

#[test]
fn a_mailbox_that_dies_while_it_is_listened_to_and_comes_back_brings_the_token() {
    let authority = Authority::new();
    let dovecot = Dovecot::start(&authority.server());
    let portal = portal(|| {});
    let password = format!("{{ value = \"{}\" }}", dovecot.password);
    let configuration = mailed(&portal, &dovecot.url("imaps"), &password, "");
    let bearerd = Setup::new(&configuration).file("ca.pem", &authority.pem()).start();
    portal.wait_for(1);
    dovecot.kill();
    let token = canary::token();
    dovecot.mailbox.token(SENDER, &token);
    dovecot.wake();
    bearerd.wait_until_ready();
    assert_eq!(injected(&bearerd, &portal), Some(format!("Bearer {token}")));
    assert_eq!(asked(&portal), 1);
}

#[test]
fn nobody_is_asked_for_a_token_before_the_mailbox_lets_bearerd_in() {
    let authority = Authority::new();
    let dovecot = Dovecot::start(&authority.server());
    let token = canary::token();
    let (mailbox, mailed_token) = (dovecot.mailbox.clone(), token.clone());
    let portal = portal(move || mailbox.token(SENDER, &mailed_token));
    // Whoever shows the certificate is not known.
    let password = "{ file = \"password\" }";
    let configuration = mailed(&portal, &dovecot.url("imaps"), password, "");
    let stranger = Setup::new(&configuration)
        .file("ca.pem", &Authority::called("another one").pem())
        .file("password", &dovecot.password)
        .start();
    let message = error(&stranger);
    assert!(message.contains("cannot be reached") && message.contains("not trusted here"), "{message}");
    drop(stranger);
    // It is away.
    dovecot.kill();
    let setup = Setup::new(&configuration).file("ca.pem", &authority.pem()).file("password", "wrong");
    let bearerd = setup.start();
    let message = error(&bearerd);
    assert!(message.contains("cannot be reached"), "{message}");
    assert_eq!(bearerd.credential("portal")["state"], "pending");
    // It is back, and the password is wrong: that is asked once, and no portal at all.
    dovecot.wake();
    bearerd.wait_for_state("portal", "rejected");
    assert!(error(&bearerd).contains("does not take the name and password"));
    assert_eq!(asked(&portal), 0);
    // A failure of the mailbox is no attempt at the portal: with the right password there is one at once.
    bearerd.replace_file("password", &dovecot.password);
    bearerd.wait_until_ready();
    assert_eq!(injected(&bearerd, &portal), Some(format!("Bearer {token}")));
    assert_eq!(asked(&portal), 1);
}

#[test]
fn a_mailbox_is_opened_by_another_credentials_access_token() {
    let authority = Authority::new();
    let issuer = Issuer::start(3600);
    let known = issuer.clone();
    // What Dovecot asks, it asks with the token itself.
    let introspection = Upstream::answering(move |request| {
        let shown = request.field("authorization").unwrap_or_default();
        let is_known = known.granted().iter().any(|token| shown == format!("Bearer {token}"));
        Reply::json(200, &serde_json::json!({"active": is_known, "username": USER}))
    });
    for mechanism in ["xoauth2", "oauthbearer"] {
        let dovecot = Dovecot::asking(&authority.server(), &format!("{}/introspect", introspection.origin()));
        let file = dovecot.folder.path().join("dovecot.conf");
        let text = fs::read_to_string(&file).expect("the configuration");
        dovecot.kill();
        fs::write(
            &file,
            text.replace("plain xoauth2 oauthbearer", mechanism).replace("xoauth2 oauthbearer", mechanism),
        )
        .expect("a file");
        dovecot.wake();
        let token = canary::token();
        let (mailbox, mailed_token) = (dovecot.mailbox.clone(), token.clone());
        let portal = portal(move || mailbox.token(SENDER, &mailed_token));
        let configuration =
            mailed(&portal, &dovecot.url("imaps"), "{ env = \"UNUSED\" }", "auth = \"access_token\"\n")
                .replace("secrets = { mail_password = { env = \"UNUSED\" } }\n", "")
                .replace("{mail_password}", "{google.access_token}");
        let google = format!(
            "\n[credentials.google]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
             client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\n",
            issuer.url(),
            canary::secret()
        );
        let bearerd = Setup::new(&(configuration + &google)).file("ca.pem", &authority.pem()).start();
        bearerd.wait_until_ready();
        assert_eq!(injected(&bearerd, &portal), Some(format!("Bearer {token}")), "{mechanism}");
    }
    // A token that Dovecot does not take is renewed first, once, and no portal is asked meanwhile.
    let stale = Issuer::start(3600);
    let dovecot = Dovecot::asking(&authority.server(), &format!("{}/introspect", introspection.origin()));
    let portal = portal(|| {});
    let configuration =
        mailed(&portal, &dovecot.url("imaps"), "{ env = \"UNUSED\" }", "auth = \"access_token\"\n")
            .replace("secrets = { mail_password = { env = \"UNUSED\" } }\n", "")
            .replace("{mail_password}", "{google.access_token}");
    let google = format!(
        "\n[credentials.google]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\n",
        stale.url(),
        canary::secret()
    );
    let bearerd = Setup::new(&(configuration + &google)).file("ca.pem", &authority.pem()).start();
    bearerd.wait_for_state("portal", "rejected");
    assert_eq!((stale.granted().len(), asked(&portal)), (2, 0));
}

#[test]
fn a_mailbox_is_reached_through_the_proxy_of_its_egress() {
    let authority = Authority::new();
    let dovecot = Dovecot::start(&authority.server());
    let token = canary::token();
    let (mailbox, mailed_token) = (dovecot.mailbox.clone(), token.clone());
    let portal = portal(move || mailbox.token(SENDER, &mailed_token));
    let folder = tempfile::tempdir().expect("a folder");
    let (port, file) = (free_port(), folder.path().join("tinyproxy.conf"));
    fs::write(&file, format!("Listen 127.0.0.1\nPort {port}\nTimeout 60\nAllow 127.0.0.1\n"))
        .expect("a file");
    let mut command = Command::new("tinyproxy");
    let proxy = Counterpart::start(command.arg("-d").arg("-c").arg(file), "Accepting connections");
    let password = format!("{{ value = \"{}\" }}", dovecot.password);
    let configuration = mailed(&portal, &dovecot.url("imaps"), &password, "")
        .replace("[egress.mail]\n", &format!("[egress.mail]\nproxy = \"http://127.0.0.1:{port}\"\n"));
    let bearerd = Setup::new(&configuration).file("ca.pem", &authority.pem()).start();
    bearerd.wait_until_ready();
    assert_eq!(injected(&bearerd, &portal), Some(format!("Bearer {token}")));
    // There is no other way.
    drop(proxy);
    bearerd.control("POST", "/v1/credentials/portal/refresh", b"");
    assert_eq!(asked(&portal), 1);
}
