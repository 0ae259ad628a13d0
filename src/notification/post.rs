//! The post: looks at what is wrong once a second, and brings each receiver what it is to be told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::credential::input::read_source;
use crate::notification::outbox::{Numbers, Outbox};
use crate::notification::tracker::Tracker;
use crate::notification::trouble::Trouble;
use crate::notification::{Event, Notice, ReceiverSpec, Way, command, mail, smtp, webhook};
use crate::secret::Secret;
use crate::upstream::connect::{Connector, Connectors};

/// Between two looks at what is wrong, at the least.
const LOOK: Duration = Duration::from_secs(1);

/// Looking takes at most one part in so many of the control thread's time, however many credentials there are.
const SHARE: u32 = 100;

/// For so long a notice is tried again.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// A delivery that failed. The message names the receiver's host or program, and no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// Whether it is worth another try.
    pub may_mend: bool,
    /// How long the receiver wants not to be asked.
    pub pause: Option<Duration>,
}

impl Failure {
    /// It may mend itself.
    pub(super) fn for_now(message: String) -> Self {
        Self { message, may_mend: true, pause: None }
    }

    /// The same again would fail in the same way.
    pub(super) fn for_good(message: String) -> Self {
        Self { message, may_mend: false, pause: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What is wrong now.
pub type Troubles = Box<dyn Fn() -> Vec<Trouble> + Send + Sync>;
/// Whether a name is one of the configuration in force.
pub type Exists = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// All receivers, and what became of what they were to be told; cloning shares them.
#[derive(Clone)]
pub struct Notifications(Arc<Hub>);

struct Hub {
    clock: Clock,
    connectors: watch::Receiver<Connectors>,
    troubles: Troubles,
    exists: Exists,
    receivers: Mutex<BTreeMap<String, Receiver>>,
    news: Notify,
}

/// One receiver; dropping it ends its deliveries.
struct Receiver {
    spec: Arc<ReceiverSpec>,
    tracker: Tracker,
    outbox: Arc<Outbox>,
    numbers: Arc<Numbers>,
    delivering: AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.delivering.abort();
    }
}

impl Notifications {
    /// No receivers yet; they are reached by these connectors.
    pub fn new(
        clock: Clock,
        connectors: watch::Receiver<Connectors>,
        troubles: Troubles,
        exists: Exists,
    ) -> Self {
        let (receivers, news) = (Mutex::default(), Notify::new());
        Self(Arc::new(Hub { clock, connectors, troubles, exists, receivers, news }))
    }

    /// Tells these receivers from now on, and no others. One that is the same as before remembers what it was
    /// told, and what waits for it still comes. Must be called within a runtime, in which deliveries run.
    pub fn reconcile(&self, specs: &[Arc<ReceiverSpec>]) {
        let mut receivers = self.receivers();
        let mut before = std::mem::take(&mut *receivers);
        for spec in specs {
            let kept = before.remove(&spec.name).filter(|receiver| receiver.spec == *spec);
            let receiver = kept.unwrap_or_else(|| self.receiver(spec));
            receivers.insert(spec.name.clone(), receiver);
        }
        drop(receivers);
        self.0.news.notify_one();
    }

    fn receiver(&self, spec: &Arc<ReceiverSpec>) -> Receiver {
        let (outbox, numbers) = (Arc::<Outbox>::default(), Arc::<Numbers>::default());
        let delivery = deliver_all(
            Arc::clone(spec),
            Arc::clone(&outbox),
            Arc::clone(&numbers),
            self.0.connectors.clone(),
            self.0.clock.clone(),
        );
        let delivering = tokio::spawn(delivery).abort_handle();
        Receiver { spec: Arc::clone(spec), tracker: Tracker::default(), outbox, numbers, delivering }
    }

    /// Looks after all receivers, for ever.
    pub async fn run(self) {
        let host = host_name();
        loop {
            if self.receivers().is_empty() {
                self.0.news.notified().await;
                continue;
            }
            let began = Clock::instant();
            let troubles = (self.0.troubles)();
            for receiver in self.receivers().values_mut() {
                receiver.look(&troubles, &self.0.exists, &self.0.clock, &host);
            }
            tokio::time::sleep(LOOK.max(began.elapsed() * SHARE)).await;
        }
    }

    /// The name, the numbers and how many notices wait, of each receiver.
    pub fn numbers(&self) -> Vec<(String, Arc<Numbers>, usize)> {
        let receivers = self.receivers();
        let each = receivers.iter();
        each.map(|(name, it)| (name.clone(), Arc::clone(&it.numbers), it.outbox.len())).collect()
    }

    fn receivers(&self) -> MutexGuard<'_, BTreeMap<String, Receiver>> {
        self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    fn look(&mut self, troubles: &[Trouble], exists: &Exists, clock: &Clock, host: &str) {
        let look = self.tracker.look(&self.spec, troubles, &**exists, clock, host);
        self.numbers.flapped.add(look.flapped);
        self.numbers.crowded.add(look.crowded);
        for notice in look.notices {
            if self.outbox.put(notice, self.spec.max_queue) {
                self.numbers.dropped.increment();
                tracing::error!(receiver = self.spec.name, "a notice was dropped: too many wait");
            }
        }
    }
}

/// Delivers what comes into the outbox, in its order.
async fn deliver_all(
    spec: Arc<ReceiverSpec>,
    outbox: Arc<Outbox>,
    numbers: Arc<Numbers>,
    connectors: watch::Receiver<Connectors>,
    clock: Clock,
) {
    loop {
        let notice = outbox.next().await;
        let (receiver, what) = (spec.name.as_str(), notice.headline());
        let mut backoff = Backoff::default();
        let began = clock.boot();
        loop {
            let connector = connectors.borrow().get(&spec.egress).cloned();
            let Err(failure) = deliver(&spec, &notice, connector.as_ref(), &clock).await else {
                numbers.sent.increment();
                tracing::info!(receiver, notice = what, "notice delivered");
                break;
            };
            let reason = failure.message;
            if !failure.may_mend || clock.boot().saturating_sub(began) >= PATIENCE {
                numbers.failed.increment();
                tracing::error!(receiver, notice = what, reason, "a notice could not be delivered");
                break;
            }
            numbers.retries.increment();
            if backoff.failures() == 0 {
                tracing::warn!(receiver, notice = what, reason, "a notice is not delivered yet: tried again");
            } else {
                tracing::debug!(receiver, notice = what, reason, "a notice is not delivered yet");
            }
            tokio::time::sleep(backoff.next(&clock).max(failure.pause.unwrap_or_default())).await;
        }
    }
}

/// Delivers one notice once.
async fn deliver(
    spec: &ReceiverSpec,
    notice: &Notice,
    connector: Option<&Connector>,
    clock: &Clock,
) -> Result<(), Failure> {
    let secret = match spec.way.secret() {
        Some(source) => {
            let key = if matches!(spec.way, Way::Webhook { .. }) { "key" } else { "password" };
            let read = read_source(key, source, &|_, _| None, clock).await;
            Some(read.map_err(|error| Failure::for_now(error.to_string()))?)
        }
        None => None,
    };
    let reached = || connector.ok_or_else(|| Failure::for_now("its egress is gone".to_owned()));
    match &spec.way {
        Way::Command(argv) => command::run(argv, notice, spec.timeout).await,
        Way::Webhook { url, .. } => {
            let key = secret.unwrap_or_else(|| Secret::new(b""));
            webhook::send(url, &key, notice, reached()?, spec.timeout, clock.wall()).await
        }
        Way::Mail(mail) => {
            let message = mail::message(mail, notice, clock.wall());
            smtp::send(mail, secret.as_ref(), &message, reached()?, spec.timeout).await
        }
    }
}

/// Delivers a notice by which somebody sees whether notices arrive, once and now.
pub async fn deliver_test(spec: &ReceiverSpec, connector: &Connector, clock: &Clock) -> Result<(), Failure> {
    let now = clock.wall();
    let notice = Notice {
        id: clock.uuid(),
        event: Event::Test,
        name: spec.name.clone(),
        others: Vec::new(),
        number: 1,
        message: "somebody tries whether notices arrive here: nothing is wrong".to_owned(),
        advice: None,
        was: None,
        since: now,
        at: now,
        ends_at: None,
        reminder: 0,
        host: host_name(),
    };
    deliver(spec, &notice, Some(connector), clock).await
}

/// What this machine is called.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
