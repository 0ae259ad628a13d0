//! What upstreams say of proofs: challenges and nonces (RFC 9449, sections 8 and 9).

use bearerd::jose::proof::{nonce, wants_nonce};

pub(crate) fn run(bytes: &[u8]) {
    let _ = wants_nonce(bytes);
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
