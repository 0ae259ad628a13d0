//! oidc-provider, a certified OpenID provider: its token endpoint, and an API that asks it whether the
//! token that bearerd put on a request lives.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::counterpart::{Counterpart, here, node};
use crate::support::sidecar::Setup;
use crate::support::{Client, Sidecar};

/// The lifetime of access tokens, in seconds.
const LIFETIME: &str = "5";
/// Renewals that a rotating grant must live through.
const RENEWALS: u64 = 11;

/// A running provider.
pub struct Provider {
    folder: TempDir,
    /// Its URL.
    pub issuer: String,
    _process: Counterpart,
}

impl Provider {
    fn start() -> Self {
        Self::with_lifetime(LIFETIME)
    }

    /// A provider whose access tokens live for so many seconds.
    pub fn with_lifetime(lifetime: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = node("node");
        command.arg(here("oidc.mjs")).arg(folder.path()).env("TTL", lifetime);
        let process = Counterpart::start(&mut command, "issuer");
        let greeting: Value = serde_json::from_str(&process.greeting).expect("a line of JSON");
        let issuer = greeting["issuer"].as_str().expect("an issuer").to_owned();
        Self { folder, issuer, _process: process }
    }

    /// A file that it wrote: a private key, the first refresh token.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a file of the provider")
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let address = self.issuer.strip_prefix("http://").expect("plain HTTP on loopback");
        Client::new(address.parse().expect("an address"))
    }

    /// What happened at its token endpoint.
    pub fn events(&self) -> Value {
        self.client().get("/events").json()
    }

    /// A configuration with one credential and a route to the API.
    fn setup(&self, credential: &str) -> Setup {
        let issuer = &self.issuer;
        Setup::new(&format!(
            "[credentials.person]\nflow = \"oauth2\"\ntoken_url = \"{issuer}/token\"\n{credential}\n\
             [routes.api]\nupstream = \"{issuer}\"\ncredential = \"person\"\n"
        ))
    }
}

/// Obtains a token as a machine and calls the API twice: with the first token, and with one that came
/// after its end.
#[track_caller]
fn machine_is_served(provider: &Provider, setup: Setup, client_id: &str) {
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    for generation in [1, 3] {
        bearerd.wait_for_generation("person", generation);
        let answer = bearerd.app().get("/api/thing?page=2");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.json()["client_id"], client_id);
        assert_eq!(answer.json()["path"], "/api/thing?page=2");
    }
    assert_eq!(provider.events()["refused"], serde_json::json!([]));
}

#[test]
fn client_credentials_with_basic_authentication() {
    let provider = Provider::start();
    // Characters that the form encoding of RFC 6749, section 2.3.1, is there for.
    let setup = provider.setup(
        "grant = \"client_credentials\"\nclient_id = \"client:basic\"\n\
         client_secret = { file = \"{folder}/secret\" }",
    );
    machine_is_served(&provider, setup.file("secret", "basic secret+%:/=\n"), "client:basic");
}

#[test]
fn client_credentials_with_the_secret_in_the_form() {
    let provider = Provider::start();
    let setup = provider.setup(
        "grant = \"client_credentials\"\nclient_id = \"client-post\"\nclient_auth = \"post\"\n\
         client_secret = { env = \"POST_SECRET\" }",
    );
    machine_is_served(&provider, setup.variable("POST_SECRET", "post secret&=+"), "client-post");
}

#[test]
fn client_credentials_with_a_signed_assertion() {
    let provider = Provider::start();
    for algorithm in ["es256", "rs256"] {
        let setup = provider.setup(&format!(
            "grant = \"client_credentials\"\nclient_id = \"client-{algorithm}\"\n\
             client_auth = \"private_key_jwt\"\n\
             client_assertion = {{ jwt = {{ key = {{ file = \"{{folder}}/key.pem\" }} }} }}"
        ));
        let setup = setup.file("key.pem", &provider.file(&format!("key-{algorithm}.pem")));
        machine_is_served(&provider, setup, &format!("client-{algorithm}"));
    }
}

#[test]
fn a_wrong_client_secret_is_a_rejection_that_is_not_tried_again() {
    let provider = Provider::start();
    let setup = provider.setup(
        "grant = \"client_credentials\"\nclient_id = \"client-post\"\nclient_auth = \"post\"\n\
         client_secret = { value = \"wrong\" }",
    );
    let bearerd = setup.start();
    let said = bearerd.wait_for_state("person", "rejected");
    assert_eq!(said["last_error"]["class"], "rejected");
    let answer = bearerd.app().get("/api/thing");
    assert_eq!((answer.status(), &answer.json()["code"]), (503, &Value::from("credential_rejected")));
    assert_eq!(provider.events()["refused"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_token_endpoint_is_out_of_reach_for_the_app() {
    let provider = Provider::start();
    let bearerd = rotating(&provider);
    let body = "grant_type=client_credentials&client_id=client-post&client_secret=post+secret%26%3D%2B";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for target in ["/token", "/token/", "/TOKEN", "/%74oken", "/token?x=1", "//token"] {
        let answer = bearerd.app().request("POST", target, form, body.as_bytes());
        assert_eq!(answer.status(), 403, "{target}: {}", answer.text());
    }
    assert_eq!(provider.events()["granted"], 1);
}

#[test]
fn a_rotating_grant_lives_through_many_renewals_under_load_and_no_request_fails() {
    let provider = Provider::start();
    let bearerd = rotating(&provider);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = bearerd.app().connect();
                let request = bearerd.app().head("GET", "/api/load", "", 0);
                while !done.load(Ordering::Relaxed) {
                    connection.send(&request);
                    let answer = connection.answer();
                    if answer.status() != 200 {
                        done.store(true, Ordering::Relaxed);
                        panic!("{}{}", answer.head(), answer.text());
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for generation in 2..=RENEWALS {
            if !done.load(Ordering::Relaxed) {
                bearerd.wait_for_generation("person", generation);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let events = provider.events();
    assert!(events["granted"].as_u64() >= Some(RENEWALS), "{events}");
    assert_eq!((&events["refused"], &events["grants_revoked"]), (&serde_json::json!([]), &0.into()));
    let said = bearerd.credential("person");
    assert_eq!((&said["state"], &said["last_error"]), (&"ready".into(), &Value::Null));
    assert!(served.load(Ordering::Relaxed) > 1000, "only {served:?} requests: that is no load");
}

/// The proof that the test above would see a reuse.
#[test]
fn a_grant_whose_token_was_used_twice_is_dead_and_bearerd_says_that_a_person_is_needed() {
    let provider = Provider::start();
    let bearerd = rotating(&provider);
    assert_eq!(bearerd.app().get("/api/thing").status(), 200);
    let used = provider.file("refresh-token");
    let body = format!("grant_type=refresh_token&refresh_token={used}");
    let form =
        "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Basic YXBwOmFwcC1zZWNyZXQ=\r\n";
    let reuse = provider.client().request("POST", "/token", form, body.as_bytes());
    assert_eq!((reuse.status(), &reuse.json()["error"]), (400, &Value::from("invalid_grant")));
    // The token died with the grant: the API refuses it, the renewal is rejected, and the answer of the
    // API passes through, since a 401 is a suspicion and not knowledge.
    let answer = bearerd.app().get("/api/thing");
    assert_eq!(answer.status(), 401, "{}", answer.text());
    let said = bearerd.wait_for_state("person", "rejected");
    assert_eq!(said["last_error"]["class"], "rejected");
    let answer = bearerd.app().get("/api/thing");
    assert_eq!((answer.status(), &answer.json()["code"]), (503, &Value::from("credential_rejected")));
}

/// A bearerd with the provider's first refresh token, each of which may be used once.
fn rotating(provider: &Provider) -> Sidecar {
    let setup = provider.setup(
        "grant = \"refresh_token\"\nclient_id = \"app\"\nclient_secret = { value = \"app-secret\" }\n\
         refresh_token = { file = \"{folder}/refresh-token\" }",
    );
    let bearerd = setup.file("refresh-token", &provider.file("refresh-token")).start();
    bearerd.wait_until_ready();
    bearerd
}
