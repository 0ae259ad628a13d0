use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{Proof, ProofKey, nonce, token_digest, wants_nonce};
use crate::clock::Clock;
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// Reads a proof as another's library does: by the key that it carries itself.
fn read(proof: &HeaderValue) -> (Value, Value) {
    let text = proof.to_str().expect("a text");
    let header = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    let jwk: Jwk = serde_json::from_value(header["jwk"].clone()).expect("a public key");
    let algorithm: Algorithm = header["alg"].as_str().and_then(|name| name.parse().ok()).expect("a name");
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let claims = jsonwebtoken::decode::<Value>(text, &key, &validation).expect("a signature").claims;
    (header, claims)
}

#[test]
fn a_proof_is_for_one_request_and_one_token_and_carries_its_public_key() {
    let key = ProofKey::read(&ProofKey::generate().expect("a key"), None).expect("a key");
    let clock = Clock::simulated(NOW, 1);
    let (nonce, digest) = (nonce(b"n-1").expect("a nonce"), token_digest(&Secret::from("token")));
    let proof = Proof {
        method: "GET",
        uri: "https://api.example/a%20\"b",
        nonce: Some(&nonce),
        token: Some(&digest),
    };
    let (header, claims) = read(&key.prove(&proof, &clock).expect("a proof"));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    assert_eq!(header["jwk"].as_object().expect("a key").len(), 4, "no private part: {header}");
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("GET"), &json!("https://api.example/a%20\"b")));
    assert_eq!((&claims["nonce"], &claims["iat"]), (&json!("n-1"), &json!(1_700_000_000)));
    assert_eq!(
        claims["ath"],
        json!("PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"),
        "printf token | openssl sha256 -binary | basenc --base64url"
    );
    let next = Proof { nonce: None, token: None, ..proof };
    let (_, other) = read(&key.prove(&next, &clock).expect("a proof"));
    assert_ne!(claims["jti"], other["jti"]);
    assert!(other.get("nonce").is_none() && other.get("ath").is_none());
}

#[test]
fn keys_of_every_kind_make_proofs_and_are_kept_with_their_algorithm() {
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key").serialize_pem();
    for (pem, said, algorithm) in [
        (&ed25519, None, "EdDSA"),
        (&p384, None, "ES384"),
        (&rsa, None, "RS256"),
        (&rsa, Some("PS256"), "PS256"),
    ] {
        let sealed = ProofKey::seal(&Secret::from(pem.as_str()), said).expect("a key");
        let key = ProofKey::open(&sealed).expect("a key");
        let proof = Proof { method: "POST", uri: "https://a/", nonce: None, token: None };
        let (header, _) = read(&key.prove(&proof, &Clock::simulated(NOW, 1)).expect("a proof"));
        assert_eq!(header["alg"], json!(algorithm));
    }
    assert!(ProofKey::read(&Secret::from("shared"), Some("HS256")).is_err());
    assert!(ProofKey::open(&Secret::from("nothing")).is_err());
}

/// The key of RFC 7638, section 3.1, is an RSA key without its private half; that of RFC 8037, appendix
/// A.3, has both.
#[test]
fn the_thumbprint_is_that_of_the_document() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let key = ProofKey::read(&Secret::from(jwk), None).expect("a key");
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn nonces_are_taken_as_the_document_allows_them() {
    assert_eq!(nonce(b"eyJ7S_zG.eyJH0-Z.HX4w-7v").expect("a nonce"), "eyJ7S_zG.eyJH0-Z.HX4w-7v");
    for wrong in [b"".as_slice(), b"a b", b"a\"b", b"a\\b", "\u{e9}".as_bytes(), &[b'x'; 2000]] {
        assert_eq!(nonce(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_challenge_is_recognised_by_scheme_and_error() {
    for challenge in [
        r#"DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof""#,
        r#"dpop realm="x", error="use_dpop_nonce""#,
        "DPoP error=use_dpop_nonce",
    ] {
        assert!(wants_nonce(challenge.as_bytes()), "{challenge}");
    }
    for challenge in [
        "",
        "DPoP",
        r#"Bearer error="use_dpop_nonce""#,
        r#"DPoP error="invalid_token""#,
        r#"DPoP error_description="use_dpop_nonce""#,
    ] {
        assert!(!wants_nonce(challenge.as_bytes()), "{challenge}");
    }
}
