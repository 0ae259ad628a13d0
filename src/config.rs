//! From TOML to validated specs.
//!
//! ```text
//! file -> raw (serde) -> presets overlaid -> references resolved -> validated specs
//!           └──────────── every mistake on the way is a Problem; all are told at once
//! ```
//!
//! Only this floor knows TOML: each subsystem below owns its spec type.

use std::time::Duration;

use crate::admin::AdminSpec;
use crate::credential::CredentialSpec;
use crate::route::RouteSpec;
use crate::server::ListenerSpec;
use crate::telemetry::LogSpec;

pub use crate::telemetry::AccessLog;
use crate::upstream::EgressSpec;

/// A whole valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerSpec,
    /// `[admin]`; always there, by default on 127.0.0.1:9180.
    pub admin: AdminSpec,
    /// `[listeners]`.
    pub listeners: Vec<ListenerSpec>,
    /// `[egress]`; the default one is not listed.
    pub egress: Vec<EgressSpec>,
    /// `[credentials]`, parents before their dependents.
    pub credentials: Vec<CredentialSpec>,
    /// `[routes]`.
    pub routes: Vec<RouteSpec>,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Data-plane threads.
    pub workers: usize,
    /// How long SIGTERM waits for requests in flight.
    pub drain: Duration,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Reload when the file changes.
    pub watch: bool,
    /// How logs are written.
    pub log: LogSpec,
    /// Exchanges at once with one issuer.
    pub issuer_concurrency: usize,
}
