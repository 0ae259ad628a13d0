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
use crate::credential::store::Store;
use crate::notification::diary::{Diary, Page};
use crate::notification::outbox::{Numbers, Outbox};
use crate::notification::tracker::Tracker;
use crate::notification::trouble::Survey;
use crate::notification::{Event, Notice, ReceiverSpec, Way, command, mail, smtp, webhook};
use crate::secret::Secret;
use crate::upstream::connect::{Connector, Connectors};

/// Between two looks at what is wrong, at the least.
const LOOK: Duration = Duration::from_secs(1);

/// Looking takes at most one part in so many of the control thread's time, however many credentials there are, as long
/// as [`LONGEST_PAUSE`] is enough for that.
const SHARE: u32 = 100;

/// Between two looks at the most: on a machine that is busy one may take long by the clock, and little time of its own.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is new and was not told yet is kept this often at the most.
const CALM: Duration = Duration::from_secs(10);

/// For so long a notice is tried again.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// How long nothing is looked at after a look that took so long.
fn pause_after(look: Duration) -> Duration {
    look.saturating_mul(SHARE).clamp(LOOK, LONGEST_PAUSE)
}

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
pub type Troubles = Box<dyn Fn() -> Survey + Send + Sync>;
/// Whether a name is one of the configuration in force.
pub type Exists = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// What there is to know, and where it is asked.
pub struct Sources {
    /// What is wrong.
    pub troubles: Troubles,
    /// What is configured.
    pub exists: Exists,
    /// Where it is kept what was told.
    pub store: Arc<dyn Store>,
}

/// All receivers, and what became of what they were to be told; cloning shares them.
#[derive(Clone)]
pub struct Notifications(Arc<Hub>);

struct Hub {
    clock: Clock,
    connectors: watch::Receiver<Connectors>,
    troubles: Troubles,
    exists: Exists,
    diary: Diary,
    receivers: Mutex<BTreeMap<String, Receiver>>,
    news: Notify,
}

/// One receiver; dropping it ends its deliveries.
struct Receiver {
    spec: Arc<ReceiverSpec>,
    /// `None` until it is read what it was told before.
    tracker: Option<Tracker>,
    outbox: Arc<Outbox>,
    numbers: Arc<Numbers>,
    delivering: AbortHandle,
    /// What was new when it was last kept.
    kept: News,
    /// When it was last kept, in time since boot.
    kept_at: Duration,
}

/// While none of these numbers changes, a restart has nothing new to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct News {
    told: u64,
    done: u64,
    matters: usize,
}

/// What a look brought for one receiver.
struct Letters {
    spec: Arc<ReceiverSpec>,
    notices: Vec<Notice>,
    /// What is to be kept before they are sent.
    page: Option<(News, Page)>,
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
        Sources { troubles, exists, store }: Sources,
    ) -> Self {
        let (receivers, news, diary) = (Mutex::default(), Notify::new(), Diary::new(store));
        Self(Arc::new(Hub { clock, connectors, troubles, exists, diary, receivers, news }))
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
        before.retain(|name, _| !receivers.contains_key(name));
        drop(receivers);
        for receiver in before.into_values().filter(|_| self.0.diary.is_kept()) {
            let (diary, spec) = (self.0.diary.clone(), Arc::clone(&receiver.spec));
            // What stays is not told to anybody.
            drop(tokio::spawn(async move { diary.forget(&spec).await }));
        }
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
        let tracker = (!self.0.diary.is_kept()).then(Tracker::default);
        let (kept, kept_at) = (News::default(), Duration::ZERO);
        Receiver { spec: Arc::clone(spec), tracker, outbox, numbers, delivering, kept, kept_at }
    }

    /// Looks after all receivers, for ever.
    pub async fn run(self) {
        let host = host_name();
        loop {
            if self.receivers().is_empty() {
                self.0.news.notified().await;
                continue;
            }
            self.read_diaries().await;
            let began = Clock::instant();
            let survey = (self.0.troubles)();
            let letters: Vec<Letters> = {
                let mut receivers = self.receivers();
                receivers.values_mut().filter_map(|receiver| receiver.look(&survey, &self.0, &host)).collect()
            };
            let pause = pause_after(began.elapsed());
            for letters in letters {
                self.send(letters).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// New receivers are told nothing before it is known what they were told by processes before this one.
    async fn read_diaries(&self) {
        let new: Vec<_> = {
            let receivers = self.receivers();
            let new = receivers.values().filter(|receiver| receiver.tracker.is_none());
            new.map(|receiver| Arc::clone(&receiver.spec)).collect()
        };
        for spec in new {
            let page = self.0.diary.read(&spec).await;
            if let Some(receiver) = self.receivers().get_mut(&spec.name).filter(|it| it.spec == spec) {
                receiver.take_up(page, &self.0.clock);
            }
        }
    }

    /// Keeps what was told and delivered until now: the process ends.
    pub async fn settle(&self) {
        let open: Vec<_> = {
            let receivers = self.receivers();
            let open = receivers.values().filter(|it| self.0.diary.is_kept() && it.tracker.is_some());
            let open = open.filter(|it| it.news() != it.kept);
            open.map(|it| (Arc::clone(&it.spec), it.page(&[], &self.0.clock))).collect()
        };
        for (spec, page) in open {
            // What cannot be kept is told again by the next process.
            drop(self.0.diary.write(&spec, page).await);
        }
    }

    /// Keeps that something is told, and then sends it: so what is told twice is told under the same `id`.
    async fn send(&self, Letters { spec, notices, page }: Letters) {
        if let Some((news, page)) = page {
            let kept = self.0.diary.write(&spec, page).await;
            if let Some(receiver) = self.receivers().get_mut(&spec.name).filter(|it| it.spec == spec) {
                receiver.kept_at = self.0.clock.boot();
                match kept {
                    Ok(()) => receiver.kept = news,
                    Err(error) => {
                        let (name, reason) = (spec.name.as_str(), error.0);
                        tracing::warn!(receiver = name, reason, "it is not kept what it was told");
                    }
                }
            }
        }
        let receivers = self.receivers();
        let Some(receiver) = receivers.get(&spec.name).filter(|it| it.spec == spec) else { return };
        for notice in notices {
            receiver.put(notice);
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
    /// Goes on where a process before this one ended. What is as old as a notice gets is not sent any more.
    fn take_up(&mut self, page: Page, clock: &Clock) {
        let now = clock.wall();
        self.tracker = Some(Tracker::remember(page.entries, page.told, clock));
        let is_young = |notice: &Notice| {
            Duration::try_from(now.duration_since(notice.at)).unwrap_or_default() < PATIENCE
        };
        for notice in page.waiting.into_iter().filter(is_young) {
            self.put(notice);
        }
        self.kept = self.news();
    }

    /// What is to be told and kept now, if anything is.
    fn look(&mut self, survey: &Survey, hub: &Hub, host: &str) -> Option<Letters> {
        let tracker = self.tracker.as_mut()?;
        let look = tracker.look(&self.spec, survey, &*hub.exists, &hub.clock, host);
        self.numbers.flapped.add(look.flapped);
        self.numbers.crowded.add(look.crowded);
        let news = self.news();
        let is_urgent = (news.told, news.done) != (self.kept.told, self.kept.done);
        let is_time = hub.clock.boot().saturating_sub(self.kept_at) >= CALM;
        let keeps = hub.diary.is_kept() && news != self.kept && (is_urgent || is_time);
        let page = keeps.then(|| (news, self.page(&look.notices, &hub.clock)));
        let notices = look.notices;
        (page.is_some() || !notices.is_empty()).then(|| Letters {
            spec: Arc::clone(&self.spec),
            notices,
            page,
        })
    }

    fn news(&self) -> News {
        let (told, matters) = self.tracker.as_ref().map(Tracker::news).unwrap_or_default();
        News { told, matters, done: self.outbox.number_done() }
    }

    /// What a restart has to know, once these are told.
    fn page(&self, notices: &[Notice], clock: &Clock) -> Page {
        let (entries, told) = self.tracker.as_ref().map(|it| it.memory(clock)).unwrap_or_default();
        let mut waiting = self.outbox.undone();
        waiting.extend_from_slice(notices);
        Page { entries, told, waiting, ..Page::default() }
    }

    fn put(&self, notice: Notice) {
        if self.outbox.put(notice, self.spec.max_queue) {
            self.numbers.dropped.increment();
            tracing::error!(receiver = self.spec.name, "a notice was dropped: too many wait");
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
        outbox.done();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pause_after;

    #[test]
    fn looks_are_a_second_to_ten_apart_by_what_one_takes() {
        for (look, pause) in [(0, 1_000), (5, 1_000), (50, 5_000), (300, 10_000)] {
            assert_eq!(pause_after(Duration::from_millis(look)), Duration::from_millis(pause), "{look} ms");
        }
    }
}
