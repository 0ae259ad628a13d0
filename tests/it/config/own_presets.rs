//! Presets of one's own, and the words that vendors wanted.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{accepted, around, environment, mistakes, warnings};
use crate::support::bearerd;
use crate::support::sidecar::run;
use bearerd::config::load;
use bearerd::credential::Flow;
use bearerd::credential::flow::login::Step;

/// A vendor that is right.
const ACME: &str = r#"# Acme.
summary = "Acme"

[environments]
production = "https://{tenant}.acme.example"
sandbox = "https://sandbox.acme.example"

[parameters.tenant]
description = "the tenant"
required = true

[parameters.key]
description = "the key"
secret = true
required = true

[parameters.agent]
description = "the agent"

[credential]
flow = "login"
inject = { headers = { X-Card = "{card}" } }

[[credential.steps]]
url = "{base_url}/card"
headers = { X-Key = "{key}" }
outputs = { card = "/card" }

[with.agent.inject]
headers = { X-Card = "{card}", X-Agent = "{agent}" }
"#;

/// A configuration beside a preset `acme.toml`; what a load of it says.
struct Place(TempDir);

impl Place {
    fn new(preset: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("presets")).expect("a folder");
        fs::write(folder.path().join("presets/acme.toml"), preset).expect("a preset");
        Self(folder)
    }

    fn preset(&self) -> PathBuf {
        self.0.path().join("presets/acme.toml")
    }

    /// The problems, with the folder left out of the names of files.
    fn load(&self, credential: &str) -> Result<bearerd::config::Loaded, String> {
        let text = around(&format!(
            "[presets]\nacme = \"presets/acme.toml\"\n[credentials.c]\npreset = \"acme\"\n{credential}"
        ));
        let path = self.0.path().join("bearerd.toml");
        fs::write(&path, text).expect("a configuration");
        let folder = format!("{}/", self.0.path().display());
        load(&path, &environment()).map_err(|problems| problems.to_string().replace(&folder, ""))
    }
}

const GIVEN: &str = "tenant = \"north\"\nkey = { env = \"SECRET\" }\n";

#[test]
fn a_preset_of_ones_own_is_laid_under_the_credential_as_any_other() {
    let place = Place::new(ACME);
    let loaded = place.load(GIVEN).expect("it is right");
    assert_eq!(loaded.files[1..], [place.preset()], "it is watched, and readable for a reload");
    let url = |loaded: &bearerd::config::Loaded| {
        let Flow::Login(flow) = &loaded.config.credentials[0].flow else { panic!("it is a login") };
        let Step::Http(step) = &flow.steps[0] else { panic!("it asks somebody") };
        step.url.as_ref().and_then(|url| url.as_text()).map(str::to_owned)
    };
    assert_eq!(url(&loaded).as_deref(), Some("https://north.acme.example/card"));
    assert_eq!(loaded.config.routes[0].injection.headers.len(), 1);
    let loaded =
        place.load(&format!("{GIVEN}environment = \"sandbox\"\nagent = \"7\"\n")).expect("it is right");
    assert_eq!(url(&loaded).as_deref(), Some("https://sandbox.acme.example/card"));
    let injection = &loaded.config.routes[0].injection;
    assert_eq!(injection.headers[1].1.as_text(), Some("7"), "what `agent` brings is there with it");
    let loaded = place.load(&format!("{GIVEN}base_url = \"https://{{tenant}}.eu.acme.example\"\n"));
    assert_eq!(url(&loaded.expect("it is right")).as_deref(), Some("https://north.eu.acme.example/card"));
}

#[test]
fn one_with_the_name_of_an_embedded_preset_takes_its_place() {
    let place = Place::new(ACME);
    let text = around(&format!(
        "[presets]\npayhub = \"{}\"\n[credentials.c]\npreset = \"payhub\"\n{GIVEN}",
        place.preset().display()
    ));
    assert_eq!(accepted(&text).config.credentials[0].flow.as_str(), "login");
}

#[test]
fn mistakes_of_a_preset_are_told_at_their_place_in_its_file() {
    let wrong = ACME
        .replace("[credential]\nflow", "[credential]\nretry = true\nflow")
        .replace("/card\"\nheaders", "/{tenent}\"\nheaders")
        .replace("[with.agent.inject]", "[with.agnet.inject]");
    let told = Place::new(&wrong).load(GIVEN).expect_err("it is wrong");
    insta::assert_snapshot!(told, @r#"
    error: there is no key `retry` here
      --> presets/acme.toml:21:1
       |
    21 | retry = "…"
       | ^^^^^ did you mean `retry_ambiguous`?

    error: the template names `tenent`, which has no value
      --> presets/acme.toml:26:7
       |
    26 | url = "…"
       |       ^^^ did you mean `tenant`?

    error: `with` says what changes where a parameter is given
      --> presets/acme.toml:30:7
       |
    30 | [with.agnet.inject]
       |       ^^^^^ did you mean `agent`?
    "#);
    let told = Place::new("summary = ").load(GIVEN).expect_err("it is not TOML");
    assert!(
        told.starts_with("error: this is not TOML") && told.contains("--> presets/acme.toml:1:"),
        "{told}"
    );
    let told = Place::new("summary = \"x\"\n").load(GIVEN).expect_err("it has no credential");
    assert!(told.contains("a preset has a table [credential]"), "{told}");
}

#[test]
fn a_preset_that_is_not_there_or_misses_a_parameter_is_told_once() {
    let told = Place::new(ACME).load("tenant = \"north\"\n").expect_err("the key is missing");
    assert!(told.contains("the preset `acme` needs `key`") && told.matches("error").count() == 1, "{told}");
    let text = around("[presets]\nacme = \"no/such.toml\"\n[credentials.c]\npreset = \"acme\"\n");
    assert_eq!(
        mistakes(&text),
        "7:8 the preset no/such.toml does not exist (a path that does not begin with `/` begins at the folder of this file)"
    );
    let text = around("[credentials.c]\npreset = \"zohoo\"\n");
    assert!(mistakes(&text).contains("did you mean `zoho`?"));
}

#[test]
fn a_file_is_checked_and_printed_by_itself() {
    let place = Place::new(ACME);
    let path = place.preset().display().to_string();
    let output = run(bearerd(&["presets", &path]), "");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), ACME.as_bytes()));
    fs::write(place.preset(), ACME.replace("outputs", "output")).expect("a preset");
    let output = run(bearerd(&["presets", &path]), "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
    assert!(told.contains("acme.toml:27:1") && told.contains("did you mean `outputs`?"), "{told}");
}

#[test]
fn a_starter_file_is_made_of_a_file_too() {
    let place = Place::new(ACME);
    let path = place.preset().display().to_string();
    let output = run(bearerd(&["init", &path, "payhub"]), "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("[presets]\nacme = \"{path}\"\n")), "{text}");
    let file = place.0.path().join("bearerd.toml");
    fs::write(&file, &text).expect("a configuration");
    let loaded = load(&file, &environment()).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let names: Vec<_> = loaded.config.credentials.iter().map(|spec| spec.name.as_str().to_owned()).collect();
    assert_eq!((names.contains(&"acme".to_owned()), loaded.config.routes.len()), (true, 2), "{names:?}");
    fs::write(place.preset(), ACME.replace("outputs", "output")).expect("a preset");
    let output = run(bearerd(&["init", &path]), "");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
    // One that is not known as such may be a file.
    let output = run(bearerd(&["init", "acme"]), "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && told.contains("such as ./acme.toml"), "{told}");
}

#[test]
fn a_parameter_that_one_of_others_stands_for_is_not_missing() {
    let entra = "[credentials.c]\npreset = \"entra\"\ntenant = \"t\"\nclient_id = \"i\"\nscopes = [\"s\"]\n";
    assert!(mistakes(&around(entra)).contains("the preset `entra` needs `client_secret`"));
    accepted(&around(&format!("{entra}client_secret = {{ env = \"SECRET\" }}\n")));
    accepted(&around(&format!("{entra}client_assertion = {{ env = \"SECRET\" }}\n")));
    accepted(&around(&format!(
        "{entra}private_key = {{ env = \"SECRET\" }}\ncertificate = {{ env = \"SECRET\" }}\n"
    )));
}

#[test]
fn the_words_of_vendors_are_checked() {
    let login = |more: &str, step: &str| {
        format!(
            "[credentials.c]\nflow = \"login\"\ninject = {{ headers = {{ X = \"{{t}}\" }} }}\n{more}\n\
             [[credentials.c.steps]]\nurl = \"https://a.example/{step}\"\noutputs = {{ t = \"/t\" }}\n"
        )
    };
    let told = |more: &str, step: &str| mistakes(&around(&login(more, step)));
    assert!(told("values = { x = 1 }\nsecrets = { x = { env = \"SECRET\" } }", "").contains("it can be one"));
    let near = told("secrets = { abc = { env = \"SECRET\" }, d = { secret = \"abd\" } }", "");
    assert!(near.contains("did you mean `abc`?"), "{near}");
    assert!(told("secrets = { a = { env = \"SECRET\", json = \"x\" } }", "").contains("JSON pointer"));
    assert!(told("secrets = { a = { secret = \"a\" } }", "").contains("no secret of this name"));
    assert!(told("expect_upstream = \"x\"", "").contains("JSON pointer"));
    let backdate = "secrets = { k = { env = \"SECRET\" }, a = { jwt = { key = { secret = \"k\" }, backdate = \"2m\" } } }";
    assert!(told(backdate, "").contains("ended before it is made"));
    // In any order of the file.
    accepted(&around(&login(
        "secrets = { b = { secret = \"a\", json = \"/p\" }, a = { env = \"SECRET\" } }\nvalues = { v = 1 }",
        "{v}",
    )));
}

#[test]
fn an_injection_names_secrets_values_and_outputs_of_others_and_nothing_else() {
    let file = |inject: &str| {
        format!(
            "[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.other]\nflow = \"static\"\ntoken = {{ env = \
             \"SECRET\" }}\nexpires = \"never\"\n[credentials.c]\nflow = \"static\"\ntoken = {{ env = \"SECRET\" \
             }}\nexpires = \"never\"\nvalues = {{ v = \"plain\" }}\n[routes.r]\nupstream = \"https://api.example\"\n\
             credential = \"c\"\ninject = {{ headers = {{ X = \"{inject}\" }} }}\n"
        )
    };
    let config = accepted(&file("{token} {other.token} {v}")).config;
    assert_eq!(config.routes[0].credential.as_str(), "c+other.token");
    assert_eq!(config.credentials.len(), 3);
    assert_eq!(config.credentials[2].name.as_str(), "c+other.token", "parents come first");
    assert_eq!(accepted(&file("{token} {v}")).config.routes[0].credential.as_str(), "c");
    assert!(mistakes(&file("{nobody}")).contains("the template names `nobody`"));
    assert!(mistakes(&file("{other.tokn}")).contains("did you mean `token`?"));
    assert!(mistakes(&file("{othr.token}")).contains("did you mean `other`?"));
}

#[test]
fn a_refresh_token_that_does_not_rotate_needs_no_durable_store() {
    let zoho = |more: &str| {
        around(&format!(
            "[credentials.c]\npreset = \"zoho\"\nclient_id = \"i\"\nclient_secret = {{ env = \"SECRET\" \
             }}\nrefresh_token = {{ env = \"SECRET\" }}\n{more}"
        ))
    };
    assert_eq!(warnings(&zoho("")), [""; 0]);
    assert!(warnings(&zoho("rotates = true\n"))[0].contains("no durable store keeps the next one"));
    let config = accepted(&zoho("")).config;
    assert!(!config.credentials[0].flow.is_single_use(), "a lost answer is asked for again");
    let limit = config.credentials[0].times.max_renewals.expect("a limit");
    assert_eq!((limit.count, limit.per.as_secs()), (10, 600));
}
