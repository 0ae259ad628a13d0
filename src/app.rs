//! The life of the process.
//!
//! ```text
//! load -> confine -> bind -> spawn the control plane and the data plane -> ready
//!                              ▲                                            │
//!                              └── reload (SIGHUP, the admin listener, a changed file): all or nothing
//!                                                                 │ SIGTERM, SIGINT, quit
//!                                                                 ▼
//!                                                    drain -> end (a second signal: at once)
//! ```
//!
//! The runtime in which [`start`] is called is the control plane: one thread is enough for it. The
//! data plane has threads of its own.

mod callers;
mod conductor;
mod departures;
mod disclosure;
mod egress;
mod issuers;
mod needs;
mod troubles;
mod watch;
mod wiring;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::metrics::ControlMetrics;
use crate::admin::{Admin, AdminListener, Command, EventStreams, Sessions};
use crate::clock::Clock;
use crate::config::{Config, Environment, Loaded};
use crate::confinement::{Confinement, ConfinementError};
use crate::control::Control;
use crate::credential::consent::Consents;
use crate::credential::flow::oauth2::discovery::Disclosed;
use crate::credential::keeper::{self, Keeper, Options};
use crate::credential::store::MemoryStore;
use crate::credential::store::spec::StoreFault;
use crate::lookout;
use crate::memory;
use crate::route::RouteTable;
use crate::server::listener::{self, Address, Bind, BindError, Fault, bind_socket};
use crate::server::{self, Plane};
use crate::telemetry::Logs;
use crate::upstream::connect::Connectors;
use conductor::Conductor;
use issuers::Issuers;
use wiring::{connectors, wire};

/// A secret by its name, which is of no use to the running process, but may be there for commands.
const ADMIN_TOKEN: &str = "BEARERD_ADMIN_TOKEN";

/// A running bearerd. It ends when it is told to, and at once when its runtime does.
pub struct Running {
    listeners: Vec<(String, Address)>,
    admin: Address,
    keeper: Keeper,
    commands: mpsc::UnboundedSender<Command>,
    conductor: JoinHandle<()>,
}

/// Why bearerd could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind(BindError),
    /// The configuration is valid, but names something that cannot be used.
    Configuration(String),
    /// The store cannot be opened.
    Store(StoreFault),
    /// The machine gives no more threads.
    Machine(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(formatter),
            Self::Configuration(reason) => formatter.write_str(reason),
            Self::Store(fault) => fault.fmt(formatter),
            Self::Machine(error) => write!(formatter, "the data plane cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Has this process give up all that `loaded` does not need. Call it once, before [`start`], and while
/// there is one thread; nothing of it can be taken back.
pub fn confine(loaded: &Loaded, environment: &Environment) -> Result<Confinement, ConfinementError> {
    let needs = needs::of(loaded, environment);
    let variables: Vec<&str> = loaded.variables.iter().map(String::as_str).chain([ADMIN_TOKEN]).collect();
    Confinement::of_process(loaded.config.server.sandbox, needs, &variables)
}

/// The files that secrets are read from: those of `{ file = .. }` and `{ systemd = .. }`, and private keys.
pub fn secret_files(config: &Config) -> BTreeSet<PathBuf> {
    needs::secret_files(config)
}

/// Starts a bearerd: when this returns, it accepts requests, and obtains its first tokens meanwhile.
///
/// Must be called within a tokio runtime, which becomes the control plane. A reload reads the file
/// that `loaded` came from again, in the same `environment`; `logs`, if there are any, take over its
/// filter.
pub async fn start(
    mut loaded: Loaded,
    environment: Environment,
    clock: Clock,
    logs: Option<Logs>,
) -> Result<Running, StartError> {
    loaded.forget_advice();
    if loaded.is_large {
        // What the file was parsed in goes back before other threads come to use it.
        memory::give_back();
    }
    let config = &loaded.config;
    let bound = listener::bind(&config.listeners, &environment.inherited).map_err(StartError::Bind)?;
    let (admin_address, admin_listener) = bind_admin(&config.admin.listen)?;
    let connectors = connectors(&config.egress, &Connectors::new()).map_err(StartError::Configuration)?;
    departures::await_first_checks(&connectors);
    let store = config.store.open(&clock).await.map_err(StartError::Store)?;
    let mut tasks = JoinSet::new();
    let metrics = Arc::new(ControlMetrics::of(environment.confinement.clone()));
    let issuers = Arc::new(Issuers::new(&connectors, &clock));
    let keeper = {
        let metrics = Arc::clone(&metrics);
        let options = Options {
            issuer_concurrency: config.server.issuer_concurrency,
            sleep: config.server.sleep,
            observe: Box::new(move |name, outcome, took| metrics.renewed(name, outcome, took)),
        };
        let store = Arc::clone(&store);
        let (keeper, task) = keeper::start(clock.clone(), store, Arc::clone(&issuers) as _, options);
        keeper.reconcile(config.credentials.clone());
        tasks.spawn(task);
        let inputs = keeper.clone();
        tasks.spawn(lookout::run(keeper.files(), move |changed| inputs.input_changed(changed)));
        keeper
    };

    let consents = {
        let (issuers, room) = (Arc::clone(&issuers), config.server.max_logins);
        let current = Box::new(move || issuers.current());
        Consents::new(keeper.clone(), current, clock.clone(), room, config.server.issuer_concurrency)
    };
    consents.set_callback(callback(&admin_address));
    let control = Control { keeper: keeper.clone(), consents, clock: clock.clone() };

    let egress = tokio::sync::watch::Sender::new(connectors.clone());
    tasks.spawn(memory::give_back_when_settled());
    tasks.spawn(memory::give_back_what_bursts_leave());
    tasks.spawn(egress::keep_fresh(egress.subscribe(), clock.clone()));
    tasks.spawn(departures::keep_checking(egress.subscribe(), clock.clone()));

    let mut disclosed = issuers.disclosed();
    let table = wire(config, &disclosed.borrow(), &keeper, &connectors, &clock, None);
    let table = Arc::new(ArcSwap::from_pointee(table));
    let plane = Plane {
        table: Arc::clone(&table),
        clock: clock.clone(),
        workers: config.server.workers,
        access_log: config.server.access_log,
        inherited: environment.inherited.clone(),
        control: Some(control.clone()),
    };
    let server = Arc::new(server::start(bound, plane).map_err(StartError::Machine)?);

    let notifications =
        troubles::notifications(&keeper, &server, egress.subscribe(), Arc::clone(&store), &clock);
    notifications.reconcile(&config.notify);
    tasks.spawn(notifications.clone().run());

    let (commands, inbox) = mpsc::unbounded_channel();
    let (draining, is_draining) = tokio::sync::watch::channel(false);
    let admin = Arc::new(Admin {
        clock: clock.clone(),
        keeper: keeper.clone(),
        store: Arc::clone(&store),
        control,
        spec: ArcSwap::from_pointee(config.admin.clone()),
        table: Arc::clone(&table),
        server: Arc::clone(&server),
        egress: egress.subscribe(),
        notifications,
        metrics,
        sessions: Sessions::new(&clock),
        events: EventStreams::default(),
        draining: is_draining,
        commands: commands.clone(),
    });
    let serving = tasks.spawn(admin_listener.serve(Arc::clone(&admin)));
    let watching = tokio::sync::watch::Sender::new(watch::files(&loaded));
    tasks.spawn(watch::run(watching.subscribe(), watch::look(&loaded.files), commands.clone()));

    let denials = commands.clone();
    tasks.spawn(async move {
        // Nobody takes the command when it is ending.
        while disclosed.changed().await.is_ok() && denials.send(Command::DenyDisclosed).is_ok() {}
    });
    let credentials = tokio::sync::watch::Sender::new(config.credentials.clone());
    tasks.spawn(disclosure::ask(
        Arc::clone(&issuers),
        credentials.subscribe(),
        clock.clone(),
        config.server.issuer_concurrency,
    ));

    let accounts = tokio::sync::watch::Sender::new(callers::asked(config));
    tasks.spawn(callers::keep_asking(accounts.subscribe(), egress.subscribe()));
    let certificates = tokio::sync::watch::Sender::new(conductor::shown_files(&server, config));
    let renewals = commands.clone();
    tasks.spawn(lookout::run(certificates.subscribe(), move |changed| {
        // Nobody takes the command when it is ending.
        let _ = renewals.send(Command::RenewCertificates(changed));
    }));

    let listeners: Vec<_> =
        server.listeners().iter().map(|listener| (listener.name(), listener.address.clone())).collect();
    for (listener, address) in
        listeners.iter().map(|(name, of)| (name.as_str(), of)).chain([("admin", &admin_address)])
    {
        tracing::info!(listener, %address, "listening");
    }
    environment.confinement.tell();
    warn(&mut loaded);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let conductor = Conductor {
        loaded,
        environment,
        clock,
        logs,
        keeper: keeper.clone(),
        issuers,
        egress,
        credentials,
        table,
        server,
        admin,
        serving,
        watching,
        accounts,
        certificates,
        draining,
        tasks,
    };
    let conductor = tokio::spawn(conductor.run(inbox));
    Ok(Running { listeners, admin: admin_address, keeper, commands, conductor })
}

/// The route table of a configuration whose credentials nobody keeps: what `explain` asks.
pub fn unkept_table(config: &Config, clock: &Clock) -> Result<RouteTable, StartError> {
    let connectors = connectors(&config.egress, &Connectors::new()).map_err(StartError::Configuration)?;
    let options = Options {
        issuer_concurrency: config.server.issuer_concurrency,
        sleep: config.server.sleep,
        observe: Box::new(|_, _, _| ()),
    };
    let (store, issuers) = (Arc::new(MemoryStore::new(clock)), Arc::new(Issuers::new(&connectors, clock)));
    let (keeper, _never_run) = keeper::start(clock.clone(), store, issuers, options);
    keeper.reconcile(config.credentials.clone());
    Ok(wire(config, &Disclosed::default(), &keeper, &connectors, clock, None))
}

fn bind_admin(address: &Address) -> Result<(Address, AdminListener), StartError> {
    let bound = bind_socket(address).and_then(|(address, socket)| Ok((address, AdminListener::new(socket)?)));
    bound.map_err(|error| {
        let (listener, bind) = ("admin".to_owned(), Bind::To(address.clone()));
        StartError::Bind(BindError { listener, bind, reason: error.to_string(), fault: Fault::Machine })
    })
}

/// Where a browser on this machine comes back to; `None` if it cannot.
fn callback(admin: &Address) -> Option<String> {
    let Address::Tcp(mut address) = admin.clone() else { return None };
    // Who listens everywhere is called on loopback (RFC 8252, section 7.3).
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    Some(format!("http://{address}/oauth/callback"))
}

/// Logs what is worth a warning, at every start and reload; then nobody needs it any more.
fn warn(loaded: &mut Loaded) {
    for problem in std::mem::take(&mut loaded.warnings) {
        let place = problem.location.as_ref().map(|at| format!("{}:{}:{}", at.file, at.line, at.column));
        let (place, help) = (place.unwrap_or_default(), problem.help.as_deref().unwrap_or_default());
        tracing::warn!(warning = problem.message, help, place, "configuration");
    }
}

impl Running {
    /// Where a listener listens; the port is the one that the system gave.
    pub fn listener(&self, name: &str) -> Option<&Address> {
        self.listeners.iter().find(|(listener, _)| listener == name).map(|(_, address)| address)
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> &Address {
        &self.admin
    }

    /// The credentials.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Reads the configuration again. The problems, if there are any: then nothing has changed.
    pub async fn reload(&self) -> Result<(), Vec<String>> {
        let ending = || vec!["bearerd is ending".to_owned()];
        self.request_reload().await.unwrap_or_else(|_| Err(ending()))
    }

    /// Has it read the configuration again, without waiting for the outcome.
    pub fn request_reload(&self) -> oneshot::Receiver<Result<(), Vec<String>>> {
        let (answer, outcome) = oneshot::channel();
        // Nobody takes the command when it is ending: then nobody answers either.
        let _ = self.commands.send(Command::Reload(answer));
        outcome
    }

    /// Has it drain and end; [`Self::ended`] tells when.
    pub fn quit(&self) {
        // It is ending already if nobody takes the command.
        let _ = self.commands.send(Command::Quit);
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        // Whether it ended in order or in a panic, which was logged: it is gone.
        let _ = (&mut self.conductor).await;
    }

    /// Drains and ends.
    pub async fn stop(mut self) {
        self.quit();
        self.ended().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.conductor.abort();
    }
}
