//! `application/x-www-form-urlencoded` bodies, put together in memory that is wiped.

use crate::secret::{Secret, SecretBuffer};

/// The media type of a form.
pub(in crate::credential) const FORM: &str = "application/x-www-form-urlencoded";

/// A form that grows field by field.
pub(in crate::credential) struct Form(SecretBuffer);

impl Form {
    pub(in crate::credential) fn new() -> Self {
        Self(SecretBuffer::with_capacity(4096))
    }

    /// Appends a field.
    pub(in crate::credential) fn field(&mut self, name: &str, value: &[u8]) {
        self.encoded_field(name.as_bytes(), value);
    }

    /// Appends a field whose name is in some charset, too.
    pub(in crate::credential) fn encoded_field(&mut self, name: &[u8], value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b"&");
        }
        encode(name, &mut self.0);
        self.0.push(b"=");
        encode(value, &mut self.0);
    }

    pub(in crate::credential) fn finish(self) -> Secret {
        self.0.into()
    }
}

/// Appends `bytes` in the encoding of forms (a blank is `+`), which is also that of the parts of
/// Basic authentication at a token endpoint (RFC 6749, section 2.3.1).
pub(in crate::credential) fn encode(bytes: &[u8], into: &mut SecretBuffer) {
    for piece in form_urlencoded::byte_serialize(bytes) {
        into.push(piece.as_bytes());
    }
}
