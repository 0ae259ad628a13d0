//! Reading every secret that a configuration names, and its store, for `bearerd check`. Running only warns of a
//! secret that is not there: its credential waits for it.

use std::path::Path;

use crate::clock::Clock;
use crate::config::{Loaded, Location, Problem, SecretPlace, Severity};
use crate::credential::input::{InputError, Inputs, read, read_source};
use crate::credential::store::file::{Keys, OpenFault, read as read_store};
use crate::credential::store::spec::{KeyFault, StoreSpec};
use crate::credential::{CredentialName, CredentialSpec, Flow, Source};
use crate::secret::Secret;

/// Reads every file, command and key, signs every assertion, opens the store without a change, and tells what
/// cannot be read or used. Outputs of other credentials are not obtained: a text takes their place.
pub async fn read_all(loaded: &Loaded, clock: &Clock) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(token) = &loaded.config.admin.token
        && let Err(error) = read_source("token", token, &stand_in, clock).await
    {
        problems.push(problem(loaded, None, &error));
    }
    if let StoreSpec::File(spec) = &loaded.config.store {
        match spec.keys(clock).await {
            Ok(keys) => problems.extend(unopened(&spec.path, &keys)),
            Err(fault) => problems.push(store_problem(loaded, &fault)),
        }
    }
    for receiver in &loaded.config.notify {
        if let Some(secret) = receiver.way.secret()
            && let Err(error) = read_source("secret", secret, &stand_in, clock).await
        {
            let message =
                format!("the secret of `[notify.{}]` cannot be read: {}", receiver.name, error.message);
            problems.push(Problem::nowhere(message));
        }
    }
    for spec in &loaded.config.credentials {
        match read_one(spec, clock).await {
            Ok(inputs) => {
                problems.extend(ended(loaded, spec, &inputs, clock));
                problems.extend(unusable(loaded, spec, inputs, clock));
            }
            Err(errors) => {
                problems.extend(errors.iter().map(|error| problem(loaded, Some(&spec.name), error)));
            }
        }
    }
    problems
}

/// Warns of a static token that has ended: no request gets it.
fn ended(loaded: &Loaded, spec: &CredentialSpec, inputs: &Inputs, clock: &Clock) -> Option<Problem> {
    let Flow::Static(flow) = &spec.flow else { return None };
    let end = flow.ended(inputs, clock.wall())?;
    let message = format!("`{}` ended at {end:.0}, and it cannot renew itself", spec.name);
    let help = Some("replace the token at its source, or correct `expires`".to_owned());
    Some(Problem { severity: Severity::Warning, message, help, location: place_of(loaded, spec) })
}

/// Where the first secret of a credential is named.
fn place_of(loaded: &Loaded, spec: &CredentialSpec) -> Option<Location> {
    let place = loaded.secrets.iter().find(|place| place.owner.as_ref() == Some(&spec.name));
    place.map(|place| place.location.clone())
}

/// The routes that cannot carry a token that is known already.
fn unusable(loaded: &Loaded, spec: &CredentialSpec, inputs: Inputs, clock: &Clock) -> Vec<Problem> {
    let is_obtained = |source: &Source| matches!(source.leaf(), Source::Output { .. } | Source::Jwt(_));
    if !spec.flow.is_static() || spec.inputs.iter().any(|(_, source)| is_obtained(source)) {
        return Vec::new();
    }
    let outputs = inputs.values.into_iter().collect();
    let routes = loaded.config.routes.iter().filter(|route| route.credential == spec.name);
    routes
        .filter_map(|route| {
            let message = route.injection.prepare(&outputs, clock).err()?;
            let message = format!("`{}` cannot be used on the route `{}`: {message}", spec.name, route.name);
            Some(Problem::at(place_of(loaded, spec), message))
        })
        .collect()
}

/// Reads each input by itself, so that all mistakes are told, and signs assertions last, since their
/// claims may name other inputs.
async fn read_one(spec: &CredentialSpec, clock: &Clock) -> Result<Inputs, Vec<InputError>> {
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
    if !errors.is_empty() {
        return Err(errors);
    }
    read(&known, &stand_in, clock).await.map_err(|error| vec![error])
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that reading asks for")]
fn stand_in(_: &CredentialName, _: &str) -> Option<Secret> {
    Some(Secret::from("not obtained yet"))
}

/// Why the store cannot be opened: with its key, or at all. One that is not there yet is made at the start, and
/// one that a bearerd has was opened by that.
fn unopened(path: &Path, keys: &Keys) -> Option<Problem> {
    let error = read_store(path, keys).err()?;
    let is_well = matches!(error.fault, OpenFault::InUse | OpenFault::Missing);
    (!is_well).then(|| Problem::nowhere(error.to_string()))
}

fn store_problem(loaded: &Loaded, fault: &KeyFault) -> Problem {
    let of_store = |place: &&SecretPlace| place.owner.is_none() && place.input.contains("store");
    // The key stands before the previous ones, which stand in their order.
    let place = loaded.secrets.iter().filter(of_store).nth(fault.previous.map_or(0, |index| index + 1));
    let location = place.map(|place| place.location.clone());
    Problem::at(location, fault.to_string())
}

fn problem(loaded: &Loaded, owner: Option<&CredentialName>, error: &InputError) -> Problem {
    let place = loaded
        .secrets
        .iter()
        .find(|place| place.owner.as_ref() == owner && place.input == error.input)
        .map(|place| place.location.clone());
    let whose =
        owner.map_or_else(|| "the admin token".to_owned(), |owner| format!("`{}` of `{owner}`", error.input));
    Problem::at(place, format!("{whose} cannot be read: {}", error.message))
}
