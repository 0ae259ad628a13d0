//! Bundles: where an injection names more than the outputs of its credential, such as another credential's
//! token or a secret that goes on each request, the route takes its tokens from a credential of its own that
//! puts all of it together. Each part is kept fresh by itself.

use std::collections::BTreeSet;

use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::credential::flow::StaticFlow;
use crate::credential::flow::fixed::Expires;
use crate::credential::{CredentialName, CredentialSpec, Flow, Source, Times};
use crate::inject::{Injection, Verification};

/// What stands between the name of a credential and those of the further parts. No credential of the file
/// is called so.
const JOINT: char = '+';

/// The bundle that an injection and a verification need; `None` if the credential has all that they name, or
/// `lends` the secrets that they name beside its outputs.
pub(crate) fn of(
    credential: &Credential,
    injection: &Injection,
    verification: Option<&Verification>,
    lends: bool,
    context: &mut Context<'_>,
) -> Option<CredentialSpec> {
    let own = context.outputs.get(credential.spec.name.as_str())?.clone()?;
    let names = injection.names().chain(verification.into_iter().flat_map(|it| it.value.names()));
    let (own, further): (BTreeSet<String>, BTreeSet<String>) =
        names.map(str::to_owned).partition(|name| own.contains(name));
    if further.is_empty() || (lends && !further.iter().any(|name| name.contains('.'))) {
        return None;
    }
    let mut name = credential.spec.name.to_string();
    for part in &further {
        name.push(JOINT);
        name += part;
    }
    let output = |credential: &CredentialName, output: &str| Source::Output {
        credential: credential.clone(),
        output: output.to_owned(),
    };
    let mut inputs: Vec<(String, Source)> =
        own.into_iter().map(|name| (name.clone(), output(&credential.spec.name, &name))).collect();
    for part in further {
        let source = match part.split_once('.') {
            Some((other, of)) => output(&CredentialName::from(other), of),
            None => credential.sources.get(&part)?.clone(),
        };
        inputs.push((part, source));
    }
    let Times { default_lifetime, exchange_timeout, .. } = *credential.spec.times;
    let times = Times { default_lifetime, exchange_timeout, ..Times::default() };
    let spec = CredentialSpec {
        name: CredentialName::from(name.as_str()),
        flow: Flow::Static(StaticFlow { expires: Expires::Never }),
        inputs: inputs.into_iter().collect(),
        egress: credential.spec.egress.clone(),
        times: context.alike.times.one(times),
        only_subjects: false,
        expected_upstream: None,
        deadline: None,
        rotation: None,
        ..credential.spec.clone()
    };
    for (parent, _) in spec.parents() {
        context.links.push((name.clone(), parent.to_string()));
    }
    Some(spec)
}

/// Adds the parts of a bundle to those that another route has of it: it has the same further ones.
pub(crate) fn join(bundle: &mut CredentialSpec, other: &CredentialSpec) {
    bundle.inputs.extend(other.inputs.iter().map(|(name, source)| (name.to_owned(), source.clone())));
}

/// The credential that a route names, of the one that it takes its tokens from.
pub(crate) fn base(name: &CredentialName) -> &str {
    name.as_str().split(JOINT).next().unwrap_or_default()
}
