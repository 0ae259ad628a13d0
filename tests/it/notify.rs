//! Who is told of trouble, and how.

mod receivers;
mod restarts;

use std::fs;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bearerd::clock::Clock;
use serde_json::Value;

use crate::support::configuration::{granted, granted_to};
use crate::support::message::Message;
use crate::support::sidecar::run;
use crate::support::{Issuer, Reply, Setup, Upstream, bearerd, canary};
use receivers::{MailServer, lines_of};

/// The key of the webhooks here.
const KEY: &str = "a key of thirty-two bytes or so.";

/// A receiver by webhook, with further lines.
fn webhook(receiver: &Upstream, more: &str) -> String {
    format!(
        "\n[notify.ops]\nwebhook = \"{}/hook\"\nkey = {{ value = \"{KEY}\" }}\n{more}\n",
        receiver.origin()
    )
}

/// What a webhook brought, its signature verified.
#[track_caller]
fn verified(request: &Message) -> Value {
    let field = |name: &str| request.field(name).unwrap_or_else(|| panic!("no {name}: {}", request.head()));
    let signed =
        [format!("{}.{}.", field("webhook-id"), field("webhook-timestamp")).as_bytes(), &request.body]
            .concat();
    let signature = field("webhook-signature");
    let tag = STANDARD.decode(signature.strip_prefix("v1,").expect("version 1")).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    hmac::verify(&key, &signed, &tag).expect("a true signature");
    let notice: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(notice["id"], field("webhook-id"));
    notice
}

fn refusing() -> Issuer {
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::json(401, &serde_json::json!({"error": "invalid_client"}))));
    issuer
}

#[test]
fn what_needs_a_person_is_told_once_and_that_it_is_over_once() {
    let (upstream, receiver, issuer) = (Upstream::start(), Upstream::start(), refusing());
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        .replace("client_secret = { value = ", "client_secret = { file = \"secret\" } #")
        + &webhook(&receiver, "after = \"2s\"");
    let bearerd = Setup::new(&configuration).file("secret", "wrong").start();
    let told = receiver.wait_for(1);
    let notice = verified(&told[0]);
    assert_eq!((&notice["event"], &notice["name"]), (&"rejected".into(), &"api".into()), "{notice}");
    assert!(notice["message"].as_str().is_some_and(|text| text.contains("invalid_client")), "{notice}");
    assert!(notice["advice"].as_str().is_some_and(|text| text.contains("Correct the password")), "{notice}");
    bearerd.app().get("/api/x");

    issuer.always(None);
    bearerd.replace_file("secret", &canary::secret());
    bearerd.wait_until_ready();
    let told = receiver.wait_for(2);
    let notice = verified(&told[1]);
    assert_eq!((&notice["event"], &notice["was"]), (&"recovered".into(), &"rejected".into()), "{notice}");
    // Some more looks bring nothing.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.requests().len(), 2);
    assert_eq!(bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"sent\"}"), 2);
}

#[test]
fn an_issuer_that_is_down_is_told_when_that_has_lasted() {
    let (receiver, issuer) = (Upstream::start(), Issuer::start(3600));
    issuer.always(Some(Reply::status(500, "text/plain", "no")));
    let configuration = granted_to(&issuer, "http://127.0.0.1:1") + &webhook(&receiver, "after = \"3s\"");
    let bearerd = Setup::new(&configuration).start();
    bearerd
        .wait("a failure", || bearerd.credential("api")["last_error"]["class"].as_str().map(str::to_owned));
    assert_eq!(receiver.requests().len(), 0, "it may mend itself");
    let notice = verified(&receiver.wait_for(1)[0]);
    assert_eq!(notice["event"], "pending");
}

#[test]
fn a_receiver_that_is_down_is_tried_again_with_the_same_notice() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let tries = std::sync::atomic::AtomicU32::new(0);
    let receiver =
        Upstream::answering(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::Reset,
            1 => Reply::with_fields(503, "Retry-After: 1\r\n", ""),
            _ => Reply::with_fields(202, "", ""),
        });
    let configuration = granted(&issuer, &canary::secret(), &upstream, "") + &webhook(&receiver, "");
    let bearerd = Setup::new(&configuration).start();
    let told = receiver.wait_for(3);
    let first = verified(&told[0]);
    assert!(told.iter().all(|request| verified(request) == first), "{told:?}");
    bearerd.wait("a delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"sent\"}") == 1).then_some(())
    });
    assert_eq!(bearerd.metric("bearerd_notification_retries_total{receiver=\"ops\"}"), 2);
    assert_eq!(bearerd.metric("bearerd_notifications_waiting{receiver=\"ops\"}"), 0);
}

#[test]
fn a_receiver_that_says_no_is_not_asked_again() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let receiver = Upstream::answering(|_| Reply::status(410, "text/plain", "gone"));
    let configuration = granted(&issuer, &canary::secret(), &upstream, "") + &webhook(&receiver, "");
    let bearerd = Setup::new(&configuration).start();
    bearerd.log("the end of it", |line| {
        line["message"] == "a notice could not be delivered"
            && line["reason"].as_str().is_some_and(|reason| reason.contains("410"))
    });
    assert_eq!(bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"failed\"}"), 1);
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_receiver_that_never_answers_delays_neither_requests_nor_renewals_nor_others() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(4));
    let (silent, other) = (Upstream::answering(|_| Reply::Never), Upstream::start());
    let rejected = refusing();
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + &format!(
            "[credentials.other]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
             client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\noptional = true\n",
            rejected.url(),
            canary::secret()
        )
        + &webhook(&silent, "timeout = \"2s\"")
        + &webhook(&other, "").replace("notify.ops", "notify.others");
    let bearerd = Setup::new(&configuration).start();
    bearerd.wait_for_generation("api", 1);
    other.wait_for(1);
    silent.wait_for(1);
    let before = bearerd.credential("api")["generation"].as_u64().expect("a number");
    for _ in 0..50 {
        assert_eq!(bearerd.app().get("/api/x").status(), 200);
    }
    bearerd.wait_for_generation("api", before + 2);
    silent.wait_for(2);
    assert!(bearerd.metric("bearerd_notification_retries_total{receiver=\"ops\"}") > 0);
}

#[test]
fn a_command_gets_the_notice_on_its_input_and_little_of_the_environment() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + "\n[notify.page]\ncommand = [\"/bin/sh\", \"{folder}/page\", \"an argument; and $(none)\"]\n";
    let script = "cat > \"$0.notice.new\"; printf '%s' \"$1\" > \"$0.argument\"; /usr/bin/env > \"$0.environment\"\n\
                  echo noise; echo noise >&2; mv \"$0.notice.new\" \"$0.notice\"\n";
    let bearerd = Setup::new(&configuration)
        .file("page", script)
        .variable("PATH", "/usr/bin:/bin")
        .variable("SECRET_OF_OTHERS", &canary::secret())
        .start();
    let read = |name: &str| fs::read_to_string(bearerd.folder().join(name)).ok();
    let notice = bearerd.wait("a notice", || read("page.notice"));
    let notice: Value = serde_json::from_str(&notice).expect("JSON");
    assert_eq!((&notice["event"], &notice["name"]), (&"rejected".into(), &"api".into()));
    assert_eq!(read("page.argument").as_deref(), Some("an argument; and $(none)"));
    let environment = read("page.environment").expect("an environment");
    assert!(environment.contains("PATH=/usr/bin:/bin") && !environment.contains("SECRET"), "{environment}");
    bearerd.wait("a delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"page\",outcome=\"sent\"}") == 1).then_some(())
    });
}

#[test]
fn a_command_that_does_not_end_is_killed_and_run_again() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + "\n[notify.page]\ncommand = [\"/bin/sh\", \"{folder}/page\"]\ntimeout = \"1s\"\n";
    let script =
        "echo $$ >> \"$0.pids\"; [ -e \"$0.second\" ] && exit 0; touch \"$0.second\"; sleep 600 & wait\n";
    let bearerd = Setup::new(&configuration).file("page", script).variable("PATH", "/usr/bin:/bin").start();
    bearerd.wait("a delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"page\",outcome=\"sent\"}") == 1).then_some(())
    });
    let pids = fs::read_to_string(bearerd.folder().join("page.pids")).expect("a file");
    let pids: Vec<_> = pids.lines().collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(!std::path::Path::new(&format!("/proc/{}", pids[0])).exists(), "the first one lives");
    bearerd.log("why", |line| line["reason"].as_str().is_some_and(|reason| reason.contains("was killed")));
}

#[test]
fn a_mail_is_handed_to_a_relay_on_this_machine() {
    let (upstream, issuer, server) = (Upstream::start(), refusing(), MailServer::start());
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + &format!(
            "\n[notify.people]\nmail = [\"Ops <ops@example.org>\", \"second@example.org\"]\n\
             server = \"smtp://{}\"\nfrom = \"bearerd@example.org\"\n",
            server.address()
        );
    let bearerd = Setup::new(&configuration).start();
    let mail = server.next();
    assert_eq!(mail.from, "<bearerd@example.org>");
    assert_eq!(mail.to, ["<ops@example.org>", "<second@example.org>"]);
    for line in [
        "From: bearerd@example.org",
        "Subject: [bearerd] api: rejected",
        "Auto-Submitted: auto-generated",
        "event:   rejected",
        "of:      api",
    ] {
        assert!(lines_of(&mail.text).any(|it| it == line), "no `{line}`:\n{}", mail.text);
    }
    bearerd.wait("a delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"people\",outcome=\"sent\"}") == 1)
            .then_some(())
    });
}

#[test]
fn a_token_that_nothing_renews_is_told_of_two_weeks_before_its_end() {
    let (upstream, receiver) = (Upstream::start(), Upstream::start());
    let near = Clock::system().wall() + Duration::from_secs(13 * 86_400);
    let far = Clock::system().wall() + Duration::from_secs(15 * 86_400);
    let key = |name: &str, end: jiff::Timestamp| {
        format!(
            "[credentials.{name}]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = {{ at = \"{end}\" }}\n",
            canary::token()
        )
    };
    let configuration = key("near", near)
        + &key("far", far)
        + &crate::support::configuration::route("near", &upstream)
        + &webhook(&receiver, "");
    let bearerd = Setup::new(&configuration).start();
    let notice = verified(&receiver.wait_for(1)[0]);
    assert_eq!((&notice["event"], &notice["name"]), (&"deadline".into(), &"near".into()), "{notice}");
    assert!(notice["ends_at"].as_str().is_some_and(|end| end[..10] == near.to_string()[..10]), "{notice}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.requests().len(), 1);
    drop(bearerd);
}

#[test]
fn a_reload_brings_receivers_and_takes_them_away() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let (first, second) = (Upstream::start(), Upstream::start());
    let credentials = granted(&issuer, &canary::secret(), &upstream, "");
    // Both are there for the ports: what a process gave up at its start does not come back.
    let unwanted = webhook(&second, "events = [\"address\"]").replace("notify.ops", "notify.second");
    let bearerd = Setup::new(&(credentials.clone() + &webhook(&first, "") + &unwanted)).start();
    first.wait_for(1);
    let wanted = webhook(&second, "").replace("notify.ops", "notify.second");
    bearerd.rewrite(&(credentials + &wanted));
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(verified(&second.wait_for(1)[0])["event"], "rejected");
    assert_eq!(first.requests().len(), 1);
    assert_eq!(bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"sent\"}"), 0);
}

#[test]
fn somebody_can_see_whether_notices_arrive() {
    let (upstream, issuer, receiver) = (Upstream::start(), Issuer::start(60), Upstream::start());
    let configuration = granted(&issuer, &canary::secret(), &upstream, "")
        + &webhook(&receiver, "")
        + "[notify.broken]\ncommand = [\"/bin/false\"]\n";
    let setup = Setup::new(&configuration);
    let path = setup.write();
    let mut command = bearerd(&["notify", "test", "ops", "--config"]);
    command.arg(&path);
    let output = run(command, "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ops: delivered (webhook)\n", "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(verified(&receiver.request())["event"], "test");

    let mut command = bearerd(&["notify", "test", "--config"]);
    command.arg(&path);
    let output = run(command, "");
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`broken` (command): the command `/bin/false` failed"), "{said}");
}

#[test]
fn what_a_receiver_lacks_is_told_at_its_place() {
    let mistakes = |text: &str| {
        let setup = Setup::new(&(crate::support::configuration::to("http://127.0.0.1:1") + text));
        let mut command = bearerd(&["check", "--config"]);
        command.arg(setup.write());
        let output = run(command, "");
        assert_eq!(output.status.code(), Some(78), "{text}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (text, wanted) in [
        ("[notify.a]\n", "this does not say how the receiver is reached"),
        ("[notify.a]\nwebhook = \"https://a.example/\"\n", "`key` is missing"),
        (
            "[notify.a]\nwebhook = \"http://a.example/\"\nkey = { value = \"k\" }\n",
            "could read and forge notices",
        ),
        (
            "[notify.a]\nwebhook = \"https://a.example/\"\ncommand = [\"a\"]\n",
            "`webhook` and `command` at once",
        ),
        ("[notify.a]\ncommand = []\n", "names no program"),
        ("[notify.a]\ncommand = [\"a\"]\nkey = { value = \"k\" }\n", "`key` belongs to `webhook`"),
        (
            "[notify.a]\nmail = \"a@b.example\"\nserver = \"mail.example\"\nfrom = \"b@b.example\"\n",
            "starts with `smtps://`",
        ),
        (
            "[notify.a]\nmail = \"a@b.example\\nRCPT TO:<c@d>\"\nserver = \"smtps://m.example\"\nfrom = \"b@b.example\"\n",
            "not an address of mail",
        ),
        (
            "[notify.a]\nmail = \"a@b.example\"\nserver = \"smtp://m.example\"\nstarttls = false\nfrom = \"b@b.example\"\n",
            "could read and forge notices",
        ),
        ("[notify.a]\ncommand = [\"a\"]\nevents = [\"rejectet\"]\n", "rejected"),
        ("[notify.a]\ncommand = [\"a\"]\ncredentials = [\"kay\"]\n", "there is no credential of this name"),
    ] {
        let said = mistakes(text);
        assert!(said.contains(wanted), "{text}: {said}");
    }
}
