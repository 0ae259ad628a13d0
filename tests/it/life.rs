//! The life of the process: start, reload, drain, end.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::sidecar::{Setup, run};
use crate::support::{Issuer, Reply, Sidecar, Upstream, bearerd, canary};

/// A route to `upstream` at `path`, with a credential that `issuer` grants.
fn route(name: &str, path: &str, upstream: &Upstream, issuer: &Issuer, secret: &str) -> String {
    format!(
        "[credentials.{name}]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"me\"\nclient_secret = {{ value = \"{secret}\" }}\n\n\
         [routes.{name}]\npath = \"{path}\"\nupstream = \"{}\"\ncredential = \"{name}\"\n\n",
        issuer.url(),
        upstream.origin()
    )
}

fn reloads(sidecar: &Sidecar, outcome: &str) -> bool {
    let wanted = format!("bearerd_reloads_total{{outcome=\"{outcome}\"}} 1");
    sidecar.admin().get("/metrics").text().lines().any(|line| line == wanted)
}

#[test]
fn a_request_passes_with_the_token_from_end_to_end() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    let sidecar = Sidecar::ready(&route("api", "/", &upstream, &issuer, &canary::secret()));
    let answer = sidecar.app().get("/a/b?c=d");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    let request = upstream.request();
    assert_eq!(request.target(), "/a/b?c=d");
    assert_eq!(request.field("authorization"), Some(format!("Bearer {}", issuer.token())));
}

#[test]
fn it_listens_at_once_and_the_first_request_waits_for_the_token() {
    let upstream = Upstream::start();
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::status(503, "text/plain", "down")));
    let sidecar = Setup::new(&route("api", "/", &upstream, &issuer, &canary::secret())).start();
    issuer.wait_for(1);
    issuer.always(None);
    // The next try comes within two seconds, and a request waits for five.
    assert_eq!(sidecar.app().get("/").status(), 200);
}

#[test]
fn a_reload_keeps_the_token_of_an_equal_credential_and_takes_the_rest_over() {
    let (upstream, issuer, other) = (Upstream::start(), Issuer::start(3600), Issuer::start(3600));
    let (one, two) = (canary::secret(), canary::secret());
    let first = route("one", "/one", &upstream, &issuer, &one);
    let sidecar = Sidecar::ready(&first);
    assert_eq!(sidecar.app().get("/one").status(), 200);
    assert_eq!(sidecar.app().get("/two").status(), 404);

    sidecar.rewrite(&(first.clone() + &route("two", "/two", &upstream, &other, &two)));
    sidecar.signal(Signal::HUP);
    sidecar.wait("the reload", || reloads(&sidecar, "ok").then_some(()));
    assert_eq!(sidecar.app().get("/two").status(), 200);
    assert_eq!(sidecar.app().get("/one").status(), 200);
    assert_eq!(issuer.requests().len(), 1, "the first credential kept its token");
    assert_eq!(sidecar.credential("one")["generation"], 1);

    sidecar.rewrite(&first);
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(sidecar.app().get("/two").status(), 404);
    assert_eq!(sidecar.admin().get("/v1/credentials/two").status(), 404);
}

#[test]
fn a_bad_file_changes_nothing_and_all_its_problems_are_told() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    let good = route("api", "/", &upstream, &issuer, &canary::secret());
    let sidecar = Sidecar::ready(&good);
    sidecar.rewrite(&(good.clone() + "[credentials.b]\nflow = \"statik\"\n[routes.c]\npath = \"/c\"\n"));
    let answer = sidecar.control("POST", "/v1/reload", b"");
    assert_eq!(answer.status(), 422);
    let problems = answer.json()["problems"].as_array().expect("a list").len();
    assert!(problems >= 2, "{}", answer.text());
    assert!(reloads(&sidecar, "rejected"));
    sidecar.log("reload rejected", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("reload rejected"))
    });
    assert_eq!(sidecar.app().get("/").status(), 200);
    assert_eq!(issuer.requests().len(), 1);
    let output = sidecar.command(&["reload"], "");
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_request_in_flight_finishes_on_the_old_table() {
    let slow = Upstream::answering(|_| Reply::text("late").after(Duration::from_millis(600)));
    let issuer = Issuer::start(3600);
    let old = route("old", "/", &slow, &issuer, &canary::secret());
    let sidecar = Sidecar::ready(&old);
    let app = sidecar.app();
    let waiting = thread::spawn(move || app.get("/"));
    slow.wait_for(1);
    let upstream = Upstream::start();
    sidecar.rewrite(&route("new", "/", &upstream, &issuer, &canary::secret()));
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(sidecar.app().get("/").text(), "hello");
    assert_eq!(waiting.join().expect("an answer").text(), "late");
}

#[test]
fn a_watched_file_is_reloaded_when_it_changes() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    let secret = canary::secret();
    let setup = Setup::new(&route("api", "/before", &upstream, &issuer, &secret)).server("watch = true");
    let sidecar = setup.start();
    sidecar.wait_until_ready();
    assert_eq!(sidecar.app().get("/after").status(), 404);
    sidecar.rewrite(&route("api", "/after", &upstream, &issuer, &secret));
    sidecar.wait("the new route", || (sidecar.app().get("/after").status() == 200).then_some(()));
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn sigterm_lets_a_request_in_flight_finish_and_ends_with_0() {
    let upstream = Upstream::answering(|_| Reply::text("late").after(Duration::from_millis(500)));
    let issuer = Issuer::start(3600);
    let mut sidecar = Sidecar::ready(&route("api", "/", &upstream, &issuer, &canary::secret()));
    let app = sidecar.app();
    let waiting = thread::spawn(move || app.get("/"));
    upstream.wait_for(1);
    sidecar.signal(Signal::TERM);
    sidecar.log("draining", |line| line["message"] == "draining");
    assert_eq!(sidecar.admin().get("/live").status(), 200, "the admin listener stays up");
    assert_eq!(sidecar.admin().get("/ready").status(), 503);
    assert_eq!(waiting.join().expect("an answer").text(), "late");
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let upstream = Upstream::answering(|_| Reply::Never);
    let issuer = Issuer::start(3600);
    let mut sidecar = Sidecar::ready(&route("api", "/", &upstream, &issuer, &canary::secret()));
    let mut app = sidecar.app().connect();
    app.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    upstream.wait_for(1);
    sidecar.signal(Signal::TERM);
    sidecar.log("draining", |line| line["message"] == "draining");
    assert!(sidecar.is_running(), "it waits for the request");
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
}

#[test]
fn the_drain_ends_when_its_time_is_over() {
    let upstream = Upstream::answering(|_| Reply::Never);
    let issuer = Issuer::start(3600);
    let route = route("api", "/", &upstream, &issuer, &canary::secret());
    let mut sidecar = Setup::new(&route).server("drain = \"300ms\"").start();
    sidecar.wait_until_ready();
    let mut app = sidecar.app().connect();
    app.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    upstream.wait_for(1);
    assert_eq!(sidecar.control("POST", "/v1/quit", b"").status(), 202);
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
}

#[test]
fn a_missing_or_bad_configuration_ends_with_78_and_says_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bearerd.toml");
    let start = || {
        run(
            {
                let mut command = bearerd(&["run", "--config"]);
                command.arg(&file);
                command
            },
            "",
        )
    };
    let output = start();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bearerd.toml"));
    fs::write(&file, "[server]\nworkerz = 1\n[routes.a]\nupstream = \"ftp://a\"\n").expect("a file");
    let output = start();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78));
    assert!(told.contains("workerz") && told.contains("upstream") && output.stdout.is_empty(), "{told}");
}

#[test]
fn an_address_in_use_ends_with_69_and_names_it() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bearerd.toml");
    let token = canary::token();
    let text = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[listeners.app]\nbind = \"{address}\"\n\
         [credentials.a]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\n\
         [routes.a]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"a\"\n"
    );
    fs::write(&file, text).expect("a file");
    let mut command = bearerd(&["run", "--config"]);
    command.arg(&file);
    let output = run(command, "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("`app`") && told.contains(&address.to_string()), "{told}");
}
