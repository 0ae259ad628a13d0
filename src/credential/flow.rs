//! Flows: how a credential is obtained.

pub mod fixed;
pub mod login;
pub mod oauth2;

pub use fixed::StaticFlow;
pub use login::LoginFlow;
pub use oauth2::OAuth2Flow;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::input::Inputs;
use crate::credential::{CredentialSpec, Minted};
use crate::upstream::Origin;
use crate::upstream::connect::Connector;

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

    /// The issuer that exchanges load most: what `issuer_concurrency` counts by. `None` if nobody
    /// is asked.
    pub fn issuer(&self) -> Option<Origin> {
        match self {
            Self::Static(_) => None,
            Self::OAuth2(flow) => Some(flow.token_url.origin.clone()),
            Self::Login(flow) => flow.issuer(),
        }
    }

    /// Whether a lost answer may have used up an input of this flow: it rotates a refresh token.
    pub fn is_single_use(&self) -> bool {
        matches!(self, Self::OAuth2(flow) if flow.grant == oauth2::Grant::RefreshToken)
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

/// The real [`Mint`]: runs each flow over the network.
pub struct Issuer {
    connectors: BTreeMap<String, Connector>,
    clock: Clock,
}

impl Issuer {
    /// Exchanges leave by the connectors of these egresses, by name; the default one is named "".
    pub fn new(connectors: BTreeMap<String, Connector>, clock: Clock) -> Self {
        Self { connectors, clock }
    }
}

impl Mint for Issuer {
    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        let _ = (&self.clock, inputs);
        let known = self.connectors.contains_key(&spec.egress);
        Box::pin(async move {
            Err(MintError::Stubborn { message: format!("no flow is built yet (egress known: {known})") })
        })
    }
}
