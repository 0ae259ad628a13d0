//! What the keeper and all readers of one credential share: its status, its published generation,
//! and the suspicion that a refusal casts on it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};

use crate::clock::{Clock, Moment};
use crate::credential::slot::Publish;
use crate::credential::step::{lock, step};
use crate::credential::{Expiry, Outputs, Owner, Status};
use crate::guard::Patterns;
use crate::memory::ahead::Place;
use crate::secret::Secret;

/// At most one renewal driven by refusals in this time, per credential.
pub const REFUSAL_FLOOR: Duration = Duration::from_secs(10);

/// What requests tell the keeper.
#[derive(Debug)]
pub enum Poke {
    /// The upstream refused this generation.
    Refused {
        /// The credential.
        shared: Arc<Shared>,
        /// The generation that was sent.
        generation: u64,
    },
    /// A request found the token expired: the clocks are to be looked at now.
    Expired {
        /// The credential.
        shared: Arc<Shared>,
    },
    /// A reader cannot use the current generation: it needs another one.
    Unusable {
        /// The credential.
        shared: Arc<Shared>,
        /// Why, without the value.
        message: String,
    },
}

/// One generation of a credential.
#[derive(Debug)]
pub struct Published {
    /// Goes up with each renewal; the first is 1.
    pub generation: u64,
    /// When it ends.
    pub expiry: Expiry,
    /// The values.
    pub outputs: Outputs,
    /// What the issuer or the answer warned about.
    pub warnings: Vec<String>,
}

/// What all slots of one credential share with its keeper.
pub struct Shared {
    owner: Owner,
    standing: Standing,
    /// Locked for a moment only, and by no reader of the token.
    status: Mutex<Status>,
    /// Told after each change of the status. A `watch` channel would take 300 bytes more.
    changed: Notify,
    pokes: mpsc::UnboundedSender<Poke>,
    feed: Mutex<Feed>,
    /// No refusal starts a renewal before this time since boot. Readers of the token never lock it,
    /// only requests that were refused.
    floor: Mutex<Duration>,
    /// How often upstreams refused this credential.
    refusals: AtomicU64,
    /// When a request used it last, in milliseconds since boot.
    used: AtomicU64,
    /// A [`Poke::Expired`] is on its way.
    expiry_told: AtomicBool,
}

/// What each request reads that carries the token, and its answer: side by side, since of thousands of credentials little
/// is in the processor's caches.
struct Standing {
    /// The generation under suspicion while its renewal is due or runs; 0 for none.
    suspected: AtomicU64,
    /// Whether a refusal can lead to a new token at all: a static token cannot renew itself, and a
    /// credential that was removed will not be renewed.
    renewable: AtomicBool,
    /// What answers are scanned for. Made of the values in play with the first answer: many credentials have none.
    patterns: ArcSwapOption<Patterns>,
}

/// Who is fed, and with what. Locked by those who publish and register, and by readers only with the first answer
/// of a generation.
#[derive(Default)]
struct Feed {
    current: Option<Arc<Published>>,
    /// The values in play, which must not reach an app: inputs and outputs of every generation that may still be
    /// used, and of the credentials that it is made of. `None` before the first generation.
    in_play: Option<Arc<[Secret]>>,
    slots: Slots,
}

/// The slots of a credential. Most have one, which takes no room of its own.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "an empty list has two words more than a pointer")]
struct Slots {
    first: Option<Weak<dyn Publish>>,
    others: Option<Box<Vec<Weak<dyn Publish>>>>,
}

impl Slots {
    /// Those that are left.
    fn live(&self) -> impl Iterator<Item = Arc<dyn Publish>> {
        self.first.iter().chain(self.others.as_deref().into_iter().flatten()).filter_map(Weak::upgrade)
    }

    /// Forgets those that are gone, and adds a new one.
    fn renew(&mut self, new: Option<Weak<dyn Publish>>) {
        let others = self.others.take().into_iter().flat_map(|others| *others);
        let all = self.first.take().into_iter().chain(others).chain(new);
        let mut left = all.filter(|slot| slot.strong_count() > 0);
        self.first = left.next();
        let others: Vec<_> = left.collect();
        self.others = (!others.is_empty()).then(|| Box::new(others));
    }
}

impl Shared {
    /// The shared half of a new credential.
    pub fn new(renewable: bool, status: Status, pokes: mpsc::UnboundedSender<Poke>) -> Self {
        Self {
            owner: status.owner.clone(),
            standing: Standing {
                suspected: AtomicU64::new(0),
                renewable: AtomicBool::new(renewable),
                patterns: ArcSwapOption::empty(),
            },
            status: Mutex::new(status),
            changed: Notify::new(),
            pokes,
            feed: Mutex::default(),
            floor: Mutex::default(),
            refusals: AtomicU64::new(0),
            used: AtomicU64::new(0),
            expiry_told: AtomicBool::new(false),
        }
    }

    /// Where requests tell the keeper.
    pub(in crate::credential) fn pokes(&self) -> mpsc::UnboundedSender<Poke> {
        self.pokes.clone()
    }

    /// Whose token it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The latest status.
    pub fn status(&self) -> Status {
        self.read_status(Status::clone)
    }

    /// Reads the latest status where it is.
    pub(in crate::credential) fn read_status<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&lock(&self.status))
    }

    /// Done at the first change of the status after this call, be it polled before or not.
    pub fn changed(&self) -> Notified<'_> {
        step();
        self.changed.notified()
    }

    fn change_status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.status));
        self.tell();
    }

    /// Wakes those who wait for news.
    fn tell(&self) {
        step();
        self.changed.notify_waiters();
    }

    /// Notes that a request uses it.
    pub fn touch(&self, now: Moment) {
        let now = u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX);
        // Workers that read it do not take the cache line from each other for nothing.
        if self.used.load(Ordering::Relaxed) < now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// When a request used it last, in time since boot.
    pub fn used(&self) -> Duration {
        Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    /// The current generation, whether it is still usable or not.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.feed().current.clone()
    }

    /// How often upstreams refused this credential.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Where lies what each request reads.
    pub fn place(&self) -> Place {
        Place::of(&self.standing)
    }

    /// Where lies what answers are scanned for, if it has been made.
    pub fn place_of_patterns(&self) -> Option<Place> {
        self.standing.patterns.load().as_deref().map(Place::of)
    }

    /// Has the processor bring what the scan of an answer reads first.
    pub fn bring_patterns(&self) {
        if let Some(patterns) = self.standing.patterns.load().as_deref() {
            patterns.bring_index();
        }
    }

    /// What answers are scanned for; `None` before the first generation.
    pub fn patterns(&self) -> Option<Arc<Patterns>> {
        step();
        let made = self.standing.patterns.load();
        made.as_ref().map(Arc::clone).or_else(|| self.make_patterns())
    }

    #[cold]
    fn make_patterns(&self) -> Option<Arc<Patterns>> {
        loop {
            let values = self.feed().in_play.clone()?;
            // Meanwhile others may publish, or be as far with the same.
            let made = Arc::new(Patterns::new(&values));
            let feed = self.feed();
            if feed.in_play.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, &values)) {
                self.standing.patterns.store(Some(Arc::clone(&made)));
                return Some(made);
            }
        }
    }

    /// For the keeper: these are the values that must not reach an app.
    pub(in crate::credential) fn set_in_play(&self, values: Arc<[Secret]>) {
        let mut feed = self.feed();
        feed.in_play = Some(values);
        self.standing.patterns.store(None);
    }

    /// Whether a value is one of those that must not reach an app.
    #[cfg(test)]
    pub fn has_in_play(&self, value: &str) -> bool {
        let feed = self.feed();
        feed.in_play.iter().flat_map(|values| &**values).any(|known| known.expose() == value.as_bytes())
    }

    /// Adds a reader and feeds it with the current generation. If the reader cannot use that one,
    /// it stays empty and the keeper is told.
    pub fn register(self: &Arc<Self>, slot: &Arc<impl Publish + 'static>) {
        let mut feed = self.feed();
        if let Some(current) = &feed.current {
            match Arc::clone(slot).prepare(current) {
                Ok(publish) => publish(),
                Err(message) => self.poke(Poke::Unusable { shared: Arc::clone(self), message }),
            }
        }
        feed.slots.renew(Some(Arc::downgrade(slot) as _));
    }

    /// For the keeper: gives a generation to all readers, or to none if one cannot use it. The error
    /// says why, without the value.
    pub fn publish(&self, published: Published) -> Result<Arc<Published>, String> {
        let mut feed = self.feed();
        feed.slots.renew(None);
        let prepared =
            feed.slots.live().map(|slot| slot.prepare(&published)).collect::<Result<Vec<_>, _>>()?;
        let published = Arc::new(published);
        for publish in prepared {
            publish();
        }
        feed.current = Some(Arc::clone(&published));
        Ok(published)
    }

    /// For the keeper: takes the generation back from all readers.
    pub fn withdraw(&self) {
        let mut feed = self.feed();
        feed.current = None;
        feed.slots.live().for_each(|slot| slot.withdraw());
    }

    /// Whether every reader can use these values. The error says why not, without them.
    pub fn check(&self, outputs: &Outputs) -> Result<(), String> {
        let slots: Vec<_> = self.feed().slots.live().collect();
        slots.iter().try_for_each(|slot| slot.check(outputs))
    }

    /// For the keeper: replaces the status and wakes those who wait.
    pub fn set_status(&self, status: Status) {
        self.change_status(|latest| *latest = status);
    }

    /// For the keeper: a [`Poke::Expired`] was seen; the next one is welcome.
    pub fn expiry_seen(&self) {
        step();
        self.expiry_told.store(false, Ordering::Release);
    }

    /// For the keeper: the suspicion is answered, by a new generation that was published before, or
    /// by none. Wakes those who wait for it.
    pub fn clear_suspicion(&self) {
        step();
        if self.standing.suspected.swap(0, Ordering::AcqRel) != 0 {
            self.tell();
        }
    }

    /// For the keeper: this credential is kept no longer; nobody shall wait for a renewal.
    pub fn retire(&self) {
        step();
        self.standing.renewable.store(false, Ordering::Release);
        self.clear_suspicion();
        self.change_status(|status| {
            status.running = false;
            status.next_try = None;
        });
    }

    /// Whether a refusal can lead to a new token.
    pub fn is_renewable(&self) -> bool {
        step();
        self.standing.renewable.load(Ordering::Acquire)
    }

    /// The generation under suspicion; 0 for none.
    pub fn suspected(&self) -> u64 {
        step();
        self.standing.suspected.load(Ordering::Acquire)
    }

    /// Tells the keeper, once, that a request found the token expired.
    pub(in crate::credential) fn tell_expired(self: &Arc<Self>) {
        step();
        if !self.expiry_told.swap(true, Ordering::AcqRel) {
            self.poke(Poke::Expired { shared: Arc::clone(self) });
        }
    }

    /// Whether this refusal starts (or joins) a renewal.
    pub(in crate::credential) fn suspect(self: &Arc<Self>, generation: u64, clock: &Clock) -> bool {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        let mut floor = lock(&self.floor);
        if self.suspected() == generation {
            return true;
        }
        let now = clock.boot();
        if now < *floor {
            return false;
        }
        *floor = now + REFUSAL_FLOOR;
        let renewable = self.is_renewable();
        if renewable {
            step();
            self.standing.suspected.store(generation, Ordering::Release);
        }
        self.poke(Poke::Refused { shared: Arc::clone(self), generation });
        renewable
    }

    /// For the keeper: an exchange begins. If a refusal drives it, the time to the next one that a
    /// refusal may drive counts from here, not from the refusal.
    pub fn exchange_begins(&self, now: Moment) {
        if self.suspected() != 0 {
            *lock(&self.floor) = now.boot + REFUSAL_FLOOR;
        }
    }

    fn poke(&self, poke: Poke) {
        step();
        // A keeper that is gone leaves nothing to tell: the process is ending.
        let _ = self.pokes.send(poke);
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        lock(&self.feed)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("owner", &self.owner).finish_non_exhaustive()
    }
}
