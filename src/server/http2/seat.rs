//! Tasks that serve streams, one after the other. Streams come and go by the thousand a second: a task, its
//! memory and its watch for each of them would cost more than much of what they do.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::spawn_local;

use crate::proxy::watch::{Group, Phase, Sweeper, Watch};
use crate::server::http2::stream::Job;

/// Idle seats that a worker keeps.
const KEPT: usize = 512;

/// The idle seats of a worker.
#[derive(Default)]
pub(in crate::server) struct Seats(RefCell<Vec<Rc<Seat>>>);

/// Where one stream at a time is served.
pub(super) struct Seat {
    pub(super) watch: Rc<Watch>,
    task: RefCell<Waker>,
    next: Cell<Next>,
}

/// What a seat does next.
#[derive(Default)]
enum Next {
    #[default]
    Wait,
    Serve(Job),
    End,
}

impl Seats {
    /// A seat for one stream: an idle one, or a new one.
    pub(super) fn take(self: &Rc<Self>, sweeper: &Rc<Sweeper>) -> Rc<Seat> {
        let idle = self.0.borrow_mut().pop();
        if let Some(seat) = idle {
            seat.watch.enter(Phase::Busy, Duration::ZERO);
            return seat;
        }
        let seat = Rc::new(Seat {
            watch: sweeper.watch(Group::NONE, Phase::Busy, Duration::ZERO),
            task: RefCell::new(Waker::noop().clone()),
            next: Cell::default(),
        });
        // In a place of its own: the runtime moves what it is given several times.
        spawn_local(Box::pin(seat.clone().run(self.clone())));
        seat
    }

    /// Ends the seats that are idle now.
    pub(in crate::server) fn tidy(&self) {
        for seat in self.0.take() {
            seat.tell(Next::End);
        }
    }

    /// Keeps a seat that has become idle. False if there are enough.
    fn keep(&self, seat: &Rc<Seat>) -> bool {
        let mut idle = self.0.borrow_mut();
        let has_room = idle.len() < KEPT;
        if has_room {
            idle.push(seat.clone());
        }
        has_room
    }
}

impl Seat {
    /// Serves a stream here; the seat must have been taken for it.
    pub(super) fn serve(&self, job: Job) {
        self.tell(Next::Serve(job));
    }

    fn tell(&self, next: Next) {
        self.next.set(next);
        self.task.borrow().wake_by_ref();
    }

    /// The seat's task.
    async fn run(self: Rc<Self>, seats: Rc<Seats>) {
        while let Some(job) = poll_fn(|context| self.poll_next(context)).await {
            job.run().await;
            // What is idle has no deadline.
            self.watch.enter(Phase::Idle, Duration::ZERO);
            if !seats.keep(&self) {
                return;
            }
        }
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Job>> {
        match self.next.take() {
            Next::Serve(job) => Poll::Ready(Some(job)),
            Next::End => Poll::Ready(None),
            Next::Wait => {
                self.task.borrow_mut().clone_from(context.waker());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, yield_now};

    use super::Seats;
    use crate::proxy::watch::Sweeper;

    #[tokio::test]
    async fn an_idle_seat_is_taken_again_until_a_worker_tidies() {
        let (seats, sweeper) = (Rc::new(Seats::default()), Sweeper::new());
        let served = async {
            let first = seats.take(&sweeper);
            let second = seats.take(&sweeper);
            assert!(!Rc::ptr_eq(&first, &second), "one stream at a time");
            yield_now().await;
            assert!(seats.keep(&first));
            assert!(Rc::ptr_eq(&first, &seats.take(&sweeper)));
            assert!(seats.keep(&first));
            seats.tidy();
            yield_now().await;
            assert_eq!(Rc::strong_count(&first), 1, "its task has ended");
            assert_eq!(Rc::strong_count(&second), 2, "that of one in use has not");
        };
        LocalSet::new().run_until(served).await;
    }
}
