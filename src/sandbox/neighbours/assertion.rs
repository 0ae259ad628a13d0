//! Assertions that a client signs with its own key (RFC 7523), verified.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::Value;

/// Clocks may differ by so much.
const LEEWAY: i64 = 60;

/// What an assertion has to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whose it is.
    pub(super) issuer: &'static str,
    /// How the one that it is for ends; empty where that does not matter.
    pub(super) audience_ends: &'static str,
    /// How long it may live.
    pub(super) longest: Duration,
}

/// The client's key.
pub(super) struct SigningKey {
    public: PublicKey,
    /// The private key (RFC 5958), as PEM.
    pub(super) pem: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SigningKey")
    }
}

impl SigningKey {
    /// A new key of 2048 bits.
    pub(super) fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the machine can make a key");
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("a new key can be written");
        let lines: Vec<String> = STANDARD
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let kind = "PRIVATE KEY";
        let pem = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"));
        Self { public: pair.public_key().clone(), pem }
    }

    /// Whether an assertion is signed with this key and says what it has to.
    pub(super) fn verify(&self, assertion: &str, rules: &Rules, now: Timestamp) -> Result<(), String> {
        let (message, signature) = assertion.rsplit_once('.').ok_or("it is no signed assertion")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is no base64url")?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.public.as_ref())
            .verify(message.as_bytes(), &signature)
            .map_err(|_| "its signature does not fit")?;
        let claims = message.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Value =
            claims.and_then(|it| serde_json::from_slice(&it).ok()).ok_or("it has no claims")?;
        if claims["iss"] != rules.issuer {
            return Err("`iss` is wrong".to_owned());
        }
        if !claims["aud"].as_str().unwrap_or_default().ends_with(rules.audience_ends) {
            return Err("`aud` is wrong".to_owned());
        }
        let time = |name: &str| claims[name].as_i64().ok_or(format!("`{name}` is no time"));
        let (issued, ends, now) = (time("iat")?, time("exp")?, now.as_second());
        if issued > now + LEEWAY || ends <= now - LEEWAY {
            return Err("it has ended, or has not begun".to_owned());
        }
        if ends - issued > i64::try_from(rules.longest.as_secs()).unwrap_or(i64::MAX) {
            return Err("it lives too long".to_owned());
        }
        Ok(())
    }
}
