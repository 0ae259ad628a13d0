//! What a token says of itself, read without verifying: only its upstream can do that, and only
//! for planning is it used here.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;

use crate::credential::flow::json::Json;
use crate::credential::flow::lifetime::{number, timestamp};
use crate::secret::Secret;

/// Base64url with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `exp` claim (RFC 7519, section 4.1.4) of a signed token; `None` if it is not one, or says
/// none. Fractions of a second are cut.
pub fn expiry(token: &Secret) -> Option<Timestamp> {
    timestamp(number(claims(token)?.member("exp")?)?)
}

/// All claims of a signed token; `None` if it is not one. Wiped when they go: some issuers put passwords
/// there.
pub(in crate::credential) fn claims(token: &Secret) -> Option<Json> {
    let mut parts = token.expose_str()?.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    Json::parse(&Secret::new(LENIENT.decode(claims).ok()?)).filter(Json::is_object)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};

    use super::expiry;
    use crate::secret::Secret;

    fn read(claims: &str) -> Option<i64> {
        let token = format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        expiry(&Secret::from(token)).map(jiff::Timestamp::as_second)
    }

    #[test]
    fn the_end_of_a_token_is_read_from_numbers_of_every_kind() {
        assert_eq!(read(r#"{"exp": 1728569505, "password": "x"}"#), Some(1_728_569_505));
        assert_eq!(read(r#"{"exp": 1728569505.9}"#), Some(1_728_569_505));
        assert_eq!(read(r#"{"exp": "1728569505"}"#), Some(1_728_569_505));
        let padded = format!("e30.{}.sig", BASE64_URL_SAFE.encode(r#"{"exp":1}"#));
        assert_eq!(expiry(&Secret::from(padded)).map(jiff::Timestamp::as_second), Some(1));
    }

    #[test]
    fn what_is_no_token_or_says_no_end_gives_none() {
        for claims in ["{}", r#"{"exp": null}"#, r#"{"exp": "soon"}"#, r#"{"exp": 1e300}"#, "[]", "x"] {
            assert_eq!(read(claims), None, "{claims}");
        }
        for token in ["", "opaque", "a.b", "a.b.c", "a.b.c.d.e"] {
            assert_eq!(expiry(&Secret::from(token)), None, "{token}");
        }
    }
}
