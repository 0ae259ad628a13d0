//! The flow `login`.

use std::time::Duration;

use http::Method;

use crate::config::raw;
use crate::config::raw::choice::Several;
use crate::config::raw::json::Json;
use crate::config::raw::scalar::{Map, TextOr, parse_duration, unit_duration};
use crate::config::raw::step::{
    Condition as RawCondition, ExpiresAt, ExpiresIn, Extract as RawExtract, LoginStep,
};
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::{Endpoint, Inputs, endpoint};
use crate::config::validate::inject::{check_pointer, check_statuses, field_name, is_single_line, tests};
use crate::config::validate::names::Names;
use crate::credential::flow::LoginFlow;
use crate::credential::flow::login::{
    Condition, ExpiryRule, Extract, JsonTemplate, Step, StepBody, TimeFormat,
};
use crate::template::Template;

pub(crate) fn flow(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<LoginFlow> {
    let raw = raw.steps.as_deref().unwrap_or_default();
    if raw.is_empty() {
        context.findings.missing(place, "steps", "a login has at least one step");
        return None;
    }
    let known: Vec<String> = raw.iter().flat_map(|step| step.outputs.names()).map(str::to_owned).collect();
    if known.is_empty() && !context.findings.has_errors() {
        context.findings.error(place.key("steps"), "no step has `outputs`: there would be nothing to inject");
    }
    Some(LoginFlow { steps: steps(raw, place.key("steps"), Vec::new(), inputs, endpoints, context)? })
}

/// Steps in order; the templates of each may name what is known before and the outputs of those before it.
pub(crate) fn steps(
    raw: &[LoginStep],
    place: Place<'_>,
    mut known: Vec<String>,
    inputs: &Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let place = place.item(index);
        steps.push(Reader { names: &inputs.names, known: &known, place }.step(raw, endpoints, context));
        for name in raw.outputs.names() {
            if inputs.names.secrets.iter().chain(inputs.names.plain.keys()).any(|input| input == name) {
                let message = format!("`{name}` is an output here and an input of the same credential");
                context.findings.error_at(place.key("outputs").key(name).key_span(), message);
            }
            known.push(name.to_owned());
        }
    }
    for (index, raw) in raw.iter().enumerate() {
        check_jwt_output(raw, &known, place.item(index), context);
    }
    steps.into_iter().collect()
}

/// Reads one step.
struct Reader<'a> {
    names: &'a Names,
    /// The outputs of earlier steps.
    known: &'a [String],
    place: Place<'a>,
}

impl Reader<'_> {
    fn step(
        &self,
        raw: &LoginStep,
        endpoints: &mut Vec<Endpoint>,
        context: &mut Context<'_>,
    ) -> Option<Step> {
        let place = self.place;
        if raw.url.is_none() && !place.is_spoiled("mail") {
            context.findings.missing(place, "url", "a step asks someone");
        }
        let url = raw.url.as_ref().and_then(|url| self.template(url, place.key("url"), context));
        let endpoint = url.as_ref().and_then(|url| endpoint(url, place.key("url"), context));
        endpoints.extend(endpoint.clone());
        let body = self.body(raw, context);
        let method = self.method(raw, body.as_ref(), context);
        let headers = self.headers(&raw.headers, context);
        let query = self.templates(&raw.query, place.key("query"), context);
        let outputs = raw
            .outputs
            .into_iter()
            .filter_map(|(name, raw)| {
                Some((name.clone(), extract(raw, place.key("outputs").key(name), context)?))
            })
            .collect();
        let expiry = expiry(raw, place, context);
        if let Some(pointer) = &raw.warn {
            check_pointer(pointer, place.key("warn"), context);
        }
        let success = condition(&raw.success, (200..300).collect(), place.key("success"), context);
        let reject = condition(&raw.reject, vec![401], place.key("reject"), context);
        endpoint?;
        Some(Step {
            method: method?,
            url: url?,
            headers,
            query,
            body: body?,
            success,
            reject,
            outputs,
            expiry,
            warn: raw.warn.clone(),
        })
    }

    fn template(&self, text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Template> {
        self.names.template(text, place, self.known, context)
    }

    fn templates(
        &self,
        raw: &Map<String>,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Vec<(String, Template)> {
        raw.into_iter()
            .filter_map(|(name, text)| Some((name.clone(), self.template(text, place.key(name), context)?)))
            .collect()
    }

    fn headers(&self, raw: &Map<String>, context: &mut Context<'_>) -> Vec<(http::HeaderName, Template)> {
        raw.into_iter()
            .filter_map(|(name, text)| {
                let at = self.place.key("headers").key(name);
                let field = field_name(name, at, context);
                let template = self.template(text, at, context)?;
                is_single_line(&template, at, context).then_some((field?, template))
            })
            .collect()
    }

    fn body(&self, raw: &LoginStep, context: &mut Context<'_>) -> Option<StepBody> {
        let place = self.place;
        match (&raw.form, &raw.json, &raw.body) {
            (None, None, None) => Some(StepBody::Empty),
            (Some(form), None, None) => {
                Some(StepBody::Form(self.templates(form, place.key("form"), context)))
            }
            (None, Some(json), None) => self.json(json, place.key("json"), context).map(StepBody::Json),
            (None, None, Some(body)) => self.template(body, place.key("body"), context).map(StepBody::Raw),
            _ => {
                context.findings.error(place, "a step has one body: `form`, `json` or `body`");
                None
            }
        }
    }

    fn json(&self, raw: &Json, place: Place<'_>, context: &mut Context<'_>) -> Option<JsonTemplate> {
        Some(match raw {
            Json::Text(text) => match self.names.number(text) {
                Some(number) => JsonTemplate::Plain(number.into()),
                None => JsonTemplate::Text(self.template(text, place, context)?),
            },
            Json::Number(_) | Json::Boolean(_) => JsonTemplate::Plain(raw.to_value()),
            Json::Array(items) => {
                let items = items.iter().enumerate();
                let items: Vec<Option<JsonTemplate>> =
                    items.map(|(index, item)| self.json(item, place.item(index), context)).collect();
                JsonTemplate::Array(items.into_iter().collect::<Option<_>>()?)
            }
            Json::Object(entries) => {
                let entries = entries.iter();
                let entries: Vec<Option<(String, JsonTemplate)>> = entries
                    .map(|(key, value)| Some((key.clone(), self.json(value, place.key(key), context)?)))
                    .collect();
                JsonTemplate::Object(entries.into_iter().collect::<Option<_>>()?)
            }
        })
    }

    /// A body is sent by `POST` unless the step says otherwise.
    fn method(&self, raw: &LoginStep, body: Option<&StepBody>, context: &mut Context<'_>) -> Option<Method> {
        let has_body = !matches!(body, None | Some(StepBody::Empty));
        match &raw.method {
            None if has_body => Some(Method::POST),
            None => Some(Method::GET),
            Some(name) => method(name, self.place.key("method"), context),
        }
    }
}

/// A method as it is written; tells it if it is none.
pub(crate) fn method(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Method> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let is_method = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if is_method && name != "CONNECT" && name != "TRACE" {
        return name.parse().ok();
    }
    let message = format!("this is not a method such as {}", list(KNOWN));
    context.findings.error(place, message).meant(nearest(name, KNOWN));
    None
}

fn condition(
    raw: &RawCondition,
    default: Vec<u16>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Condition {
    check_statuses(raw.status.as_deref(), place.key("status"), context);
    Condition {
        status: raw.status.clone().unwrap_or(default),
        json: tests(&raw.json, place.key("json"), context),
    }
}

fn extract(raw: &TextOr<RawExtract>, place: Place<'_>, context: &mut Context<'_>) -> Option<Extract> {
    let raw = match raw {
        TextOr::Text(pointer) => {
            check_pointer(pointer, place, context);
            return Some(Extract::Json(pointer.clone()));
        }
        TextOr::Table(raw) => raw,
    };
    match (&raw.json, &raw.header, &raw.cookie, &raw.regex) {
        (Some(pointer), None, None, None) => {
            check_pointer(pointer, place.key("json"), context);
            Some(Extract::Json(pointer.clone()))
        }
        (None, Some(header), None, None) => {
            if let Ok(name) = header.parse() {
                return Some(Extract::Header(name));
            }
            context.findings.error(place.key("header"), "this is not the name of a header field");
            None
        }
        (None, None, Some(cookie), None) => Some(Extract::Cookie(cookie.clone())),
        (None, None, None, Some(pattern)) => match regex_lite::Regex::new(pattern) {
            Ok(regex) if regex.captures_len() == 2 => Some(Extract::Regex(pattern.clone())),
            Ok(_) => {
                let problem =
                    context.findings.error(place.key("regex"), "the pattern has one group: what is taken");
                problem.help("such as \"code (\\\\d+)\"");
                None
            }
            Err(_) => {
                context.findings.error(place.key("regex"), "this is not a regular expression");
                None
            }
        },
        (None, None, None, None) if ["css", "attribute"].iter().any(|key| place.is_spoiled(key)) => None,
        _ => {
            context.findings.error(place, "an output is at one place: `json`, `header`, `cookie` or `regex`");
            None
        }
    }
}

fn expiry(raw: &LoginStep, place: Place<'_>, context: &mut Context<'_>) -> Vec<ExpiryRule> {
    match (&raw.expires_in, &raw.expires_at) {
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => {
            context
                .findings
                .error(place.key("expires_at"), "a step says `expires_in` or `expires_at`, not both");
            Vec::new()
        }
        (Some(rule), None) => expires_in(rule, place.key("expires_in"), context).into_iter().collect(),
        (None, Some(Several(rules))) => {
            let place = place.key("expires_at");
            let rule = |(index, raw)| {
                let place = if place.is_list() { place.item(index) } else { place };
                expires_at(raw, place, context)
            };
            rules.iter().enumerate().filter_map(rule).collect()
        }
    }
}

fn expires_in(raw: &TextOr<ExpiresIn>, place: Place<'_>, context: &mut Context<'_>) -> Option<ExpiryRule> {
    let raw = match raw {
        TextOr::Table(raw) => raw,
        TextOr::Text(text) => {
            let length = parse_duration(text).filter(|length| !length.is_zero());
            if length.is_none() {
                let problem = context.findings.error(place, "this is not a duration");
                problem.help("such as \"1h\", or { json = \"/expiresIn\", unit = \"s\" }");
            }
            return length.map(ExpiryRule::Fixed);
        }
    };
    match (&raw.json, &raw.jwt) {
        (Some(pointer), None) => {
            check_pointer(pointer, place.key("json"), context);
            let unit = raw.unit.as_deref().map_or(Some(Duration::from_secs(1)), unit_duration);
            if unit.is_none() {
                context.findings.error(place.key("unit"), "a unit is `s`, `ms`, `m`, `h` or `d`");
            }
            Some(ExpiryRule::In { pointer: pointer.clone(), unit: unit? })
        }
        (None, Some(output)) => Some(ExpiryRule::Jwt { output: output.clone() }),
        _ => one_of_json_and_jwt(place, context),
    }
}

fn expires_at(raw: &ExpiresAt, place: Place<'_>, context: &mut Context<'_>) -> Option<ExpiryRule> {
    match (&raw.json, &raw.jwt) {
        (Some(pointer), None) => {
            check_pointer(pointer, place.key("json"), context);
            Some(ExpiryRule::At { pointer: pointer.clone(), format: format(raw, place, context)? })
        }
        (None, Some(output)) => Some(ExpiryRule::Jwt { output: output.clone() }),
        _ => one_of_json_and_jwt(place, context),
    }
}

fn one_of_json_and_jwt(place: Place<'_>, context: &mut Context<'_>) -> Option<ExpiryRule> {
    if !["json", "jwt"].iter().any(|key| place.is_spoiled(key)) {
        context.findings.error(place, "the end is told by `json`, a pointer, or by `jwt`, an output");
    }
    None
}

fn format(raw: &ExpiresAt, place: Place<'_>, context: &mut Context<'_>) -> Option<TimeFormat> {
    let offset = match raw.zone.as_deref().map(zone) {
        None => Some(0),
        Some(Some(offset)) => Some(offset),
        Some(None) => {
            let problem = context.findings.error(place.key("zone"), "this is not an offset from UTC");
            problem.help("such as \"+05:30\" or \"UTC\"");
            None
        }
    };
    match raw.format.as_deref() {
        None | Some("rfc3339") => Some(TimeFormat::Rfc3339 { offset: offset? }),
        Some("epoch_s") => Some(TimeFormat::EpochSeconds),
        Some("epoch_ms") => Some(TimeFormat::EpochMilliseconds),
        Some(pattern) if pattern.contains('%') => {
            Some(TimeFormat::Pattern { pattern: pattern.to_owned(), offset: offset? })
        }
        Some(word) => {
            let known = ["rfc3339", "epoch_s", "epoch_ms"];
            let message = format!("this is neither a pattern with `%` nor one of {}", list(known));
            context.findings.error(place.key("format"), message).meant(nearest(word, known));
            None
        }
    }
}

/// Seconds east of UTC: `+05:30`, `-0800`, `Z`, `UTC`.
fn zone(text: &str) -> Option<i32> {
    if matches!(text, "Z" | "z" | "UTC" | "utc") {
        return Some(0);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Tells a `jwt` that names no output.
fn check_jwt_output(raw: &LoginStep, known: &[String], place: Place<'_>, context: &mut Context<'_>) {
    let in_table = match &raw.expires_in {
        Some(TextOr::Table(table)) => table.jwt.as_ref(),
        _ => None,
    };
    let at = place.key("expires_at");
    let at_tables = raw.expires_at.iter().flat_map(|Several(tables)| tables).enumerate();
    let at_tables = at_tables.map(|(index, table)| {
        let place = if at.is_list() { at.item(index) } else { at };
        (place, table.jwt.as_ref())
    });
    for (place, output) in [(place.key("expires_in"), in_table)].into_iter().chain(at_tables) {
        if let Some(output) = output
            && !known.contains(output)
        {
            let near = nearest(output, known.iter().map(String::as_str));
            let has = list(known.iter().map(String::as_str));
            let message = format!("there is no such output: the steps have {has}");
            context.findings.error(place.key("jwt"), message).meant(near);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::zone;

    #[test]
    fn a_zone_is_an_offset_from_utc() {
        assert_eq!(zone("+05:30"), Some(19_800));
        assert_eq!(zone("-0800"), Some(-28_800));
        assert_eq!(zone("Z"), Some(0));
        for wrong in ["", "IST", "+5", "+05:99", "05:30", "+ab:cd", "+é5:3"] {
            assert_eq!(zone(wrong), None, "{wrong:?}");
        }
    }
}
