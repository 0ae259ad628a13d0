//! The names that an injection takes, and how they are recognised among what the app sent.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::http1::field::is_same_name;
use crate::inject::Injection;
use crate::inject::content::form;
use crate::jose::proof;

/// Fields that say what a content comes to (RFC 9530; RFC 1864): those of the app do not fit any more when
/// something was put into it.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// The names that an injection takes; the app cannot send anything under them.
#[derive(Debug, Clone)]
pub struct InjectedNames(Arc<Injection>);

impl InjectedNames {
    /// The names of an injection.
    pub fn new(injection: &Arc<Injection>) -> Self {
        Self(Arc::clone(injection))
    }

    /// Whether a field is injected: letter case and `-` or `_` do not count, since servers that make
    /// variables of fields (RFC 3875, section 4.1.18) see one name in all of them.
    pub fn has_header(&self, name: &[u8]) -> bool {
        let is_proof = || self.has_proof() && is_same_name(proof::FIELD.as_str().as_bytes(), name);
        let is_signature = || {
            let signatures = self.0.signatures.iter();
            signatures.map(|(of, _)| of.as_str()).any(|of| is_same_name(of.as_bytes(), name))
        };
        let is_digest =
            || !self.0.body.is_empty() && DIGESTS.iter().any(|digest| is_same_name(digest.as_bytes(), name));
        self.0.headers.iter().any(|(injected, _)| is_same_name(injected.as_str().as_bytes(), name))
            || is_proof()
            || is_signature()
            || is_digest()
    }

    /// Whether a proof of possession is injected.
    pub fn has_proof(&self) -> bool {
        self.0.dpop
    }

    /// Whether a query has a parameter that is injected.
    pub fn has_any_parameter(&self, query: &str) -> bool {
        !self.0.query.is_empty() && query.split('&').any(|parameter| self.has_parameter(parameter))
    }

    /// Whether a piece of a query, as it stands between two `&`, is a parameter that is injected.
    pub fn has_parameter(&self, piece: &str) -> bool {
        form::goes_by_any(piece.as_bytes(), &self.0.query)
    }

    /// Whether cookies are injected.
    pub fn has_cookies(&self) -> bool {
        !self.0.cookies.is_empty()
    }

    /// Whether a piece of a `Cookie`, as it stands between two `;`, is a cookie that is injected. Some servers take
    /// a comma (RFC 2109, section 4.4) or white space for `;`.
    pub fn has_any_cookie(&self, piece: &[u8]) -> bool {
        let cookies = piece.split(|byte| matches!(byte, b',' | b' ' | b'\t'));
        let name_of = |cookie: &[u8]| cookie.iter().position(|byte| *byte == b'=').unwrap_or(cookie.len());
        let name = piece[..name_of(piece)].trim_ascii();
        self.has_cookie(name) || cookies.into_iter().any(|cookie| self.has_cookie(&cookie[..name_of(cookie)]))
    }

    /// Whether a cookie of this name is injected.
    pub fn has_cookie(&self, name: &[u8]) -> bool {
        self.0.cookies.iter().any(|(injected, _)| is_same_name(injected.as_bytes(), name))
    }
}

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes as they stand in a query.
pub(crate) fn percent_encode(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, RESERVED).to_string()
}
