//! Routes whose requests say whose token they want.

use std::time::Duration;

use crate::support::inside::Inside;
use crate::support::sidecar::run;
use crate::support::{Reply, Setup, Upstream, bearerd};

const CREDENTIAL: &str = "[credentials.people]\nflow = \"oauth2\"\ngrant = \"authorization_code\"\n\
     authorization_url = \"http://127.0.0.1:9/authorize\"\ntoken_url = \"http://127.0.0.1:9/token\"\n\
     client_id = \"app\"\nclient_auth = \"none\"\nredirect_uri = \"http://127.0.0.1:9180/oauth/callback\"\n\n";

fn by_header(upstream: &Upstream) -> String {
    route(upstream, "{ header = \"X-Bearerd-Subject\" }")
}

fn by_path(upstream: &Upstream, number: usize) -> String {
    route(upstream, &format!("{{ path = {number} }}"))
}

fn route(upstream: &Upstream, subject: &str) -> String {
    let origin = upstream.origin();
    format!(
        "{CREDENTIAL}[routes.api]\npath = \"/api\"\nupstream = \"{origin}\"\ncredential = \"people\"\n\
         subject = {subject}\n"
    )
}

fn with_two(configuration: &str) -> Inside {
    let bearerd = Inside::start(configuration, "");
    bearerd.consent("people", "alice", "token-of-alice");
    bearerd.consent("people", "bob b", "token-of-bob");
    bearerd
}

#[test]
fn each_subject_has_its_own_token_on_its_requests() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_header(&upstream));
    for (subject, token) in
        [("alice", "token-of-alice"), ("bob b", "token-of-bob"), ("alice", "token-of-alice")]
    {
        let answer = bearerd.app().get_with("/api/x", &format!("X-Bearerd-Subject: {subject}\r\n"));
        assert_eq!(answer.status(), 200);
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!(seen.field("authorization"), Some(format!("Bearer {token}")));
    }
}

#[test]
fn the_field_that_says_the_subject_is_not_forwarded_in_any_case() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_header(&upstream));
    for spelling in ["X-Bearerd-Subject", "x-bearerd-subject", "X-BEARERD-SUBJECT"] {
        assert_eq!(bearerd.app().get_with("/api/x", &format!("{spelling}: alice\r\n")).status(), 200);
        let seen = upstream.requests().pop().expect("a request");
        assert!(!seen.head().to_lowercase().contains("subject"), "{}", seen.head());
        let fields = seen.head().replace("token-of-alice", "");
        assert!(!fields.contains("alice"), "{fields}");
    }
}

#[test]
fn a_request_without_a_fit_subject_is_refused_before_anything_is_sent() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_header(&upstream));
    let long = "x".repeat(257);
    for fields in [
        "",
        "X-Bearerd-Subject:\r\n",
        "X-Bearerd-Subject: alice\r\nX-Bearerd-Subject: bob\r\n",
        "X-Bearerd-Subject: alice\r\nX_Bearerd_Subject: bob\r\n",
        "X_Bearerd_Subject: alice\r\n",
        "X-Bearerd-Subject: a\tb\r\n",
        "X-Bearerd-Subject: \u{85}\r\n",
        &format!("X-Bearerd-Subject: {long}\r\n"),
    ] {
        let answer = bearerd.app().get_with("/api/x", fields);
        assert_eq!(answer.status(), 400, "{fields}");
        let document = answer.json();
        assert_eq!((&document["code"], &document["route"]), (&"subject_missing".into(), &"api".into()));
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_caller_uses_the_subjects_that_a_rule_gives_it_and_no_login_of_others() {
    let (upstream, own) = (Upstream::start(), rustix::process::geteuid().as_raw());
    let rules = format!(
        "control = true\n{}callers = [{{ uids = [{own}], subjects = [\"ali*\", \"carol\"] }}, {{ uids = [{}] }}]\n",
        by_header(&upstream),
        own + 1
    );
    let bearerd = with_two(&rules);
    let ask = |subject: &str| bearerd.app().get_with("/api/x", &format!("X-Bearerd-Subject: {subject}\r\n"));
    assert_eq!(ask("alice").status(), 200);
    for (subject, status, code) in
        [("bob b", 403, "caller_denied"), ("malice", 403, "caller_denied"), ("carol", 503, "login_required")]
    {
        let answer = ask(subject);
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (status, Some(code)), "{subject}");
    }
    let logout = "/.bearerd/v1/credentials/people/subjects/alice";
    assert_eq!(bearerd.app().request("DELETE", logout, "", b"").status(), 403);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_unknown_subject_is_told_where_its_user_logs_in() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_header(&upstream));
    for _ in 0..2 {
        let answer = bearerd.app().get_with("/api/x", "X-Bearerd-Subject: carol\r\n");
        assert_eq!(answer.status(), 503);
        assert!(answer.field("retry-after").is_some());
        let document = answer.json();
        assert_eq!(document["code"], "login_required");
        assert_eq!(document["subject"], "carol");
        assert_eq!(document["login"], "/.bearerd/v1/credentials/people/authorize");
        bearerd.log_out("people", "carol");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_subject_that_has_logged_out_must_log_in_again() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_header(&upstream));
    let ask = || bearerd.app().get_with("/api/x", "X-Bearerd-Subject: alice\r\n").status();
    assert_eq!(ask(), 200);
    bearerd.log_out("people", "alice");
    assert_eq!(ask(), 503);
    bearerd.consent("people", "alice", "another");
    assert_eq!(ask(), 200);
    let seen = upstream.requests().pop().expect("a request");
    assert_eq!(seen.field("authorization").as_deref(), Some("Bearer another"));
}

#[test]
fn a_segment_of_the_path_is_taken_and_removed() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_path(&upstream, 1));
    for (target, token, forwarded) in [
        ("/api/alice/files?x=/alice", "token-of-alice", "/files?x=/alice"),
        ("/api/%61lice", "token-of-alice", "/"),
        ("/api/alice/", "token-of-alice", "/"),
        ("/api/bob%20b//a%20b/", "token-of-bob", "//a%20b/"),
    ] {
        assert_eq!(bearerd.app().get(target).status(), 200, "{target}");
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!(seen.field("authorization"), Some(format!("Bearer {token}")));
        assert_eq!(seen.target(), forwarded);
    }
}

#[test]
fn a_later_segment_is_taken_and_removed_too() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_path(&upstream, 2));
    assert_eq!(bearerd.app().get("/api/v2/alice/files").status(), 200);
    assert_eq!(upstream.request().target(), "/v2/files");
    assert_eq!(bearerd.app().get("/api/v2").status(), 400);
}

#[test]
fn a_segment_that_can_be_read_in_two_ways_or_is_no_subject_is_refused() {
    let upstream = Upstream::start();
    let bearerd = with_two(&by_path(&upstream, 1));
    for (target, code) in [
        ("/api", "subject_missing"),
        ("/api/", "subject_missing"),
        ("/api//files", "subject_missing"),
        ("/api/%ff/files", "subject_missing"),
        ("/api/%2561lice/files", "path_ambiguous"),
        ("/api/a%2fb/files", "path_ambiguous"),
        ("/api/../files", "path_ambiguous"),
        ("/api/%2e%2e/files", "path_ambiguous"),
        ("/api/a%00/files", "path_ambiguous"),
    ] {
        let answer = bearerd.app().get(target);
        assert_eq!((answer.status(), &answer.json()["code"]), (400, &code.into()), "{target}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn policy_sees_the_path_without_the_subject() {
    let upstream = Upstream::start();
    let origin = upstream.origin();
    let configuration = by_path(&upstream, 2) + "allow = [\"GET /oauth/*\"]\n";
    let configuration = configuration.replace("http://127.0.0.1:9/token", &format!("{origin}/oauth/token"));
    let bearerd = with_two(&configuration);
    assert_eq!(bearerd.app().get("/api/oauth/alice/me").status(), 200);
    assert_eq!(bearerd.app().get("/api/other/alice/me").status(), 403);
    for target in ["/api/oauth/alice/token", "/api/oauth/alice//token/"] {
        assert_eq!(bearerd.app().get(target).status(), 403, "no token endpoint behind a subject: {target}");
    }
}

#[test]
fn a_location_leads_back_through_the_subject() {
    let upstream = Upstream::answering(|_| Reply::with_fields(302, "Location: /files/2?x#y\r\n", ""));
    let bearerd = with_two(&by_path(&upstream, 1));
    let answer = bearerd.app().get("/api/bob%20b/files");
    assert_eq!(answer.field("location").as_deref(), Some("/api/bob%20b/files/2?x#y"));
}

#[test]
fn a_subject_that_sleeps_is_served_as_one_that_is_awake() {
    let upstream = Upstream::start();
    let bearerd = Inside::start(&by_header(&upstream), "subject_idle = \"1s\"\nmax_awake_subjects = 2\n");
    for number in 0..20 {
        bearerd.consent("people", &format!("s{number}"), &format!("token-of-s{number}"));
    }
    let awake = || bearerd.keeper().subject_numbers().get(&"people".into()).map_or(0, |of| of.awake);
    while awake() > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    for number in 0..20 {
        let answer = bearerd.app().get_with("/api/x", &format!("X-Bearerd-Subject: s{number}\r\n"));
        assert_eq!(answer.status(), 200);
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!(seen.field("authorization"), Some(format!("Bearer token-of-s{number}")));
        assert!(awake() <= 3);
    }
    let credentials = bearerd.admin().get("/v1/credentials").json();
    assert_eq!(
        (&credentials["credentials"][0]["subjects"], &credentials["credentials"][0]["state"]),
        (&20.into(), &"ready".into())
    );
    let metrics = bearerd.admin().get("/metrics").text();
    for line in [
        "bearerd_subjects{credential=\"people\",state=\"awake\"}",
        "bearerd_subjects{credential=\"people\",state=\"asleep\"}",
        "bearerd_subject_wakes_total{credential=\"people\"}",
        "bearerd_subject_sleeps_total{credential=\"people\",reason=\"idle\"}",
        "bearerd_subject_sleeps_total{credential=\"people\",reason=\"max_awake_subjects\"}",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn explain_tells_for_whom_a_request_is() {
    let setup = Setup::new(&format!(
        "{CREDENTIAL}[routes.api]\npath = \"/api\"\nupstream = \"https://api.invalid\"\ncredential = \"people\"\n\
         subject = {{ header = \"X-Bearerd-Subject\" }}\n\
         [routes.files]\npath = \"/files\"\nupstream = \"https://api.invalid\"\ncredential = \"people\"\n\
         subject = {{ path = 1 }}\n"
    ));
    let file = setup.write();
    let explain = |arguments: &[&str]| {
        let mut command = bearerd(&["explain", "GET"]);
        command.args(arguments).arg("--config").arg(&file);
        let output = run(command, "");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = explain(&["http://127.0.0.1:8080/api/x"]);
    assert!(code == Some(1) && text.contains("400 subject_missing"), "{text}");
    let (code, text) = explain(&["http://127.0.0.1:8080/api/x", "--subject", "alice"]);
    assert!(code == Some(0) && text.contains("subject     alice\n"), "{text}");
    let (code, text) = explain(&["http://127.0.0.1:8080/files/b%20c/x"]);
    assert!(code == Some(0) && text.contains("subject     b c\n"), "{text}");
    assert!(text.contains("forwarded   GET https://api.invalid/x\n"), "{text}");
}
