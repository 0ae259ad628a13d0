//! Listeners, the accept thread and the workers.
//!
//! ```text
//! bind -> addresses known -> start -> (prepare -> apply)* -> drain
//! ```

pub mod accept;
pub mod app;
pub mod connection;
pub mod date;
mod http2;
pub mod inherited;
pub mod listener;
mod peer;
mod places;
pub mod socket;
pub mod tls;
mod tunnel;
pub mod visitor;
pub mod worker;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::caller::account::Accounts;
use crate::caller::{Needs, Rule};
use crate::clock::Clock;
use crate::control::Control;
use crate::http1::HeadLimits;
use crate::proxy::Shared;
use crate::proxy::admit::{Door, SkipLimits};
use crate::route::metrics::ListenerMetrics;
use crate::route::{Guesses, Rate, RouteTable};
use crate::server::inherited::Inherited;
use crate::server::places::Places;
use crate::server::tls::{Tls, TlsSpec};
use crate::server::worker::{Command, Thread};
use crate::telemetry::AccessLog;
use crate::upstream::pool::Bites;

pub use http2::CalmLimits;
pub use listener::{Address, Bind, BindError, Bound};
pub use peer::guesser;

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
    /// Sockets that listeners may be at.
    pub inherited: Inherited,
    /// The logins of people, for listeners that let apps ask of them.
    pub control: Option<Control>,
}

/// The running data plane. Dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    listeners: ArcSwap<Vec<Arc<Listener>>>,
    /// Those that a reload took off, and that may have connections still.
    gone: Mutex<Vec<Arc<Listener>>>,
    shared: Arc<Shared>,
    inherited: Inherited,
    /// Accepts, if there are several workers; dropped before them.
    acceptor: Option<Thread>,
    workers: Vec<Thread>,
}

/// A running listener.
#[derive(Debug)]
pub struct Listener {
    /// Where the configuration wants it.
    bind: Bind,
    /// Where it listens; the port is the one that the system gave.
    pub address: Address,
    /// Its numbers.
    pub metrics: Arc<ListenerMetrics>,
    /// What a reload may change for new connections.
    settings: ArcSwap<Settings>,
    /// Room for connections.
    places: Arc<Places>,
    closed: watch::Sender<bool>,
}

/// What a reload may change of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    door: Arc<Door>,
    tls: Option<Arc<Tls>>,
    head_limits: HeadLimits,
    allow: Option<Arc<Rule>>,
    needs: Needs,
    max_connections: usize,
    /// Streams at once on an HTTP/2 connection.
    pub max_streams: u32,
    /// How much trouble an HTTP/2 connection may make.
    pub calm: CalmLimits,
}

/// Listeners that a reload brings: bound, but not in use before [`Server::apply`].
#[derive(Debug)]
pub struct ListenerChange {
    kept: Vec<(Arc<Listener>, Settings)>,
    added: Vec<Bound>,
}

/// Starts the data plane on bound listeners. Fails if threads cannot be started.
pub fn start(bound: Vec<Bound>, plane: Plane) -> io::Result<Server> {
    let shared = Arc::new(Shared::new(plane.table, plane.clock, plane.access_log, plane.control));
    let workers = (0..plane.workers.max(1))
        .map(|index| Thread::worker(index, shared.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    let acceptor = if workers.len() > 1 { Some(Thread::acceptor(&workers)?) } else { None };
    let inherited = plane.inherited;
    let (listeners, gone) = (ArcSwap::default(), Mutex::default());
    let server = Server { listeners, gone, shared, inherited, acceptor, workers };
    let listeners = bound.into_iter().map(|bound| server.listen(bound)).collect();
    server.listeners.store(Arc::new(listeners));
    Ok(server)
}

impl Server {
    /// The listeners, with their addresses and numbers.
    pub fn listeners(&self) -> Arc<Vec<Arc<Listener>>> {
        self.listeners.load_full()
    }

    /// Connections from apps that are open, also through listeners that are gone.
    pub fn connections(&self) -> u64 {
        let open = |listener: &Arc<Listener>| u64::try_from(listener.metrics.connections.get()).unwrap_or(0);
        self.listeners.load().iter().chain(self.gone().iter()).map(open).sum()
    }

    fn gone(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds what a reload adds, and reads what listeners show. Nothing changes before
    /// [`Self::apply`]; dropping the change leaves all as it is. Blocks on the file system where a
    /// listener speaks TLS.
    pub fn prepare(&self, specs: &[ListenerSpec]) -> Result<ListenerChange, BindError> {
        let listeners = self.listeners.load();
        let (mut kept, mut added) = (Vec::new(), Vec::new());
        for spec in specs {
            match listeners.iter().find(|listener| listener.is(spec)) {
                Some(listener) => kept.push((listener.clone(), listener.settings_of(spec)?)),
                None => added.push(spec),
            }
        }
        Ok(ListenerChange { kept, added: listener::bind(added, &self.inherited)? })
    }

    /// Takes a change over: new listeners accept, those that are gone stop accepting and have their connections end
    /// after the requests in flight, and those that stay have the new settings for new connections.
    pub fn apply(&self, change: ListenerChange) {
        let is_kept =
            |listener: &Arc<Listener>| change.kept.iter().any(|(kept, _)| Arc::ptr_eq(kept, listener));
        let mut gone = self.gone();
        gone.retain(|listener| listener.metrics.connections.get() > 0);
        for listener in self.listeners.load().iter().filter(|listener| !is_kept(listener)) {
            listener.closed.send_replace(true);
            for worker in &self.workers {
                worker.tell(Command::Part(listener.clone()));
            }
            gone.push(Arc::clone(listener));
        }
        drop(gone);
        let kept = change.kept.into_iter().map(|(listener, settings)| {
            listener.set(settings);
            listener
        });
        let added = change.added.into_iter().map(|bound| self.listen(bound));
        let listeners: Vec<_> = kept.chain(added).collect();
        self.listeners.store(Arc::new(listeners));
    }

    /// The files that the certificates of listeners are read from.
    pub fn certificate_files(&self) -> BTreeSet<Arc<Path>> {
        let mut files = BTreeSet::new();
        for tls in self.listeners.load().iter().filter_map(|listener| listener.tls()) {
            files.extend(tls.spec().files().map(|file| Arc::from(file.as_path())));
        }
        files
    }

    /// Reads certificates again that lie in `changed` files, for handshakes from now on. What cannot
    /// be used is told, and leaves the old one in place. Blocks on the file system.
    pub fn renew_certificates(&self, changed: &[PathBuf]) {
        for listener in self.listeners.load().iter() {
            if let Some(tls) = listener.tls()
                && tls.spec().files().any(|file| changed.contains(file))
            {
                listener.renew(&tls);
            }
        }
    }

    /// How often the limits of upstream connections bit.
    pub fn pool_bites(&self) -> &Bites {
        &self.shared.pool_bites
    }

    /// Which requests are logged from now on.
    pub fn set_access_log(&self, access_log: AccessLog) {
        self.shared.access_log.store(Arc::new(access_log));
    }

    /// Stops accepting and waits up to `limit` for requests in flight. Returns how many connections
    /// were left; dropping the server breaks them off.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let deadline = Clock::instant() + limit;
        // Each worker knows before a listener is closed: a connection that came as it closed is asked once more
        // while the process drains, and not otherwise.
        for worker in &self.workers {
            let (known, is_known) = oneshot::channel();
            worker.tell(Command::Drain(known));
            let _ = tokio::time::timeout_at(deadline, is_known).await;
        }
        let listeners = self.listeners.load_full();
        for listener in listeners.iter() {
            listener.closed.send_replace(true);
        }
        let accepts = || listeners.iter().any(|listener| listener.closed.receiver_count() > 0);
        while (accepts() || self.connections() > 0) && Clock::instant() < deadline {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.connections()
    }

    fn listen(&self, bound: Bound) -> Arc<Listener> {
        let listener = Arc::new(Listener::new(&bound));
        let accepting = self.acceptor.as_ref().or(self.workers.first());
        if let Some(thread) = accepting {
            thread.tell(Command::Listen(bound.into_socket(), listener.clone()));
        }
        listener
    }
}

/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

impl Listener {
    fn new(bound: &Bound) -> Self {
        let spec = bound.spec();
        let metrics = Arc::new(ListenerMetrics::default());
        let settings = Settings::new(spec, bound.address(), bound.tls(), &metrics);
        Self {
            bind: spec.bind.clone(),
            address: bound.address().clone(),
            places: Arc::new(Places::new(settings.max_connections)),
            settings: ArcSwap::from_pointee(settings),
            metrics,
            closed: watch::Sender::new(false),
        }
    }

    /// The name in the configuration.
    pub fn name(&self) -> String {
        self.settings.load().door.listener.clone()
    }

    /// Whether a spec speaks of this very listener: another place makes another listener. Another name does
    /// not, unless the system chose the port for that name.
    fn is(&self, spec: &ListenerSpec) -> bool {
        self.bind == spec.bind && (!self.bind.is_any_port() || self.name() == spec.name)
    }

    /// What it shows, if it speaks TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.settings.load().tls.clone()
    }

    fn settings_of(&self, spec: &ListenerSpec) -> Result<Settings, BindError> {
        let tls = listener::load_tls(spec, self.tls().as_deref())?;
        Ok(Settings::new(spec, &self.address, tls, &self.metrics))
    }

    fn set(&self, settings: Settings) {
        let before = self.settings.load();
        self.places.resize(before.max_connections, settings.max_connections);
        if let Bind::To(Address::Unix(path)) = &self.bind
            && settings.allow.is_some() != before.allow.is_some()
            && let Err(error) = listener::change_mode(path, settings.allow.is_some())
        {
            tracing::error!(listener = self.name(), %error, "the socket's mode cannot be changed");
        }
        if let (Some(old), Some(new)) = (&before.tls, &settings.tls)
            && !new.shows_the_same(old)
        {
            self.metrics.certificates_renewed.increment();
            tracing::info!(listener = self.name(), ends_at = %new.ends_at(), "the certificate was renewed");
        }
        self.settings.store(Arc::new(settings));
    }

    /// Shows what lies in the files now, if it can be used.
    fn renew(&self, before: &Tls) {
        match Tls::load(before.spec(), Some(before)) {
            Ok(tls) => {
                let settings = Settings::clone(&self.settings.load());
                self.set(Settings { tls: Some(Arc::new(tls)), ..settings });
            }
            Err(error) => {
                self.metrics.certificates_rejected.increment();
                tracing::error!(listener = self.name(), %error, "the old certificate stays: the new one cannot be used");
            }
        }
    }
}

impl Settings {
    fn new(
        spec: &ListenerSpec,
        address: &Address,
        tls: Option<Arc<Tls>>,
        metrics: &Arc<ListenerMetrics>,
    ) -> Self {
        let limits = &spec.limits;
        Self {
            door: Arc::new(spec.door(Some(address), metrics)),
            tls,
            head_limits: HeadLimits {
                bytes: limits.max_head,
                fields: limits.max_fields,
                target: limits.max_target,
            },
            allow: spec.allow.clone(),
            needs: spec.needs,
            max_connections: limits.max_connections.min(Semaphore::MAX_PERMITS),
            max_streams: limits.max_streams,
            calm: limits.calm,
        }
    }
}

/// One listener, as validated from `[listeners.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The name in the configuration.
    pub name: String,
    /// Where it listens.
    pub bind: Bind,
    /// It may be reached from beyond this machine by callers that show no certificate.
    pub allow_remote: bool,
    /// What it shows and whom it lets in, if it speaks TLS.
    pub tls: Option<TlsSpec>,
    /// Names that `Host` may have beside `localhost`, `127.0.0.1` and `[::1]`, in lower case.
    pub hosts: Vec<String>,
    /// Who may call; without it everyone who reaches a TCP socket, and bearerd's own user a Unix socket.
    pub allow: Option<Arc<Rule>>,
    /// What has to be known of callers, for this rule or those of its routes.
    pub needs: Needs,
    /// Service accounts in this rule or in those of its routes.
    pub accounts: Vec<Arc<Accounts>>,
    /// Apps may ask of their users' logins, below `/.bearerd/`.
    pub control: bool,
    /// Limits of this listener.
    pub limits: ListenerLimits,
}

impl ListenerSpec {
    /// Whether it may be reached from beyond this machine: callers show certificates, or it is wanted
    /// so.
    pub fn may_be_remote(&self) -> bool {
        self.allow_remote || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// What requests know of the listener, once it listens on `address`.
    pub fn door(&self, address: Option<&Address>, metrics: &Arc<ListenerMetrics>) -> Door {
        Door {
            listener: self.name.clone(),
            address: match address {
                Some(Address::Tcp(address)) => Some(*address),
                Some(Address::Unix(_)) | None => None,
            },
            is_tls: self.tls.is_some(),
            control: self.control,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            body_timeout: self.limits.body_timeout,
            skipped: self.limits.skipped,
            idle_timeout: self.limits.idle_timeout,
            head_timeout: self.limits.head_timeout,
            allow: self.allow.clone(),
            accounts: self.accounts.clone(),
            wrong_bearers: Guesses::default(),
            max_wrong_bearers: self.limits.max_wrong_bearers,
            metrics: metrics.clone(),
        }
    }
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
    /// What is read and dropped of a request body that was answered before its end.
    pub skipped: SkipLimits,
    /// Streams at once on an HTTP/2 connection.
    pub max_streams: u32,
    /// How much trouble an HTTP/2 connection may make; beyond, it is ended.
    pub calm: CalmLimits,
    /// Wrong tokens of a caller; beyond, none of his is looked at.
    pub max_wrong_bearers: Rate,
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
            skipped: SkipLimits::default(),
            max_streams: 100,
            calm: CalmLimits::default(),
            max_wrong_bearers: Rate { count: 50, per: Duration::from_secs(10) },
        }
    }
}
