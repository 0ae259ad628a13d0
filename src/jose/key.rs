//! Keys that sign, in the forms that people have them: PEM (PKCS #8, PKCS #1, SEC 1), a
//! JWK (RFC 7517), or the bytes of a shared secret.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::jose::public;
use crate::secret::Secret;

/// A key, and the algorithm that it signs by.
pub struct SigningKey {
    /// The name in a header (RFC 7518, section 3.1; RFC 8037, section 3.1).
    algorithm: &'static str,
    signer: Signer,
}

enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(Box<hmac::Key>),
}

/// The algorithms of RSA keys; the first is chosen where none is said.
const RSA: [(&str, &dyn RsaEncoding); 6] = [
    ("RS256", &RSA_PKCS1_SHA256),
    ("RS384", &RSA_PKCS1_SHA384),
    ("RS512", &RSA_PKCS1_SHA512),
    ("PS256", &RSA_PSS_SHA256),
    ("PS384", &RSA_PSS_SHA384),
    ("PS512", &RSA_PSS_SHA512),
];

/// The algorithms of elliptic curves: each curve has one. With the curve's name in a JWK.
const ECDSA: [(&str, &str, &EcdsaSigningAlgorithm); 3] = [
    ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
    ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
    ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
];

/// The algorithms of shared secrets; the first is chosen for a JWK that says none.
const HMAC: [(&str, hmac::Algorithm); 3] =
    [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];

const EDDSA: &str = "EdDSA";

/// A key before its algorithm is settled.
enum Material {
    Rsa(RsaKeyPair),
    Ecdsa(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Shared(Zeroizing<Vec<u8>>),
}

impl SigningKey {
    /// Reads a key. Without a said algorithm the key chooses: `RS256`, the one of its curve,
    /// `EdDSA`, or what a JWK names. A shared secret that is no JWK must be said to be one, by an
    /// `HS` algorithm.
    pub fn read(key: &Secret, said: Option<&str>) -> Result<Self, String> {
        let bytes = key.expose();
        let (material, named) = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            (from_pem(bytes)?, None)
        } else if bytes.trim_ascii_start().starts_with(b"{") {
            let jwk: Jwk = serde_json::from_slice(bytes)
                .map_err(|_| "the key looks like a JWK, but is not one (RFC 7517)".to_owned())?;
            (jwk.material()?, jwk.alg)
        } else if said.is_some_and(|said| said.starts_with("HS")) {
            (Material::Shared(Zeroizing::new(bytes.to_vec())), None)
        } else {
            return Err(
                "the key is neither PEM nor a JWK (for a shared secret, say `alg = \"HS256\"`)".to_owned()
            );
        };
        material.sign_by(said.or(named.as_deref()))
    }

    /// The name of the algorithm.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public half as a JSON Web Key (RFC 7517); `None` of a shared secret.
    pub fn public_jwk(&self) -> Option<String> {
        match &self.signer {
            Signer::Rsa(key, _) => public::of_rsa(key.public_key().as_ref()),
            Signer::Ecdsa(key) => {
                let (_, curve, _) = ECDSA.into_iter().find(|(name, _, _)| *name == self.algorithm)?;
                public::of_point(curve, key.public_key().as_ref())
            }
            Signer::Ed25519(key) => Some(public::of_ed25519(key.public_key().as_ref())),
            Signer::Hmac(_) => None,
        }
    }

    /// The signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the key cannot sign".to_owned();
        let random = SystemRandom::new();
        Ok(match &self.signer {
            Signer::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).map_err(failed)?;
                signature
            }
            Signer::Ecdsa(key) => key.sign(&random, message).map_err(failed)?.as_ref().to_vec(),
            Signer::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Signer::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
        })
    }
}

impl Material {
    fn sign_by(self, said: Option<&str>) -> Result<SigningKey, String> {
        let wrong = |kind: &str| {
            let said = said.unwrap_or_default();
            format!("the key is {kind}, which does not sign by `{said}`")
        };
        let (algorithm, signer) = match self {
            Self::Rsa(key) => {
                let (name, encoding) = RSA
                    .into_iter()
                    .find(|(name, _)| said.is_none_or(|said| said == *name))
                    .ok_or_else(|| wrong("an RSA key"))?;
                (name, Signer::Rsa(key, encoding))
            }
            Self::Ecdsa(name, key) if said.is_none_or(|said| said == name) => (name, Signer::Ecdsa(key)),
            Self::Ecdsa(name, _) => return Err(wrong(&format!("one for `{name}`"))),
            Self::Ed25519(key) if said.is_none_or(|said| said == EDDSA || said == "Ed25519") => {
                (EDDSA, Signer::Ed25519(key))
            }
            Self::Ed25519(_) => return Err(wrong("an Ed25519 key")),
            Self::Shared(bytes) => {
                let (name, algorithm) = HMAC
                    .into_iter()
                    .find(|(name, _)| said.is_none_or(|said| said == *name))
                    .ok_or_else(|| wrong("a shared secret"))?;
                (name, Signer::Hmac(Box::new(hmac::Key::new(algorithm, &bytes))))
            }
        };
        Ok(SigningKey { algorithm, signer })
    }
}

/// The first private key of a PEM file.
fn from_pem(pem: &[u8]) -> Result<Material, String> {
    let unusable = || "the key is PEM, but holds no private key that can be used".to_owned();
    if pem.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err("the key is encrypted; bearerd needs it without a passphrase".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable())?;
    match &key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Material::Rsa),
        PrivateKeyDer::Sec1(der) => on_some_curve(der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let rsa = RsaKeyPair::from_pkcs8(der).ok().map(Material::Rsa);
            rsa.or_else(|| on_some_curve(der))
                .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Material::Ed25519))
        }
        _ => None,
    }
    .ok_or_else(unusable)
}

fn on_some_curve(der: &[u8]) -> Option<Material> {
    ECDSA.into_iter().find_map(|(name, _, algorithm)| {
        Some(Material::Ecdsa(name, EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?))
    })
}

/// A private or symmetric JSON Web Key (RFC 7517; RFC 7518, section 6; RFC 8037, section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    crv: Option<String>,
    k: Option<Part>,
    x: Option<Part>,
    y: Option<Part>,
    d: Option<Part>,
    n: Option<Part>,
    e: Option<Part>,
    p: Option<Part>,
    q: Option<Part>,
    dp: Option<Part>,
    dq: Option<Part>,
    qi: Option<Part>,
}

/// A number or bytes, in base64url without padding; wiped when it goes.
#[derive(Deserialize, ZeroizeOnDrop)]
struct Part(String);

impl Jwk {
    fn material(&self) -> Result<Material, String> {
        let unusable = || format!("the JWK is no private `{}` key that can be used", self.kty);
        let curve = self.crv.as_deref().unwrap_or_default();
        match self.kty.as_str() {
            "oct" => Ok(Material::Shared(bytes("k", self.k.as_ref())?)),
            "RSA" => {
                let key = RsaKeyPair::from_components(&KeyPairComponents {
                    public_key: PublicKeyComponents {
                        n: bytes("n", self.n.as_ref())?,
                        e: bytes("e", self.e.as_ref())?,
                    },
                    d: bytes("d", self.d.as_ref())?,
                    p: bytes("p", self.p.as_ref())?,
                    q: bytes("q", self.q.as_ref())?,
                    dP: bytes("dp", self.dp.as_ref())?,
                    dQ: bytes("dq", self.dq.as_ref())?,
                    qInv: bytes("qi", self.qi.as_ref())?,
                });
                key.map(Material::Rsa).map_err(|_| unusable())
            }
            "EC" => {
                let (name, _, algorithm) =
                    ECDSA.into_iter().find(|(_, name, _)| *name == curve).ok_or_else(unusable)?;
                // An uncompressed point (SEC 1, section 2.3.3).
                let (x, y) = (bytes("x", self.x.as_ref())?, bytes("y", self.y.as_ref())?);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let private = bytes("d", self.d.as_ref())?;
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, &point)
                    .map(|key| Material::Ecdsa(name, key))
                    .map_err(|_| unusable())
            }
            "OKP" if curve == "Ed25519" => {
                let (seed, public) = (bytes("d", self.d.as_ref())?, bytes("x", self.x.as_ref())?);
                Ed25519KeyPair::from_seed_and_public_key(&seed, &public)
                    .map(Material::Ed25519)
                    .map_err(|_| unusable())
            }
            _ => Err(unusable()),
        }
    }
}

fn bytes(name: &str, part: Option<&Part>) -> Result<Zeroizing<Vec<u8>>, String> {
    let part = part.ok_or_else(|| format!("the JWK has no `{name}`: is it a private key?"))?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.0.trim_end_matches('='));
    bytes.map(Zeroizing::new).map_err(|_| format!("the JWK's `{name}` is not base64url"))
}
