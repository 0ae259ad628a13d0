//! Reading every secret that a configuration names, for `bearerd check`. Running only warns of a
//! secret that is not there: its credential waits for it.

use crate::clock::Clock;
use crate::config::{Loaded, Problem, SecretPlace, Severity};
use crate::credential::input::{InputError, read, read_source};
use crate::credential::store::spec::{KeyFault, StoreSpec};
use crate::credential::{CredentialName, CredentialSpec, Source};
use crate::secret::Secret;

/// Reads every file, command and key, signs every assertion, and tells what cannot be read. Outputs
/// of other credentials are not obtained: a text takes their place.
pub async fn read_all(loaded: &Loaded, clock: &Clock) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(token) = &loaded.config.admin.token
        && let Err(error) = read_source("token", token, &stand_in, clock).await
    {
        problems.push(problem(loaded, None, &error));
    }
    if let StoreSpec::File(spec) = &loaded.config.store
        && let Err(fault) = spec.keys(clock).await
    {
        problems.push(store_problem(loaded, &fault));
    }
    for receiver in &loaded.config.notify {
        if let Some(secret) = receiver.way.secret()
            && let Err(error) = read_source("secret", secret, &stand_in, clock).await
        {
            let message =
                format!("the secret of `[notify.{}]` cannot be read: {}", receiver.name, error.message);
            problems.push(Problem { severity: Severity::Error, message, help: None, location: None });
        }
    }
    for spec in &loaded.config.credentials {
        for error in read_one(spec, clock).await {
            problems.push(problem(loaded, Some(&spec.name), &error));
        }
    }
    problems
}

/// Reads each input by itself, so that all mistakes are told, and signs assertions last, since their
/// claims may name other inputs.
async fn read_one(spec: &CredentialSpec, clock: &Clock) -> Vec<InputError> {
    let mut errors = Vec::new();
    let mut known = spec.clone();
    for (name, source) in &spec.inputs {
        if matches!(source, Source::Output { .. } | Source::Jwt(_)) {
            continue;
        }
        if matches!(source.leaf(), Source::Output { .. }) {
            // A part of what is not obtained.
            known
                .inputs
                .extend(stand_in(&spec.name, name).map(|value| (name.to_owned(), Source::Value(value))));
            continue;
        }
        match read_source(name, source, &stand_in, clock).await {
            Ok(value) => {
                known.inputs.insert(name, Source::Value(value));
            }
            Err(error) => errors.push(error),
        }
    }
    let is_unknown = |source: &Source| match source {
        Source::Jwt(assertion) => matches!(assertion.key.leaf(), Source::Output { .. }),
        _ => false,
    };
    known.inputs.retain(|_, source| !is_unknown(source));
    if errors.is_empty()
        && let Err(error) = read(&known, &stand_in, clock).await
    {
        errors.push(error);
    }
    errors
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that reading asks for")]
fn stand_in(_: &CredentialName, _: &str) -> Option<Secret> {
    Some(Secret::from("not obtained yet"))
}

fn store_problem(loaded: &Loaded, fault: &KeyFault) -> Problem {
    let of_store = |place: &&SecretPlace| place.owner.is_none() && place.input.contains("store");
    // The key stands before the previous ones, which stand in their order.
    let place = loaded.secrets.iter().filter(of_store).nth(fault.previous.map_or(0, |index| index + 1));
    let location = place.map(|place| place.location.clone());
    Problem { severity: Severity::Error, message: fault.to_string(), help: None, location }
}

fn problem(loaded: &Loaded, owner: Option<&CredentialName>, error: &InputError) -> Problem {
    let place = loaded
        .secrets
        .iter()
        .find(|place| place.owner.as_ref() == owner && place.input == error.input)
        .map(|place| place.location.clone());
    let whose =
        owner.map_or_else(|| "the admin token".to_owned(), |owner| format!("`{}` of `{owner}`", error.input));
    let message = format!("{whose} cannot be read: {}", error.message);
    Problem { severity: Severity::Error, message, help: None, location: place }
}
