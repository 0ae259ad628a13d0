//! The console in Chromium, driven by playwright-core: `console/console.mjs` is the person.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::counterpart::{here, node};
use crate::support::sidecar::{ADMIN_TOKEN, Setup};

#[test]
fn a_person_sees_and_does_all_that_the_console_promises() {
    let mut person = node("node");
    person.arg(here("console/console.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut person = person.spawn().expect("node");
    let mut said = BufReader::new(person.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let issuers: Value = serde_json::from_str(&line).expect("a line of JSON");
    let (scripted, provider) = (&issuers["scripted"], &issuers["provider"]);
    let bearerd = Setup::new(&configuration(
        scripted.as_str().expect("an origin"),
        provider.as_str().expect("an issuer"),
    ))
    .start();
    bearerd.wait_for_state("entity", "ready");
    assert_eq!(bearerd.app().get("/").status(), 200);
    let mut told = person.stdin.take().expect("a pipe");
    let admin = format!("http://{}", bearerd.address("admin"));
    writeln!(told, "{}", json!({ "admin": admin, "token": ADMIN_TOKEN })).expect("it listens");
    let mut tries = String::new();
    said.read_to_string(&mut tries).expect("text");
    assert!(person.wait().expect("an end").success(), "{tries}");
    assert!(tries.lines().count() > 10, "{tries}");
}

/// A chain, a credential for a person with a browser, one for a person with another device, one for many
/// who type passwords, and routes.
fn configuration(scripted: &str, provider: &str) -> String {
    let machine = |name: &str, secret: &str| {
        format!(
            "[credentials.{name}]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\n\
             token_url = \"{scripted}/{name}\"\nclient_id = \"me\"\nclient_secret = {secret}\n\n"
        )
    };
    let person = |name: &str, grant: &str| {
        format!(
            "[credentials.{name}]\nflow = \"oauth2\"\ngrant = \"{grant}\"\nissuer = \"{provider}\"\n\
             client_id = \"console\"\nclient_secret = {{ value = \"console-secret\" }}\n\
             scopes = [\"openid\", \"offline_access\"]\n"
        )
    };
    [
        machine("user", "{ value = \"a secret of the console's test\" }"),
        machine("entity", "{ credential = \"user\", output = \"access_token\" }"),
        person("person", "authorization_code") + "authorization_params = { prompt = \"consent\" }\n\n",
        person("device", "device_code") + "\n",
        format!(
            "[credentials.people]\nflow = \"oauth2\"\ngrant = \"device_code\"\nclient_id = \"me\"\n\
             client_auth = \"none\"\ndevice_authorization_url = \"{scripted}/send\"\n\
             token_url = \"{scripted}/people\"\n\
             otp = {{ asks = {{ mobile = \"mobile\", username = \"user\" }}, shows = {{ masked_mobile = \"/masked\" }} }}\n\n\
             [routes.people]\npath = \"/people\"\nupstream = \"{scripted}\"\ncredential = \"people\"\n\
             subject = {{ header = \"X-Bearerd-Subject\" }}\n\n"
        ),
        format!("[routes.api]\nupstream = \"{scripted}\"\ncredential = \"entity\"\n"),
    ]
    .concat()
}
