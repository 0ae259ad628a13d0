//! `rotate` and `rotate_before`: a value that is replaced before it ends.

use std::time::Duration;

use crate::config::raw;
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::config::validate::endpoint::Endpoint;
use crate::config::validate::login;
use crate::credential::{CredentialName, Rotation, Source};

/// The rotation of a login, if it has one.
pub(crate) fn rotation(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<Rotation> {
    let at = place.key("rotate");
    let Some(rotate) = &raw.rotate else {
        if raw.rotate_before.is_some() && !place.is_spoiled("rotate") {
            let message = "this credential has no `rotate` that says how its value is replaced";
            context.findings.error_at(place.key("rotate_before").key_span(), message);
        }
        return None;
    };
    let read = raw.steps.as_deref().unwrap_or_default();
    let outputs: Vec<String> = read.iter().flat_map(|step| step.outputs.names()).map(str::to_owned).collect();
    if rotate.steps.is_empty() && !at.is_spoiled("steps") {
        context.findings.missing(at, "steps", "they replace the value");
    }
    if raw.rotate_before.is_none() && !place.is_spoiled("rotate_before") {
        context.findings.missing(
            place,
            "rotate_before",
            "it says how long before its end a value is replaced",
        );
    }
    for name in &outputs {
        let is_made = rotate.steps.iter().any(|step| step.outputs.names().any(|made| made == name));
        if !is_made && !rotate.steps.is_empty() {
            let message =
                format!("no step takes `{name}` from the answer, which is an output of this credential");
            context.findings.error(at.key("steps"), message);
        }
    }
    let steps = login::steps(&rotate.steps, at.key("steps"), outputs.clone(), inputs, endpoints, context);
    let verify = login::steps(&rotate.verify, at.key("verify"), outputs, inputs, endpoints, context);
    let fresh = fresh(&rotate.fresh, at.key("fresh"), inputs, context);
    let before = raw.rotate_before.map_or(Duration::ZERO, |time| time.0);
    if !before.is_zero() {
        let message =
            "this credential has its issuer replace its value, and no durable store keeps what came of it";
        let loss = "a value that was replaced just before the process ends would have to be read again";
        context.warn_unless_durable(place, message, loss);
    }
    let grace = rotate.grace.map_or(Duration::ZERO, |time| time.0);
    Some(Rotation { before, grace, fresh, steps: steps?, verify: verify? })
}

/// The credentials that give these inputs. One that a person gives by reference is as fresh as can be.
fn fresh(
    names: &[String],
    place: Place<'_>,
    inputs: &Inputs,
    context: &mut Context<'_>,
) -> Vec<CredentialName> {
    let mut fresh = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match inputs.source(name) {
            Some(Source::Output { credential, .. }) => fresh.push(credential.clone()),
            Some(_) => {}
            None if inputs.names.spoiled.contains(name) || inputs.names.secrets.contains(name) => {}
            None => {
                let has = inputs.names.secrets.iter().map(String::as_str);
                let (near, known) = (nearest(name, has.clone()), list(has.clone()));
                let message = "this is not an input of the credential";
                context
                    .findings
                    .error(place.item(index), message)
                    .meant_or(near, || format!("there is {known}"));
            }
        }
    }
    fresh
}
