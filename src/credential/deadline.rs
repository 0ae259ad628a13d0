//! What ends beside a token, and is told in it: the secret behind it, a consent, a contract.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Moment;
use crate::credential::Outputs;
use crate::credential::flow::lifetime::timestamp_or_date;
use crate::credential::flow::{jwt, unread};

/// So long before it, a deadline is warned about.
pub const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// Where a token tells of a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineRule {
    /// What ends then, for people.
    pub of: String,
    /// The output that is a signed token.
    pub jwt: String,
    /// A JSON pointer (RFC 6901) into its claims: seconds or milliseconds since 1970, their text, or a date
    /// as in RFC 3339.
    pub claim: String,
}

impl DeadlineRule {
    /// What the outputs tell; `None` if they tell nothing that can be read.
    pub fn read(&self, outputs: &Outputs) -> Option<Timestamp> {
        timestamp_or_date(jwt::claims(outputs.get(&self.jwt)?)?.at(&self.claim)?)
    }

    /// Of a claim that is there and is no time.
    fn unread(&self, outputs: &Outputs) -> Option<String> {
        let claims = jwt::claims(outputs.get(&self.jwt)?)?;
        let shape = unread::shape(claims.at(&self.claim)?);
        Some(format!(
            "when {} ends is not known: `{}` in `{}` is neither seconds nor milliseconds since 1970 nor a date as in \
             RFC 3339, but {shape}",
            self.of, self.claim, self.jwt
        ))
    }

    /// What is to be told of it now: that it is near, or cannot be read.
    pub fn warning(&self, outputs: &Outputs, now: Moment) -> Option<String> {
        let Some(at) = self.read(outputs) else { return self.unread(outputs) };
        let left = at.duration_since(now.wall);
        let notice = SignedDuration::try_from(NOTICE).unwrap_or(SignedDuration::MAX);
        let verb = if left.is_positive() { "ends" } else { "ended" };
        (left < notice).then(|| format!("{} {verb} at {at:.0}", self.of))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jiff::Timestamp;

    use super::DeadlineRule;
    use crate::clock::Moment;
    use crate::credential::Outputs;
    use crate::secret::Secret;

    fn rule() -> DeadlineRule {
        DeadlineRule {
            of: "the secret".to_owned(),
            jwt: "token".to_owned(),
            claim: "/secret-expiry".to_owned(),
        }
    }

    fn outputs(claim: &str) -> Outputs {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"secret-expiry\":{claim}}}"));
        [("token".to_owned(), Secret::from(format!("e30.{claims}.sig")))].into()
    }

    #[test]
    fn a_deadline_is_read_from_numbers_of_both_units_their_texts_and_dates() {
        let at = Some(Timestamp::from_second(1_725_006_763).expect("a time"));
        for claim in
            ["1725006763", "1725006763000", "\"1725006763\"", "\"1725006763000\"", "\"2024-08-30T08:32:43Z\""]
        {
            assert_eq!(rule().read(&outputs(claim)), at, "{claim}");
        }
        for claim in ["null", "\"soon\"", "true", "[]"] {
            assert_eq!(rule().read(&outputs(claim)), None, "{claim}");
        }
    }

    #[test]
    fn a_deadline_that_is_there_and_cannot_be_read_is_told_without_its_value() {
        let warning = |claim: &str| {
            let now = Moment { wall: Timestamp::UNIX_EPOCH, boot: Duration::ZERO };
            rule().warning(&outputs(claim), now)
        };
        let told = warning("\"30.08.2026\"").expect("a warning");
        assert!(told.starts_with("when the secret ends is not known: `/secret-expiry` in `token`"), "{told}");
        assert!(told.ends_with("but a text like `99.99.9999`"), "{told}");
        assert_eq!(warning("null"), None, "nothing is said, and nothing is wrong");
    }

    #[test]
    fn a_deadline_is_warned_about_from_two_weeks_before_on() {
        let end = Timestamp::from_second(1_725_006_763).expect("a time");
        let told = |days: i64| {
            let wall = end - jiff::SignedDuration::from_hours(24 * days);
            rule().warning(&outputs("1725006763"), Moment { wall, boot: Duration::ZERO })
        };
        assert_eq!(told(15), None);
        assert_eq!(told(13).as_deref(), Some("the secret ends at 2024-08-30T08:32:43Z"));
        assert_eq!(told(-1).as_deref(), Some("the secret ended at 2024-08-30T08:32:43Z"));
    }
}
