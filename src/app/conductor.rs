//! Holds the parts together: reloads them, and lets them end in order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::admin::{Admin, Command};
use crate::app::callers;
use crate::app::issuers::Issuers;
use crate::app::watch::files as watched_files;
use crate::app::wiring::{connectors, wire};
use crate::app::{bind_admin, callback, needs};
use crate::caller::account::Accounts;
use crate::clock::Clock;
use crate::config::{self, Config, Environment, Loaded};
use crate::credential::CredentialSpec;
use crate::credential::keeper::Keeper;
use crate::memory;
use crate::route::RouteTable;
use crate::server::Server;
use crate::telemetry::Logs;
use crate::upstream::connect::Connectors;

/// Said of a reload that would end all that bearerd does: whoever wants that stops it.
const NOTHING_LEFT: &str = "the configuration has no listener, no credential and no route any more: it is empty, or \
                            only its beginning was written";

/// Whether a configuration is as good as an empty file, which a full disk leaves of one, or a copy that is not whole.
fn has_nothing_to_do(config: &Config) -> bool {
    config.listeners.is_empty() && config.credentials.is_empty() && config.routes.is_empty()
}

/// Begins what is told of a configuration that needs what was given up.
const RESTART_NEEDED: &str = "restart needed: this process gave up at its start ";

/// How long the last exchanges may take when the process ends.
const LAST_EXCHANGES: Duration = Duration::from_secs(5);

/// How long the store may take to write the last of it.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// All parts of a running bearerd. Dropping it ends them at once.
pub(super) struct Conductor {
    /// The configuration in force.
    pub(super) loaded: Loaded,
    /// What it refers to, read once at start.
    pub(super) environment: Environment,
    pub(super) clock: Clock,
    pub(super) logs: Option<Logs>,
    pub(super) keeper: Keeper,
    pub(super) issuers: Arc<Issuers>,
    /// The ways out in force.
    pub(super) egress: watch::Sender<Connectors>,
    /// The credentials in force, whose issuers are asked for their endpoints.
    pub(super) credentials: watch::Sender<Vec<Arc<CredentialSpec>>>,
    pub(super) table: Arc<ArcSwap<RouteTable>>,
    pub(super) server: Arc<Server>,
    pub(super) admin: Arc<Admin>,
    /// The admin listener's task.
    pub(super) serving: AbortHandle,
    /// The files that are watched for a change of the configuration.
    pub(super) watching: watch::Sender<Vec<PathBuf>>,
    /// The service accounts whose keys are asked for.
    pub(super) accounts: watch::Sender<Vec<Arc<Accounts>>>,
    /// The files that are watched for other certificates, and for what callers show.
    pub(super) certificates: watch::Sender<Arc<BTreeSet<Arc<Path>>>>,
    pub(super) draining: watch::Sender<bool>,
    /// The tasks of the control plane.
    pub(super) tasks: JoinSet<()>,
}

/// The files of what listeners show, and of what callers show to them.
pub(super) fn shown_files(server: &Server, config: &Config) -> Arc<BTreeSet<Arc<Path>>> {
    let mut files = server.certificate_files();
    files.extend(callers::files(config));
    Arc::new(files)
}

impl Conductor {
    /// Obeys commands until one says to end, then drains.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Reload(answer) => {
                    let outcome = self.reload().await;
                    // Whoever asked may be gone; the outcome was logged.
                    let _ = answer.send(outcome);
                }
                Command::DenyDisclosed => self.wire(&self.loaded.config),
                Command::RenewCertificates(changed) => self.renew_certificates(changed).await,
                Command::Quit => break,
            }
        }
        self.drain().await;
    }

    /// Puts a new table of these routes in force, and lets requests look at it that the old one held back.
    fn wire(&self, config: &Config) {
        let (disclosed, connectors, before) =
            (self.issuers.disclosed(), self.egress.borrow(), self.table.load());
        let table = wire(config, &disclosed.borrow(), &self.keeper, &connectors, &self.clock, Some(&before));
        self.table.swap(Arc::new(table)).supersede();
    }

    async fn renew_certificates(&self, changed: Vec<PathBuf>) {
        let (server, config) = (Arc::clone(&self.server), self.loaded.config.clone());
        let renewing = tokio::task::spawn_blocking(move || {
            server.renew_certificates(&changed);
            callers::renew(&config, &changed);
        });
        // What came of it was told; it cannot be told only if the process ends.
        let _ = renewing.await;
    }

    /// All or nothing: the problems, if there are any, and then nothing has changed.
    async fn reload(&mut self) -> Result<(), Vec<String>> {
        let outcome = self.take_over().await;
        match &outcome {
            Ok(()) => {
                self.admin.metrics.reloads_ok.increment();
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                self.admin.metrics.reloads_rejected.increment();
                for problem in problems {
                    tracing::error!(problem, "reload rejected: the old configuration stays in force");
                }
            }
        }
        outcome
    }

    async fn take_over(&mut self) -> Result<(), Vec<String>> {
        let one = |problem: String| vec![problem];
        // First all that can fail, and nothing that can be seen from outside.
        let Some(path) = self.loaded.files.first().cloned() else {
            return Err(one("this configuration is in no file".to_owned()));
        };
        let (environment, in_force) = (self.environment.clone(), self.egress.borrow().clone());
        let read = move || {
            let next = config::load(&path, &environment)
                .map_err(|problems| problems.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            let lacks = environment.confinement.lacks(&needs::of(&next, &environment));
            if !lacks.is_empty() {
                return Err(lacks.into_iter().map(|what| RESTART_NEEDED.to_owned() + &what).collect());
            }
            let connectors = connectors(&next.config.egress, &in_force).map_err(one)?;
            Ok::<_, Vec<String>>((next, connectors))
        };
        let (mut next, connectors) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| one(format!("the configuration could not be read: {error}")))??;
        let (old, new) = (&self.loaded.config, &next.config);
        if has_nothing_to_do(new) && !has_nothing_to_do(old) {
            return Err(one(NOTHING_LEFT.to_owned()));
        }
        let (server, specs) = (Arc::clone(&self.server), new.listeners.clone());
        let listeners = tokio::task::spawn_blocking(move || server.prepare(&specs))
            .await
            .map_err(|error| one(format!("the listeners could not be prepared: {error}")))?
            .map_err(|error| one(error.to_string()))?;
        let admin_moves = new.admin.listen != old.admin.listen;
        let admin_listener = admin_moves.then(|| bind_admin(&new.admin.listen)).transpose();
        let admin_listener = admin_listener.map_err(|error| one(error.to_string()))?;

        // From here on nothing fails. Credentials come first: routes read them.
        super::departures::await_first_checks(&connectors);
        self.issuers.replace(&connectors);
        self.egress.send_replace(connectors.clone());
        self.keeper.reconcile(new.credentials.clone());
        self.wire(new);
        self.credentials.send_replace(new.credentials.clone());
        self.server.apply(listeners);
        self.server.set_access_log(new.server.access_log);
        self.admin.control.consents.set_room(new.server.max_logins);
        self.admin.spec.store(Arc::new(new.admin.clone()));
        self.admin.notifications.reconcile(&new.notify);
        if let Some((address, listener)) = admin_listener {
            self.serving.abort();
            self.serving = self.tasks.spawn(listener.serve(Arc::clone(&self.admin)));
            self.admin.control.consents.set_callback(callback(&address));
            tracing::info!(listener = "admin", %address, "listening");
        }
        self.watching.send_replace(watched_files(&next));
        self.certificates.send_replace(shown_files(&self.server, new));
        let asked = callers::asked(new);
        callers::inherit(&asked, &self.accounts.borrow());
        self.accounts.send_replace(asked);
        if let Some(logs) = &self.logs
            && let Err(error) = logs.set_filter(&new.server.log.filter)
        {
            tracing::error!(%error, "the old log filter stays");
        }
        for (key, differs) in [
            ("workers", old.server.workers != new.server.workers),
            ("issuer_concurrency", old.server.issuer_concurrency != new.server.issuer_concurrency),
            ("subject_idle", old.server.sleep.idle != new.server.sleep.idle),
            ("max_awake_subjects", old.server.sleep.most_awake != new.server.sleep.most_awake),
            ("sandbox", old.server.sandbox != new.server.sandbox),
            ("log_format", old.server.log.json != new.server.log.json),
        ] {
            if differs {
                tracing::warn!(key, "this change of `[server]` counts from the next start");
            }
        }
        if old.store != new.store {
            tracing::warn!("this change of `[store]` counts from the next start");
        }
        super::warn(&mut next);
        self.loaded = next;
        self.loaded.forget_advice();
        // It ends by itself.
        drop(tokio::spawn(memory::give_back_when_settled()));
        Ok(())
    }

    /// Lets requests in flight finish, and exchanges that must not be torn.
    async fn drain(self) {
        let limit = self.loaded.config.server.drain;
        tracing::info!(connections = self.server.connections(), limit = ?limit, "draining");
        self.draining.send_replace(true);
        let broken_off = self.server.drain(limit).await;
        if tokio::time::timeout(LAST_EXCHANGES, self.keeper.revoke_on_exit()).await.is_err() {
            tracing::warn!("a token was not revoked");
        }
        if tokio::time::timeout(LAST_EXCHANGES, self.keeper.shutdown()).await.is_err() {
            tracing::warn!("an exchange with an issuer was broken off");
        }
        if tokio::time::timeout(LAST_WRITES, self.admin.notifications.settle()).await.is_err() {
            tracing::warn!("it was not kept what receivers were told last: they may be told again");
        }
        if tokio::time::timeout(LAST_WRITES, self.admin.store.close()).await.is_err() {
            tracing::warn!(
                "the store was not closed in order: the disk stands still, the next start repairs it"
            );
        }
        tracing::info!(broken_off, "ended");
    }
}
