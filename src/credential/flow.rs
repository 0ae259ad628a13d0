//! Flows: how a credential is obtained.

pub mod fixed;
pub mod login;
pub mod oauth2;

pub use fixed::StaticFlow;
pub use login::LoginFlow;
pub use oauth2::OAuth2Flow;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::input::Inputs;
use crate::credential::{CredentialSpec, Minted};

/// How a credential is obtained: a closed set.
#[derive(Debug, Clone, PartialEq)]
pub enum Flow {
    /// A token that somebody else made.
    Static(StaticFlow),
    /// OAuth 2 (RFC 6749).
    OAuth2(Box<OAuth2Flow>),
    /// A vendor's own login, step by step.
    Login(Box<LoginFlow>),
}

impl Flow {
    /// The name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::OAuth2(_) => "oauth2",
            Self::Login(_) => "login",
        }
    }
}

/// Why an exchange brought no token, classified as PRODUCT's "Lifecycle of a credential" says.
/// Messages are for people and carry no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintError {
    /// It may mend itself: network, timeout, 408, 429, 5xx, an answer that cannot be read.
    Transient {
        /// What happened.
        message: String,
        /// What the issuer asked for, already cut to its limit.
        retry_after: Option<Duration>,
    },
    /// It will not mend itself soon, but nobody said that the input is wrong: any other 4xx, a
    /// redirect. Tried again at the longest pause.
    Stubborn {
        /// What happened.
        message: String,
    },
    /// The issuer refused the input.
    Rejected {
        /// What happened.
        message: String,
    },
    /// The request was sent and its answer did not come.
    Unanswered {
        /// What happened.
        message: String,
    },
}

/// The future of [`Mint::mint`].
pub type MintFuture = Pin<Box<dyn Future<Output = Result<Minted, MintError>> + Send>>;

/// Obtains tokens: [`Flow`] over the network, or a script in the keeper's tests.
pub trait Mint: Send + Sync {
    /// Runs one whole exchange with inputs already read. It never retries by itself.
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture;
}
