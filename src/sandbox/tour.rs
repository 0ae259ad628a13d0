//! What there is to see at each vendor: data for the demo, which knows no vendor by name.

use std::time::Duration;

use http::Method;

use super::{Vendor, digilocker, neighbours, nic, payhub, sahamati};

/// What there is to see at one vendor.
#[derive(Debug, Clone)]
pub struct Tour {
    /// An ordinary call of an app: its method.
    pub method: Method,
    /// Its path on the proxy, as in the ready configuration.
    pub app_path: &'static str,
    /// Its path at the vendor.
    pub path: &'static str,
    /// Its JSON body; empty for none.
    pub body: &'static str,
    /// The exchanges that lead to a token, in order; none where a person fetches the token.
    pub exchanges: &'static [Exchange],
    /// A form field of the exchange whose value is replaced each time.
    pub rotating: Option<&'static str>,
    /// How the vendor says that a token is dead.
    pub refusal: &'static str,
    /// How long tokens live on a tour; as long as the vendor likes where a person fetches them.
    pub lifetime: Option<Duration>,
}

/// One exchange with a token service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Its path at the vendor.
    pub path: &'static str,
    /// What is shown.
    pub shows: &'static str,
    /// What it brings.
    pub brings: &'static str,
}

impl Vendor {
    /// What there is to see at this vendor.
    pub fn tour(self) -> Tour {
        match self {
            Self::NicMa => nic::tour(),
            Self::Sahamati => sahamati::tour(),
            Self::Payhub => payhub::tour(),
            Self::Digilocker => digilocker::tour(),
            Self::Neighbours => neighbours::tour(),
        }
    }
}
