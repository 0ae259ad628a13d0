//! When the outputs of a step end.

use std::time::Duration;

use crate::config::raw::choice::Several;
use crate::config::raw::scalar::{TextOr, parse_duration, unit_duration};
use crate::config::raw::step::{ExpiresAt, ExpiresIn, LoginStep};
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::inject::check_pointer;
use crate::credential::flow::login::{ExpiryRule, TimeFormat};

/// How the answer of a step says when its outputs end.
pub(super) fn rules(raw: &LoginStep, place: Place<'_>, context: &mut Context<'_>) -> Vec<ExpiryRule> {
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
                let place = place.item(index);
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
        _ => one_of(place, "`json`, a pointer, or by `jwt`, an output", context),
    }
}

fn expires_at(raw: &ExpiresAt, place: Place<'_>, context: &mut Context<'_>) -> Option<ExpiryRule> {
    match (&raw.json, &raw.output, &raw.jwt) {
        (Some(pointer), None, None) => {
            check_pointer(pointer, place.key("json"), context);
            Some(ExpiryRule::At { pointer: pointer.clone(), format: format(raw, place, context)? })
        }
        (None, Some(output), None) => {
            Some(ExpiryRule::Told { output: output.clone(), format: format(raw, place, context)? })
        }
        (None, None, Some(output)) => Some(ExpiryRule::Jwt { output: output.clone() }),
        _ => one_of(
            place,
            "`json`, a pointer, by `output`, an output that is the time, or by `jwt`, a token",
            context,
        ),
    }
}

fn one_of(place: Place<'_>, ways: &str, context: &mut Context<'_>) -> Option<ExpiryRule> {
    if !["json", "output", "jwt"].iter().any(|key| place.is_spoiled(key)) {
        context.findings.error(place, format!("the end is told by {ways}"));
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

/// Tells a `jwt` or an `output` that names no output.
pub(super) fn check_outputs(raw: &LoginStep, known: &[String], place: Place<'_>, context: &mut Context<'_>) {
    let mut named = Vec::new();
    if let Some(TextOr::Table(table)) = &raw.expires_in {
        named.push((place.key("expires_in").key("jwt"), &table.jwt));
    }
    let at = place.key("expires_at");
    for (index, table) in raw.expires_at.iter().flat_map(|Several(tables)| tables).enumerate() {
        let place = at.item(index);
        named.extend([(place.key("jwt"), &table.jwt), (place.key("output"), &table.output)]);
    }
    for (place, output) in named {
        if let Some(output) = output
            && !known.contains(output)
        {
            let near = nearest(output, known.iter().map(String::as_str));
            let has = list(known.iter().map(String::as_str));
            let message = format!("there is no such output: the steps have {has}");
            context.findings.error(place, message).meant(near);
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
