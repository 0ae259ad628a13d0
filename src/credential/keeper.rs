//! The keeper: one background task over all credentials.
//!
//! ```text
//!  requests ──Poke──▶ ┌────────┐ ──spawns──▶ one exchange per owner ──▶ issuer
//!  operator ─Command▶ │  task  │ ◀─reports── (read inputs, store, exchange, store)
//!  watcher  ─Command▶ └────────┘
//!  timers  ──────────▶    │ publishes
//!                         ▼
//!                  Shared: status, slots ──▶ requests, admin, metrics (never ask the task)
//! ```
//!
//! [`Keeper`] is the handle that everybody else holds.

mod asleep;
mod awake;
mod chain;
mod entry;
mod events;
mod exchange;
mod in_play;
mod lanes;
mod lapses;
mod report;
mod rotation;
mod sleep;
mod task;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Moment};
use crate::credential::flow::Mint;
use crate::credential::keeper::awake::Awake;
use crate::credential::keeper::entry::{Order, OrderAnswer};
use crate::credential::roster::{Release, Roster};
use crate::credential::shared::{Poke, Shared};
use crate::credential::slot::{Prepare, Slot};
use crate::credential::store::{Store, StoreError};
use crate::credential::{CredentialName, CredentialSpec, Minted, Owner, Status, Subject};
use crate::secret::Secret;
use crate::telemetry::Counter;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a new token.
    Ok,
    /// It may mend itself and is tried again.
    Transient,
    /// The issuer refused the input.
    Rejected,
    /// An answer was lost that may have used up a single-use input.
    Ambiguous,
}

impl Outcome {
    /// All outcomes, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Transient, Self::Rejected, Self::Ambiguous];

    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Transient => "transient",
            Self::Rejected => "rejected",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Hears of every exchange that ended, and how long it took: the source of the metrics.
pub type Observe = Box<dyn Fn(&CredentialName, Outcome, Duration) + Send + Sync>;

/// What the keeper is told at its start.
pub struct Options {
    /// Exchanges at once with one issuer.
    pub issuer_concurrency: usize,
    /// When subjects sleep.
    pub sleep: SleepRules,
    /// Hears of every exchange.
    pub observe: Observe,
}

/// How often exchanges were held back.
#[derive(Debug, Default)]
pub struct Limited {
    /// By `issuer_concurrency`: they waited for others with the same issuer.
    pub issuer_concurrency: Counter,
    /// By `max_renewals`: they were planned for a time at which the credential had none left.
    pub max_renewals: Counter,
}

/// When subjects sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SleepRules {
    /// So long nobody has used it.
    pub idle: Duration,
    /// So many are awake at once; of more, those that were unused for longest sleep.
    pub most_awake: usize,
}

impl Default for SleepRules {
    fn default() -> Self {
        Self { idle: Duration::from_secs(600), most_awake: 10_000 }
    }
}

pub use awake::SubjectNumbers;

/// Why a token could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// There is no such credential.
    Unknown,
    /// The credential is not of the flow `static` with one token.
    NotStatic,
    /// The value cannot be used; the text says why, without it.
    Unusable(String),
    /// All tokens of the credential belong to subjects, and none was named.
    NoSubject,
}

/// The handle of the keeper; cloning shares it.
#[derive(Clone)]
pub struct Keeper(Arc<Hub>);

struct Hub {
    clock: Clock,
    store: Arc<dyn Store>,
    /// What exists, read by everybody without asking the task.
    directory: ArcSwap<Directory>,
    awake: Arc<Awake>,
    limited: Arc<Limited>,
    commands: mpsc::UnboundedSender<Command>,
    pokes: mpsc::UnboundedSender<Poke>,
    files: watch::Sender<Arc<BTreeSet<Arc<Path>>>>,
}

type Directory = BTreeMap<CredentialName, Kept>;

/// One owner: a credential of the directory, or a subject that is awake.
#[derive(Clone)]
struct Kept {
    spec: Arc<CredentialSpec>,
    shared: Arc<Shared>,
}

/// What the handle asks of the task.
enum Command {
    /// These credentials are to be kept, and no others.
    Reconcile(Arc<Directory>),
    Refresh {
        shared: Arc<Shared>,
        force: bool,
        answer: oneshot::Sender<Outcome>,
    },
    /// This subject is to be kept too.
    Wake(Kept),
    /// A person's word.
    Order {
        shared: Arc<Shared>,
        order: Order,
        answer: OrderAnswer,
    },
    InputChanged(Vec<PathBuf>),
    Shutdown(oneshot::Sender<()>),
}

/// Makes a keeper and the future that is its background task.
pub fn start(
    clock: Clock,
    store: Arc<dyn Store>,
    mint: Arc<dyn Mint>,
    options: Options,
) -> (Keeper, impl Future<Output = ()> + Send + 'static) {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (pokes, requests) = mpsc::unbounded_channel();
    let (awake, limited) = (Arc::<Awake>::default(), Arc::<Limited>::default());
    let hub = Hub {
        clock: clock.clone(),
        store: Arc::clone(&store),
        directory: ArcSwap::default(),
        awake: Arc::clone(&awake),
        limited: Arc::clone(&limited),
        commands,
        pokes,
        files: watch::Sender::default(),
    };
    let task = task::Task::new(clock, store, mint, options, (awake, limited), inbox);
    (Keeper(Arc::new(hub)), task.run(requests))
}

impl Keeper {
    /// Keeps these credentials from now on, and no others. Equal specs keep their token, new ones
    /// start, changed ones start anew, those that are gone stop. When this returns, slots of all of
    /// them can be had.
    pub fn reconcile(&self, specs: Vec<Arc<CredentialSpec>>) {
        let mut awake = self.0.awake.subjects();
        let before = self.0.directory.load();
        let directory: Arc<Directory> = Arc::new(
            specs
                .into_iter()
                .map(|spec| match before.get(&spec.name) {
                    Some(kept) if kept.spec == spec => (spec.name.clone(), kept.clone()),
                    _ => (spec.name.clone(), Kept::new(Owner::from(&spec.name), spec, self.0.pokes.clone())),
                })
                .collect(),
        );
        awake.retain(|owner, subject| {
            directory.get(&owner.credential).is_some_and(|kept| Arc::ptr_eq(&kept.spec, &subject.spec))
        });
        let files = directory.values().flat_map(|kept| kept.spec.files()).cloned().collect();
        self.0.directory.store(Arc::clone(&directory));
        self.send(Command::Reconcile(directory));
        self.0.files.send_replace(Arc::new(files));
    }

    /// A reader of an owner's token, fed at once with the current generation and then with each next
    /// one, for as long as the slot lives. A subject that sleeps wakes. `None` if there is no such
    /// credential.
    pub fn slot<T: Send + Sync + 'static>(&self, owner: &Owner, prepare: Prepare<T>) -> Option<Arc<Slot<T>>> {
        let shared = self.shared(owner)?;
        let slot = Arc::new(Slot::new(Arc::clone(&shared), prepare));
        shared.register(&slot);
        Some(slot)
    }

    /// One reader's view of the tokens of all subjects of a credential. `None` if there is no such
    /// credential.
    pub fn roster<T: Send + Sync + 'static>(
        &self,
        credential: &CredentialName,
        prepare: Prepare<T>,
    ) -> Option<Arc<Roster<T>>> {
        self.spec(credential)?;
        let roster = Arc::new(Roster::new(self.clone(), credential.clone(), prepare));
        let readers: Weak<dyn Release> = Arc::downgrade(&roster) as _;
        self.0.awake.add_roster(credential, readers);
        Some(roster)
    }

    /// The status of every credential, in the order of their names.
    pub fn statuses(&self) -> Vec<Status> {
        self.0.directory.load().values().map(|kept| kept.shared.status()).collect()
    }

    /// The status of a credential, or of one of its subjects that is awake. `None` if there is no such
    /// credential or the subject sleeps.
    pub fn status(&self, owner: &Owner) -> Option<Status> {
        if owner.subject.is_none() {
            return Some(self.0.directory.load().get(&owner.credential)?.shared.status());
        }
        Some(self.0.awake.subjects().get(owner)?.shared.status())
    }

    /// The status of a subject, without waking it: what its record tells if it sleeps. `None` if there
    /// is no such credential.
    pub async fn look(&self, owner: &Owner) -> Result<Option<Status>, StoreError> {
        if let Some(status) = self.status(owner) {
            return Ok(Some(status));
        }
        let Some(spec) = self.spec(&owner.credential) else { return Ok(None) };
        let record = self.0.store.load(owner).await?;
        Ok(Some(asleep::status(owner, &spec, &record, self.0.clock.now())))
    }

    /// How a credential is obtained and kept.
    pub fn spec(&self, name: &CredentialName) -> Option<Arc<CredentialSpec>> {
        Some(Arc::clone(&self.0.directory.load().get(name)?.spec))
    }

    /// An output of a credential, while it has a usable token: what inputs elsewhere refer to.
    pub fn output(&self, name: &CredentialName, output: &str, now: Moment) -> Option<Secret> {
        let published = self.0.directory.load().get(name)?.shared.published()?;
        let usable = published.expiry.is_usable(now).then_some(published)?;
        usable.outputs.get(output).cloned()
    }

    /// The subjects of a credential in their order, those behind `after`, at most `limit` of them:
    /// all that have a record, awake or not.
    pub async fn subjects(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<Subject>, StoreError> {
        self.0.store.subjects(credential, after, limit).await
    }

    /// The statuses of the subjects that [`Self::subjects`] lists, without waking any.
    pub async fn subject_statuses(
        &self,
        credential: &CredentialName,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<Status>, StoreError> {
        let mut statuses = Vec::new();
        for subject in self.subjects(credential, after, limit).await? {
            statuses.extend(self.look(&Owner::subject(credential.clone(), subject)).await?);
        }
        Ok(statuses)
    }

    /// How many subjects a credential has, awake or not.
    pub async fn count(&self, credential: &CredentialName) -> Result<usize, StoreError> {
        self.0.store.count(credential).await
    }

    /// How often exchanges were held back.
    pub fn limited(&self) -> &Limited {
        &self.0.limited
    }

    /// How many subjects of each credential are awake, and how often they woke and fell asleep; only of
    /// credentials that ever had one awake.
    pub fn subject_numbers(&self) -> BTreeMap<CredentialName, SubjectNumbers> {
        self.0.awake.numbers().clone()
    }

    /// What ends beside the token of each credential, and when, where the token tells it.
    pub fn deadlines(&self) -> Vec<(CredentialName, String, Timestamp)> {
        let directory = self.0.directory.load();
        let told = directory.iter().filter_map(|(name, kept)| {
            let (rule, published) = (kept.spec.deadline.as_ref()?, kept.shared.published()?);
            Some((name.clone(), rule.of.clone(), rule.read(&published.outputs)?))
        });
        told.collect()
    }

    /// How often upstreams have refused each credential.
    pub fn refusals(&self) -> Vec<(CredentialName, u64)> {
        let directory = self.0.directory.load();
        directory.iter().map(|(name, kept)| (name.clone(), kept.shared.refusals())).collect()
    }

    /// Renews a credential now, because an operator asks for it: also in a pause after a failure, and
    /// after a rejection (which counts as a try, and after three is refused unless forced). The
    /// renewal goes on whether the returned future is awaited or not. `None` if there is no such
    /// credential.
    pub fn refresh(
        &self,
        owner: &Owner,
        force: bool,
    ) -> Option<impl Future<Output = Outcome> + Send + use<>> {
        let shared = self.shared(owner)?;
        let (answer, outcome) = oneshot::channel();
        self.send(Command::Refresh { shared, force, answer });
        // Nobody answers for a credential that was removed meanwhile, or when the process ends.
        Some(async move { outcome.await.unwrap_or(Outcome::Transient) })
    }

    /// Replaces the token of a static credential, by one that ends at `until`; without that, as the configuration
    /// says of all its tokens. Its source takes over again when it changes.
    pub async fn set_token(
        &self,
        name: &CredentialName,
        token: Secret,
        until: Option<Timestamp>,
    ) -> Result<(), SetError> {
        let kept = self.0.directory.load().get(name).cloned().ok_or(SetError::Unknown)?;
        if !kept.spec.flow.is_static() || !kept.spec.inputs.contains_key("token") {
            return Err(SetError::NotStatic);
        }
        self.order(kept.shared, Order::Set(token, until)).await
    }

    /// Takes up what a person's consent brought, now: durable first, then published.
    pub async fn adopt(&self, owner: &Owner, minted: Minted, now: Moment) -> Result<(), SetError> {
        if owner.subject.is_none() && self.spec(&owner.credential).is_some_and(|spec| spec.only_subjects) {
            return Err(SetError::NoSubject);
        }
        let shared = self.shared(owner).ok_or(SetError::Unknown)?;
        self.order(shared, Order::Adopt(Box::new(minted), now)).await
    }

    /// Logs an owner out: its token and all that could renew it are forgotten, and its state is
    /// `revoked`.
    pub async fn forget(&self, owner: &Owner) -> Result<(), SetError> {
        let shared = self.shared(owner).ok_or(SetError::Unknown)?;
        self.order(shared, Order::Forget).await
    }

    async fn order(&self, shared: Arc<Shared>, order: Order) -> Result<(), SetError> {
        let (answer, outcome) = oneshot::channel();
        self.send(Command::Order { shared, order, answer });
        outcome.await.unwrap_or(Err(SetError::Unknown))
    }

    /// Tells that these files may have changed. Credentials whose inputs really did are renewed.
    pub fn input_changed(&self, paths: Vec<PathBuf>) {
        self.send(Command::InputChanged(paths));
    }

    /// The files that inputs are read from, now and after each change of them.
    pub fn files(&self) -> watch::Receiver<Arc<BTreeSet<Arc<Path>>>> {
        self.0.files.subscribe()
    }

    /// Forgets and revokes the tokens of credentials that want it so at the end of the process.
    pub async fn revoke_on_exit(&self) {
        let mut ending = JoinSet::new();
        for kept in self.0.directory.load().values().filter(|kept| kept.spec.flow.is_revoked_on_exit()) {
            let (keeper, owner) = (self.clone(), Owner::from(&kept.spec.name));
            // What cannot be forgotten was told in the log.
            ending.spawn(async move { drop(keeper.forget(&owner).await) });
        }
        ending.join_all().await;
    }

    /// Starts no more exchanges and waits for those that might use up a single-use input.
    pub async fn shutdown(&self) {
        let (answer, done) = oneshot::channel();
        self.send(Command::Shutdown(answer));
        // The task is gone already: then nothing runs.
        let _ = done.await;
    }

    /// What readers share of an owner. A subject that sleeps wakes.
    fn shared(&self, owner: &Owner) -> Option<Arc<Shared>> {
        if owner.subject.is_none() {
            return Some(Arc::clone(&self.0.directory.load().get(&owner.credential)?.shared));
        }
        let mut awake = self.0.awake.subjects();
        if let Some(kept) = awake.get(owner) {
            return Some(Arc::clone(&kept.shared));
        }
        let spec = Arc::clone(&self.0.directory.load().get(&owner.credential)?.spec);
        let kept = Kept::new(owner.clone(), spec, self.0.pokes.clone());
        awake.insert(owner.clone(), kept.clone());
        self.send(Command::Wake(kept.clone()));
        Some(kept.shared)
    }

    fn send(&self, command: Command) {
        // Without the task nothing is renewed any more: the process is ending.
        let _ = self.0.commands.send(command);
    }
}

impl Kept {
    /// A new owner.
    fn new(owner: Owner, spec: Arc<CredentialSpec>, pokes: mpsc::UnboundedSender<Poke>) -> Self {
        // Requests that come before the task has looked at it shall wait.
        let status =
            Status { running: true, optional: spec.optional, ..Status::unknown(owner, spec.flow.as_str()) };
        let shared = Arc::new(Shared::new(spec.is_renewable(), status, pokes));
        Self { spec, shared }
    }
}
