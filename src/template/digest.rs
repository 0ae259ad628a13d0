//! Digests over a text that comes in pieces.

use aws_lc_rs::{digest, hmac};

/// SHA-256 (FIPS 180-4), or HMAC with it (RFC 2104), over what has come so far.
#[derive(Clone)]
pub(super) enum Digest {
    Plain(digest::Context),
    Keyed(Box<hmac::Context>),
}

impl Digest {
    /// A digest over nothing yet; with a key if there is one.
    pub(super) fn begin(key: Option<&[u8]>) -> Self {
        match key {
            Some(key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                Self::Keyed(Box::new(hmac::Context::with_key(&key)))
            }
            None => Self::Plain(digest::Context::new(&digest::SHA256)),
        }
    }

    /// More of the text.
    pub(super) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Plain(context) => context.update(piece),
            Self::Keyed(context) => context.update(piece),
        }
    }

    /// What it comes to.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Plain(context) => context.finish().as_ref().to_vec(),
            Self::Keyed(context) => context.sign().as_ref().to_vec(),
        }
    }
}
