//! Tokens as the vendors hand them out, and the book that a vendor keeps of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Clock;

/// Dead tokens are forgotten when the book holds more than so many.
const BOOK_LIMIT: usize = 10_000;

/// What a vendor knows of its tokens.
#[derive(Debug)]
pub struct TokenBook {
    clock: Clock,
    /// Replaces every lifetime, if a fault says so.
    lifetime: Option<Duration>,
    issued: Mutex<HashMap<String, Issued>>,
}

#[derive(Debug)]
struct Issued {
    /// Time since boot at which it ends: a step of the wall clock moves no token.
    ends: Duration,
    revoked: bool,
    bound_to: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    /// Never handed out.
    Unknown,
    /// Its lifetime has passed.
    Expired,
    /// Revoked before its end.
    Revoked,
}

impl fmt::Display for Dead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unknown => "the token is unknown",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
        })
    }
}

impl TokenBook {
    /// An empty book; `lifetime` replaces that of every token.
    pub fn new(clock: Clock, lifetime: Option<Duration>) -> Self {
        Self { clock, lifetime, issued: Mutex::default() }
    }

    /// How long a token lives that usually lives for `usual`.
    pub fn lifetime(&self, usual: Duration) -> Duration {
        self.lifetime.unwrap_or(usual)
    }

    /// Notes a token, what it goes with, and how long it lives. The lifetime is taken as it is.
    pub fn issue(&self, token: &str, lifetime: Duration, bound_to: &str) {
        let now = self.clock.boot();
        let mut issued = self.lock();
        if issued.len() > BOOK_LIMIT {
            issued.retain(|_, token| !token.revoked && now < token.ends);
        }
        let entry = Issued { ends: now + lifetime, revoked: false, bound_to: bound_to.into() };
        issued.insert(token.into(), entry);
    }

    /// What a live token goes with.
    pub fn check(&self, token: &str) -> Result<String, Dead> {
        let issued = self.lock();
        let token = issued.get(token).ok_or(Dead::Unknown)?;
        if token.revoked {
            Err(Dead::Revoked)
        } else if self.clock.boot() >= token.ends {
            Err(Dead::Expired)
        } else {
            Ok(token.bound_to.clone())
        }
    }

    /// How long a token still lives, whatever it goes with.
    pub fn left(&self, token: &str) -> Duration {
        let ends = self.lock().get(token).map(|token| token.ends);
        ends.unwrap_or_default().saturating_sub(self.clock.boot())
    }

    /// Revokes every token handed out so far; later ones are good.
    pub fn revoke(&self) {
        self.lock().values_mut().for_each(|token| token.revoked = true);
    }

    /// Lets every token handed out so far reach its end now.
    pub fn expire(&self) {
        let now = self.clock.boot();
        self.lock().values_mut().for_each(|token| token.ends = token.ends.min(now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Issued>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An opaque token of 40 hexadecimal digits.
pub(super) fn opaque(clock: &Clock) -> String {
    let mut number = [0; 16];
    clock.fill_random(&mut number);
    let mut rest = [0; 4];
    clock.fill_random(&mut rest);
    format!("{:032x}{:08x}", u128::from_ne_bytes(number), u32::from_ne_bytes(rest))
}

/// A JSON Web Token in shape. The signature is `signature` random bytes: the simulators look tokens
/// up and never verify one.
pub(super) fn jwt(header: &Value, claims: &Value, signature: usize, clock: &Clock) -> String {
    let mut bytes = vec![0; signature];
    clock.fill_random(&mut bytes);
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let header = encode(header.to_string().as_bytes());
    let claims = encode(claims.to_string().as_bytes());
    format!("{header}.{claims}.{}", encode(&bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::{Dead, TokenBook, jwt, opaque};
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_until_its_end_or_until_it_is_revoked() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 7);
        let book = TokenBook::new(clock.clone(), None);
        book.issue("a", Duration::from_secs(10), "user");
        assert_eq!(book.check("a"), Ok("user".into()));
        assert_eq!(book.check("b"), Err(Dead::Unknown));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(book.check("a"), Err(Dead::Expired));
        book.issue("b", Duration::from_secs(10), "user");
        book.revoke();
        book.issue("c", Duration::from_secs(10), "user");
        assert_eq!((book.check("b"), book.check("c")), (Err(Dead::Revoked), Ok("user".into())));
        book.expire();
        assert_eq!(book.check("c"), Err(Dead::Expired));
    }

    #[test]
    fn tokens_have_the_shape_that_the_vendors_give_them() {
        let clock = Clock::system();
        assert!(opaque(&clock).len() == 40 && opaque(&clock).bytes().all(|byte| byte.is_ascii_hexdigit()));
        let token = jwt(&json!({"alg": "RS256"}), &json!({"exp": 1}), 256, &clock);
        assert_eq!(token.split('.').count(), 3);
        assert!(token.starts_with("eyJ"));
    }
}
