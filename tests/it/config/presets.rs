//! Laws that every preset keeps, and what each vendor's says.

use std::fmt::Write;
use std::time::Duration;

use bearerd::config::preset::{PRESETS, Preset};
use bearerd::config::{Config, Environment, Severity, load_text};
use bearerd::credential::Flow;
use bearerd::credential::flow::login::{ExpiryRule, HttpStep, Step, StepBody, TimeFormat};

use super::accepted;

/// A file with one credential of a preset and a route for it, all parameters given.
fn file(preset: Preset<'_>, further: &str) -> String {
    let mut text =
        format!("[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.c]\npreset = \"{}\"\n", preset.name);
    let is_left = |name: &str| !further.contains(&format!("{name} = "));
    for parameter in preset.parameters().iter().filter(|it| it.required && is_left(&it.name)) {
        let value = match &parameter.example {
            Some(example) => example.clone(),
            None if parameter.secret => "{ env = \"SECRET\" }".to_owned(),
            None => "\"a-value\"".to_owned(),
        };
        writeln!(text, "{} = {value}", parameter.name).expect("a text takes all");
    }
    text += further;
    if has_only_plain_http(preset) {
        text += "allow_plaintext = true\n";
    }
    if preset.injects() {
        text += "\n[routes.r]\nupstream = \"https://api.example\"\ncredential = \"c\"\n";
    }
    text
}

/// Some government portals have nothing else. Whoever uses one has to say so.
fn has_only_plain_http(preset: Preset<'_>) -> bool {
    preset.base_url().is_some_and(|address| address.starts_with("http://"))
        && preset.text.contains("[[credential.steps]]")
}

fn config(name: &str, further: &str) -> Config {
    accepted(&file(Preset::named(name).expect(name), further)).config
}

fn only_step(config: &Config) -> HttpStep {
    let Flow::Login(flow) = &config.credentials[0].flow else { panic!("{config:?}") };
    let [Step::Http(step)] = flow.steps.as_slice() else { panic!("{flow:?}") };
    step.clone()
}

fn url_of(step: &HttpStep) -> Option<&str> {
    step.url.as_ref()?.as_text()
}

#[test]
fn every_preset_says_what_it_is_and_makes_a_credential() {
    for preset in PRESETS {
        let config = accepted(&file(*preset, "")).config;
        assert_eq!(config.credentials.len(), 1, "{}", preset.name);
        assert!(!preset.summary().is_empty(), "{}", preset.name);
        let docs = preset.docs().expect(preset.name);
        assert!(docs.starts_with("https://") || docs.starts_with("http://secapi.nic.in/"), "{docs}");
        assert!(preset.text.starts_with("# "), "{} begins with what to know", preset.name);
        for parameter in preset.parameters() {
            assert!(!parameter.description.is_empty(), "{} {}", preset.name, parameter.name);
        }
    }
}

#[test]
fn every_issuer_of_a_preset_is_asked_over_https_in_every_environment() {
    for preset in PRESETS {
        let environments = preset.environments();
        let all = environments.iter().map(|name| format!("environment = \"{name}\"\n"));
        for environment in all.chain([String::new()]) {
            let config = accepted(&file(*preset, &environment)).config;
            for origin in match &config.credentials[0].flow {
                Flow::Static(_) => Vec::new(),
                Flow::OAuth2(flow) => flow.endpoints.origin().cloned().into_iter().collect(),
                Flow::Login(flow) => flow.origins(),
            } {
                let is_safe = origin.scheme.as_str() == "https" || has_only_plain_http(*preset);
                assert!(is_safe, "{} {environment}", preset.name);
            }
        }
    }
}

#[test]
fn every_preset_denies_its_endpoints_to_routes_of_its_own_server() {
    for preset in PRESETS {
        let base = "http://127.0.0.1:9999/base";
        let text = file(*preset, &format!("base_url = \"{base}\"\n"))
            .replace("https://api.example", "http://127.0.0.1:9999/api");
        let config = accepted(&text).config;
        for route in &config.routes {
            let asked = !matches!(config.credentials[0].flow, Flow::Static(_));
            assert!(!asked || !route.denied.is_empty(), "{}", preset.name);
            assert!(route.denied.iter().all(|path| path.starts_with("/base/")), "{:?}", route.denied);
        }
    }
}

#[test]
fn a_preset_that_misses_a_parameter_says_which() {
    for preset in PRESETS {
        let consent = if has_only_plain_http(*preset) { "allow_plaintext = true\n" } else { "" };
        let text = format!("[credentials.c]\npreset = \"{}\"\n{consent}", preset.name);
        let problems = load_text("x", &text, &Environment::default()).expect_err("parameters are missing");
        let required: Vec<_> =
            preset.parameters().into_iter().filter(|parameter| parameter.required).collect();
        let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error).count();
        assert_eq!(errors, required.len(), "{problems}");
        for parameter in required {
            let needle = format!("the preset `{}` needs `{}`", preset.name, parameter.name);
            assert!(problems.to_string().contains(&needle), "{problems}");
        }
    }
}

#[test]
fn an_address_replaces_that_of_the_preset_and_the_environment() {
    let further = "environment = \"sandbox\"\nbase_url = \"http://127.0.0.1:1/x/\"\n";
    let step = only_step(&config("sahamati-user", further));
    assert_eq!(url_of(&step), Some("http://127.0.0.1:1/x/user/token/generate"));
    let step = only_step(&config("sahamati-user", "environment = \"sandbox\"\n"));
    let url = "https://api.sandbox.sahamati.org.in/iam/v1/user/token/generate";
    assert_eq!(url_of(&step), Some(url));
}

#[test]
fn sahamati_takes_forms_for_tokens_and_json_for_secrets() {
    let user = only_step(&config("sahamati-user", ""));
    let StepBody::Form(form) = &user.body else { panic!("{user:?}") };
    let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["username", "password"]);

    let entity = only_step(&config("sahamati-entity", ""));
    let StepBody::Form(form) = &entity.body else { panic!("{entity:?}") };
    assert_eq!(form[0].1.as_text(), Some("a-value"));
    assert_eq!(form[1].1.names(), ["secret"]);
    assert_eq!(entity.warn.as_deref(), Some("/message"));

    let secret = only_step(&config("sahamati-secret", ""));
    assert_eq!(url_of(&secret), Some("https://api.sahamati.org.in/iam/v1/entity/secret/read"));
    assert!(matches!(secret.body, StepBody::Json(_)));
    let india = TimeFormat::Rfc3339 { offset: 19_800 };
    let ends = [("/expiresOn", TimeFormat::EpochSeconds), ("/expirationDate", india)];
    let ends = ends.map(|(pointer, format)| ExpiryRule::At { pointer: pointer.into(), format });
    assert_eq!(secret.expiry, ends);
    assert_eq!(secret.headers.iter().filter(|(name, _)| name == "authorization").count(), 1);
}

#[test]
fn a_sahamati_secret_is_reset_in_time_unless_the_user_says_otherwise() {
    let day = Duration::from_secs(86_400);
    let rotation = |further: &str| {
        let config = config("sahamati-secret", further);
        config.credentials[0].rotation.clone().expect("it is rotated")
    };
    let usual = rotation("");
    assert_eq!((usual.before, usual.grace), (15 * day, 5 * day));
    assert_eq!((usual.steps.len(), usual.verify.len()), (1, 1));
    assert_eq!(rotation("rotate_before = \"30d\"\n").before, 30 * day);
    assert_eq!(rotation("rotate_before = \"0\"\n").before, Duration::ZERO);
    for days in ["0", "181", "-1", "\"180\"", "90.5"] {
        let text = format!("secret_days = {days}\n");
        let text = file(Preset::named("sahamati-secret").expect("a preset"), &text);
        let problems = load_text("test.toml", &text, &Environment::default()).expect_err(days);
        assert!(problems.to_string().contains("a whole number from 1 to 180"), "{problems}");
    }
}

#[test]
fn a_route_names_the_field_in_which_members_of_sahamati_take_the_token() {
    for field in ["client_api_key", "aa_api_key", "fip_api_key"] {
        let config = config("sahamati-entity", "");
        assert_eq!(config.routes[0].injection.headers[0].0, "authorization");
        let text = file(Preset::named("sahamati-entity").expect("a preset"), "");
        let config = accepted(&format!("{text}inject = \"{field}\"\n")).config;
        let [(name, template)] = &config.routes[0].injection.headers[..] else { panic!("{config:?}") };
        assert_eq!((name.as_str(), template.names()), (field, vec!["access_token"]));
    }
    let text = file(Preset::named("sahamati-entity").expect("a preset"), "") + "inject = \"client_apikey\"\n";
    let problems = load_text("test.toml", &text, &Environment::default()).expect_err("a wrong name");
    assert!(problems.to_string().contains("`client_api_key`"), "{problems}");
}

#[test]
fn payhub_says_in_the_body_how_it_went() {
    let config = config("payhub", "");
    let step = only_step(&config);
    assert_eq!(step.success.json, [("/responseCode".to_owned(), vec![200.into()])]);
    assert!(step.reject.json[0].1.contains(&405.into()) && !step.reject.json[0].1.contains(&500.into()));
    let route = &config.routes[0];
    assert_eq!(route.refusal.json[0].0, "/responseCode");
    assert!(route.refusal.json[0].1.contains(&403.into()));
    let outputs: Vec<_> = step.outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(outputs, ["token", "api_key"]);
}

#[test]
fn a_fault_of_a_repository_behind_digilocker_is_no_refusal() {
    let config = config("digilocker", "");
    assert_eq!(
        (config.routes[0].refusal.status.as_slice(), config.routes[0].refusal.except.as_slice()),
        ([401].as_slice(), [530].as_slice())
    );
    let Flow::OAuth2(flow) = &config.credentials[0].flow else { panic!("{config:?}") };
    assert_eq!(
        flow.endpoints.token.as_ref().expect("a token endpoint").to_string(),
        "https://digilocker.meripehchaan.gov.in/public/oauth2/1/token"
    );
}
