use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::{KeySet, SignedToken, Unverified};
use crate::jose::key::SigningKey;
use crate::secret::Secret;

/// The public half of a key in PEM, with a name.
fn jwk(pem: &str, kid: &str) -> Value {
    let key = SigningKey::read(&Secret::from(pem), None).expect("a key");
    let mut jwk: Value = serde_json::from_str(&key.public_jwk().expect("a public key")).expect("JSON");
    jwk["kid"] = json!(kid);
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
}

/// Signed here: that others verify it is tested where assertions are.
fn signed(algorithm: &str, kid: Option<&str>, pem: &str) -> String {
    let header = json!({"alg": algorithm, "kid": kid}).to_string();
    let message =
        [header.as_str(), r#"{"sub":"s"}"#].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = SigningKey::read(&Secret::from(pem), Some(algorithm)).expect("a key");
    let signature = key.sign(message.as_bytes()).expect("a signature");
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn verify(keys: &KeySet, token: &str) -> Result<(), Unverified> {
    keys.verify(&SignedToken::parse(token).expect("a token"))
}

fn generate(kind: &'static rcgen::SignatureAlgorithm) -> String {
    KeyPair::generate_for(kind).expect("a key").serialize_pem()
}

#[test]
fn what_others_sign_is_verified_by_the_key_that_is_named() {
    let (ec, ed, rsa) =
        (generate(&PKCS_ECDSA_P256_SHA256), generate(&PKCS_ED25519), generate(&PKCS_RSA_SHA256));
    let keys = set(&[jwk(&ec, "ec"), jwk(&ed, "ed"), jwk(&rsa, "rsa")]);
    for (algorithm, kid, pem) in
        [("ES256", "ec", &ec), ("EdDSA", "ed", &ed), ("RS256", "rsa", &rsa), ("PS256", "rsa", &rsa)]
    {
        for named in [Some(kid), None] {
            let token = signed(algorithm, named, pem);
            assert_eq!(verify(&keys, &token), Ok(()), "{algorithm}");
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            let (header, _) = message.split_once('.').expect("three parts");
            let other = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"other"}"#);
            assert_eq!(verify(&keys, &format!("{header}.{other}.{signature}")), Err(Unverified::Forged));
        }
        assert_eq!(verify(&keys, &signed(algorithm, Some("new"), pem)), Err(Unverified::UnknownKey));
    }
}

#[test]
fn no_algorithm_and_a_confused_one_are_no_signature() {
    let rsa = generate(&PKCS_RSA_SHA256);
    let public = jwk(&rsa, "k");
    let keys = set(std::slice::from_ref(&public));
    let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"s"}"#);
    for header in
        [r#"{"alg":"none","kid":"k"}"#, r#"{"alg":"None"}"#, r#"{"alg":""}"#, r#"{"alg":"HS256","kid":"k"}"#]
    {
        let message = format!("{}.{claims}", BASE64_URL_SAFE_NO_PAD.encode(header));
        // Signed with what everybody knows: the public key as a shared secret.
        for secret in ["", public["n"].as_str().expect("a modulus"), &public.to_string()] {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
            let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
            let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(verify(&keys, &token), Err(Unverified::Forged), "{header}");
        }
        assert_eq!(verify(&keys, &format!("{message}.")), Err(Unverified::Forged), "{header}");
    }
    // A key that says its algorithm is for no other.
    let mut only = public;
    only["alg"] = json!("PS256");
    assert_eq!(verify(&set(&[only]), &signed("RS256", Some("k"), &rsa)), Err(Unverified::UnknownKey));
}

#[test]
fn keys_of_no_use_are_passed_over() {
    let ec = generate(&PKCS_ECDSA_P256_SHA256);
    let (mut encrypting, mut short) = (jwk(&ec, "e"), jwk(&ec, "s"));
    encrypting["use"] = json!("enc");
    short["x"] = json!("AA");
    let unknown = json!({"kty": "AKP", "kid": "u"});
    let shared = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "o"});
    let keys = set(&[encrypting, short, unknown, shared]);
    assert_eq!(keys, KeySet::default());
    for wrong in ["", "[]", "{}", r#"{"keys": {}}"#] {
        assert!(KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_signed_token_is_told() {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let critical = part(r#"{"alg":"ES256","crit":["x"]}"#);
    for token in ["", "a", "a.b", "a.b.c", "a.b.c.d.e", "e30.e30.", &format!("{critical}.e30.")] {
        assert!(SignedToken::parse(token).is_err(), "{token}");
    }
}
