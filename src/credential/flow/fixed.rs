//! The flow `static`: a token that somebody else made, read from its source.

use std::time::Duration;

use jiff::Timestamp;

use crate::credential::flow::jwt;
use crate::credential::input::Inputs;
use crate::credential::{Lifetime, Minted};

/// The input that ends, where there are several.
const TOKEN: &str = "token";

/// A token from the input `token`; its output is `token` too. Further inputs are outputs of the same
/// name (a preset such as `basic` has `username` and `password`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticFlow {
    /// When the token ends.
    pub expires: Expires,
}

/// `expires = "jwt" | "never" | { after } | { at }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// Not said: by the token's `exp` if it has one, else never, with a warning.
    Unsaid,
    /// By the `exp` claim of the token (RFC 7519, section 4.1.4).
    Jwt,
    /// It does not end.
    Never,
    /// So long after the token was made: after its file was written, else after it was read.
    After(Duration),
    /// At this time.
    At(Timestamp),
}

impl StaticFlow {
    /// Takes the inputs as they are. An end in the past is an end: nothing is assumed in its place.
    pub(in crate::credential) fn mint(&self, inputs: &Inputs, now: Timestamp) -> Minted {
        let lifetime = self.lifetime(inputs, now);
        let mut warnings = Vec::new();
        match lifetime {
            Lifetime::Until(end) if end <= now => warnings.push(format!(
                "it ended at {end:.0}, and it cannot renew itself: replace it at its source, or correct `expires`"
            )),
            Lifetime::Unlimited => warnings.extend(self.endless()),
            Lifetime::Until(_) | Lifetime::For(_) => {}
        }
        Minted {
            outputs: inputs.values.clone().into_iter().collect(),
            lifetime: Some(lifetime),
            warnings,
            ..Minted::default()
        }
    }

    /// When a token ends that was read `now`.
    fn lifetime(&self, inputs: &Inputs, now: Timestamp) -> Lifetime {
        let end_of_token = || inputs.values.get(TOKEN).and_then(jwt::expiry);
        match (inputs.until, self.expires) {
            (Some(end), _) | (None, Expires::At(end)) => Lifetime::Until(end),
            (None, Expires::Never) => Lifetime::Unlimited,
            (None, Expires::After(length)) => {
                let made = inputs.modified.unwrap_or(now);
                Lifetime::Until(made.saturating_add(length).unwrap_or(Timestamp::MAX))
            }
            (None, Expires::Unsaid | Expires::Jwt) => {
                end_of_token().map_or(Lifetime::Unlimited, Lifetime::Until)
            }
        }
    }

    /// When a token that was read `now` has ended, if it has.
    pub fn ended(&self, inputs: &Inputs, now: Timestamp) -> Option<Timestamp> {
        match self.lifetime(inputs, now) {
            Lifetime::Until(end) => Some(end).filter(|end| *end <= now),
            Lifetime::For(_) | Lifetime::Unlimited => None,
        }
    }

    /// What is to be told of a token without an end.
    fn endless(&self) -> Option<String> {
        let told = match self.expires {
            Expires::Unsaid => {
                "nothing says when this token ends, so it is taken to last for ever: set `expires`"
            }
            Expires::Jwt => {
                "this token has no `exp` that can be read, so it is taken to last for ever: is it a JWT?"
            }
            Expires::Never | Expires::After(_) | Expires::At(_) => return None,
        };
        Some(told.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jiff::Timestamp;

    use super::{Expires, StaticFlow};
    use crate::credential::input::Inputs;
    use crate::credential::{Lifetime, Minted};
    use crate::secret::Secret;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn mint(expires: Expires, token: &str, modified: Option<i64>) -> Minted {
        let mut inputs = Inputs { modified: modified.map(at), ..Inputs::default() };
        inputs.values.insert("token".to_owned(), Secret::from(token));
        StaticFlow { expires }.mint(&inputs, at(1000))
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn every_input_is_an_output() {
        let mut inputs = Inputs::default();
        inputs.values.insert("username".to_owned(), Secret::from("u"));
        inputs.values.insert("password".to_owned(), Secret::from("p"));
        let minted = StaticFlow { expires: Expires::Never }.mint(&inputs, at(0));
        assert_eq!(minted.outputs.keys().collect::<Vec<_>>(), ["password", "username"]);
        assert!(minted.warnings.is_empty() && minted.lifetime == Some(Lifetime::Unlimited));
    }

    #[test]
    fn a_token_ends_by_its_exp_if_it_has_one_and_nothing_else_is_said() {
        let minted = mint(Expires::Unsaid, &jwt(r#"{"exp": 2000}"#), None);
        assert_eq!((minted.lifetime, minted.warnings.len()), (Some(Lifetime::Until(at(2000))), 0));
        let minted = mint(Expires::Jwt, &jwt(r#"{"exp": 500}"#), None);
        assert_eq!(minted.lifetime, Some(Lifetime::Until(at(500))), "the past is not made up for");
        assert_eq!(
            minted.warnings,
            [
                "it ended at 1970-01-01T00:08:20Z, and it cannot renew itself: replace it at its source, or correct \
              `expires`"
            ]
        );
        for expires in [Expires::Unsaid, Expires::Jwt] {
            let minted = mint(expires, "opaque", None);
            assert_eq!((minted.lifetime, minted.warnings.len()), (Some(Lifetime::Unlimited), 1));
        }
    }

    #[test]
    fn a_length_counts_from_when_the_file_was_written_or_else_from_now() {
        let day = Duration::from_secs(86_400);
        assert_eq!(mint(Expires::After(day), "t", Some(100)).lifetime, Some(Lifetime::Until(at(86_500))));
        assert_eq!(mint(Expires::After(day), "t", None).lifetime, Some(Lifetime::Until(at(87_400))));
        assert_eq!(mint(Expires::At(at(5)), "t", None).lifetime, Some(Lifetime::Until(at(5))));
    }
}
