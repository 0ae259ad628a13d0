//! A token that a portal mails: asked for through its web forms, taken from a mailbox, by the binary.

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use bearerd::clock::Clock;
use bearerd::sandbox::postbox::Letter;
use bearerd::sandbox::{Sandbox, Vendor, nic, postbox};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::support::{Setup, Sidecar};

const LOGIN: &str = "/nicauthserver/users/login";
const TOKEN: &str = "/nicauthserver/users/token";
const CALL: &str = "/nic-ma-portal/api/gram-panchayats";

/// What only the portal and the mail server are shown.
pub const SECRETS: [&str; 2] = [nic::PASSWORD, postbox::PASSWORD];

/// The portal and the mailbox, on a thread of this process, which ends when this is dropped.
pub struct Portal {
    sandbox: Arc<Sandbox>,
    _end: oneshot::Sender<()>,
}

impl Portal {
    pub fn start(faults: &[&str]) -> Self {
        let faults: Vec<_> = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
        let (started, sandbox) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let sandbox = Sandbox::start(0, &faults, &Clock::system()).await.expect("free ports");
                started.send(Arc::new(sandbox)).expect("somebody waits");
                drop(ended.await);
            });
        });
        Self { sandbox: sandbox.recv().expect("it starts"), _end: end }
    }

    /// A bearerd that uses it over IMAP, with these lines in the credential.
    pub fn setup(&self, lines: &str) -> Setup {
        let configuration = self.sandbox.portal_configuration(&self.sandbox.mailbox());
        Setup::new(&configuration.replace("[routes", &format!("{lines}\n[routes")))
    }

    /// How often a page was asked for by this method.
    fn count(&self, method: &str, path: &str) -> usize {
        let records = self.sandbox.station(Vendor::NicMa).records_of(path);
        records.iter().filter(|record| record.request.method == method).count()
    }

    /// The tokens that were mailed.
    pub fn tokens(&self) -> Vec<String> {
        let token = |letter: Letter| Some(letter.text.split_once("token is: ")?.1.lines().next()?.to_owned());
        self.letters().into_iter().filter_map(token).collect()
    }

    fn letters(&self) -> Vec<Letter> {
        self.sandbox.postbox().letters().clone()
    }
}

/// What the credential's last error says, once there is one.
fn error(bearerd: &Sidecar) -> String {
    bearerd.wait("an error", || {
        let credential = bearerd.credential("nic-ma-portal");
        credential["last_error"]["message"].as_str().map(str::to_owned)
    })
}

/// Nothing of the mails, and no password, is in what bearerd tells.
fn assert_discreet(bearerd: &Sidecar, portal: &Portal) {
    let told = format!("{:?}{}", bearerd.logs(), bearerd.credential("nic-ma-portal"));
    assert_eq!(portal.tokens().len(), portal.letters().len());
    for token in portal.tokens() {
        assert!(!told.contains(&token), "a token is told: {told}");
    }
    for secret in SECRETS.into_iter().chain(["Dear User"]) {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}

#[test]
fn a_token_is_asked_for_at_the_portal_taken_from_the_mail_and_put_on_requests() {
    let portal = Portal::start(&[]);
    let bearerd = portal.setup("").start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get(CALL).status(), 200);
    assert_eq!((portal.count("POST", LOGIN), portal.count("POST", TOKEN)), (1, 1));
    assert_eq!(portal.sandbox.complaints(), [""; 0]);
    let seen: Vec<bool> = portal.letters().iter().map(|letter| letter.seen).collect();
    assert_eq!(seen, [false, true], "the old letter is left alone, the new one is marked");
    assert_eq!(bearerd.app().get("/nic-ma-portal/nicauthserver/users/login").status(), 403);
    assert_discreet(&bearerd, &portal);
}

#[test]
fn a_letter_is_found_however_it_comes() {
    for (faults, lines) in [
        (&["nic-ma=mail-late:1500ms"][..], "then = \"delete\""),
        (&["nic-ma=imap-deaf"], "then = \"move:Tokens\""),
        (&["nic-ma=mail-twice"], ""),
    ] {
        let portal = Portal::start(faults);
        let bearerd = portal.setup(lines).start();
        bearerd.wait_until_ready();
        assert_eq!(bearerd.app().get(CALL).status(), 200, "{faults:?}");
        let last = portal.letters().pop().expect("a letter");
        let expected = match lines {
            "" => None,
            "then = \"delete\"" => Some("nowhere"),
            _ => Some("Tokens"),
        };
        assert_eq!(last.moved_to.as_deref(), expected, "{faults:?}");
        assert_discreet(&bearerd, &portal);
    }
}

#[test]
fn a_maildir_is_read_and_its_letter_is_marked() {
    let portal = Portal::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    portal.sandbox.postbox().also_into(folder.path()).expect("a Maildir");
    fs::write(
        folder.path().join("new/1.old"),
        "From: token@nicauth.example\r\n\r\nToken: 0123456789abcdef01\r\n",
    )
    .expect("a letter of before");
    let mailbox = format!("maildir:{}", folder.path().display());
    let bearerd = Setup::new(&portal.sandbox.portal_configuration(&mailbox)).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get(CALL).status(), 200);
    let names = |part: &str| {
        let entries = fs::read_dir(folder.path().join(part)).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("new"), ["1.old"]);
    assert!(matches!(&names("cur")[..], [name] if name.ends_with(":2,S")), "{:?}", names("cur"));
}

#[test]
fn each_trouble_of_the_portal_is_told_for_what_it_is_and_the_portal_left_alone() {
    for (fault, told, state) in [
        ("csrf", "step 2 of 4", "pending"),
        ("session", "step 3 of 4", "pending"),
        (
            "page",
            "nothing on the page matches `form:has(input[name=email]):has(input[type=password])`",
            "pending",
        ),
        ("password", "so the input is wrong", "rejected"),
        ("mail-lost", "no message with what is looked for came from `token@nicauth.example`", "pending"),
        ("mail-foreign", "1 came from others", "pending"),
    ] {
        let portal = Portal::start(&[&format!("nic-ma={fault}")]);
        let bearerd = portal.setup("mail_wait = \"1s\"").start();
        let message = error(&bearerd);
        assert!(message.contains(told), "{fault}: {message}");
        assert_eq!(bearerd.credential("nic-ma-portal")["state"], state, "{fault}");
        // Not by an operator either.
        bearerd.control("POST", "/v1/credentials/nic-ma-portal/refresh?wait=true&force=true", b"");
        assert_eq!(portal.count("GET", LOGIN).min(1), 1);
        assert!(portal.count("POST", LOGIN) <= 1 && portal.count("POST", TOKEN) <= 1, "{fault}");
        assert_discreet(&bearerd, &portal);
    }
}

#[test]
fn while_the_mailbox_is_down_nobody_is_asked_for_a_token() {
    let portal = Portal::start(&["nic-ma=imap-down"]);
    let bearerd = portal.setup("").start();
    let message = error(&bearerd);
    assert!(
        message.contains("the mailbox imap://127.0.0.1:") && message.contains("broke the connection off"),
        "{message}"
    );
    assert_eq!((portal.count("GET", LOGIN), portal.count("POST", TOKEN)), (0, 0));
}

#[test]
fn a_mailbox_that_refuses_its_password_is_not_tried_again() {
    let portal = Portal::start(&[]);
    let setup = portal.setup("").replacing(postbox::PASSWORD, "another-password");
    let bearerd = setup.start();
    assert!(error(&bearerd).contains("does not take the name and password"));
    assert_eq!(bearerd.credential("nic-ma-portal")["state"], "rejected");
    assert_eq!(portal.count("GET", LOGIN), 0);
}

#[test]
fn an_attempt_counts_over_restarts_and_a_token_is_taken_up_again() {
    for (faults, state) in [(&["nic-ma=mail-lost"][..], "pending"), (&[], "ready")] {
        let portal = Portal::start(faults);
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = portal.sandbox.portal_configuration(&portal.sandbox.mailbox());
        let configuration =
            configuration.replace("[routes", "mail_wait = \"1s\"\n[routes") + &stored(folder.path());
        let mut bearerd = Setup::new(&configuration).start();
        if state == "ready" {
            bearerd.wait_until_ready();
        } else {
            drop(error(&bearerd));
        }
        for _ in 0..3 {
            bearerd.end_by(rustix::process::Signal::KILL);
            bearerd.start_again();
            if state == "ready" {
                bearerd.wait_until_ready();
                assert_eq!(bearerd.app().get(CALL).status(), 200);
            } else {
                let message = error(&bearerd);
                assert!(message.contains("`max_renewals`"), "{message}");
            }
        }
        assert_eq!((portal.count("POST", LOGIN), portal.count("POST", TOKEN)), (1, 1), "{state}");
    }
}

#[test]
fn a_forecast_needs_a_person_for_a_token_that_is_put_in_by_hand_and_none_for_one_that_is_mailed() {
    let portal = Portal::start(&[]);
    let by_itself = portal.setup("");
    let forecast = |setup: &Setup| {
        let path = setup.write();
        let mut command = crate::support::bearerd(&["forecast", "--days", "200", "--json", "--config"]);
        command.arg(path);
        let output = crate::support::sidecar::run(command, "");
        let told: Value = serde_json::from_slice(&output.stdout).expect("a JSON document");
        (output.status.code(), told)
    };
    let (code, told) = forecast(&by_itself);
    assert_eq!(code, Some(0), "{told}");
    let by_hand = Setup::new(
        "[credentials.nic-ma]\npreset = \"nic-ma\"\ntoken = { value = \"by-hand-0123456789\" }\nexpires = { after = \"180d\" }\n\
         [routes.r]\nupstream = \"http://127.0.0.1:1\"\ncredential = \"nic-ma\"\n",
    );
    let (code, told) = forecast(&by_hand);
    assert_eq!(code, Some(1), "{told}");
}

/// A store in a file, so that a restart knows what was before it.
fn stored(folder: &Path) -> String {
    format!(
        "[store]\nkind = \"file\"\npath = \"{}/state\"\nkey = {{ value = \"{}\" }}\n",
        folder.display(),
        "ab".repeat(32)
    )
}

#[test]
fn a_mail_that_comes_after_a_restart_or_while_nobody_waits_is_taken_without_another_attempt() {
    for (mailbox, comes_while_down) in
        [("imap", false), ("imap", true), ("maildir", false), ("maildir", true)]
    {
        let portal = Portal::start(&["nic-ma=mail-lost"]);
        let (folder, mails) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        portal.sandbox.postbox().also_into(mails.path()).expect("a Maildir");
        let place = match mailbox {
            "imap" => portal.sandbox.mailbox(),
            _ => format!("maildir:{}", mails.path().display()),
        };
        let configuration = portal.sandbox.portal_configuration(&place) + &stored(folder.path());
        let mut bearerd = Setup::new(&configuration).start();
        bearerd.wait("the portal to be asked", || (portal.count("POST", TOKEN) == 1).then_some(()));
        bearerd.end_by(rustix::process::Signal::KILL);
        let token = "late-token-0123456789abcdef";
        let deliver = || {
            let body = format!("Your new access token is: {token}");
            portal.sandbox.postbox().deliver(
                "token@nicauth.example",
                "Your access token",
                &body,
                Clock::system().wall(),
            );
        };
        if comes_while_down {
            deliver();
        }
        bearerd.start_again();
        if !comes_while_down {
            bearerd.log("a look", |line| {
                line["message"].as_str().is_some_and(|told| told.contains("asked for before"))
            });
            deliver();
        }
        bearerd.wait_until_ready();
        assert_eq!(bearerd.credential("nic-ma-portal")["generation"], 1);
        assert_eq!((portal.count("POST", LOGIN), portal.count("POST", TOKEN)), (1, 1), "{mailbox}");
        assert!(!format!("{:?}", bearerd.logs()).contains(token));
        // It is taken once: what lies there is not the answer to anything that is asked from now on.
        bearerd.end_by(rustix::process::Signal::KILL);
        bearerd.start_again();
        bearerd.wait_until_ready();
        assert_eq!(bearerd.credential("nic-ma-portal")["generation"], 1);
        assert_eq!(portal.count("POST", TOKEN), 1);
    }
}

#[test]
fn a_mailbox_that_was_away_costs_no_attempt_and_is_used_when_it_is_back() {
    let portal = Portal::start(&["nic-ma=imap-down:1500ms"]);
    let bearerd = portal.setup("").start();
    assert!(error(&bearerd).contains("broke the connection off"));
    bearerd.wait_until_ready();
    assert_eq!((portal.count("POST", LOGIN), portal.count("POST", TOKEN)), (1, 1));
}
