//! Time limits without a timer for each request.
//!
//! Each connection has one [`Watch`], whose deadline is moved by storing a number. A [`Sweeper`] for
//! each worker looks at all watches every [`TICK`] and wakes the connections whose time is over, so
//! that a limit bites at most two ticks late and costs a request nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;

/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(100);

/// What a connection is doing: who is to blame when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests.
    Idle,
    /// A request head has begun and is not whole yet.
    Head,
    /// A request waits for something that has a limit of its own: a token, a connection.
    Busy,
    /// The upstream waits for the app's request body.
    RequestBody,
    /// The app's request body waits for the upstream to take more.
    Upload,
    /// The request was sent whole; the upstream has not answered yet.
    Answer,
    /// The answer streams.
    Streaming,
    /// Another protocol is spoken.
    Tunnel,
    /// The connection is being closed; what the app still sends is read and dropped.
    Lingering,
}

/// Which connections are asked to end together: those of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(pub usize);

impl Group {
    /// That of no listener, for what serves the connections of all of them: it is not asked to end.
    pub const NONE: Self = Self(0);
}

/// The time limit of one connection.
#[derive(Debug)]
pub struct Watch {
    sweeper: Rc<Sweeper>,
    group: Group,
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    passed: Cell<bool>,
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Phase);

impl Watch {
    /// What the connection is doing.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase that may take `limit`; zero is for ever.
    pub fn enter(&self, phase: Phase, limit: Duration) {
        self.phase.set(phase);
        self.passed.set(false);
        self.deadline.set((!limit.is_zero()).then(|| self.sweeper.now.get() + limit + TICK));
    }

    /// Whether the time is over. The task that asks is woken when it is.
    pub fn poll_passed(&self, context: &mut Context<'_>) -> Poll<Elapsed> {
        if self.passed.get() {
            return Poll::Ready(Elapsed(self.phase.get()));
        }
        self.wake_later(context);
        Poll::Pending
    }

    /// Remembers the connection's task.
    pub fn wake_later(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(known) => known.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Runs `future` until the deadline, which whatever makes progress may move meanwhile.
    pub async fn guard<F: Future>(&self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_passed(context).map(Err),
        })
        .await
    }

    /// Whether the connection is asked to end after the request in flight.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Asks the connection to end after the request in flight.
    pub fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// Which connections end together with this one.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The worker's time, read when something last happened; good enough for limits.
    pub fn sweeper(&self) -> &Rc<Sweeper> {
        &self.sweeper
    }
}

/// Looks at the deadlines of all connections of a worker.
#[derive(Debug)]
pub struct Sweeper {
    now: Cell<Instant>,
    watches: RefCell<Vec<Weak<Watch>>>,
    draining: Cell<bool>,
    /// Told when the first connection comes: without any there is nothing to look at.
    work: Notify,
}

impl Sweeper {
    /// A sweeper for one worker; [`Self::run`] drives it.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(Clock::instant()),
            watches: RefCell::default(),
            draining: Cell::new(false),
            work: Notify::new(),
        })
    }

    /// A watch for a new connection.
    pub fn watch(self: &Rc<Self>, group: Group, phase: Phase, limit: Duration) -> Rc<Watch> {
        self.read_clock();
        let watch = Rc::new(Watch {
            sweeper: self.clone(),
            group,
            phase: Cell::new(phase),
            deadline: Cell::new(None),
            passed: Cell::new(false),
            draining: Cell::new(self.draining.get()),
            waker: RefCell::new(None),
        });
        watch.enter(phase, limit);
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        self.work.notify_one();
        watch
    }

    /// Reads the clock for all deadlines that are set from now on.
    pub fn read_clock(&self) -> Instant {
        let now = Clock::instant();
        self.now.set(now);
        now
    }

    /// The time that was read last.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Whether all connections are asked to end.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Asks all connections, also later ones, to end after the request in flight.
    pub fn drain(&self) {
        self.draining.set(true);
        for watch in self.watches.borrow().iter().filter_map(Weak::upgrade) {
            watch.drain();
        }
    }

    /// Asks the connections of a group that there are now to end after the request in flight.
    pub fn drain_group(&self, group: Group) {
        for watch in self.watches.borrow().iter().filter_map(Weak::upgrade) {
            if watch.group == group {
                watch.drain();
            }
        }
    }

    /// Wakes connections whose time is over, for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            if self.watches.borrow().is_empty() {
                self.work.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        let now = self.read_clock();
        self.watches.borrow_mut().retain(|watch| {
            let Some(watch) = watch.upgrade() else { return false };
            if watch.deadline.get().is_some_and(|deadline| deadline <= now) {
                watch.deadline.set(None);
                watch.passed.set(true);
                watch.wake();
            }
            true
        });
    }
}
