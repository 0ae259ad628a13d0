//! The public half of a key that signs, as a JSON Web Key with its required members only, in the order
//! of their names: the form that a thumbprint is taken of (RFC 7638, section 3).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::der::Element;

// Tags of X.690, section 8.1.2.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// Of a point on a curve, uncompressed (SEC 1, section 2.3.3).
pub(super) fn of_point(curve: &str, point: &[u8]) -> Option<String> {
    let [4, coordinates @ ..] = point else { return None };
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    Some(format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y)))
}

/// Of an Ed25519 key (RFC 8037, section 2).
pub(super) fn of_ed25519(public: &[u8]) -> String {
    format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(public))
}

/// Of an RSA key, from its DER (`RSAPublicKey`, RFC 8017, appendix A.1.1).
pub(super) fn of_rsa(der: &[u8]) -> Option<String> {
    let (Element { tag: SEQUENCE, content }, []) = Element::read(der)? else { return None };
    let (Element { tag: INTEGER, content: modulus }, rest) = Element::read(content)? else { return None };
    let (Element { tag: INTEGER, content: exponent }, []) = Element::read(rest)? else { return None };
    // A leading zero says that the number is positive; a JWK has none (RFC 7518, section 2).
    let number = |bytes: &[u8]| encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
    Some(format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, number(exponent), number(modulus)))
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
