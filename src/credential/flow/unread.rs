//! What is said of an end or a lifetime that is there and cannot be read: what it looks like, and what would read
//! it. Never the value, since it may be a secret in the wrong place.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use serde_json::Value;

use crate::credential::flow::lifetime::number;

/// Longer texts are not drawn.
const LONGEST_DRAWN: usize = 40;

/// Seconds since 1970 that look like a time of today: from 2017 to 2128.
const TODAY: std::ops::Range<f64> = 1.5e9..5e9;

/// Ways to write a time that are often met, beside those that have a name.
const PATTERNS: [&str; 16] = [
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d-%m-%Y %H:%M",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%d.%m.%Y",
    "%d-%b-%Y",
];

/// What a value looks like: digits become 9 and letters a.
pub(in crate::credential) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.trim().is_empty() => "an empty text".to_owned(),
        Value::String(text) if text.len() > LONGEST_DRAWN => format!("a text of {} bytes", text.len()),
        Value::String(text) => format!("a text like `{}`", text.chars().map(drawn).collect::<String>()),
    }
}

fn drawn(character: char) -> char {
    match character {
        '0'..='9' => '9',
        ' ' | '-' | '/' | ':' | '.' | ',' | '+' => character,
        _ if character.is_alphabetic() => 'a',
        _ => '?',
    }
}

/// The `format` that reads the value as a time of today, or as any date.
pub(super) fn format_of(value: &Value) -> Option<String> {
    if let Some(number) = number(value) {
        return epoch(number).map(str::to_owned);
    }
    let text = value.as_str()?.trim();
    let is_named = text.parse::<Timestamp>().is_ok() || text.parse::<DateTime>().is_ok();
    let pattern = || PATTERNS.into_iter().find(|pattern| reads(pattern, text));
    if is_named { Some("rfc3339".to_owned()) } else { pattern().map(str::to_owned) }
}

/// The name of the format of a number that looks like a time of today.
pub(super) fn epoch(number: f64) -> Option<&'static str> {
    if TODAY.contains(&number) {
        Some("epoch_s")
    } else if TODAY.contains(&(number / 1000.0)) {
        Some("epoch_ms")
    } else {
        None
    }
}

fn reads(pattern: &str, text: &str) -> bool {
    strtime::parse(pattern, text).is_ok_and(|read| read.to_date().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{format_of, shape};

    #[test]
    fn the_format_of_what_is_often_met_is_known() {
        let format = |value: Value| format_of(&value);
        let is = |format: &str| Some(format.to_owned());
        assert_eq!(format(json!(1_785_000_000_123_i64)), is("epoch_ms"));
        assert_eq!(format(json!("1785000000")), is("epoch_s"));
        assert_eq!(format(json!("2026-12-17T07:10:52Z")), is("rfc3339"));
        assert_eq!(format(json!("2026-12-17 07:10:52")), is("rfc3339"));
        assert_eq!(format(json!("17/12/2026 07:10:52")), is("%d/%m/%Y %H:%M:%S"));
        assert_eq!(format(json!("12/17/2026 07:10:52")), is("%m/%d/%Y %H:%M:%S"));
        assert_eq!(format(json!("17-Dec-2026")), is("%d-%b-%Y"));
        assert_eq!(format(json!("Thu, 17 Dec 2026 07:10:52 +0530")), is("%a, %d %b %Y %H:%M:%S %z"));
        for unknown in [json!(3600), json!("soon"), json!(""), json!(true), json!([1_785_000_000])] {
            assert_eq!(format(unknown.clone()), None, "{unknown}");
        }
    }

    #[test]
    fn a_shape_shows_no_letter_and_no_digit_of_the_value() {
        assert_eq!(shape(&json!("17. Dez 2026, 07:10")), "a text like `99. aaa 9999, 99:99`");
        assert_eq!(shape(&json!("s3cr=t_\u{e9}")), "a text like `a9aa?a?a`");
        assert_eq!(shape(&json!("x".repeat(41))), "a text of 41 bytes");
        assert_eq!(shape(&json!(" ")), "an empty text");
        assert_eq!((shape(&json!(5)), shape(&json!([5]))), ("a number".to_owned(), "a list".to_owned()));
    }
}
