//! Listeners, the accept thread and the workers.

pub mod listener;

use std::time::Duration;

pub use listener::Bind;

/// One listener, as validated from `[listeners.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The name in the configuration.
    pub name: String,
    /// Where it listens.
    pub bind: Bind,
    /// Names that `Host` may have beside `localhost`, `127.0.0.1` and `[::1]`, in lower case.
    pub hosts: Vec<String>,
    /// User identifiers that may call over a Unix socket; empty means bearerd's own.
    pub allow_uids: Vec<u32>,
    /// Limits of this listener.
    pub limits: ListenerLimits,
}

/// Limits of a listener; a zero duration switches a time limit off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once; beyond, accepting pauses.
    pub max_connections: usize,
    /// Bytes of a request head.
    pub max_head: usize,
    /// Fields of a request head, Host counted.
    pub max_fields: usize,
    /// Bytes of a request target.
    pub max_target: usize,
    /// For a whole head, from the connection's start or the head's first byte.
    pub head_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// Without progress of a request body.
    pub body_timeout: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_head: 32 * 1024,
            max_fields: 100,
            max_target: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
        }
    }
}
