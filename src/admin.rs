//! The admin listener: liveness, metrics, the state of credentials, and changes to them.

use crate::credential::Source;
use crate::server::Bind;

/// The admin listener, as validated from `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminSpec {
    /// Where it listens.
    pub listen: Bind,
    /// What changes over TCP have to show; read at each use, so that a changed file counts.
    pub token: Option<Source>,
    /// Whether `quit` needs no token.
    pub allow_quit: bool,
}
