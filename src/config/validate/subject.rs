//! Routes with subjects, and the credentials that have nothing else.

use std::sync::Arc;

use http::HeaderName;

use crate::config::raw;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::credential::{CredentialSpec, Owner};
use crate::http1::Kind;
use crate::http1::field::is_same_name;
use crate::inject::Injection;
use crate::route::{RouteSpec, SubjectSource};

/// The last segment that may tell a subject.
const LAST_SEGMENT: u16 = 32;

/// Where a route's requests say whose token they want; `None` if it does not ask.
pub(crate) fn source(
    raw: &raw::Route,
    credential: Option<&Credential>,
    injection: Option<&Injection>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<SubjectSource> {
    let written = raw.subject.as_ref()?;
    let place = place.key("subject");
    if let Some(credential) = credential
        && !credential.spec.flow.is_interactive()
    {
        let message = format!(
            "`{}` has one token for all: only a credential to which people log in has subjects",
            credential.spec.name
        );
        let help = "an `oauth2` flow with the grant `authorization_code` or `device_code`";
        context.findings.error(place, message).help(help);
    }
    match (&written.header, written.path) {
        (Some(name), None) => header(name, injection, place.key("header"), context),
        (None, Some(number @ 1..=LAST_SEGMENT)) => Some(SubjectSource::Path(number.into())),
        (None, Some(_)) => {
            let message = format!("a segment is counted from 1 to {LAST_SEGMENT}");
            context.findings.error(place.key("path"), message);
            None
        }
        _ if !place.spoiled().is_empty() => None,
        _ => {
            let problem = context.findings.error(place, "a subject is told by `header` or by `path`");
            problem.help("such as subject = { header = \"X-Bearerd-Subject\" }");
            None
        }
    }
}

fn header(
    name: &str,
    injection: Option<&Injection>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<SubjectSource> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        context.findings.error(place, "this is not the name of a header field");
        return None;
    };
    let mistake = if Kind::of(name.as_str().as_bytes()) == Kind::Underscore {
        "servers read `_` and `-` as one: a name with `-` is clearer"
    } else if Kind::of(name.as_str().as_bytes()) != Kind::Other {
        "this field has a meaning of its own in HTTP"
    } else if injection.is_some_and(|injection| takes(injection, &name)) {
        "this field is injected: the app cannot send it"
    } else {
        return Some(SubjectSource::Header(name));
    };
    let problem = context.findings.error(place, mistake);
    problem.help("such as \"X-Bearerd-Subject\"");
    None
}

/// Whether an injection puts something under this name.
fn takes(injection: &Injection, name: &HeaderName) -> bool {
    let is_same = |other: &HeaderName| is_same_name(other.as_str().as_bytes(), name.as_str().as_bytes());
    let fields = injection.headers.iter().map(|(other, _)| other);
    fields.chain(injection.signatures.iter().map(|(other, _)| other)).any(is_same)
}

/// Marks the credentials whose own token nobody reads: no route, and no other credential.
pub(crate) fn mark(credentials: &mut [Credential], bundles: &[CredentialSpec], routes: &[Arc<RouteSpec>]) {
    let read: Vec<Owner> = credentials
        .iter()
        .map(|credential| &credential.spec)
        .chain(bundles)
        .flat_map(|spec| spec.parents().map(|(parent, _)| Owner::from(parent)))
        .chain(routes.iter().filter(|route| route.subject.is_none()).map(|route| (&route.credential).into()))
        .collect();
    for credential in credentials {
        let name = &credential.spec.name;
        let has_subjects = routes.iter().any(|route| route.credential == *name && route.subject.is_some());
        credential.spec.only_subjects = has_subjects && !read.contains(&Owner::from(name));
    }
}
