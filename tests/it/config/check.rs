//! `check`, `schema`, `presets` and `init` of the built binary.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use super::{CANARY, around};
use crate::support::bearerd;

fn run(arguments: &[&str]) -> Output {
    bearerd(arguments).env("SECRET", "c4n4ry-secret").output().expect("it runs")
}

/// A folder with a configuration.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bearerd.toml"), text).expect("a file");
    folder
}

fn check(folder: &TempDir) -> (Option<i32>, String) {
    let path = folder.path().join("bearerd.toml");
    let output = run(&["check", "--config", path.to_str().expect("text")]);
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!told.contains(CANARY), "{told}");
    (output.status.code(), told.replace(folder.path().to_str().expect("text"), "."))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

const STATIC: &str = "[credentials.c]\nflow = \"static\"\n";

#[test]
fn check_accepts_the_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let output = run(&["check", "--config", path.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("is valid: 1 listener"));
}

#[test]
fn check_says_that_all_is_well() {
    let folder = folder(&around(&format!("{STATIC}token = {{ env = \"SECRET\" }}\n")));
    insta::assert_snapshot!(check(&folder).1, @"./bearerd.toml is valid: 1 listener, 1 credential, 1 route, 0 warnings");
}

#[test]
fn check_reads_every_secret() {
    let folder = folder(&around(&format!(
        "{STATIC}token = {{ file = \"nowhere\" }}\n[credentials.c.secrets]\n\
         command = {{ command = [\"false\"] }}\nkey = {{ jwt = {{ key = {{ file = \"key\" }} }} }}\n\
         empty = {{ file = \"empty\" }}\n[admin]\ntoken = {{ file = \"admin-token\" }}\n"
    )));
    fs::write(folder.path().join("empty"), "\n").expect("a file");
    fs::write(folder.path().join("key"), "c4n4ry is no key").expect("a file");
    let (code, told) = check(&folder);
    assert_eq!(code, Some(78), "{told}");
    for needle in ["`token` of `c` cannot be read", "`command` of `c`", "`empty` of `c`", "the admin token"] {
        assert!(told.contains(needle), "{needle}:\n{told}");
    }
    assert_eq!(told.matches("nowhere").count(), 1, "told once:\n{told}");
}

#[test]
fn check_signs_assertions() {
    let folder = folder(&around(&format!("{STATIC}token = {{ jwt = {{ key = {{ file = \"key\" }} }} }}\n")));
    fs::write(folder.path().join("key"), "c4n4ry is no key").expect("a file");
    let (code, told) = check(&folder);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("`token` of `c` cannot be read"), "{told}");
}

#[test]
fn check_ends_with_78_where_there_is_nothing_to_check() {
    let empty = tempfile::tempdir().expect("a folder");
    let output = bearerd(&["check"]).current_dir(empty.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("there is no configuration"), "{}", text(&output.stderr));
}

#[test]
fn check_connects_only_where_it_is_asked_to() {
    // Nobody listens on port 1.
    let folder = folder(&around(
        "[credentials.c]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\n\
         token_url = \"http://127.0.0.1:1/token\"\nclient_id = \"c\"\nclient_secret = { env = \"SECRET\" }\n",
    ));
    assert_eq!(check(&folder).0, Some(0));
    let path = folder.path().join("bearerd.toml");
    let output = run(&["check", "--connect", "--config", path.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(69));
    let told = text(&output.stderr);
    assert!(told.contains("http://127.0.0.1:1 cannot be reached"), "{told}");
}

#[test]
fn the_schema_knows_every_key_of_the_example() {
    let output = run(&["schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let example: toml::Table = include_str!("../../../config.example.toml").parse().expect("TOML");
    let example = serde_json::to_value(example).expect("JSON");
    let mut unknown = Vec::new();
    compare(&schema, &schema, &example, "", &mut unknown);
    assert!(unknown.is_empty(), "{unknown:?}");
    let misspelt = serde_json::json!({ "server": { "wrkers": 1 } });
    compare(&schema, &schema, &misspelt, "", &mut unknown);
    assert_eq!(unknown, ["/server/wrkers"]);
}

/// Notes the keys of `value` that `schema` does not have: as much of a validator as that takes.
fn compare(root: &Value, schema: &Value, value: &Value, place: &str, unknown: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return compare(root, root.pointer(&reference[1..]).expect(reference), value, place, unknown);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let unknown_of = |choice: &Value| {
            let mut unknown = Vec::new();
            compare(root, choice, value, place, &mut unknown);
            let is_table = choice["type"] != "string" && choice["type"] != "null";
            (unknown, is_table || !value.is_object())
        };
        let best = choices.iter().map(unknown_of).filter(|(_, fits)| *fits).map(|(unknown, _)| unknown);
        return unknown.extend(best.min_by_key(Vec::len).unwrap_or_default());
    }
    if let Some(items) = value.as_array() {
        for item in items {
            compare(root, &schema["items"], item, place, unknown);
        }
    }
    let Some(entries) = value.as_object() else { return };
    for (key, value) in entries {
        let place = format!("{place}/{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => unknown.push(place),
            (Value::Null, Value::Null | Value::Bool(true)) => {}
            (Value::Null, further) => compare(root, further, value, &place, unknown),
            (property, _) => compare(root, property, value, &place, unknown),
        }
    }
}

#[test]
fn presets_are_listed_and_printed() {
    let listed = run(&["presets"]);
    insta::assert_snapshot!(text(&listed.stdout), @r#"
    bearer                  any API that takes a bearer token
    basic                   any API that takes a name and a password
    api-key                 any API that takes a key in a header field
    digilocker              DigiLocker: a person consents once, then a refresh token that rotates
    digilocker-partner      DigiLocker: what a partner asks in its own name, without a person
    nic-ma                  NIC Mission Antyodaya: a token that comes by mail
    nic-ma-portal           NIC Mission Antyodaya: bearerd asks the portal for the token and takes it from the mail
    payhub                  PayHub: token and API key by mail address and password
    sahamati-entity         Sahamati: an entity's token
    sahamati-secret         Sahamati: an entity's secret, read, and reset before it ends
    sahamati-user           Sahamati: an administrator's token
    abdm                    ABDM (ABHA): a session of the gateway, and a person's token beside it
    apisetu                 API Setu: a client's identifier and key, on each request
    cashfree-payouts        Cashfree Payouts: a short token that is bound to the caller's address
    cognito                 Amazon Cognito: a program's token of a user pool
    data-gov-in             data.gov.in: a key in the query of each request
    entra                   Microsoft Entra ID: a program's token by certificate, secret or federated assertion
    github-app              GitHub: an installation of an App, by the App's private key
    google-service-account  Google: a service account, by its key file
    keycloak                Keycloak: a client's token of a realm
    napix                   NAPIX (NIC): a publisher's token by key and secret
    salesforce-jwt          Salesforce: a token by signed assertion, for one instance
    setu-aa                 Setu AA and UMAP (version 2): a short token by client identifier and secret
    setu-bridge             Setu Bridge (version 1): a token by client identifier and secret
    zoho                    Zoho: a refresh token that stays, and a limit on tokens
    "#);
    let printed = run(&["presets", "payhub"]);
    assert_eq!(printed.stdout, fs::read("presets/payhub.toml").expect("a file"));
    let unknown = run(&["presets", "payhb"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("did you mean `payhub`?"), "{}", text(&unknown.stderr));
}

#[test]
fn a_starter_file_is_accepted_once_its_secrets_are_there() {
    let output = run(&["init", "payhub", "bearer"]);
    assert_eq!(output.status.code(), Some(0));
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "x").expect("a file");
    let starter = text(&output.stdout);
    let starter: Vec<String> = starter
        .lines()
        .map(|line| match line.split_once("file = \"") {
            Some((key, rest)) => {
                format!(
                    "{key}file = \"{}\"{}",
                    secret.display(),
                    &rest[rest.find('"').expect("a quote") + 1..]
                )
            }
            None => line.to_owned(),
        })
        .collect();
    fs::write(folder.path().join("bearerd.toml"), starter.join("\n")).expect("a file");
    let (code, told) = check(&folder);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(run(&["init", "payhb"]).status.code(), Some(64));
}
