//! Logins that an app begins on its own listener, with `control = true`.

use serde_json::{Value, json};

use super::person::Person;
use super::with;
use crate::support::message::Message;
use crate::support::{Setup, Sidecar};

const NAME: &str = "/.bearerd/v1/credentials/me";

/// A listener that lets its app ask, and one that does not.
fn start(person: &Person) -> Sidecar {
    let setup = with(person, "grant = \"authorization_code\"\nredirect_uri = \"https://app.example/cb\"");
    listening(
        setup,
        "[listeners.ask]\nbind = \"127.0.0.1:0\"\ncontrol = true\n[routes.ask]\nlistener = \"ask\"\n",
    )
}

/// The route `api` is on the listener `app`; `ask` is another to the same API.
fn listening(setup: Setup, more: &str) -> Sidecar {
    setup.with(|rest| {
        let api = rest.split("upstream = ").nth(1).expect("an upstream").lines().next().expect("a line");
        let rest = rest.replace("[routes.api]", "[routes.api]\nlistener = \"app\"");
        format!("{rest}\n{more}upstream = {api}\ncredential = \"me\"\n")
    })
}

fn ask(bearerd: &Sidecar, method: &str, path: &str, body: &Value) -> Message {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let client = crate::support::Client::new(bearerd.address("ask"));
    client.request(method, &format!("{NAME}{path}"), "", body.as_bytes())
}

#[test]
fn an_app_logs_its_users_in_and_out_and_sees_states_only() {
    let person = Person::new();
    let bearerd = start(&person);
    let begun = ask(&bearerd, "POST", "/authorize", &json!({"subject": "alice"}));
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let begun = begun.json();
    let members: Vec<_> = begun.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["expires_in", "state", "url"]);
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    let answer = ask(&bearerd, "POST", "/callback", &json!(back));
    assert_eq!((answer.status(), &answer.json()["state"]), (200, &Value::from("ready")), "{}", answer.text());
    let state = ask(&bearerd, "GET", "/subjects/alice", &Value::Null).json();
    assert_eq!((&state["subject"], &state["state"]), (&"alice".into(), &"ready".into()));
    assert_eq!(ask(&bearerd, "GET", "", &Value::Null).json()["state"], "login_required");
    assert_eq!(ask(&bearerd, "POST", "/logout", &json!({"subject": "alice"})).status(), 202);
    let state = ask(&bearerd, "GET", "/subjects/alice", &Value::Null).json();
    assert_ne!(state["state"], "ready", "{state}");
}

#[test]
fn an_app_may_ask_for_nothing_else() {
    let person = Person::new();
    let bearerd = start(&person);
    for (method, path, status) in [
        ("GET", "/subjects", 404),
        ("POST", "/refresh", 404),
        ("PUT", "/token", 404),
        ("GET", "/callback", 405),
        ("DELETE", "/authorize", 405),
    ] {
        let answer = ask(&bearerd, method, path, &Value::Null);
        assert_eq!(answer.status(), status, "{method} {path}: {}", answer.text());
    }
    let client = crate::support::Client::new(bearerd.address("ask"));
    for path in [
        "/.bearerd/",
        "/.bearerd/v1/credentials",
        "/.bearerd/v1/credentials/other/authorize",
        "/.bearerd/metrics",
    ] {
        assert_eq!(client.post(path, "{}").status(), 404, "{path}");
    }
    let foreign =
        client.request("POST", &format!("{NAME}/authorize"), "Origin: https://evil.example\r\n", b"{}");
    assert_eq!(foreign.status(), 403);
    let long = format!("{{\"subject\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(client.post(&format!("{NAME}/authorize"), &long).status(), 413);
    assert_eq!(client.post(&format!("{NAME}/authorize"), "[]").json()["code"], "bad_request");
    // Without `control = true` these are paths like others.
    let other = bearerd.app().post(&format!("{NAME}/authorize"), "{}");
    assert_eq!((other.status(), &other.json()["code"]), (404, &Value::from("no_route")));
}

#[test]
fn a_request_without_a_token_tells_where_its_user_may_log_in() {
    let person = Person::new();
    let bearerd = with(&person, "grant = \"authorization_code\"").start();
    let refused = bearerd.app().get("/api/x");
    assert_eq!((refused.status(), &refused.json()["code"]), (503, &Value::from("login_required")));
    assert_eq!(refused.json()["login"], Value::Null, "this listener offers no logins");
    let url = refused.json()["login_url"].as_str().expect("a URL").to_owned();
    let admin = format!("http://{}", bearerd.address("admin"));
    let target = url.strip_prefix(&admin).expect("it leads to the admin listener");
    let fields = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    let begun = bearerd.admin().get_with(target, fields);
    assert_eq!(begun.status(), 303, "{}", begun.text());
    let back = person.consent(&begun.field("location").expect("a location"));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&back).finish();
    assert_eq!(bearerd.admin().get_with(&format!("/oauth/callback?{query}"), fields).status(), 200);
    assert_eq!(bearerd.app().get("/api/x").text(), "hello");
    let forged = bearerd.admin().get("/oauth/login?ticket=AAAA");
    assert_eq!(forged.status(), 400);

    let offering = start(&person);
    let client = crate::support::Client::new(offering.address("ask"));
    assert_eq!(client.get("/x").json()["login"], format!("{NAME}/authorize"));
}
