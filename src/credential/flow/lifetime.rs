//! How long a token lasts, in the many ways that issuers write it. What cannot be read is nothing
//! said; what cannot be believed is judged by [`crate::credential::schedule`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::credential::Lifetime;

/// A number or its text, times `unit`, from now. Less than nothing is nothing.
pub(super) fn from_now(value: &Value, unit: Duration) -> Option<Lifetime> {
    let seconds = number(value)? * unit.as_secs_f64();
    let left = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Some(Lifetime::For(left))
}

/// A finite number, or the text of one with blanks around it.
pub(in crate::credential) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// Seconds since 1970 beyond this are taken for milliseconds: they would lie after the year 5138.
const MOST_SECONDS: f64 = 1e11;

/// Seconds or milliseconds since 1970, told apart by their size.
pub(super) fn since_epoch(number: f64) -> Option<Timestamp> {
    timestamp(if number > MOST_SECONDS { number / 1000.0 } else { number })
}

/// A time in any of the ways that vendors write it: seconds or milliseconds since 1970, told apart by their
/// size, or a date as in RFC 3339.
pub(in crate::credential) fn timestamp_or_date(value: &Value) -> Option<Timestamp> {
    match number(value) {
        Some(number) => since_epoch(number),
        None => value.as_str()?.trim().parse().ok(),
    }
}

/// Seconds since 1970 as a time, fractions cut; `None` beyond the years that a timestamp can tell.
pub(super) fn timestamp(seconds: f64) -> Option<Timestamp> {
    let since = SignedDuration::try_from_secs_f64(seconds.floor()).ok()?;
    Timestamp::from_duration(since).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::from_now;
    use crate::credential::Lifetime;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn numbers_fractions_and_texts_of_seconds_are_read() {
        for value in
            [json!(2901), json!(2901.0), json!("2901"), json!(" 2901 "), json!("2901.0"), json!(2.901e3)]
        {
            assert_eq!(from_now(&value, SECOND), Some(Lifetime::For(Duration::from_secs(2901))), "{value}");
        }
        let milliseconds = from_now(&json!(1500), Duration::from_millis(1));
        assert_eq!(milliseconds, Some(Lifetime::For(Duration::from_millis(1500))));
    }

    #[test]
    fn absurd_numbers_are_read_without_overflow() {
        assert_eq!(from_now(&json!(-1), SECOND), Some(Lifetime::For(Duration::ZERO)));
        assert_eq!(from_now(&json!(1e308), SECOND), Some(Lifetime::For(Duration::MAX)));
        assert!(from_now(&json!(9_223_372_036_854_775_808_u64), SECOND).is_some());
    }

    #[test]
    fn what_is_no_number_says_nothing() {
        for value in
            [json!(null), json!("1h"), json!("NaN"), json!("inf"), json!(""), json!([3600]), json!(true)]
        {
            assert_eq!(from_now(&value, SECOND), None, "{value}");
        }
    }
}
