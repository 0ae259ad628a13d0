//! Commands that read a configuration, or print what helps to write one.

use std::process::Output;

use serde_json::Value;

use crate::support::configuration::fixed;
use crate::support::sidecar::run;
use crate::support::{Setup, Upstream, bearerd, canary};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Runs a command with a configuration, which it names by `--config`.
fn with_configuration(setup: &Setup, arguments: &[&str]) -> Output {
    let path = setup.write();
    let mut command = bearerd(arguments);
    command.arg("--config").arg(path);
    run(command, "")
}

#[test]
fn check_tells_all_mistakes_of_a_file_at_once_and_no_value() {
    let good = Setup::new(&fixed("not-a-canary-token", &Upstream::start()));
    let told = with_configuration(&good, &["check"]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));

    let secret = canary::secret();
    let bad = Setup::new(&format!(
        "[credentials.a]\nflow = \"static\"\ntoken = {{ value = \"{secret}\", valeu = \"{secret}\" }}\n\
         [credentials.b]\nflow = \"oauth2\"\ngrant = \"client_credential\"\nclient_secret = \"{secret}\"\n\
         [routes.c]\nupstream = \"http://api.example\"\ncredential = \"d\"\n"
    ));
    let told = with_configuration(&bad, &["check"]);
    assert_eq!(told.status.code(), Some(78), "{}", stderr(&told));
    for part in ["valeu", "client_credentials", "bearerd.toml"] {
        assert!(stderr(&told).contains(part), "{part} is missing:\n{}", stderr(&told));
    }
}

#[test]
fn check_reads_every_secret() {
    let setup = Setup::new(
        "[credentials.key]\nflow = \"static\"\ntoken = { file = \"{folder}/nowhere\" }\n\n\
         [routes.api]\nupstream = \"https://api.example\"\ncredential = \"key\"\n",
    );
    let told = with_configuration(&setup, &["check"]);
    assert_eq!(told.status.code(), Some(78), "{}", stderr(&told));
    assert!(stderr(&told).contains("nowhere"), "{}", stderr(&told));
}

#[test]
fn the_configuration_of_the_sandbox_and_the_starter_files_are_valid() {
    let presets = stdout(&run(bearerd(&["presets"]), ""));
    for preset in ["bearer", "basic", "api-key", "payhub", "digilocker", "nic-ma", "sahamati-entity"] {
        assert!(presets.contains(preset), "{preset} is missing:\n{presets}");
        let printed = run(bearerd(&["presets", preset]), "");
        assert!(stdout(&printed).parse::<toml::Table>().is_ok(), "{}", stdout(&printed));
        let starter = run(bearerd(&["init", preset]), "");
        assert_eq!(starter.status.code(), Some(0), "{}", stderr(&starter));
        assert!(stdout(&starter).contains('#'), "{}", stdout(&starter));
        assert!(stdout(&starter).parse::<toml::Table>().is_ok(), "{}", stdout(&starter));
    }
    assert_ne!(run(bearerd(&["presets", "nothing"]), "").status.code(), Some(0));
}

#[test]
fn schema_version_and_completions_are_data_on_standard_output() {
    let schema = run(bearerd(&["schema"]), "");
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("a JSON Schema");
    assert!(schema["properties"]["credentials"].is_object(), "{schema}");
    assert!(stdout(&run(bearerd(&["version"]), "")).contains(env!("CARGO_PKG_VERSION")));
    assert!(stdout(&run(bearerd(&["completions", "bash"]), "")).contains("bearerd"));
}

#[test]
fn explain_tells_what_would_become_of_a_request_without_any_network() {
    // Nobody listens there, and the secret is a file that need not be read.
    let setup = Setup::new(
        "[credentials.hub]\npreset = \"payhub\"\nemail = { value = \"me@shop.example\" }\n\
         password = { value = \"hunter2hunter2\" }\n\n[routes.hub]\npath = \"/hub\"\n\
         upstream = \"https://server.payhub.link\"\ncredential = \"hub\"\nallow = [\"POST /user/*\"]\n",
    );
    let yes = with_configuration(&setup, &["explain", "POST", "http://127.0.0.1:8080/hub/user/me?x=1"]);
    assert_eq!(yes.status.code(), Some(0), "{}{}", stdout(&yes), stderr(&yes));
    for part in ["hub", "server.payhub.link", "/user/me", "token", "apikey"] {
        assert!(stdout(&yes).contains(part), "{part} is missing:\n{}", stdout(&yes));
    }
    assert!(!stdout(&yes).contains("hunter2"));
    for (method, path) in [("GET", "/hub/user/me"), ("POST", "/hub/user/login"), ("POST", "/other")] {
        let no = with_configuration(&setup, &["explain", method, &format!("http://127.0.0.1:8080{path}")]);
        assert_eq!(no.status.code(), Some(1), "{method} {path}: {}", stdout(&no));
    }
}

#[test]
fn check_tells_of_a_token_that_no_request_can_carry() {
    let with = |content: &str| {
        Setup::new(
            "[credentials.key]\nflow = \"static\"\ntoken = { file = \"{folder}/token\" }\nexpires = \"never\"\n\n\
             [routes.api]\nupstream = \"https://api.example\"\ncredential = \"key\"\n",
        )
        .file("token", content)
    };
    let secret = canary::secret();
    for (content, code) in [(secret.clone() + "\n", 0), (format!("{secret}\n{secret}"), 78)] {
        let told = with_configuration(&with(&content), &["check"]);
        assert_eq!(told.status.code(), Some(code), "{}", stderr(&told));
        assert_eq!(
            stderr(&told).contains("cannot be used on the route `api`"),
            code == 78,
            "{}",
            stderr(&told)
        );
    }
}

#[test]
fn check_warns_of_a_static_token_that_has_ended() {
    let with = |expires: &str| {
        Setup::new(&format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = {expires}\n\n\
             [routes.api]\nupstream = \"https://api.example\"\ncredential = \"key\"\n",
            canary::secret()
        ))
    };
    for (expires, has_ended) in
        [("{ at = \"2020-02-03T04:05:06Z\" }", true), ("{ at = \"2100-01-01T00:00:00Z\" }", false)]
    {
        let told = with_configuration(&with(expires), &["check"]);
        assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
        let warning = "warning: `key` ended at 2020-02-03T04:05:06Z, and it cannot renew itself";
        assert_eq!(stderr(&told).contains(warning), has_ended, "{}", stderr(&told));
        assert!(stderr(&told).contains("stands in the configuration itself"), "{}", stderr(&told));
    }
}

#[test]
fn check_opens_the_store_and_leaves_it_as_it_is() {
    let with = |store: &str| {
        let setup = Setup::new(
            "[store]\nkind = \"file\"\npath = \"{folder}/store\"\nkey = { file = \"{folder}/key\" }\n\n\
             [routes]\n",
        );
        let setup = setup.file("key", &"5a".repeat(32));
        if store.is_empty() { setup } else { setup.file("store", store) }
    };
    let told = with_configuration(&with(""), &["check"]);
    assert_eq!(told.status.code(), Some(0), "it is made at the start: {}", stderr(&told));
    let told = with_configuration(&with("not a store, but a text that somebody wrote there"), &["check"]);
    assert_eq!(told.status.code(), Some(78), "{}", stderr(&told));
    assert!(stderr(&told).contains("is not a store of bearerd"), "{}", stderr(&told));
}
