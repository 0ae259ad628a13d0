//! When the outputs of a step end, in every form that vendors write it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::Offset;
use serde_json::Value;

use crate::credential::flow::json::Json;
use crate::credential::flow::jwt;
use crate::credential::flow::lifetime::{MOST_SECONDS, from_now, number, timestamp};
use crate::credential::flow::login::{ExpiryRule, TimeFormat};
use crate::credential::{Lifetime, Outputs};

/// What the answer says by `rule`; `None` if it says nothing, or nothing that can be read.
pub(super) fn read(rule: &ExpiryRule, json: Option<&Json>, outputs: &Outputs) -> Option<Lifetime> {
    match rule {
        ExpiryRule::In { pointer, unit } => from_now(json?.at(pointer)?, *unit),
        ExpiryRule::At { pointer, format } => format.read(json?.at(pointer)?).map(Lifetime::Until),
        ExpiryRule::Jwt { output } => jwt::expiry(outputs.get(output)?).map(Lifetime::Until),
        ExpiryRule::Fixed(length) => Some(Lifetime::For(*length)),
        ExpiryRule::Told { output, format } => {
            let text = outputs.get(output)?.expose_str()?;
            format.read(&Value::from(text)).map(Lifetime::Until)
        }
    }
}

impl TimeFormat {
    fn read(&self, value: &Value) -> Option<Timestamp> {
        match self {
            Self::EpochSeconds => {
                let seconds = number(value)?;
                timestamp(if seconds > MOST_SECONDS { seconds / 1000.0 } else { seconds })
            }
            Self::EpochMilliseconds => timestamp(number(value)? / 1000.0),
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
}

/// A local time at `offset` seconds east of UTC.
fn local(time: DateTime, offset: i32) -> Option<Timestamp> {
    Offset::from_seconds(offset).ok()?.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::TimeFormat;

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
}
