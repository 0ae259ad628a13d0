//! What nobody can guess, and PKCE (RFC 7636).

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::clock::Clock;
use crate::secret::Secret;

/// 256 random bits as 43 characters, each of which may stand in a URL as it is: a state, a nonce, a
/// code verifier (RFC 7636, section 4.1).
pub(super) fn unguessable(clock: &Clock) -> String {
    let mut bytes = [0; 32];
    clock.fill_random(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The code challenge of a verifier by `S256` (RFC 7636, section 4.2).
pub(super) fn challenge(verifier: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.expose()))
}

/// What a state is looked up by: how long a look-up takes tells nothing about the state itself.
pub(super) fn key(state: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, state.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::{challenge, unguessable};
    use crate::clock::Clock;
    use crate::secret::Secret;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Secret::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn what_nobody_can_guess_is_43_characters_of_a_url_and_new_each_time() {
        let clock = Clock::system();
        let one = unguessable(&clock);
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(one.len() == 43 && one.bytes().all(is_fit));
        assert_ne!(one, unguessable(&clock));
    }
}
