//! Where requests read a credential, and where they wait for it.
//!
//! A [`Slot`] is one route's view of one credential: the current generation, prepared for that route
//! (`T` is its header values). Reading is one atomic load; nothing is copied or locked. The keeper
//! publishes into all slots of a credential first and tells the watchers after, so that whoever saw
//! the news also sees the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, Moment};
use crate::credential::{CredentialName, Expiry, Minted, State};

/// At most one renewal driven by refusals in this time, per credential.
pub const REFUSAL_FLOOR: Duration = Duration::from_secs(10);

/// One published generation, prepared for one reader.
#[derive(Debug)]
pub struct Current<T> {
    /// Goes up with each renewal; the first is 1.
    pub generation: u64,
    /// When it ends.
    pub expiry: Expiry,
    /// What the reader made of it.
    pub value: T,
}

/// What the keeper knows of a credential: the source of `status`, the metrics and the decision
/// whether waiting is worth while.
#[derive(Debug, Clone)]
pub struct Status {
    /// The credential.
    pub name: CredentialName,
    /// Its flow, as configured.
    pub flow: &'static str,
    /// Its state.
    pub state: State,
    /// The current generation; 0 before the first token.
    pub generation: u64,
    /// When the current token was received.
    pub obtained_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When its renewal is planned.
    pub renew_at: Option<Timestamp>,
    /// What went wrong last; forgotten by the next success.
    pub last_error: Option<LastError>,
    /// Warnings about the current token or its inputs.
    pub warnings: Vec<String>,
    /// Whether an exchange (its own or that of an input) runs now.
    pub running: bool,
    /// When the next exchange is due, in time since boot.
    pub next_try: Option<Duration>,
    /// Whether readiness does without it.
    pub optional: bool,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// How it is dealt with.
    pub class: ErrorClass,
    /// What happened, for the person at 3 a.m.; no values.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// How a failure is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may mend itself: tried again.
    Transient,
    /// The input is wrong: not tried again before it changes.
    Rejected,
    /// An answer was lost that may have used up a single-use input.
    Ambiguous,
    /// An upstream refused the token, and it cannot renew itself.
    Refused,
}

impl ErrorClass {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Rejected => "rejected",
            Self::Ambiguous => "ambiguous",
            Self::Refused => "refused",
        }
    }
}

/// What requests tell the keeper.
#[derive(Debug)]
pub enum Poke {
    /// The upstream refused this generation.
    Refused {
        /// The credential.
        name: CredentialName,
        /// The generation that was sent.
        generation: u64,
    },
    /// A request found the token expired: the timers are to be looked at now.
    Expired {
        /// The credential.
        name: CredentialName,
    },
}

/// Why there is no token for a request.
#[derive(Debug, Clone)]
pub struct Unavailable {
    /// The state that the credential is in.
    pub state: State,
    /// The time to the next try.
    pub retry_after: Option<Duration>,
}

/// What became of a refusal.
#[derive(Debug)]
pub enum AfterRefusal<T> {
    /// There is a newer generation: send the request once more.
    Renewed(Arc<Current<T>>),
    /// There is none: the upstream's answer stands.
    Stands,
}

/// What all slots of one credential share with its keeper.
#[derive(Debug)]
pub struct Shared {
    name: CredentialName,
    /// Whether a refusal can lead to a new token at all (a static token cannot renew itself).
    renewable: bool,
    status: watch::Sender<Status>,
    pokes: mpsc::UnboundedSender<Poke>,
    /// The generation under suspicion while its renewal is due or runs; 0 for none.
    suspected: AtomicU64,
    /// No refusal starts a renewal before this time since boot, in milliseconds.
    floor: AtomicU64,
    /// An [`Poke::Expired`] is on its way.
    expiry_told: AtomicBool,
}

impl Shared {
    /// The shared half of a new credential.
    pub fn new(renewable: bool, status: Status, pokes: mpsc::UnboundedSender<Poke>) -> Self {
        Self {
            name: status.name.clone(),
            renewable,
            status: watch::Sender::new(status),
            pokes,
            suspected: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            expiry_told: AtomicBool::new(false),
        }
    }

    /// The latest status.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// A receiver of every later status.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// For the keeper: replaces the status and wakes those who wait.
    pub fn set_status(&self, status: Status) {
        self.expiry_told.store(false, Ordering::Release);
        self.status.send_replace(status);
    }

    /// For the keeper: the suspicion is answered, by a new generation or by none. Call it after
    /// publishing and before [`Self::set_status`].
    pub fn clear_suspicion(&self) {
        self.suspected.store(0, Ordering::Release);
    }

    /// The generation under suspicion; 0 for none.
    pub fn suspected(&self) -> u64 {
        self.suspected.load(Ordering::Acquire)
    }

    fn tell_expired(&self) {
        if !self.expiry_told.swap(true, Ordering::AcqRel) {
            // A keeper that is gone leaves nothing to tell: the process is ending.
            let _ = self.pokes.send(Poke::Expired { name: self.name.clone() });
        }
    }

    /// Whether this refusal starts (or joins) a renewal.
    fn suspect(&self, generation: u64, clock: &Clock) -> bool {
        let poke = || {
            let _ = self.pokes.send(Poke::Refused { name: self.name.clone(), generation });
        };
        if self.suspected() == generation {
            return true;
        }
        let now = u64::try_from(clock.boot().as_millis()).unwrap_or(u64::MAX);
        let next = now.saturating_add(u64::try_from(REFUSAL_FLOOR.as_millis()).unwrap_or(u64::MAX));
        let floor = self.floor.load(Ordering::Acquire);
        if now < floor
            || self.floor.compare_exchange(floor, next, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return self.suspected() == generation;
        }
        if self.renewable {
            self.suspected.store(generation, Ordering::Release);
        }
        poke();
        self.renewable
    }
}

/// What a reader makes of each generation; an error says why it cannot be used, without the value.
pub type Prepare<T> = Box<dyn Fn(&Minted) -> Result<T, String> + Send + Sync>;

/// One reader's view of a credential.
pub struct Slot<T> {
    shared: Arc<Shared>,
    current: ArcSwapOption<Current<T>>,
    prepare: Prepare<T>,
}

/// What the keeper sees of a slot.
pub trait Publish: Send + Sync {
    /// Prepares a generation; running what is returned publishes it. An error says why the value
    /// cannot be used (a line break in a token), without the value.
    fn prepare(
        self: Arc<Self>,
        generation: u64,
        expiry: Expiry,
        minted: &Minted,
    ) -> Result<Box<dyn FnOnce() + Send>, String>;

    /// Takes the current generation away (logged out, revoked).
    fn withdraw(&self);
}

impl<T: Send + Sync + 'static> Publish for Slot<T> {
    fn prepare(
        self: Arc<Self>,
        generation: u64,
        expiry: Expiry,
        minted: &Minted,
    ) -> Result<Box<dyn FnOnce() + Send>, String> {
        let value = (self.prepare)(minted)?;
        Ok(Box::new(move || self.current.store(Some(Arc::new(Current { generation, expiry, value })))))
    }

    fn withdraw(&self) {
        self.current.store(None);
    }
}

impl<T> Slot<T> {
    /// A slot without a token. [`crate::credential::keeper::Keeper::slot`] makes one that is fed.
    pub fn new(shared: Arc<Shared>, prepare: Prepare<T>) -> Self {
        Self { shared, current: ArcSwapOption::empty(), prepare }
    }

    /// The credential that it reads.
    pub fn name(&self) -> &CredentialName {
        &self.shared.name
    }

    /// The token to put on a request now: not expired and not under suspicion. On `None`, see
    /// [`Self::wait`].
    pub fn current(&self, now: Moment) -> Option<Guard<Option<Arc<Current<T>>>>> {
        let guard = self.current.load();
        let usable = guard.as_ref().is_some_and(|current| {
            current.expiry.is_usable(now)
                && self.shared.suspected.load(Ordering::Acquire) != current.generation
        });
        usable.then_some(guard)
    }

    /// Waits up to `limit` for a token, as long as an exchange runs or is due within that time. A
    /// token under suspicion is used all the same when the time is over.
    pub async fn wait(&self, clock: &Clock, limit: Duration) -> Result<Arc<Current<T>>, Unavailable> {
        let mut watch = self.shared.watch();
        let deadline = Clock::instant() + limit;
        loop {
            let status = watch.borrow_and_update().clone();
            let now = clock.now();
            let current = self.current.load_full().filter(|current| current.expiry.is_usable(now));
            let suspected = self.shared.suspected();
            let left = deadline.saturating_duration_since(Clock::instant());
            let current = match current {
                Some(current) if suspected != current.generation || left.is_zero() => return Ok(current),
                other => other,
            };
            let stale = matches!(status.state, State::Ready | State::Renewing | State::Failing);
            if current.is_none() && stale {
                // The keeper does not know yet that the end has passed: a clock was stepped.
                self.shared.tell_expired();
            }
            let retry_after = status.next_try.map(|at| at.saturating_sub(now.boot));
            let worth_while = status.running
                || current.is_some()
                || stale
                || retry_after.is_some_and(|pause| pause <= left);
            if left.is_zero() || !worth_while {
                return Err(Unavailable { state: status.state, retry_after });
            }
            // An error here means that the time is over or the keeper gone: the next turn tells.
            let changed = tokio::time::timeout_at(deadline, watch.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return Err(Unavailable { state: status.state, retry_after });
            }
        }
    }

    /// Tells that the upstream refused `generation` and waits up to `limit` for the next one. All
    /// refused requests share one renewal.
    pub async fn refused(&self, generation: u64, clock: &Clock, limit: Duration) -> AfterRefusal<T> {
        let newer = || {
            let current = self.current.load_full()?;
            (current.generation > generation && current.expiry.is_usable(clock.now())).then_some(current)
        };
        let mut watch = self.shared.watch();
        if let Some(current) = newer() {
            return AfterRefusal::Renewed(current);
        }
        if !self.shared.suspect(generation, clock) {
            return newer().map_or(AfterRefusal::Stands, AfterRefusal::Renewed);
        }
        let deadline = Clock::instant() + limit;
        loop {
            let changed = tokio::time::timeout_at(deadline, watch.changed()).await;
            if let Some(current) = newer() {
                return AfterRefusal::Renewed(current);
            }
            if !matches!(changed, Ok(Ok(()))) || self.shared.suspected() != generation {
                return AfterRefusal::Stands;
            }
        }
    }
}
