//! The flow `static`: a token that somebody else made, read from its source.

use std::time::Duration;

use jiff::Timestamp;

/// A token from the input `token`; its output is `token` too. Further inputs are outputs of the same
/// name (a preset such as `basic` has `username` and `password`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticFlow {
    /// When the token ends.
    pub expires: Expires,
}

/// `expires = "jwt" | "never" | { after } | { at }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// Not said: by the token's `exp` if it has one, else never, with a warning.
    Unsaid,
    /// By the `exp` claim of the token (RFC 7519, section 4.1.4).
    Jwt,
    /// It does not end.
    Never,
    /// So long after the token was made: after its file was written, else after it was read.
    After(Duration),
    /// At this time.
    At(Timestamp),
}
