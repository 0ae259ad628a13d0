//! Requests that wait until a connection of HTTP/2 has room for them.
//!
//! ```text
//! wait ─▶ in the queue ─▶ a stream ended, a connection came, or takes more ─▶ the oldest go on
//!            └▶ as many connections are opened at once as those that wait need
//! ```
//!
//! Connections are opened beside the requests, so that one that goes on elsewhere, or is given up, takes nothing
//! from the others. Where somebody waits, a connection is being opened; and where there is room, nobody waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::upstream::connect::{ConnectError, Offer, Protocol};
use crate::upstream::http2::Place;
use crate::upstream::pool::opening::{Fresh, OpenError, left, within};
use crate::upstream::pool::{Pool, Ready, Uses};

/// So much longer does a request wait than its limit says: whoever opens its connection is to tell first what
/// took so long.
const GRACE: Duration = Duration::from_millis(10);

/// Who waits, and what is done about it.
#[derive(Default)]
pub(super) struct Queue {
    /// The oldest first.
    waiting: RefCell<VecDeque<Waiter>>,
    /// How many have ever waited.
    numbers: Cell<u64>,
    /// Connections that are being opened.
    underway: Cell<usize>,
    /// How many streams the upstream said last that it takes on a connection.
    width: Cell<Option<usize>>,
    /// Nobody waits any more.
    deserted: Notify,
}

struct Waiter {
    number: u64,
    told: oneshot::Sender<Outcome>,
    user: Arc<dyn Uses>,
    /// How long it waits, and since when.
    limit: Duration,
    since: Instant,
}

/// What comes of waiting.
enum Outcome {
    Ready(Ready),
    /// Nothing is shared: the upstream speaks HTTP/1.1.
    Own,
    Failed(OpenError),
}

/// A request in the queue, until it is dropped.
struct Turn<'a> {
    queue: &'a Queue,
    number: u64,
}

/// A connection that is being opened.
struct Underway(Rc<Pool>);

impl Waiter {
    /// When its time is over, if ever.
    fn until(&self) -> Option<Instant> {
        if self.limit.is_zero() { None } else { self.since.checked_add(self.limit) }
    }

    fn tell(self, outcome: Outcome) {
        // Nobody is in the queue who does not listen.
        let _ = self.told.send(outcome);
    }
}

impl Pool {
    /// Waits, up to `limit`, until a connection has room for another request; zero is no limit. Nothing comes of it
    /// where the upstream speaks HTTP/1.1: then everybody opens one for himself.
    pub async fn wait(
        self: &Rc<Self>,
        user: Arc<dyn Uses>,
        limit: Duration,
    ) -> Option<Result<Ready, OpenError>> {
        if self.protocol.get() == Some(Protocol::Http1) {
            return None;
        }
        let (told, outcome) = oneshot::channel();
        let (number, since) = (self.queue.numbers.get(), Clock::instant());
        self.queue.numbers.set(number + 1);
        self.queue.waiting.borrow_mut().push_back(Waiter { number, told, user, limit, since });
        let _turn = Turn { queue: &self.queue, number };
        self.serve();
        self.open_what_is_needed();
        let patience = if limit.is_zero() { limit } else { limit.saturating_add(GRACE) };
        let stage = match within(patience, outcome).await {
            Ok(Ok(Outcome::Ready(ready))) => return Some(Ok(ready)),
            Ok(Ok(Outcome::Own)) => return None,
            Ok(Ok(Outcome::Failed(error))) => return Some(Err(error)),
            Ok(Err(_)) => "the end of bearerd",
            Err(_) => "a connection with room for another stream",
        };
        Some(Err(OpenError::Connect(ConnectError::Timeout { origin: self.origin.clone(), limit, stage })))
    }

    /// Lets those on that wait, the oldest first, for as long as there is room.
    pub(in crate::upstream) fn serve(&self) {
        while !self.queue.waiting.borrow().is_empty() {
            let Some(connection) = self.shared(Clock::instant()) else { return };
            self.queue.tell_oldest(Outcome::Ready(Ready::Http2(Place::take(&connection))));
        }
    }

    /// A connection takes so many streams from now on.
    pub(in crate::upstream) fn widened(self: &Rc<Self>, streams: usize) {
        self.queue.width.set(Some(streams.max(1)));
        self.serve();
        self.open_what_is_needed();
    }

    /// Opens as many connections at once as those that wait need by what is known of the upstream, and one
    /// where nothing is known yet.
    fn open_what_is_needed(self: &Rc<Self>) {
        let (waiting, underway) = (self.queue.waiting.borrow(), self.queue.underway.get());
        let needed =
            self.queue.width.get().map_or(waiting.len().min(1), |width| waiting.len().div_ceil(width));
        if needed <= underway {
            return;
        }
        // By whoever has the most time left: no other has to try once more.
        let most_patient = waiting.iter().max_by_key(|waiter| (waiter.limit.is_zero(), waiter.until()));
        let Some(waiter) = most_patient else { return };
        let limit = left(waiter.limit, waiter.since, Clock::instant());
        for _ in underway..needed {
            spawn_local(Box::pin(Underway::new(self).run(waiter.user.clone(), limit)));
        }
    }

    /// Tells those for whom a connection was to be opened why there is none. Where only the time was over, those
    /// that have some left wait on.
    fn tell_failure(&self, error: &OpenError) {
        let (queue, now) = (&self.queue, Clock::instant());
        if error.is_timeout() {
            let is_over = |waiter: &Waiter| waiter.until().is_some_and(|until| until <= now);
            let (over, rest): (VecDeque<_>, VecDeque<_>) =
                queue.waiting.take().into_iter().partition(is_over);
            queue.waiting.replace(rest);
            for waiter in over {
                waiter.tell(Outcome::Failed(error.clone()));
            }
            return;
        }
        for _ in 0..queue.width.get().unwrap_or(usize::MAX) {
            if !queue.tell_oldest(Outcome::Failed(error.clone())) {
                return;
            }
        }
    }
}

impl Queue {
    /// Tells the oldest, if anybody waits.
    fn tell_oldest(&self, outcome: Outcome) -> bool {
        let oldest = self.waiting.borrow_mut().pop_front();
        let is_there = oldest.is_some();
        if let Some(waiter) = oldest {
            waiter.tell(outcome);
        }
        is_there
    }
}

impl Underway {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.queue.underway.set(pool.queue.underway.get() + 1);
        Self(pool.clone())
    }

    /// Opens the connection, and tells those who wait what came of it.
    async fn run(self, user: Arc<dyn Uses>, limit: Duration) {
        let pool = &self.0;
        let fresh = tokio::select! {
            biased;
            fresh = pool.fresh(user, Offer::FORWARDING, limit) => fresh,
            // What has a limit goes on, for those that come next.
            () = pool.queue.deserted.notified(), if limit.is_zero() => return,
        };
        match fresh {
            Ok(Fresh::Http2(connection)) => pool.share(connection),
            Ok(Fresh::Http1(link)) => {
                pool.queue.tell_oldest(Outcome::Ready(Ready::Http1(link)));
                while pool.queue.tell_oldest(Outcome::Own) {}
            }
            Err(error) => pool.tell_failure(&error),
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let pool = &self.0;
        pool.queue.underway.set(pool.queue.underway.get() - 1);
        pool.open_what_is_needed();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.borrow_mut();
        if let Ok(at) = waiting.binary_search_by_key(&self.number, |waiter| waiter.number) {
            waiting.remove(at);
            if waiting.is_empty() {
                self.queue.deserted.notify_waiters();
            }
        }
    }
}
