//! Detached signatures over the content of a message (JWS, RFC 7515, appendix F), which is signed as it is,
//! without an encoding (RFC 7797).

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::Value;

use crate::jose::key::SigningKey;
use crate::secret::{Secret, SecretBuffer};

/// Header parameters that a signer makes itself.
pub const OWN_PARAMETERS: [&str; 3] = ["alg", "b64", "crit"];

/// A key that signs the contents of messages.
pub struct DetachedSigner {
    key: SigningKey,
    /// The first part of every signature: the protected header, encoded.
    header: String,
}

impl DetachedSigner {
    /// A key as it is configured, PEM or JWK, and the parameters of the header beside its own
    /// ([`OWN_PARAMETERS`]), such as `kid`. Without an algorithm the key chooses.
    pub fn read(
        key: &Secret,
        algorithm: Option<&str>,
        parameters: &[(String, Value)],
    ) -> Result<Self, String> {
        let key = SigningKey::read(key, algorithm)?;
        let mut header = format!(r#"{{"alg":"{}""#, key.algorithm());
        for (name, value) in parameters {
            // Writing to a text does not fail.
            let _ = write!(header, ",{}:{value}", Value::from(name.as_str()));
        }
        // RFC 7797, section 6: who does not know `b64` has to refuse it.
        header.push_str(r#","b64":false,"crit":["b64"]}"#);
        Ok(Self { key, header: BASE64_URL_SAFE_NO_PAD.encode(header) })
    }

    /// The field value over one content: header and signature, with nothing between their dots.
    pub fn sign(&self, content: &[u8]) -> Result<HeaderValue, String> {
        let mut signed = SecretBuffer::with_capacity(self.header.len() + 1 + content.len());
        signed.push(self.header.as_bytes());
        signed.push(b".");
        signed.push(content);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.expose())?);
        HeaderValue::try_from(format!("{}..{signature}", self.header))
            .map_err(|_| "the signature makes no field value".to_owned())
    }
}
