//! Room for connections. Whoever holds many of them open and says nothing must not keep a probe of `/live`
//! out: a container would be restarted for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::telemetry::Counter;

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// The oldest first.
    taken: Mutex<Vec<Arc<State>>>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct State {
    /// It has sent a whole request.
    has_asked: AtomicBool,
    /// Requests that are not answered.
    open: AtomicUsize,
    evicted: Notify,
}

/// The room of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    state: Arc<State>,
}

/// A request is not answered as long as this is there.
#[derive(Debug)]
pub(super) struct Busy(Arc<State>);

impl Seats {
    /// Nobody is there.
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Room for a new connection. If there are `most`, the oldest of those goes that have asked nothing yet, else
    /// of those that wait for no answer, else of all; it is counted.
    pub(super) fn take(self: &Arc<Self>, most: usize, evictions: &Counter) -> Seat {
        let state = Arc::new(State::default());
        let mut taken = self.taken();
        while taken.len() >= most.max(1) {
            let is_silent = |state: &Arc<State>| !state.has_asked.load(Ordering::Relaxed);
            let is_idle = |state: &Arc<State>| state.open.load(Ordering::Relaxed) == 0;
            let least = taken.iter().position(is_silent).or_else(|| taken.iter().position(is_idle));
            taken.remove(least.unwrap_or(0)).evicted.notify_one();
            evictions.increment();
        }
        taken.push(Arc::clone(&state));
        Seat { seats: Arc::clone(self), state }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A request has come.
    pub(super) fn serve(&self) -> Busy {
        self.state.has_asked.store(true, Ordering::Relaxed);
        self.state.open.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.state))
    }

    /// Done when the connection has to go.
    pub(super) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().retain(|other| !Arc::ptr_eq(other, &self.state));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::{Seat, Seats};
    use crate::telemetry::Counter;

    #[test]
    fn who_says_nothing_makes_room_for_who_comes() {
        let (seats, evictions) = (Seats::new(), Counter::default());
        let asks = seats.take(3, &evictions);
        let busy = asks.serve();
        let idle = seats.take(3, &evictions);
        drop(idle.serve());
        let silent = seats.take(3, &evictions);
        assert_eq!(evictions.get(), 0);
        let gone =
            |seat: &Seat| pin!(seat.evicted()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let fourth = seats.take(3, &evictions);
        assert!(gone(&silent) && !gone(&idle) && !gone(&asks));
        drop(fourth.serve());
        let fifth = seats.take(3, &evictions);
        assert!(gone(&idle) && !gone(&asks) && !gone(&fourth));
        drop((busy, fifth));
        let _sixth = seats.take(3, &evictions);
        assert!(!gone(&fourth), "one had left");
        assert_eq!(evictions.get(), 2);
    }
}
