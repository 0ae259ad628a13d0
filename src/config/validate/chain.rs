//! Chains: credentials whose secrets are outputs of others. Parents come before their dependents,
//! and no chain bites its tail.

use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::credential::{CredentialName, CredentialSpec, Source};

/// The specs, parents first; else in the order of the file. Tells every circle.
pub(crate) fn in_order(
    credentials: Vec<Credential>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Vec<CredentialSpec>> {
    let mut waiting: Vec<CredentialSpec> =
        credentials.into_iter().map(|credential| credential.spec).collect();
    let mut ordered: Vec<CredentialSpec> = Vec::with_capacity(waiting.len());
    loop {
        let is_waited_for = |name: &CredentialName| waiting.iter().any(|spec| spec.name == *name);
        let is_ready = |spec: &CredentialSpec| !parents(spec).iter().any(|parent| is_waited_for(parent));
        let Some(ready) = waiting.iter().position(is_ready) else { break };
        ordered.push(waiting.remove(ready));
    }
    let mut told: Vec<CredentialName> = Vec::new();
    for spec in &waiting {
        if told.contains(&spec.name) {
            continue;
        }
        let Some(circle) = circle(spec, &waiting) else { continue };
        let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
        let way = format!("{} -> {}", names.join(" -> "), names[0]);
        let message = format!("these credentials wait for each other: {way}");
        context.findings.error(place.key(spec.name.as_str()), message);
        told.extend(circle.into_iter().cloned());
    }
    waiting.is_empty().then_some(ordered)
}

/// The credentials whose outputs a credential takes.
pub(crate) fn parents(spec: &CredentialSpec) -> Vec<&CredentialName> {
    let mut parents = Vec::new();
    for source in spec.inputs.values() {
        let source = match source {
            Source::Jwt(assertion) => &assertion.key,
            other => other,
        };
        if let Source::Output { credential, .. } = source {
            parents.push(credential);
        }
    }
    parents
}

/// The circle that a credential is part of, itself first; `None` if it only waits for one.
fn circle<'a>(start: &'a CredentialSpec, among: &'a [CredentialSpec]) -> Option<Vec<&'a CredentialName>> {
    let mut ways: Vec<Vec<&CredentialName>> = vec![vec![&start.name]];
    let mut seen: Vec<&CredentialName> = Vec::new();
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        let Some(spec) = among.iter().find(|spec| spec.name == *last) else { continue };
        for parent in parents(spec) {
            if *parent == start.name {
                return Some(way);
            }
            if !seen.contains(&parent) {
                seen.push(parent);
                ways.push(way.iter().copied().chain([parent]).collect());
            }
        }
    }
    None
}
