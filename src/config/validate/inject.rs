//! Injection, and how an upstream refuses.

use http::{HeaderName, StatusCode};

use crate::config::raw::credential::FlowKind;
use crate::config::raw::inject::{EmptyBody, Inject, Proof as RawProof, RefusalRule, Signed};
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, TextOr};
use crate::config::tree::Place;
use crate::config::validate::context::{Context, unknown};
use crate::config::validate::names::Names;
use crate::config::validate::{route, signature};
use crate::http1::field::is_same_name;
use crate::inject::{BodyForm, BodyValue, Injection, content};
use crate::jose::proof;
use crate::route::{Proof, Refusal};
use crate::template::Template;

/// Fields that frame a message or belong to one hop (RFC 9110, section 7.6.1): no injection sets
/// them, and neither does a step.
const FRAMING: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "http2-settings",
];

/// The injection of this name, of those that a credential has.
pub(crate) fn named(
    name: &str,
    injections: &[(String, Injection)],
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Injection> {
    let found = injections.iter().find(|(known, _)| known == name).map(|(_, injection)| injection.clone());
    if found.is_none() {
        let known: Vec<&str> = injections.iter().map(|(known, _)| known.as_str()).collect();
        unknown(&mut context.findings, place, "injection", name, &known);
    }
    found
}

/// What an `inject` table says. With `dpop` a proof goes with it.
pub(crate) fn injection(
    raw: &Inject,
    place: Place<'_>,
    names: &Names,
    (outputs, dpop): (Option<&[String]>, bool),
    context: &mut Context<'_>,
) -> Injection {
    let mut injection = Injection { dpop, ..Injection::default() };
    for (name, value) in &raw.headers {
        let at = place.key("headers").key(name);
        let field = field_name(name, at, context);
        let text = match value {
            TextOr::Text(text) => text,
            TextOr::Table(Signed { jws }) => {
                let signature = signature::jws(jws.as_ref(), at, names, outputs, context);
                injection.signatures.extend(field.zip(signature));
                continue;
            }
        };
        let template = names.over_outputs(text, at, outputs, context);
        if let (Some(field), Some(template)) = (field, template)
            && is_single_line(&template, at, context)
        {
            if injection
                .headers
                .iter()
                .any(|(other, _)| is_same_name(other.as_str().as_bytes(), field.as_str().as_bytes()))
            {
                let message = "this field is injected twice: letter case, `-` and `_` do not count";
                context.findings.error_at(at.key_span(), message);
            }
            if dpop && is_same_name(field.as_str().as_bytes(), proof::FIELD.as_str().as_bytes()) {
                let message = "the credential's `dpop` makes this field for each request";
                context.findings.error_at(at.key_span(), message);
            }
            injection.headers.push((field, template));
        }
    }
    for (kind, raw, into) in
        [("query", &raw.query, &mut injection.query), ("cookies", &raw.cookies, &mut injection.cookies)]
    {
        for (name, text) in raw {
            let at = place.key(kind).key(name);
            let is_cookie = kind == "cookies";
            if name.is_empty() || (is_cookie && name.parse::<HeaderName>().is_err()) {
                context.findings.error_at(at.key_span(), "this name cannot be injected");
                continue;
            }
            let Some(template) = names.over_outputs(text, at, outputs, context) else { continue };
            if is_cookie && !is_cookie_value(&template, at, context) {
                continue;
            }
            let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
            if into.iter().any(|(other, _): &(String, Template)| folded(other) == folded(name)) {
                let message = "this name is injected twice: letter case, `-` and `_` do not count";
                context.findings.error_at(at.key_span(), message);
            }
            into.push((name.clone(), template));
        }
    }
    check_signatures(&injection, place.key("headers"), context);
    injection.body = body(&raw.body, place.key("body"), names, outputs, context);
    injection.empty_body = match raw.empty_body {
        Some(EmptyBody::Form) => BodyForm::Form,
        Some(EmptyBody::Json) | None => BodyForm::Json,
    };
    if raw.empty_body.is_some() && injection.body.is_empty() && !place.is_spoiled("body") {
        let message = "nothing is put into bodies here: `empty_body` belongs to `body`";
        context.findings.error_at(place.key("empty_body").key_span(), message);
    }
    injection
}

/// Tells fields that are signatures and something else, too.
fn check_signatures(injection: &Injection, place: Place<'_>, context: &mut Context<'_>) {
    let names = injection.headers.iter().map(|(name, _)| name);
    let names: Vec<_> = names.chain(injection.signatures.iter().map(|(name, _)| name)).collect();
    let is_same = |one: &HeaderName, other: &HeaderName| {
        is_same_name(one.as_str().as_bytes(), other.as_str().as_bytes())
    };
    for (index, (name, _)) in injection.signatures.iter().enumerate() {
        let own = injection.headers.len() + index;
        let is_proof = injection.dpop && is_same(name, &proof::FIELD);
        if is_proof || names.iter().enumerate().any(|(at, other)| at != own && is_same(name, other)) {
            let message = "this field is injected twice: letter case, `-` and `_` do not count";
            context.findings.error(place, message);
        }
    }
}

/// What is put into bodies.
fn body(
    raw: &Map<Json>,
    place: Place<'_>,
    names: &Names,
    outputs: Option<&[String]>,
    context: &mut Context<'_>,
) -> Vec<(String, BodyValue)> {
    let mut body: Vec<(String, BodyValue)> = Vec::new();
    for (name, value) in raw {
        let at = place.key(name);
        if body.iter().any(|(other, _)| content::is_same(other, name)) {
            let message = "this name is injected twice: letter case, `-` and `_` do not count";
            context.findings.error_at(at.key_span(), message);
        }
        let value = match value {
            Json::Text(text) => {
                let Some(template) = names.over_outputs(text, at, outputs, context) else { continue };
                if template.has_body() {
                    let message = "a body that holds itself cannot be made: `body.name` names a member of it";
                    context.findings.error(at, message);
                }
                BodyValue::Text(template)
            }
            Json::Number(_) | Json::Boolean(_) => BodyValue::Literal(value.to_value()),
            Json::Array(_) | Json::Object(_) => {
                let message = "what is put into a body is a text, a number, `true` or `false`";
                context.findings.error(at, message);
                continue;
            }
        };
        body.push((name.clone(), value));
    }
    body
}

/// What is injected where nobody says: the token as RFC 6750 has it; a login has no rule.
pub(crate) fn by_default(kind: FlowKind, outputs: &[String], dpop: bool) -> Option<Injection> {
    let output = match kind {
        FlowKind::Static => "token",
        FlowKind::OAuth2 => "access_token",
        FlowKind::Login => return None,
    };
    if !outputs.iter().any(|name| name == output) {
        return None;
    }
    // RFC 9449, section 7.1, and RFC 6750, section 2.1.
    let scheme = if dpop { "DPoP" } else { "Bearer" };
    let template = Template::parse(&format!("{scheme} {{{output}}}")).ok()?;
    Some(Injection { headers: vec![(http::header::AUTHORIZATION, template)], dpop, ..Injection::default() })
}

/// What a `refusal` table says.
pub(crate) fn refusal(raw: &RefusalRule, place: Place<'_>, context: &mut Context<'_>) -> Refusal {
    let default = Refusal::default();
    check_statuses(raw.status.as_deref(), place.key("status"), context);
    check_statuses(raw.except.as_deref(), place.key("except"), context);
    let peek = raw.peek.map_or(default.peek as u64, |size| size.0);
    let limit = 1 << 20;
    if peek > limit {
        context.findings.error(place.key("peek"), "at most \"1MiB\" of an answer is looked at");
    }
    Refusal {
        status: raw.status.clone().unwrap_or(default.status),
        except: raw.except.clone().unwrap_or_default(),
        json: tests(&raw.json, place.key("json"), context),
        peek: usize::try_from(peek.min(limit)).unwrap_or(default.peek),
        proof: raw.proof.as_ref().map(|raw| proof(raw, place.key("proof"), context)),
    }
}

/// What proves that a refused request did nothing.
fn proof(raw: &RawProof, place: Place<'_>, context: &mut Context<'_>) -> Proof {
    for (key, is_empty) in [("requests", raw.requests.is_empty()), ("json", raw.json.is_empty())] {
        if is_empty && place.key(key).spoiled().is_empty() && !place.is_spoiled(key) {
            context.findings.missing(
                place,
                key,
                "a proof is what `json` says of the answer to one of `requests`",
            );
        }
    }
    let requests = raw.requests.iter().enumerate().filter_map(|(index, rule)| {
        let mut rule = route::allow_rule(rule, place.key("requests").item(index), context)?;
        // It is held against paths in lower case.
        rule.pattern = rule.pattern.to_ascii_lowercase();
        Some(rule)
    });
    Proof { requests: requests.collect(), json: tests(&raw.json, place.key("json"), context) }
}

/// JSON tests: pointers, and the values that they may point at.
pub(crate) fn tests(
    raw: &Map<Json>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Vec<(String, Vec<serde_json::Value>)> {
    raw.into_iter()
        .map(|(pointer, values)| {
            check_pointer_at_key(pointer, place.key(pointer), context);
            let values = values.to_values();
            if values.is_empty() {
                context.findings.error(place.key(pointer), "an empty list can never be met");
            }
            (pointer.clone(), values)
        })
        .collect()
}

/// Tells statuses that are none.
pub(crate) fn check_statuses(statuses: Option<&[u16]>, place: Place<'_>, context: &mut Context<'_>) {
    for (index, status) in statuses.unwrap_or_default().iter().enumerate() {
        if StatusCode::from_u16(*status).is_err() {
            context.findings.error(place.item(index), "a status is from 100 to 999");
        }
    }
}

/// Tells a value that is no JSON pointer (RFC 6901).
pub(crate) fn check_pointer(pointer: &str, place: Place<'_>, context: &mut Context<'_>) {
    if !is_pointer(pointer) {
        let problem = context.findings.error(place, "this is not a JSON pointer (RFC 6901)");
        problem.help("such as \"/data/token\"");
    }
}

fn check_pointer_at_key(pointer: &str, place: Place<'_>, context: &mut Context<'_>) {
    if !is_pointer(pointer) {
        let problem = context.findings.error_at(place.key_span(), "this is not a JSON pointer (RFC 6901)");
        problem.help("such as \"/responseCode\"");
    }
}

/// Whether a text is a JSON pointer (RFC 6901).
pub(crate) fn is_pointer(pointer: &str) -> bool {
    let escapes_are_right =
        pointer.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'));
    (pointer.is_empty() || pointer.starts_with('/')) && escapes_are_right
}

/// The name of a field that may be set; tells it if not.
pub(crate) fn field_name(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<HeaderName> {
    let Ok(field) = name.parse::<HeaderName>() else {
        context.findings.error_at(place.key_span(), "this is not the name of a header field");
        return None;
    };
    let folded = field.as_str().replace('_', "-");
    if FRAMING.contains(&folded.as_str()) {
        let message = format!("`{field}` belongs to the connection, and bearerd makes it itself");
        context.findings.error_at(place.key_span(), message);
        return None;
    }
    Some(field)
}

/// Whether the plain text of a template can stand in a field; tells it if not.
pub(crate) fn is_single_line(template: &Template, place: Place<'_>, context: &mut Context<'_>) -> bool {
    let is_fine = template.texts().all(|text| !text.contains(|next: char| next.is_control() && next != '\t'));
    if !is_fine {
        context.findings.error(place, "a field cannot hold line breaks or control characters");
    }
    is_fine
}

/// RFC 6265, section 4.1.1.
fn is_cookie_value(template: &Template, place: Place<'_>, context: &mut Context<'_>) -> bool {
    let is_wrong = |next: char| !next.is_ascii_graphic() || matches!(next, '"' | ',' | ';' | '\\');
    let is_fine = template.texts().all(|text| !text.contains(is_wrong));
    if !is_fine {
        context
            .findings
            .error(place, "a cookie cannot hold spaces, quotes, commas, semicolons or backslashes");
    }
    is_fine
}
