//! A value in one of the forms in which it may stand in an answer.

use crate::secret::{Secret, SecretBuffer};

/// A value in one form. What base64 makes of it is not kept, but made where it is compared: a token takes
/// its room once.
pub(super) struct Form {
    value: Secret,
    encoding: Encoding,
    /// How many bytes are compared.
    pub(super) length: usize,
    /// The first of them.
    pub(super) first: u8,
}

/// How the value is written.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    /// As it is.
    Raw,
    /// In base64 (RFC 4648, sections 4 and 5), behind so many bytes of a group of three. Only those
    /// characters are compared that hold nothing but bits of the value.
    Base64 { alphabet: &'static [u8; 64], behind: usize },
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Form {
    /// All forms of a value.
    pub(super) fn all_of(value: &Secret) -> Vec<Self> {
        let mut forms = vec![Self::new(value, Encoding::Raw)];
        if value.expose().contains(&b' ') {
            forms.push(Self::new(&in_form(value), Encoding::Raw));
        }
        forms.extend(Self::all_in_base64(value));
        forms
    }

    /// The forms of a value that was escaped before it was encoded, as it is in a document that is encoded as a
    /// whole. What needs no escapes has none.
    pub(super) fn all_of_escaped(value: &Secret) -> Vec<Self> {
        // PHP escapes slashes too.
        let escaped = [json(value, b"\"\\"), json(value, b"\"\\/"), percent(value)];
        let mut distinct: Vec<&Secret> = Vec::new();
        for spelled in &escaped {
            if spelled != value && !distinct.contains(&spelled) {
                distinct.push(spelled);
            }
        }
        distinct.into_iter().flat_map(Self::all_in_base64).collect()
    }

    fn all_in_base64(value: &Secret) -> Vec<Self> {
        let mut forms = Vec::new();
        for behind in 0..3 {
            let standard = Self::new(value, Encoding::Base64 { alphabet: STANDARD, behind });
            let url_safe = Self::new(value, Encoding::Base64 { alphabet: URL_SAFE, behind });
            let is_same = (0..standard.length).all(|at| standard.at(at) == url_safe.at(at));
            forms.push(standard);
            if !is_same {
                forms.push(url_safe);
            }
        }
        forms
    }

    fn new(value: &Secret, encoding: Encoding) -> Self {
        let length = match encoding {
            Encoding::Raw => value.len(),
            Encoding::Base64 { behind, .. } => 8 * (behind + value.len()) / 6 - first_whole(behind),
        };
        let mut form = Self { value: value.clone(), encoding, length, first: 0 };
        form.first = form.at(0);
        form
    }

    /// Whether line ends may stand in it.
    pub(super) fn is_base64(&self) -> bool {
        matches!(self.encoding, Encoding::Base64 { .. })
    }

    /// The byte at a place.
    pub(super) fn at(&self, at: usize) -> u8 {
        let value = self.value.expose();
        match self.encoding {
            Encoding::Raw => value[at],
            Encoding::Base64 { alphabet, behind } => {
                let bit = 6 * (first_whole(behind) + at) - 8 * behind;
                let pair =
                    u16::from(value[bit / 8]) << 8 | value.get(bit / 8 + 1).map_or(0, |low| (*low).into());
                alphabet[usize::from(pair >> (10 - bit % 8)) & 0x3f]
            }
        }
    }
}

/// A value in JSON (RFC 8259, section 7), with a backslash before each of these signs.
fn json(value: &Secret, signs: &[u8]) -> Secret {
    let mut escaped = SecretBuffer::with_capacity(2 * value.len());
    for byte in value.expose() {
        if signs.contains(byte) {
            escaped.push(b"\\");
        }
        escaped.push(&[*byte]);
    }
    escaped.into()
}

/// A value in a form (WHATWG URL, section 5.2), but for the percent escapes, which are read anywhere.
fn in_form(value: &Secret) -> Secret {
    let mut spelled = SecretBuffer::with_capacity(value.len());
    for byte in value.expose() {
        spelled.push(&[if *byte == b' ' { b'+' } else { *byte }]);
    }
    spelled.into()
}

/// A value as most write it in a URL or a form (RFC 3986, section 2.3).
fn percent(value: &Secret) -> Secret {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    let mut escaped = SecretBuffer::with_capacity(3 * value.len());
    for byte in value.expose() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            escaped.push(&[*byte]);
        } else {
            escaped.push(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    escaped.into()
}

/// The first character that has no bit of what stands before the value.
fn first_whole(behind: usize) -> usize {
    (8 * behind).div_ceil(6)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::Form;
    use crate::secret::Secret;

    #[test]
    fn one_form_stands_in_every_encoding_of_every_surrounding() {
        let value: &[u8] = b"k?>~\xff\xfe secret";
        for length in 8..value.len() {
            let value = &value[..length];
            let forms: Vec<Vec<u8>> = Form::all_of(&Secret::new(value))
                .iter()
                .map(|form| (0..form.length).map(|at| form.at(at)).collect())
                .collect();
            for before in 0..7 {
                for after in 0..4 {
                    let whole = [&b"before!"[..before], value, &b"after"[..after]].concat();
                    for encoded in [
                        STANDARD.encode(&whole),
                        STANDARD_NO_PAD.encode(&whole),
                        URL_SAFE.encode(&whole),
                        URL_SAFE_NO_PAD.encode(&whole),
                    ] {
                        let is_in = |form: &Vec<u8>| memchr::memmem::find(encoded.as_bytes(), form).is_some();
                        assert!(forms.iter().any(is_in), "{encoded}");
                    }
                }
            }
            assert!(forms.iter().all(|form| form.len() >= 8));
        }
    }
}
