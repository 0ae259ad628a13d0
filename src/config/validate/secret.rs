//! Secret references, resolved to sources.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::certificate::KeySource;
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, TextOr};
use crate::config::raw::secret::{Assertion, SecretReference};
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::{Context, unknown};
use crate::config::validate::inject::check_pointer;
use crate::config::validate::names::Names;
use crate::credential::input::{AssertionSpec, Claim};
use crate::credential::{CredentialName, Source};
use crate::secret::{Secret, unreadable, what_else, without_line_break};

pub(crate) const ALGORITHMS: [&str; 14] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256",
    "HS384", "HS512", "Ed25519",
];

/// The source that a reference means. Texts of a `jwt` may use `names`. A file may not be there yet.
pub(crate) fn source(
    raw: &SecretReference,
    place: Place<'_>,
    names: &Names,
    context: &mut Context<'_>,
) -> Option<Source> {
    let source = resolve(raw, place, names, context)?;
    if let Source::File(path) = &source {
        let key = if raw.file.is_some() { "file" } else { "systemd" };
        look_at(path, place.key(key), context)?;
    }
    Some(source)
}

/// A secret that is wanted at the start: a file that is not there is told by whoever reads it.
pub(crate) fn early(raw: &SecretReference, place: Place<'_>, context: &mut Context<'_>) -> Option<Source> {
    let source = resolve(raw, place, &Names::default(), context)?;
    if let Source::File(path) = &source
        && let Ok(about) = std::fs::metadata(path)
    {
        warn_of_readers(&about, path, place, context);
    }
    Some(source)
}

/// The same, without a look at the file.
fn resolve(
    raw: &SecretReference,
    place: Place<'_>,
    names: &Names,
    context: &mut Context<'_>,
) -> Option<Source> {
    let document = whole(raw, place, names, context)?;
    let Some(pointer) = &raw.json else { return Some(document) };
    check_pointer(pointer, place.key("json"), context);
    if matches!(document, Source::Jwt(_)) {
        context.findings.error(place.key("json"), "an assertion that is made here has no parts to take");
        return None;
    }
    Some(Source::Part { document: Box::new(document), pointer: pointer.clone() })
}

/// What a reference means before a part of it is taken.
fn whole(
    raw: &SecretReference,
    place: Place<'_>,
    names: &Names,
    context: &mut Context<'_>,
) -> Option<Source> {
    let kinds = [
        ("file", raw.file.is_some()),
        ("env", raw.env.is_some()),
        ("systemd", raw.systemd.is_some()),
        ("command", raw.command.is_some()),
        ("credential", raw.credential.is_some()),
        ("secret", raw.secret.is_some()),
        ("jwt", raw.jwt.is_some()),
        ("value", raw.value.is_some()),
    ];
    let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
    match given.as_slice() {
        [_] => {}
        [] if kinds.iter().any(|(kind, _)| place.is_spoiled(kind)) => return None,
        [] => {
            let possible = list(kinds.iter().map(|(kind, _)| *kind));
            let problem = context.findings.error(place, "this reference does not say where the secret is");
            problem.help(format!("say one of {possible}"));
            return None;
        }
        several => {
            let several = list(several.iter().copied());
            context.findings.error(place, format!("a secret comes from one place, not from {several}"));
            return None;
        }
    }
    if raw.timeout.is_some() && raw.command.is_none() {
        context.findings.error(place.key("timeout"), "`timeout` is for `command`");
    }
    if raw.output.is_some() && raw.credential.is_none() {
        context.findings.error(place.key("output"), "`output` is for `credential`");
    }
    if let Some(path) = &raw.file {
        return Some(Source::File(context.path(path).into()));
    }
    if let Some(name) = &raw.env {
        return variable(name, place.key("env"), context);
    }
    if let Some(name) = &raw.systemd {
        return systemd(name, place.key("systemd"), context);
    }
    if let Some(argv) = &raw.command {
        if argv.first().is_none_or(String::is_empty) {
            context.findings.error(place.key("command"), "`command` names no program");
            return None;
        }
        let timeout = raw.timeout.map_or(Duration::from_secs(10), |timeout| timeout.0);
        return Some(Source::Command { argv: argv.clone(), timeout });
    }
    if let Some(name) = &raw.credential {
        return output(name, raw.output.as_deref(), place, context);
    }
    if let Some(name) = &raw.secret {
        return own(name, place.key("secret"), names, context);
    }
    if let Some(value) = &raw.value {
        let problem =
            context.findings.warning(place.key("value"), "this secret stands in the configuration itself");
        problem.help("a file, the environment or systemd keeps it apart");
        return non_empty(value.0.expose(), place.key("value"), context).map(Source::Value);
    }
    raw.jwt.as_ref().and_then(|jwt| assertion(jwt, place.key("jwt"), names, context))
}

/// A secret that is wanted before anything is obtained, such as the key of a certificate: a path, or a
/// reference to what is at hand. A file that is not there is told by whoever reads it.
pub(crate) fn at_hand(
    raw: &TextOr<SecretReference>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<KeySource> {
    let source = match raw {
        TextOr::Text(path) => Source::File(context.path(path).into()),
        TextOr::Table(reference) => resolve(reference, place, &Names::default(), context)?,
    };
    match source {
        Source::File(path) => {
            if let Ok(about) = std::fs::metadata(&path) {
                warn_of_readers(&about, &path, place, context);
            }
            Some(KeySource::File(path.to_path_buf()))
        }
        Source::Value(value) => Some(KeySource::Value(value)),
        Source::Command { .. } | Source::Output { .. } | Source::Jwt(_) | Source::Part { .. } => {
            let message = "this secret is wanted before anything is obtained";
            let problem = context.findings.error(place, message);
            problem.help("say one of `file`, `systemd` and `env`");
            None
        }
    }
}

/// A secret that is no file is wrong; one that is not there, or that others can read, is warned about.
fn look_at(path: &Path, place: Place<'_>, context: &mut Context<'_>) -> Option<()> {
    match std::fs::metadata(path) {
        Ok(about) => {
            if let Some(other) = what_else(&about) {
                let problem = context.findings.error(place, format!("this is {other}, not a file"));
                if !about.is_dir() {
                    problem.help("it is read whenever it is wanted; `command` takes what a program prints");
                }
                return None;
            }
            warn_of_readers(&about, path, place, context);
        }
        Err(error) => {
            let message = format!("the file {} {}", path.display(), unreadable(&error));
            context.findings.warning(place, message).help("the credential waits for it");
        }
    }
    Some(())
}

/// Warns of a secret that every user of this machine can read.
fn warn_of_readers(about: &std::fs::Metadata, path: &Path, place: Place<'_>, context: &mut Context<'_>) {
    if about.permissions().mode() & 0o004 != 0 {
        let message = format!("every user of this machine can read {}", path.display());
        context.findings.warning(place, message).help("chmod 600 keeps others out");
    }
}

fn variable(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Source> {
    let Some(value) = context.environment.variable(name) else {
        context.findings.error(place, "the environment has no variable of this name");
        return None;
    };
    context.variables.insert(name.to_owned());
    non_empty(value.expose(), place, context).map(Source::Value)
}

fn systemd(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Source> {
    if name.is_empty() || name.contains('/') || name == ".." {
        context.findings.error(place, "this is not the name of a credential of systemd");
        return None;
    }
    let Some(folder) = &context.environment.credentials_directory else {
        let problem =
            context.findings.error(place, "systemd passed no credentials: $CREDENTIALS_DIRECTORY is not set");
        problem.help("the unit needs `LoadCredential=`");
        return None;
    };
    Some(Source::File(folder.join(name).into()))
}

fn non_empty(value: &[u8], place: Place<'_>, context: &mut Context<'_>) -> Option<Secret> {
    let value = without_line_break(value);
    if value.is_empty() {
        context.findings.error(place, "this secret is empty");
        return None;
    }
    Some(Secret::new(value).locked())
}

/// Another secret of the same credential.
fn own(name: &str, place: Place<'_>, names: &Names, context: &mut Context<'_>) -> Option<Source> {
    if let Some(source) = names.sources.get(name) {
        return Some(source.clone());
    }
    let is_told = names.spoiled.iter().chain(&names.secrets).any(|known| known == name);
    if !is_told {
        let known = || names.sources.keys().map(String::as_str);
        let problem = context.findings.error(place, "the credential has no secret of this name");
        problem.meant_or(nearest(name, known()), || format!("its secrets are {}", list(known())));
    }
    None
}

/// A link of a chain: an output of another credential.
fn output(name: &str, wanted: Option<&str>, place: Place<'_>, context: &mut Context<'_>) -> Option<Source> {
    let Some(outputs) = context.outputs.get(name) else {
        let known: Vec<&str> = context.outputs.keys().map(String::as_str).collect();
        unknown(&mut context.findings, place.key("credential"), "credential", name, &known);
        return None;
    };
    let credential = CredentialName::from(name);
    let outputs = outputs.clone();
    context.link(name);
    // The other credential is wrong itself, which is told there.
    let outputs = outputs?;
    let has = list(outputs.iter().map(String::as_str));
    let output = match wanted {
        Some(wanted) => outputs.iter().find(|output| *output == wanted).map(String::as_str),
        None => main_output(&outputs),
    };
    if let Some(output) = output {
        return Some(Source::Output { credential, output: output.to_owned() });
    }
    if let Some(wanted) = wanted {
        let near = nearest(wanted, outputs.iter().map(String::as_str));
        let message = format!("the credential `{credential}` has no such output: it has {has}");
        context.findings.error(place.key("output"), message).meant(near);
    } else {
        let message = format!("say which `output` of `{credential}` is meant: it has {has}");
        context.findings.error(place.key("credential"), message);
    }
    None
}

/// The output that is meant where none is named: the token, or the only one.
fn main_output(outputs: &[String]) -> Option<&str> {
    ["access_token", "token"]
        .into_iter()
        .find(|name| outputs.iter().any(|output| output == name))
        .or_else(|| (outputs.len() == 1).then(|| outputs[0].as_str()))
}

fn assertion(raw: &Assertion, place: Place<'_>, names: &Names, context: &mut Context<'_>) -> Option<Source> {
    let Some(key) = &raw.key else {
        context.findings.missing(place, "key", "a signed assertion needs a private key");
        return None;
    };
    if key.jwt.is_some() {
        context.findings.error(place.key("key"), "a key is not an assertion itself");
        return None;
    }
    let key = source(key, place.key("key"), names, context);
    if let Some(algorithm) = &raw.alg
        && !ALGORITHMS.contains(&algorithm.as_str())
    {
        let message = format!("this is not one of the algorithms {}", list(ALGORITHMS));
        context.findings.error(place.key("alg"), message).meant(nearest(algorithm, ALGORITHMS));
    }
    let lifetime = raw.lifetime.map_or(Duration::from_secs(60), |lifetime| lifetime.0);
    let backdate = raw.backdate.map_or(Duration::ZERO, |backdate| backdate.0);
    if backdate >= lifetime && !lifetime.is_zero() {
        context.findings.error(place.key("backdate"), "an assertion would have ended before it is made");
    }
    if lifetime.is_zero() {
        context.findings.error(place.key("lifetime"), "an assertion lives longer than nothing");
    }
    let said = claims(&raw.claims, place.key("claims"), names, context);
    let header = claims(&raw.header, place.key("header"), names, context);
    Some(Source::Jwt(Box::new(AssertionSpec {
        key: key?,
        algorithm: raw.alg.clone(),
        header: header?,
        claims: said?,
        lifetime,
        backdate,
    })))
}

/// Claims, or header parameters.
fn claims(
    raw: &Map<Json>,
    place: Place<'_>,
    names: &Names,
    context: &mut Context<'_>,
) -> Option<BTreeMap<String, Claim>> {
    let claim = |(name, value): (&String, &Json)| {
        let claim = match value.as_text() {
            // A time in a JWT is a number.
            Some("{now_s}") => Claim::Now,
            Some(text) => Claim::Text(names.template(text, place.key(name), &[], context)?),
            None => Claim::Json(value.to_value()),
        };
        Some((name.clone(), claim))
    };
    let claims: Vec<Option<(String, Claim)>> = raw.into_iter().map(claim).collect();
    claims.into_iter().collect()
}
