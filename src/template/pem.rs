//! What templates make of texts in PEM (RFC 7468).

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::{PemObject, SectionKind};

use crate::template::RenderError;

/// The bytes of the first section, whatever it is.
pub(super) fn first(text: &[u8]) -> Result<Vec<u8>, RenderError> {
    let (_, bytes) = <(SectionKind, Vec<u8>)>::from_pem_slice(text)
        .map_err(|_| RenderError::Unusable("what `der` is given is not PEM"))?;
    Ok(bytes)
}

/// Encrypts to a public key (RFC 8017, section 7.1): OAEP with SHA-1 and an empty label, which is what
/// vendors mean by "OAEP padding" where they say no more.
pub(super) fn encrypt(key: &[u8], message: &[u8]) -> Result<Vec<u8>, RenderError> {
    let key = public_key(key)
        .ok_or(RenderError::Unusable("the key of `rsa_oaep` is not an RSA public key in PEM"))?;
    let mut sealed = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA1_MGF1SHA1, message, &mut sealed, None)
        .map_err(|_| RenderError::Unusable("what `rsa_oaep` is given is too long for its key"))?;
    Ok(sealed)
}

fn public_key(pem: &[u8]) -> Option<OaepPublicEncryptingKey> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()
}
