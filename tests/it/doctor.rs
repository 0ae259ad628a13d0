//! `bearerd doctor`: what it finds, how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::sidecar::{Setup, bearerd, run};
use crate::support::{Issuer, Reply, canary};

/// Asks the doctor about a setup: how it ended, and the names of the checks that found a fault.
fn faults(setup: &Setup, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = bearerd(&["doctor", "--json", "--config"]);
    command.arg(setup.write()).args(more);
    let output = run(command, "");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults = found["findings"].as_array().expect("a list").iter();
    let faults = faults.filter(|finding| finding["severity"] == "fault");
    (
        output.status.code(),
        faults.map(|finding| finding["check"].as_str().expect("a name").to_owned()).collect(),
    )
}

fn credential(issuer: &Issuer) -> String {
    format!(
        "[credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"me\"\nclient_secret = {{ file = \"secret\" }}\n",
        issuer.url()
    )
}

#[test]
fn a_secret_that_all_may_read_is_a_fault_until_it_is_mended() {
    let setup = Setup::new(&credential(&Issuer::start(3600))).file("secret", &canary::secret());
    assert_eq!(faults(&setup, &[]), (Some(0), Vec::new()));
    let secret = setup.folder().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert_eq!(faults(&setup, &[]), (Some(1), vec!["secret_file".to_owned()]));

    let mut command = bearerd(&["doctor", "--config"]);
    command.arg(setup.write());
    let output = run(command, "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("-> chmod 600 {}", secret.display())), "{text}");
}

#[test]
fn with_connect_the_clock_is_compared_with_that_of_the_issuer_and_no_credential_is_sent() {
    let issuer = Issuer::start(3600);
    let setup = Setup::new(&credential(&issuer)).file("secret", &canary::secret());
    issuer.always(Some(Reply::with_fields(404, "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n", "")));
    assert_eq!(faults(&setup, &[]), (Some(0), Vec::new()));
    assert!(issuer.requests().is_empty());
    assert_eq!(faults(&setup, &["--connect"]), (Some(1), vec!["clock".to_owned()]));
    let asked = issuer.wait_for(1).remove(0);
    assert_eq!((asked.method().as_str(), asked.target().as_str()), ("GET", "/"));
    assert_eq!(asked.field("authorization"), None);

    let gone = format!("token_url = \"{}\"", issuer.url());
    let setup = Setup::new(&credential(&issuer)).file("secret", &canary::secret());
    let setup = setup.replacing(&gone, "token_url = \"http://127.0.0.1:9/token\"");
    assert_eq!(faults(&setup, &["--connect"]), (Some(1), vec!["issuer".to_owned()]));
}

#[test]
fn an_egress_from_an_address_of_another_machine_is_a_fault() {
    let setup =
        Setup::new(&format!("[egress.office]\nsource = \"192.0.2.7\"\n{}", credential(&Issuer::start(60))));
    let setup = setup.file("secret", &canary::secret());
    assert_eq!(faults(&setup, &[]), (Some(1), vec!["egress".to_owned()]));
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_78() {
    let output = run(bearerd(&["doctor", "--config", "/nowhere/bearerd.toml"]), "");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
}
