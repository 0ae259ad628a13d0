//! How far a login is.

use crate::credential::consent::ConsentError;

/// How far a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The person has not acted yet, or the issuer has not answered.
    Pending,
    /// There is a token.
    Done,
    /// It came to nothing.
    Failed(ConsentError),
}
