//! The admin listener: liveness, metrics, the state of credentials, and changes to them.
//!
//! ```text
//! connection -> guard (who may) -> dispatch (what is asked) -> keeper | metrics | command to the app
//!                                                           -> the console, its overview and events
//! ```
//!
//! It runs on the control thread. States and times leave it, values never do.

mod access;
mod answer;
mod console;
mod dispatch;
mod events;
mod exposition;
mod guard;
mod listener;
mod login;
pub mod metrics;
mod overview;
mod readiness;
mod session;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::control::Control;
use crate::credential::Source;
use crate::credential::keeper::Keeper;
use crate::credential::store::Store;
use crate::notification::Notifications;
use crate::route::{Rate, RouteTable};
use crate::server::{Address, Server};
use crate::upstream::connect::Connectors;

pub use events::EventStreams;
pub use listener::AdminListener;
use metrics::ControlMetrics;
pub use session::Sessions;

/// The longest request body: a token.
const MAX_BODY: usize = 64 * 1024;
/// How long a request body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin listener, as validated from `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminSpec {
    /// Where it listens.
    pub listen: Address,
    /// What changes over TCP have to show; read at each use, so that a changed file counts.
    pub token: Option<Source>,
    /// Whether `quit` needs no token.
    pub allow_quit: bool,
    /// How long a session of the console lasts.
    pub session_lifetime: Duration,
    /// Streams of events at once.
    pub max_event_streams: u16,
    /// Connections at once; beyond, the one that says least has to go.
    pub max_connections: u16,
    /// Wrong tokens in requests of one caller that are compared.
    pub max_wrong_tokens: Rate,
    /// Wrong tokens of one caller who wants to sign in to the console that are compared.
    pub max_wrong_sign_ins: Rate,
}

impl AdminSpec {
    /// The default of `session_lifetime`.
    pub const SESSION_LIFETIME: Duration = Duration::from_secs(3600);
    /// The default of `max_event_streams`.
    pub const MAX_EVENT_STREAMS: u16 = 16;
    /// The default of `max_connections`.
    pub const MAX_CONNECTIONS: u16 = 64;
    /// The default of `max_wrong_tokens`: enough for scripts with an old token, not for somebody who guesses.
    pub const MAX_WRONG_TOKENS: Rate = Rate { count: 50, per: Duration::from_secs(10) };
    /// The default of `max_wrong_sign_ins`: those of a person.
    pub const MAX_WRONG_SIGN_INS: Rate = Rate { count: 5, per: Duration::from_secs(50) };
}

/// What the admin listener shows and hands on.
pub struct Admin {
    /// The source of time.
    pub clock: Clock,
    /// The credentials.
    pub keeper: Keeper,
    /// What survives a restart.
    pub store: Arc<dyn Store>,
    /// The logins of people.
    pub control: Control,
    /// `[admin]`; a reload replaces it.
    pub spec: ArcSwap<AdminSpec>,
    /// The routes, with their numbers; a reload replaces them.
    pub table: Arc<ArcSwap<RouteTable>>,
    /// The listeners, with their numbers.
    pub server: Arc<Server>,
    /// The ways out, with their certificates.
    pub egress: watch::Receiver<Connectors>,
    /// Who is told of trouble, with what became of that.
    pub notifications: Notifications,
    /// The numbers of the control plane.
    pub metrics: Arc<ControlMetrics>,
    /// The sessions of the console.
    pub sessions: Sessions,
    /// The streams of events.
    pub events: EventStreams,
    /// Whether the process drains.
    pub draining: watch::Receiver<bool>,
    /// Where commands go that change the process as a whole.
    pub commands: mpsc::UnboundedSender<Command>,
}

/// What the admin listener asks of the process as a whole.
#[derive(Debug)]
pub enum Command {
    /// Read the configuration again; the answer is the list of problems, if there are any.
    Reload(oneshot::Sender<Result<(), Vec<String>>>),
    /// Read the certificates again that lie in these files.
    RenewCertificates(Vec<PathBuf>),
    /// Deny the endpoints that an issuer has told of.
    DenyDisclosed,
    /// Drain and end.
    Quit,
}
