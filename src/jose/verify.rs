//! Keys that verify (RFC 7517), and the signed tokens that they verify (RFC 7515).
//!
//! What a token says of itself decides nothing but which key is tried: an algorithm counts only if the
//! key is of its kind, so that no public key is taken for a shared secret, and `none` is no algorithm.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The most keys of a set that are looked at.
const MOST_KEYS: usize = 100;

const RSA: [(&str, &RsaParameters); 6] = [
    ("RS256", &RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &RSA_PSS_2048_8192_SHA256),
    ("PS384", &RSA_PSS_2048_8192_SHA384),
    ("PS512", &RSA_PSS_2048_8192_SHA512),
];

/// With the curve's name and the length of its coordinates in bytes (RFC 7518, section 6.2.1.2).
const ECDSA: [(&str, &str, usize, &EcdsaVerificationAlgorithm); 3] = [
    ("ES256", "P-256", 32, &ECDSA_P256_SHA256_FIXED),
    ("ES384", "P-384", 48, &ECDSA_P384_SHA384_FIXED),
    ("ES512", "P-521", 66, &ECDSA_P521_SHA512_FIXED),
];

/// The public keys of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet(Vec<PublicKey>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PublicKey {
    /// Its name.
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The curve's name and an uncompressed point.
    Ecdsa(&'static str, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A token in compact form, taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub struct SignedToken<'a> {
    /// How it is signed.
    algorithm: String,
    /// The name of the key.
    key_id: Option<String>,
    /// What kind of token it is, if it says so.
    kind: Option<String>,
    message: &'a [u8],
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// No key of the set is meant: it may be a new one.
    UnknownKey,
    /// The key is there, and did not make this signature.
    Forged,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none are here.
    crit: Option<Value>,
}

impl<'a> SignedToken<'a> {
    /// Takes a token apart. The error says what it is not.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("is not a signed token");
        };
        let message = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "is not base64url");
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| "has no header that can be read")?;
        if header.crit.is_some() {
            return Err("has an extension that nobody here understands");
        }
        let claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| "has no claims that can be read")?;
        let signature = decode(signature)?;
        Ok(Self { algorithm: header.alg, key_id: header.kid, kind: header.typ, message, signature, claims })
    }

    /// What kind of token it is, if it says so (`typ`).
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// A claim. It means nothing before the signature is verified.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name).filter(|value| !value.is_null())
    }
}

impl KeySet {
    /// Reads a set (RFC 7517, section 5). Keys of unknown kinds, for encryption, or that cannot be read
    /// are passed over, as the document asks.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(json).map_err(|_| "is not JSON")?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("has no `keys`")?;
        Ok(Self(keys.iter().take(MOST_KEYS).filter_map(PublicKey::read).collect()))
    }

    /// Verifies the signature of a token by the key that it names, or by any that could have made it.
    pub fn verify(&self, token: &SignedToken<'_>) -> Result<(), Unverified> {
        let is_meant = |key: &&PublicKey| {
            let is_named = token.key_id.is_none() || key.id.is_none() || key.id == token.key_id;
            is_named && key.algorithm.as_ref().is_none_or(|only| *only == token.algorithm)
        };
        let mut meant = self.0.iter().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(Unverified::UnknownKey);
        }
        if meant.any(|key| key.kind.has_signed(token)) { Ok(()) } else { Err(Unverified::Forged) }
    }
}

impl PublicKey {
    fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let kind = match (text("kty")?, text("crv")) {
            ("RSA", _) => Kind::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some(curve)) => {
                let (_, curve, length, _) = ECDSA.into_iter().find(|(_, name, _, _)| *name == curve)?;
                let (x, y) = (bytes("x")?, bytes("y")?);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                (x.len() == length && y.len() == length).then_some(Kind::Ecdsa(curve, point))?
            }
            ("OKP", Some("Ed25519")) => Kind::Ed25519(bytes("x")?),
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), kind })
    }
}

impl Kind {
    /// Whether this key made the signature of a token.
    fn has_signed(&self, token: &SignedToken<'_>) -> bool {
        let (message, signature) = (token.message, token.signature.as_slice());
        let algorithm = token.algorithm.as_str();
        match self {
            Self::Rsa { n, e } => RSA.iter().any(|(name, parameters)| {
                *name == algorithm
                    && RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            Self::Ecdsa(curve, point) => ECDSA.iter().any(|(name, of, _, verification)| {
                (*name, of) == (algorithm, curve)
                    && UnparsedPublicKey::new(*verification, point).verify(message, signature).is_ok()
            }),
            Self::Ed25519(public) => {
                matches!(algorithm, "EdDSA" | "Ed25519")
                    && UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
