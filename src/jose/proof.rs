//! Proofs of possession (DPoP, RFC 9449): a token that is bound to a key is of use to nobody else.
//!
//! A proof is made for one request: it names the method, the URI without query and fragment, the time,
//! and for a request with a token a digest of it. All that stays the same is made once.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::jose::key::SigningKey;
use crate::secret::{Secret, SecretBuffer};

/// The field of a proof.
pub const FIELD: HeaderName = HeaderName::from_static("dpop");

/// The field of a nonce that a server wants to see in the next proof (RFC 9449, section 8).
pub const NONCE_FIELD: HeaderName = HeaderName::from_static("dpop-nonce");

/// The name under which a credential whose token is bound keeps the key: beside the token, since one is
/// nothing without the other.
pub const KEY_OUTPUT: &str = "dpop_key";

/// The longest nonce that is taken, in bytes: it is sent with every request.
const LONGEST_NONCE: usize = 1024;

/// A key that makes proofs.
pub struct ProofKey {
    key: SigningKey,
    /// The first part of every proof: it holds the public key.
    header: String,
    /// The thumbprint of the public key (RFC 7638).
    thumbprint: String,
}

/// What a proof is made for.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URI, without query and fragment.
    pub uri: &'a str,
    /// What the server gave to be shown.
    pub nonce: Option<&'a HeaderValue>,
    /// The digest of the token that is on the request ([`token_digest`]).
    pub token: Option<&'a str>,
}

impl ProofKey {
    /// A key as it is configured: PEM or JWK. One that is shared with the issuer proves nothing.
    pub fn read(key: &Secret, algorithm: Option<&str>) -> Result<Self, String> {
        let key = SigningKey::read(key, algorithm)?;
        let public = key.public_jwk().ok_or("the key of proofs is a private key, not a shared secret")?;
        let algorithm = key.algorithm();
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"{algorithm}","jwk":{public}}}"#);
        Ok(Self {
            header: BASE64_URL_SAFE_NO_PAD.encode(header),
            thumbprint: BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, public.as_bytes())),
            key,
        })
    }

    /// A new key for ES256, which every issuer with proofs takes, as PEM.
    pub fn generate() -> Result<Secret, String> {
        let failed = |_| "no key could be made".to_owned();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let der = key.to_pkcs8v1().map_err(failed)?;
        let mut pem = SecretBuffer::with_capacity(512);
        pem.push(b"-----BEGIN PRIVATE KEY-----\n");
        pem.push(Zeroizing::new(BASE64_STANDARD.encode(der)).as_bytes());
        pem.push(b"\n-----END PRIVATE KEY-----\n");
        Ok(pem.into())
    }

    /// A key with its algorithm, as a credential keeps it.
    pub fn seal(key: &Secret, algorithm: Option<&str>) -> Result<Secret, String> {
        let algorithm = SigningKey::read(key, algorithm)?.algorithm();
        let mut sealed = SecretBuffer::with_capacity(key.len() + 8);
        sealed.push(algorithm.as_bytes());
        sealed.push(b"\n");
        sealed.push(key.expose());
        Ok(sealed.into())
    }

    /// What [`Self::seal`] made, ready for use.
    pub fn open(sealed: &Secret) -> Result<Self, String> {
        let broken = || "the key of proofs is not as it was kept".to_owned();
        let end = sealed.expose().iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let (algorithm, key) = sealed.expose().split_at(end);
        let algorithm = std::str::from_utf8(algorithm).map_err(|_| broken())?;
        Self::read(&Secret::new(&key[1..]), Some(algorithm))
    }

    /// The thumbprint of the public key: what tokens are bound to (`jkt`, RFC 9449, section 6).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The field value that proves possession for one request (RFC 9449, section 4.2).
    pub fn prove(&self, proof: &Proof<'_>, clock: &Clock) -> Result<HeaderValue, String> {
        let mut claims = String::with_capacity(256 + proof.uri.len());
        let mut claim = |name: &str, value: &str| {
            claims.push(if claims.is_empty() { '{' } else { ',' });
            // A URI or a method may hold what JSON wants escaped.
            claims.push_str(&serde_json::Value::from(name).to_string());
            claims.push(':');
            claims.push_str(&serde_json::Value::from(value).to_string());
        };
        claim("jti", &clock.uuid());
        claim("htm", proof.method);
        claim("htu", proof.uri);
        if let Some(digest) = proof.token {
            claim("ath", digest);
        }
        if let Some(nonce) = proof.nonce.and_then(|nonce| nonce.to_str().ok()) {
            claim("nonce", nonce);
        }
        let issued = clock.wall().as_second();
        claims.push_str(",\"iat\":");
        claims.push_str(itoa::Buffer::new().format(issued));
        claims.push('}');
        let mut token = String::with_capacity(self.header.len() + claims.len() * 2 + 128);
        token.push_str(&self.header);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        let value = HeaderValue::try_from(token);
        let mut value = value.map_err(|_| "the proof makes no field value".to_owned())?;
        // It comes once: tables of compression have no use for it.
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The digest of a token that a proof carries (`ath`, RFC 9449, section 4.2).
pub fn token_digest(token: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, token.expose()))
}

/// A nonce as it may be kept (RFC 9449, section 8.1): visible, without quotes and backslashes.
pub fn nonce(value: &[u8]) -> Option<HeaderValue> {
    let is_fine = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let fits = !value.is_empty() && value.len() <= LONGEST_NONCE && value.iter().all(is_fine);
    fits.then(|| HeaderValue::from_bytes(value).ok()).flatten()
}

/// Whether a `WWW-Authenticate` field says that a proof wants a nonce (RFC 9449, section 9). It may list
/// challenges of other schemes as well (RFC 9110, section 11.6.1).
pub fn wants_nonce(field: &[u8]) -> bool {
    let mut is_proof = false;
    listed(field).any(|item| {
        let end = item.iter().position(|byte| !is_token(*byte)).unwrap_or(item.len());
        let (name, rest) = (&item[..end], item[end..].trim_ascii_start());
        // Either a parameter of the challenge before, or a scheme with the first of its own.
        let parameter = if rest.starts_with(b"=") {
            item
        } else {
            is_proof = name.eq_ignore_ascii_case(b"dpop");
            rest
        };
        is_proof && is_nonce_error(parameter)
    })
}

fn is_nonce_error(parameter: &[u8]) -> bool {
    let Some(equals) = memchr::memchr(b'=', parameter) else { return false };
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    name.eq_ignore_ascii_case(b"error") && matches!(value, b"use_dpop_nonce" | b"\"use_dpop_nonce\"")
}

/// The items of a list: a comma in a quoted text does not end one (RFC 9110, section 5.6.4).
fn listed(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    field
        .split(move |byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'"' if !was_escaped => is_quoted = !is_quoted,
                b'\\' if is_quoted => is_escaped = !was_escaped,
                _ => {}
            }
            *byte == b',' && !is_quoted
        })
        .map(<[u8]>::trim_ascii)
}

/// A byte of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
