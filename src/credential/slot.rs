//! Where requests read a credential, and where they wait for it.
//!
//! A [`Slot`] is one route's view of one credential: the current generation, prepared for that route
//! (`T` is its header values). Reading is one atomic load; nothing is copied or locked. The keeper
//! publishes into all slots of a credential first and tells the watchers after, so that whoever saw
//! the news also sees the token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};

use crate::clock::{Clock, Moment};
use crate::credential::shared::{Published, Shared};
use crate::credential::step::step;
use crate::credential::{Outputs, Owner, State, Status};
use crate::guard::Patterns;
use crate::memory::ahead::{self, Place};

/// One published generation, prepared for one reader. What each request reads of it stands side by side: `until`
/// says in its last bytes whether there is an end at all.
#[derive(Debug)]
#[repr(C)]
pub struct Current<T> {
    /// Up to when it may be put on requests; `None` if it does not end.
    pub until: Option<Moment>,
    /// Goes up with each renewal; the first is 1.
    pub generation: u64,
    /// What the reader made of it.
    pub value: T,
}

/// Why there is no token for a request.
#[derive(Debug, Clone)]
pub struct Unavailable {
    /// The state of the credential; if it waits for one that calls for a human (`rejected`,
    /// `login_required`), that one's.
    pub state: State,
    /// The time to the next try.
    pub retry_after: Option<Duration>,
    /// Whether it is being obtained now.
    pub running: bool,
    /// What went wrong last, for the log.
    pub last_error: Option<String>,
}

/// What became of a refusal.
#[derive(Debug)]
pub enum AfterRefusal<T> {
    /// There is a newer generation: send the request once more.
    Renewed(Arc<Current<T>>),
    /// There is none: the upstream's answer stands.
    Stands,
}

/// What a reader makes of each generation; an error says why it cannot be used, without the value.
pub type Prepare<T> = Arc<dyn Fn(&Outputs) -> Result<T, String> + Send + Sync>;

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
    fn prepare(self: Arc<Self>, published: &Published) -> Result<Box<dyn FnOnce() + Send>, String>;

    /// Whether the values could be used, as [`Self::prepare`] would say.
    fn check(&self, outputs: &Outputs) -> Result<(), String>;

    /// There is no generation any more.
    fn withdraw(&self);
}

impl<T> Current<T> {
    fn is_usable(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| !until.left(now).is_zero())
    }
}

impl<T: Send + Sync + 'static> Publish for Slot<T> {
    fn prepare(self: Arc<Self>, published: &Published) -> Result<Box<dyn FnOnce() + Send>, String> {
        let current = Arc::new(Current {
            generation: published.generation,
            until: published.expiry.usable_until(),
            value: (self.prepare)(&published.outputs)?,
        });
        Ok(Box::new(move || self.store(Some(current))))
    }

    fn check(&self, outputs: &Outputs) -> Result<(), String> {
        (self.prepare)(outputs).map(drop)
    }

    fn withdraw(&self) {
        self.store(None);
    }
}

impl<T> Slot<T> {
    /// A slot without a token. [`crate::credential::keeper::Keeper::slot`] makes one that is fed.
    pub fn new(shared: Arc<Shared>, prepare: Prepare<T>) -> Self {
        Self { shared, current: ArcSwapOption::empty(), prepare }
    }

    /// Whose token it reads.
    pub fn owner(&self) -> &Owner {
        self.shared.owner()
    }

    /// What the answers to its requests are scanned for; `None` before the first generation.
    pub fn patterns(&self) -> Option<Arc<Patterns>> {
        self.shared.patterns()
    }

    /// Whether a value must not reach an app.
    #[cfg(test)]
    pub fn has_in_play(&self, value: &str) -> bool {
        self.shared.has_in_play(value)
    }

    /// Has the processor bring what [`Self::bring_current`] reads.
    pub fn bring(&self) {
        ahead::bring(self);
    }

    /// Has the processor bring what [`Self::current`] reads.
    pub fn bring_current(&self) {
        self.shared.place().bring();
        if let Some(current) = &*self.current.load() {
            ahead::bring(&**current);
        }
    }

    /// Where lies what [`Self::bring_patterns`] reads.
    pub fn places(&self) -> [Place; 3] {
        let standing = self.shared.place();
        [Place::of(self), standing, self.shared.place_of_patterns().unwrap_or(standing)]
    }

    /// Has the processor bring what the scan of an answer reads first.
    pub fn bring_patterns(&self) {
        self.shared.bring_patterns();
    }

    /// The newest generation, whether it may be used or not.
    pub fn newest(&self) -> Guard<Option<Arc<Current<T>>>> {
        self.current.load()
    }

    /// Notes that a request uses it: its owner does not fall asleep for a while.
    pub fn touch(&self, now: Moment) {
        self.shared.touch(now);
    }

    /// Whether a refusal can lead to another token at all: without, no request is held for a replay.
    pub fn is_renewable(&self) -> bool {
        self.shared.is_renewable()
    }

    fn load(&self) -> Guard<Option<Arc<Current<T>>>> {
        step();
        self.current.load()
    }

    fn store(&self, current: Option<Arc<Current<T>>>) {
        step();
        self.current.store(current);
    }

    /// The token to put on a request now: not expired and not under suspicion. On `None`, see
    /// [`Self::wait`].
    pub fn current(&self, now: Moment) -> Option<Guard<Option<Arc<Current<T>>>>> {
        let guard = self.load();
        let usable = guard
            .as_ref()
            .is_some_and(|current| current.is_usable(now) && self.shared.suspected() != current.generation);
        usable.then_some(guard)
    }

    /// Waits up to `limit` for a token, as long as an exchange runs or is due within that time. A
    /// token under suspicion is used all the same when the time is over.
    pub async fn wait(&self, clock: &Clock, limit: Duration) -> Result<Arc<Current<T>>, Unavailable> {
        let deadline = Clock::instant() + limit;
        loop {
            let changed = self.shared.changed();
            let (own, state, running, next_try) = self.shared.read_status(|status| {
                let blocker = status.waits_for.as_ref().map(|waits| waits.1);
                let blocker = blocker.filter(|state| matches!(state, State::Rejected | State::LoginRequired));
                (status.state, blocker.unwrap_or(status.state), status.running, status.next_try)
            });
            let now = clock.now();
            let left = deadline.saturating_duration_since(Clock::instant());
            let newest = Guard::into_inner(self.load());
            let usable = newest.as_ref().filter(|current| current.is_usable(now));
            if let Some(current) = usable
                && (current.generation != self.shared.suspected() || left.is_zero())
            {
                return Ok(Arc::clone(current));
            }
            // A token that has ended while the status calls it valid: a clock was stepped, or its end
            // is this moment. The keeper looks and says what is true.
            let unnoticed = usable.is_none()
                && newest.is_some()
                && matches!(own, State::Ready | State::Renewing | State::Failing);
            if unnoticed {
                self.shared.tell_expired();
            }
            let retry_after = next_try.map(|at| at.saturating_sub(now.boot));
            let worth_while =
                running || usable.is_some() || unnoticed || retry_after.is_some_and(|pause| pause <= left);
            if left.is_zero() || !worth_while {
                let last_error =
                    |status: &Status| status.last_error.as_ref().map(|last| last.message.clone());
                let last_error = self.shared.read_status(last_error);
                return Err(Unavailable { state, retry_after, running, last_error });
            }
            // When the time is over, the next turn says so.
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }

    /// Tells that the upstream refused `generation` and waits up to `limit` for the next one. All
    /// refused requests share one renewal.
    pub async fn refused(&self, generation: u64, clock: &Clock, limit: Duration) -> AfterRefusal<T> {
        let newer = || {
            let current = Guard::into_inner(self.load())?;
            (current.generation > generation && current.is_usable(clock.now())).then_some(current)
        };
        let mut changed = self.shared.changed();
        if let Some(current) = newer() {
            return AfterRefusal::Renewed(current);
        }
        if !self.shared.suspect(generation, clock) {
            return newer().map_or(AfterRefusal::Stands, AfterRefusal::Renewed);
        }
        let deadline = Clock::instant() + limit;
        loop {
            let waited = tokio::time::timeout_at(deadline, changed).await;
            changed = self.shared.changed();
            // Before the token is looked for: a new one is published first, and answers the suspicion after.
            let is_over = waited.is_err() || self.shared.suspected() != generation;
            if let Some(current) = newer() {
                return AfterRefusal::Renewed(current);
            }
            if is_over {
                return AfterRefusal::Stands;
            }
        }
    }
}

#[cfg(test)]
mod tests;
