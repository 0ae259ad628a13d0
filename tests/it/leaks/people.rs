//! What people do: logins by a browser, by a device and by a one-time password, and tokens that come by mail.

use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::evidence::{Evidence, exposed};
use crate::logins::person::Person;
use crate::portal::{Portal, SECRETS};
use crate::support::message::Message;
use crate::support::{Setup, Sidecar, canary};

/// The three grants that wait for a person, at an issuer of its own each: their lines.
const GRANTS: [(&str, &str); 3] = [
    ("browser", "grant = \"authorization_code\"\nscopes = [\"openid\"]"),
    ("device", "grant = \"device_code\""),
    (
        "password",
        "grant = \"device_code\"\n\
         otp = { body = \"json\", params = { response_type = \"device_code\" }, asks = { mobile = \"dl_mobile\" }, \
         shows = { masked_mobile = \"/masked\" }, field = \"dl_otp\" }",
    ),
];

/// Lets people log in, be served and log out.
pub(super) fn live(evidence: &mut Evidence) {
    let people: Vec<Person> = GRANTS.iter().map(|_| Person::new()).collect();
    let otp = canary::secret();
    people[2].book().otp = Some(otp.clone());
    let mut text = "[store]\nkind = \"file\"\npath = \"state\"\nkey = { file = \"store-key\" }\n".to_owned();
    for ((name, lines), person) in GRANTS.iter().zip(&people) {
        write!(
            text,
            "[credentials.{name}]\nflow = \"oauth2\"\nissuer = \"{}\"\nclient_id = \"app\"\nclient_auth = \"none\"\n\
             {lines}\n[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\ncredential = \"{name}\"\n",
            person.origin(),
            person.api(),
        )
        .expect("a String takes all");
    }
    let setup = Setup::new(&text)
        .server("log = \"trace\"\naccess_log = \"all\"")
        .file("store-key", &canary::store_key());
    let (setup, given) = exposed(setup);
    let mut sidecar = setup.start();

    for (name, person) in ["browser", "device", "password"].into_iter().zip(&people) {
        log_in(&sidecar, name, person, &otp);
        assert_eq!(sidecar.app().get(&format!("/{name}/x")).text(), "hello");
        let path = format!("/v1/credentials/{name}");
        evidence.add_answer("a renewal", &sidecar.control("POST", &format!("{path}/refresh?wait=true"), b""));
        evidence.add_answer("an answer to the app", &sidecar.app().get(&format!("/{name}/x")));
        for target in ["", "/subjects"] {
            evidence
                .add_answer("the admin listener", &sidecar.control("GET", &format!("{path}{target}"), b""));
        }
        // What only bearerd and the issuer know of a login.
        for request in person.requests_to("/token") {
            request.form().remove("code_verifier").iter().for_each(|verifier| evidence.know(verifier));
        }
    }
    evidence.add_answer("the metrics", &sidecar.admin().get("/metrics"));
    evidence.add_answer("the console", &sidecar.admin().get("/"));
    for name in ["browser", "device"] {
        let gone = sidecar.control("POST", &format!("/v1/credentials/{name}/logout"), b"{}");
        assert_eq!(gone.status(), 202, "{}", gone.text());
        evidence.add_answer("a logout", &gone);
    }
    evidence.add_process(&sidecar, &given);
    evidence.add_core_of(Signal::TRAP, &mut sidecar, &given);
}

/// Logs one in, after a mistake.
fn log_in(sidecar: &Sidecar, name: &str, person: &Person, otp: &str) {
    let call = |what: &str, body: &Value| -> Message {
        sidecar.control("POST", &format!("/v1/credentials/{name}/{what}"), body.to_string().as_bytes())
    };
    let begun =
        call("authorize", &if name == "password" { json!({"mobile": "9876543210"}) } else { json!({}) });
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let begun = begun.json();
    let state = begun["state"].as_str().expect("a state");
    match name {
        "browser" => {
            let mut back = person.consent(begun["url"].as_str().expect("a URL"));
            assert_ne!(
                call("callback", &json!({"code": canary::secret(), "state": "unknown"})).status(),
                200
            );
            back.insert("state".to_owned(), state.to_owned());
            assert_eq!(call("callback", &json!(back)).status(), 200);
        }
        "password" => {
            assert_ne!(call("callback", &json!({"otp": canary::secret(), "state": state})).status(), 200);
            assert_eq!(call("callback", &json!({"otp": otp, "state": state})).status(), 200);
        }
        _ => {}
    }
    sidecar.wait_for_state(name, "ready");
}

/// Lets a portal mail a token.
pub(super) fn receive(evidence: &mut Evidence) {
    let portal = Portal::start(&[]);
    let setup = portal.setup("").server("log = \"trace\"\naccess_log = \"all\"");
    let (setup, given) = exposed(setup);
    let mut sidecar = setup.start();
    sidecar.wait_until_ready();
    evidence.add_answer("an answer to the app", &sidecar.app().get("/nic-ma-portal/api/gram-panchayats"));
    for secret in SECRETS {
        evidence.know(secret);
    }
    for token in portal.tokens() {
        evidence.know(&token);
    }
    evidence.add_answer("the console", &sidecar.admin().get("/"));
    evidence.add_answer("the metrics", &sidecar.admin().get("/metrics"));
    evidence.add_process(&sidecar, &given);
    evidence.add_core(&mut sidecar, &given);
}
