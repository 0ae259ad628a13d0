//! The configuration: what is accepted, what is refused and how that is told, what presets and
//! commands make of it.

mod check;
mod egress;
mod forms;
mod grants;
mod listeners;
mod mistakes;
mod own_presets;
mod presets;
mod rules;
mod secrecy;

use std::path::Path;

use bearerd::config::{Environment, Loaded, load, load_text};

/// Part of every secret in these tests: no problem may show it.
const CANARY: &str = "c4n4ry";

fn environment() -> Environment {
    [
        ("EMAIL", "c4n4ry-me@example.com"),
        ("PASSWORD", "c4n4ry-password\n"),
        ("SECRET", "c4n4ry-secret"),
        ("EMPTY", "\n"),
        ("CREDENTIALS_DIRECTORY", "/nonexistent/credentials"),
    ]
    .into_iter()
    .collect()
}

/// A file that is accepted.
#[track_caller]
fn accepted(text: &str) -> Loaded {
    match load_text("bearerd.toml", text, &environment()) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

/// What is told of a file that is refused.
#[track_caller]
fn refused(text: &str) -> String {
    let problems = load_text("bearerd.toml", text, &environment()).expect_err("it is wrong");
    let told = format!("{problems}\n{problems:?}");
    assert!(!told.contains(CANARY), "a secret is told:\n{told}");
    problems.to_string()
}

/// The messages of a file that is refused, one a line: `line:column message (help)`.
#[track_caller]
fn mistakes(text: &str) -> String {
    let problems = load_text("bearerd.toml", text, &environment()).expect_err("it is wrong");
    let line = |problem: &bearerd::config::Problem| {
        let place = problem.location.as_ref().map(|place| format!("{}:{} ", place.line, place.column));
        let help = problem.help.as_ref().map(|help| format!(" ({help})"));
        format!("{}{}{}", place.unwrap_or_default(), problem.message, help.unwrap_or_default())
    };
    let told: Vec<String> = problems.0.iter().map(line).collect();
    let told = told.join("\n");
    assert!(!told.contains(CANARY), "a secret is told:\n{told}");
    told
}

/// The messages of the warnings of a file that is accepted.
#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    accepted(text).warnings.into_iter().map(|problem| problem.message).collect()
}

/// A whole file around one credential: a listener, and a route that uses it.
fn around(credential: &str) -> String {
    format!(
        "[listeners.app]\nbind = \"127.0.0.1:0\"\n[routes.r]\nupstream = \"https://api.example\"\n\
         credential = \"c\"\n{credential}"
    )
}

/// A whole file around one route: a listener and a static credential.
fn around_route(route: &str) -> String {
    format!(
        "[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.c]\nflow = \"static\"\n\
         token = {{ env = \"SECRET\" }}\n[routes.r]\n{route}"
    )
}

#[test]
fn the_example_of_the_repository_is_a_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let loaded = load(&path, &Environment::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.files, [path]);
    let without_modes = |problem: &&bearerd::config::Problem| !problem.message.starts_with("every user");
    let warnings: Vec<_> = loaded.warnings.iter().filter(without_modes).map(ToString::to_string).collect();
    let of_the_store = warnings.iter().filter(|warning| warning.contains("no durable store"));
    assert_eq!((of_the_store.count(), warnings.len()), (2, 2), "a rotating grant and a secret: {warnings:?}");
}
