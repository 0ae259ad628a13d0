//! What is remembered of issuers from one exchange to the next, over reloads too.

use crate::credential::flow::oauth2::discovery::Discovery;
use crate::credential::flow::oauth2::dpop::Proofs;
use crate::credential::flow::oauth2::key_sets::KeySets;

/// What issuers have told, and what was made for them.
#[derive(Debug, Default)]
pub struct Memory {
    /// Their metadata.
    pub discovery: Discovery,
    /// Keys and nonces of proofs.
    pub(super) proofs: Proofs,
    /// The keys of their signatures.
    pub(super) key_sets: KeySets,
}
