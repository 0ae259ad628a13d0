//! What upstreams say of proofs: challenges and nonces (RFC 9449, sections 8 and 9).

use bearerd::jose::proof::{nonce, wants_nonce};

pub(crate) fn run(bytes: &[u8]) {
    if wants_nonce(bytes) {
        let lower = bytes.to_ascii_lowercase();
        let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
        assert!(has(b"dpop") && has(b"use_dpop_nonce"), "nothing else asks for one");
    }
    // What stands before a challenge and is whole is of no consequence to it.
    let behind = [b"Basic realm=\"a, \\\" b\", Negotiate, ", bytes].concat();
    let begins_with_scheme = bytes.first().is_some_and(u8::is_ascii_alphabetic);
    assert!(!begins_with_scheme || wants_nonce(&behind) == wants_nonce(bytes));
    if let Some(nonce) = nonce(bytes) {
        assert!(!nonce.is_empty());
        assert_eq!(nonce.as_bytes(), bytes, "a nonce is sent back as it came");
    }
    // A scheme's name is no part of another's, and a quoted text is not looked into.
    let quoted: String =
        bytes.iter().map(|byte| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { ' ' }).collect();
    assert!(!wants_nonce(format!("Basic realm=\"DPoP error=use_dpop_nonce {quoted}\"").as_bytes()));
    assert!(wants_nonce(format!("Basic realm=\"{quoted}\", DPoP error=\"use_dpop_nonce\"").as_bytes()));
}
