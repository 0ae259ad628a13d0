//! The file as it is written: serde types, in which everything may be missing. Their documentation
//! becomes the JSON Schema that editors show (`bearerd schema`).

pub(crate) mod choice;
pub(crate) mod consent;
pub(crate) mod credential;
pub(crate) mod inject;
pub(crate) mod json;
pub(crate) mod listener;
pub(crate) mod notify;
pub(crate) mod preset;
pub(crate) mod rotate;
pub(crate) mod route;
pub(crate) mod scalar;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod step;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use credential::Credential;
pub(crate) use listener::{Egress, Listener};
pub(crate) use notify::Notify;
pub(crate) use route::Route;
pub(crate) use scalar::Map;
pub(crate) use server::{Admin, Server, Store};

use crate::config::deserialize::keys_of;

/// The configuration of bearerd.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// Threads, draining and logs.
    pub(crate) server: Server,
    /// Where status, metrics and control listen.
    pub(crate) admin: Admin,
    /// Where what must survive a restart is kept.
    pub(crate) store: Store,
    /// Where apps connect, by name.
    pub(crate) listeners: Map<Listener>,
    /// How connections leave, by name.
    pub(crate) egress: Map<Egress>,
    /// Files of further presets, by the names that `preset` says.
    pub(crate) presets: Map<String>,
    /// What is obtained and kept fresh, by name.
    pub(crate) credentials: Map<Credential>,
    /// Which request goes where with which credential, by name.
    pub(crate) routes: Map<Route>,
    /// Who is told of trouble and of deadlines, by name.
    pub(crate) notify: Map<Notify>,
}

/// Whether a word is one of the keys of any table: of a text that cannot be parsed nothing else is
/// shown.
pub(crate) fn is_key(word: &str) -> bool {
    static KEYS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        [
            keys_of::<File>(),
            keys_of::<Server>(),
            keys_of::<Admin>(),
            keys_of::<Store>(),
            keys_of::<Listener>(),
            keys_of::<listener::Allow>(),
            keys_of::<listener::ServiceAccounts>(),
            keys_of::<listener::Tls>(),
            keys_of::<Egress>(),
            keys_of::<listener::ExpectAddress>(),
            keys_of::<Notify>(),
            keys_of::<Credential>(),
            keys_of::<credential::Dpop>(),
            keys_of::<credential::IdToken>(),
            keys_of::<step::LoginStep>(),
            keys_of::<Route>(),
            keys_of::<inject::Inject>(),
            keys_of::<inject::RefusalRule>(),
            keys_of::<secret::SecretReference>(),
            keys_of::<secret::Assertion>(),
        ]
        .concat()
        .into_iter()
        .collect()
    });
    KEYS.contains(word)
}
