//! What an issuer tells of its endpoints, and what no app reaches before and after it has.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::store::with_store;
use crate::support::message::Message;
use crate::support::{Reply, Setup, Sidecar, Upstream, canary};

/// An issuer and an API on one server.
#[derive(Clone)]
struct Server {
    upstream: Upstream,
    /// It tells its endpoints.
    tells: Arc<AtomicBool>,
    /// So many milliseconds later.
    delay: Arc<AtomicU64>,
    /// What was asked of it, but for its metadata.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let (tells, delay, asked) =
            (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (told, late, seen) = (Arc::clone(&tells), Arc::clone(&delay), Arc::clone(&asked));
        let upstream = Upstream::issuer(move |request: &Message| {
            let origin = format!("http://{}", request.field("host").expect("a host"));
            let target = request.target();
            if target.starts_with("/.well-known/") {
                let metadata = json!({
                    "issuer": origin,
                    "token_endpoint": format!("{origin}/odd/place"),
                    "introspection_endpoint": format!("{origin}/look"),
                    "revocation_endpoint": format!("{origin}/undo"),
                    "mtls_endpoint_aliases": {"token_endpoint": format!("{origin}/mtls/place")},
                });
                let told = told.load(Ordering::SeqCst);
                let reply = if told { Reply::json(200, &metadata) } else { Reply::json(503, &Value::Null) };
                return reply.after(Duration::from_millis(late.load(Ordering::SeqCst)));
            }
            seen.lock().expect("nobody panicked").push(format!("{} {target}", request.method()));
            if target == "/odd/place" {
                let token = canary::token();
                return Reply::json(
                    200,
                    &json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}),
                );
            }
            Reply::text("hello")
        });
        Self { upstream, tells, delay, asked }
    }

    fn tells(&self, tells: bool) {
        self.tells.store(tells, Ordering::SeqCst);
    }

    /// What apps asked of it: all but for tokens.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("nobody panicked");
        asked.iter().filter(|line| *line != "POST /odd/place").cloned().collect()
    }

    fn tokens(&self) -> usize {
        let asked = self.asked().len();
        self.asked.lock().expect("nobody panicked").len() - asked
    }

    /// A credential of this issuer, and routes to its server: one with its tokens, one with another's.
    fn setup(&self, wait: &str) -> Setup {
        let origin = self.upstream.origin();
        with_store(&format!(
            "[credentials.me]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\nissuer = \"{origin}\"\n\
             client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\nwait = \"{wait}\"\n\
             [credentials.other]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = \"never\"\nwait = \"{wait}\"\n\
             [routes.me]\npath = \"/me\"\nupstream = \"{origin}\"\ncredential = \"me\"\n\
             [routes.other]\npath = \"/other\"\nupstream = \"{origin}\"\ncredential = \"other\"\n",
            canary::secret(),
            canary::token(),
        ))
    }
}

#[track_caller]
fn refused(bearerd: &Sidecar, method: &str, target: &str, body: &str, code: &str) {
    let answer = bearerd.app().request(method, target, "", body.as_bytes());
    assert_eq!(answer.json()["code"], code, "{method} {target}: {} {}", answer.status(), answer.text());
    assert_eq!(answer.field("retry-after").is_some(), code == "credential_unavailable", "{target}");
}

#[test]
fn while_an_issuer_has_not_told_its_endpoints_nothing_that_could_ask_for_tokens_reaches_its_server() {
    let server = Server::start();
    server.tells(false);
    let bearerd = server.setup("200ms").start();
    for (method, target, body) in [
        ("POST", "/other/odd/place", "grant_type=client_credentials"),
        ("POST", "/other/items", ""),
        ("PUT", "/other/odd/place", "x"),
        ("DELETE", "/other/odd/place", ""),
        ("GET", "/other/odd/place?grant_type=client_credentials", ""),
        ("GET", "/other/odd/place?a=b&grant%5Ftype=password", ""),
        ("GET", "/other/odd/place", "grant_type=client_credentials"),
    ] {
        refused(&bearerd, method, target, body, "credential_unavailable");
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
    assert_eq!(
        bearerd.app().get("/other/items?page=2").text(),
        "hello",
        "the API is not the issuer's to stop"
    );
    assert_eq!(server.asked(), ["GET /items?page=2"]);
}

#[test]
fn a_request_is_held_back_until_the_issuer_has_told_and_then_judged_by_what_it_told() {
    let server = Server::start();
    server.delay.store(700, Ordering::SeqCst);
    // Longer than a test may take: it passes as soon as the issuer has told.
    let bearerd = server.setup("1h").start();
    assert_eq!(bearerd.app().post("/other/items", "{}").text(), "hello");
    for target in ["/other/odd/place", "/me/odd/place", "/other/look", "/other/undo", "/me/mtls/Place/"] {
        for method in ["POST", "GET"] {
            refused(&bearerd, method, target, "", "not_allowed");
        }
    }
    assert_eq!(server.asked(), ["POST /items"]);
}

#[test]
fn after_a_restart_with_a_token_of_the_store_the_endpoints_are_out_of_reach_from_the_first_request_on() {
    let server = Server::start();
    let mut bearerd = server.setup("300ms").start();
    bearerd.wait_until_ready();
    assert_eq!(server.tokens(), 1);
    for tells in [true, false] {
        server.tells(tells);
        bearerd.end_by(Signal::KILL);
        bearerd.start_again();
        let code = if tells { "not_allowed" } else { "credential_unavailable" };
        refused(&bearerd, "POST", "/me/odd/place", "grant_type=client_credentials", code);
        assert_eq!(bearerd.app().get("/me/items").text(), "hello", "with the token of before");
    }
    assert_eq!(server.tokens(), 1, "neither the app nor bearerd asked for another");
    bearerd.log("taken up, and not renewed", |line| line.to_string().contains("\"taken up\""));
}

#[test]
fn a_credential_that_a_reload_brings_has_its_issuer_asked_at_once() {
    let server = Server::start();
    let setup = server.setup("20s");
    let origin = server.upstream.origin();
    let without = format!(
        "[credentials.other]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = \"never\"\n\
         [routes.other]\npath = \"/other\"\nupstream = \"{origin}\"\ncredential = \"other\"\n",
        canary::token()
    );
    let with = format!(
        "{without}[credentials.person]\nflow = \"oauth2\"\ngrant = \"authorization_code\"\nissuer = \"{origin}\"\n\
         client_id = \"app\"\nclient_auth = \"none\"\n"
    );
    let bearerd = setup.with(|_| without.clone());
    assert_eq!(bearerd.app().post("/other/look", "").status(), 200, "nobody says what is there");
    bearerd.rewrite(&with);
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    refused(&bearerd, "POST", "/other/odd/place", "", "not_allowed");
}
