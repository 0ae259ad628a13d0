//! When the outputs of a step end, in every form that vendors write it.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::Offset;
use serde_json::Value;

use crate::credential::flow::json::Json;
use crate::credential::flow::lifetime::{from_now, number, since_epoch, timestamp};
use crate::credential::flow::login::{ExpiryRule, TimeFormat};
use crate::credential::flow::{jwt, unread};
use crate::credential::{Lifetime, Outputs, schedule};
use crate::secret::Secret;

/// When the outputs end, by the first rule that can be read; else what is wrong with each, for people.
pub(super) fn read(
    rules: &[ExpiryRule],
    json: Option<&Json>,
    outputs: &Outputs,
) -> Result<Lifetime, Vec<String>> {
    let mut unread = Vec::new();
    for rule in rules {
        match by(rule, json, outputs) {
            Ok(lifetime) => return Ok(lifetime),
            Err(why) => unread.push(why),
        }
    }
    Err(unread)
}

fn by(rule: &ExpiryRule, json: Option<&Json>, outputs: &Outputs) -> Result<Lifetime, String> {
    let at = |pointer: &str| {
        json.and_then(|json| json.at(pointer)).ok_or_else(|| {
            format!("the answer says nothing at `{pointer}`, where the end of the token is looked for")
        })
    };
    match rule {
        ExpiryRule::In { pointer, unit } => {
            let value = at(pointer)?;
            from_now(value, *unit)
                .filter(|said| !is_date(*said, value))
                .ok_or_else(|| not_a_length(pointer, value))
        }
        ExpiryRule::At { pointer, format } => {
            let value = at(pointer)?;
            format.read(value).map(Lifetime::Until).ok_or_else(|| format.not_read(pointer, value))
        }
        ExpiryRule::Told { output, format } => {
            let value = Value::from(outputs.get(output).and_then(Secret::expose_str).unwrap_or_default());
            format.read(&value).map(Lifetime::Until).ok_or_else(|| format.not_read(output, &value))
        }
        ExpiryRule::Jwt { output } => outputs
            .get(output)
            .and_then(jwt::expiry)
            .map(Lifetime::Until)
            .ok_or_else(|| format!("the output `{output}` has no `exp` that can be read: is it a JWT?")),
        ExpiryRule::Fixed(length) => Ok(Lifetime::For(*length)),
    }
}

/// Whether a number that is too large for a length looks like a point in time.
fn is_date(said: Lifetime, value: &Value) -> bool {
    let is_long = matches!(said, Lifetime::For(length) if length > schedule::LONGEST_LIFETIME);
    is_long && number(value).and_then(unread::epoch).is_some()
}

/// Of a value that is no length of time.
fn not_a_length(pointer: &str, value: &Value) -> String {
    let shape = unread::shape(value);
    match unread::format_of(value) {
        Some(format) => format!(
            "`{pointer}` is {shape} that looks like a point in time, not like a length: write \
             `expires_at = {{ json = \"{pointer}\", format = \"{format}\" }}` in place of `expires_in`"
        ),
        None => format!("`{pointer}` is not a number, but {shape}"),
    }
}

impl TimeFormat {
    fn read(&self, value: &Value) -> Option<Timestamp> {
        match self {
            Self::EpochSeconds => since_epoch(number(value)?),
            // Seconds would be a time in the first weeks of 1970.
            Self::EpochMilliseconds => {
                let milliseconds =
                    number(value).filter(|number| unread::epoch(*number) != Some("epoch_s"))?;
                timestamp(milliseconds / 1000.0)
            }
            Self::Rfc3339 { offset } => {
                let text = value.as_str()?.trim();
                text.parse().ok().or_else(|| local(text.parse().ok()?, *offset))
            }
            Self::Pattern { pattern, offset } => {
                let parsed = strtime::parse(pattern, value.as_str()?.trim()).ok()?;
                if parsed.offset().is_some() {
                    return parsed.to_timestamp().ok();
                }
                // A day without a time begins at midnight.
                let time = parsed.to_datetime().or_else(|_| parsed.to_date().map(DateTime::from));
                local(time.ok()?, *offset)
            }
        }
    }

    /// Of a value that is not written so.
    fn not_read(&self, place: &str, value: &Value) -> String {
        let shape = unread::shape(value);
        let wrong = format!("`{place}` is not a time in `{self}`, but {shape}");
        match unread::format_of(value).filter(|format| *format != self.to_string()) {
            Some(format) => format!("{wrong}; it looks like `format = \"{format}\"`"),
            None => wrong,
        }
    }
}

impl fmt::Display for TimeFormat {
    /// As it is written in the configuration.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rfc3339 { .. } => "rfc3339",
            Self::EpochSeconds => "epoch_s",
            Self::EpochMilliseconds => "epoch_ms",
            Self::Pattern { pattern, .. } => pattern,
        })
    }
}

/// A local time at `offset` seconds east of UTC.
fn local(time: DateTime, offset: i32) -> Option<Timestamp> {
    Offset::from_seconds(offset).ok()?.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{ExpiryRule, TimeFormat};
    use crate::credential::flow::json::Json;
    use crate::credential::{Lifetime, Outputs};
    use crate::secret::Secret;

    const INDIA: i32 = 5 * 3600 + 1800;

    fn read(format: &TimeFormat, value: impl Into<Value>) -> Option<String> {
        format.read(&value.into()).map(|end: Timestamp| end.to_string())
    }

    #[test]
    fn epoch_seconds_beyond_1e11_are_milliseconds() {
        let format = TimeFormat::EpochSeconds;
        let end = Some("2024-08-30T08:32:43Z".to_owned());
        assert_eq!(read(&format, json!(1_725_006_763)), end);
        assert_eq!(read(&format, json!("1725006763")), end);
        assert_eq!(read(&format, json!(1_725_006_763_466_i64)), end);
        assert_eq!(read(&TimeFormat::EpochMilliseconds, json!("1725006763466")), end);
        assert_eq!(read(&format, json!("soon")), None);
        assert_eq!(read(&format, json!(1e300)), None);
    }

    #[test]
    fn rfc_3339_is_read_with_its_zone_or_at_the_configured_one() {
        let format = TimeFormat::Rfc3339 { offset: INDIA };
        assert_eq!(read(&format, json!("2024-12-17T07:10:52Z")).as_deref(), Some("2024-12-17T07:10:52Z"));
        assert_eq!(
            read(&format, json!("2024-12-17T07:10:52+01:00")).as_deref(),
            Some("2024-12-17T06:10:52Z")
        );
        assert_eq!(
            read(&format, json!("2024-12-17T07:10:52.929")).as_deref(),
            Some("2024-12-17T01:40:52.929Z")
        );
        assert_eq!(read(&format, json!("17.12.2024")), None);
        assert_eq!(read(&format, json!(5)), None);
    }

    #[test]
    fn patterns_are_local_times_unless_they_say_a_zone() {
        let format = |pattern: &str| TimeFormat::Pattern { pattern: pattern.to_owned(), offset: INDIA };
        assert_eq!(
            read(&format("%Y-%m-%d %H:%M:%S"), json!("2024-12-17 07:10:52")).as_deref(),
            Some("2024-12-17T01:40:52Z")
        );
        assert_eq!(read(&format("%d/%m/%Y"), json!("17/12/2024")).as_deref(), Some("2024-12-16T18:30:00Z"));
        assert_eq!(
            read(&format("%Y-%m-%d %H:%M:%S %z"), json!("2024-12-17 07:10:52 +0000")).as_deref(),
            Some("2024-12-17T07:10:52Z")
        );
        assert_eq!(read(&format("%Y"), json!("x")), None);
    }

    fn unread(rule: &str, value: &Value) -> String {
        let pointer = "/until".to_owned();
        let rule = match rule {
            "expires_in" => ExpiryRule::In { pointer, unit: Duration::from_secs(1) },
            "rfc3339" => ExpiryRule::At { pointer, format: TimeFormat::Rfc3339 { offset: 0 } },
            "epoch_ms" => ExpiryRule::At { pointer, format: TimeFormat::EpochMilliseconds },
            pattern => {
                let format = TimeFormat::Pattern { pattern: pattern.to_owned(), offset: 0 };
                ExpiryRule::At { pointer, format }
            }
        };
        let body = Secret::from(json!({ "until": value }).to_string());
        super::read(&[rule], Json::parse(&body).as_ref(), &Outputs::new()).expect_err("not read").remove(0)
    }

    #[test]
    fn what_cannot_be_read_in_its_format_is_told_with_the_format_that_it_looks_like() {
        assert_eq!(
            unread("rfc3339", &json!(1_785_000_000_000_i64)),
            "`/until` is not a time in `rfc3339`, but a number; it looks like `format = \"epoch_ms\"`"
        );
        assert_eq!(
            unread("epoch_ms", &json!(1_785_000_000)),
            "`/until` is not a time in `epoch_ms`, but a number; it looks like `format = \"epoch_s\"`"
        );
        assert_eq!(
            unread("%d.%m.%Y", &json!("17/12/2026 07:10")),
            "`/until` is not a time in `%d.%m.%Y`, but a text like `99/99/9999 99:99`; it looks like \
             `format = \"%d/%m/%Y %H:%M\"`"
        );
        assert_eq!(
            unread("rfc3339", &json!("soon")),
            "`/until` is not a time in `rfc3339`, but a text like `aaaa`"
        );
    }

    #[test]
    fn a_length_that_is_a_point_in_time_is_told_with_what_to_write_in_its_place() {
        let wanted = |format: &str| {
            format!(
                "write `expires_at = {{ json = \"/until\", format = \"{format}\" }}` in place of `expires_in`"
            )
        };
        let told = unread("expires_in", &json!("1785000000"));
        assert!(told.ends_with(&wanted("epoch_s")), "{told}");
        let told = unread("expires_in", &json!("2026-12-17T07:10:52Z"));
        assert!(told.ends_with(&wanted("rfc3339")), "{told}");
        assert_eq!(unread("expires_in", &json!("1h")), "`/until` is not a number, but a text like `9a`");
        assert_eq!(
            unread("expires_in", &Value::Null),
            "the answer says nothing at `/until`, where the end of the token is looked for"
        );
    }

    #[test]
    fn the_first_rule_that_can_be_read_counts() {
        let rules =
            [ExpiryRule::Jwt { output: "token".to_owned() }, ExpiryRule::Fixed(Duration::from_secs(5))];
        let outputs = Outputs::from([("token".to_owned(), Secret::from("opaque"))]);
        assert_eq!(super::read(&rules, None, &outputs), Ok(Lifetime::For(Duration::from_secs(5))));
        let unread = super::read(&rules[..1], None, &outputs).expect_err("no end");
        assert_eq!(unread, ["the output `token` has no `exp` that can be read: is it a JWT?"]);
    }
}
