//! Logins of people, over the admin listener: what the issuer and the browser see, and what nobody sees.

mod app;
mod browser;
mod device;
mod loopback;
pub mod person;
mod refused;
mod sandbox;

use serde_json::{Value, json};

use crate::support::{Setup, Sidecar};
use person::Person;

/// A bearerd in front of an API, whose credential `me` is what a person of this issuer consents to.
fn with(person: &Person, credential: &str) -> Setup {
    let (issuer, api) = (person.origin(), person.api());
    Setup::new(&format!(
        "[credentials.me]\nflow = \"oauth2\"\nissuer = \"{issuer}\"\nclient_id = \"app\"\n\
         client_auth = \"none\"\n{credential}\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{api}\"\ncredential = \"me\"\n"
    ))
}

/// The same with an authorization code.
fn code(person: &Person) -> Sidecar {
    with(person, "grant = \"authorization_code\"\nscopes = [\"openid\", \"read\"]").start()
}

/// Begins a login; what the answer says.
#[track_caller]
fn authorize(bearerd: &Sidecar, body: &Value) -> Value {
    let answer = bearerd.control("POST", "/v1/credentials/me/authorize", body.to_string().as_bytes());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// Ends a login by POST.
fn callback(bearerd: &Sidecar, body: &Value) -> crate::support::message::Message {
    bearerd.control("POST", "/v1/credentials/me/callback", body.to_string().as_bytes())
}

/// Logs the credential itself in.
#[track_caller]
fn log_in(bearerd: &Sidecar, person: &Person) {
    let begun = authorize(bearerd, &json!({}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    let answer = callback(bearerd, &json!(back));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}
