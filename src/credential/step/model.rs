//! Every order in which threads can take their steps, one after the other.
//!
//! The threads are real, and so is what they run, but only one of them moves at a time: at each
//! [`step`](super::step) it may go on, or another one that can. [`explore`] runs a scene again and again until
//! every such choice was made, but for those with more than so many changes of a thread that could have gone on:
//! what goes wrong between threads nearly always does so with two (Musuvathi and Qadeer, "Iterative context
//! bounding", PLDI 2007). No thread waits for a time: where all wait and nobody will wake them, they are stuck,
//! and that is told.
//!
//! What one thread wrote before the next one moves, that one sees: which orders of memory a processor allows
//! besides is not looked at.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// How many times threads are stopped in one run that could go on, if a test has no reason for another number.
pub(in crate::credential) const CHANGES: usize = 2;

/// What one thread of a scene does.
pub(in crate::credential) type Part = Box<dyn FnOnce() + Send>;

/// What takes part in a scene.
pub(in crate::credential) struct Scene {
    /// They are to come to their ends.
    pub(in crate::credential) parts: Vec<Part>,
    /// Serves them, and is over with them.
    pub(in crate::credential) server: Part,
    /// What holds when all are over.
    pub(in crate::credential) afterwards: Part,
}

/// One choice among threads: how many there were, and which was taken.
#[derive(Debug, Clone, Copy)]
struct Choice {
    count: usize,
    taken: usize,
}

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It can take a step.
    Ready,
    /// It waits to be woken.
    Waiting,
    /// It waits for what another one holds.
    Held,
    Over,
}

#[derive(Debug)]
struct State {
    standings: Vec<Standing>,
    /// Who was woken, and has not yet looked why.
    woken: Vec<bool>,
    turn: usize,
    choices: Vec<Choice>,
    /// How many choices were made in this run.
    made: usize,
    /// How many more times a thread may be stopped that could go on.
    changes: usize,
}

/// The threads of one run. The last one is the server.
struct Table {
    state: Mutex<State>,
    turned: Condvar,
}

/// One thread's place at the table.
#[derive(Clone)]
struct Seat {
    table: Arc<Table>,
    number: usize,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

fn seat() -> Option<Seat> {
    SEAT.with_borrow(Clone::clone)
}

/// A step of this thread ends, if it takes part in a scene.
pub(in crate::credential) fn step() {
    if let Some(seat) = seat() {
        drop(seat.give(Standing::Ready));
    }
}

/// A step of this thread ends, and the next one begins when `is_free` says so.
pub(in crate::credential) fn wait_until(is_free: impl Fn() -> bool) {
    let Some(seat) = seat() else { return };
    drop(seat.give(Standing::Ready));
    while !is_free() {
        drop(seat.give(Standing::Held));
    }
}

/// Runs a future to its end; `None` if nobody will wake it.
pub(in crate::credential) fn block_on<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    drive(|context| future.as_mut().poll(context))
}

/// Polls until something comes of it; `None` if nobody will wake it.
pub(in crate::credential) fn drive<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let seat = seat().expect("a part of a scene");
    let waker = Waker::from(Arc::new(seat.clone()));
    loop {
        drop(seat.give(Standing::Ready));
        if let Poll::Ready(output) = poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if !seat.sleep() {
            return None;
        }
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        let mut state = self.table.lock();
        state.woken[self.number] = true;
        if state.standings[self.number] == Standing::Waiting {
            state.standings[self.number] = Standing::Ready;
        }
    }
}

impl Seat {
    /// Lets the next one move, and returns when it is this one's turn again.
    fn give(&self, standing: Standing) -> MutexGuard<'_, State> {
        let mut state = self.table.lock();
        state.standings[self.number] = standing;
        self.table.pass(&mut state, self.number);
        self.resume(state)
    }

    /// Waits to be woken; false if nobody will.
    fn sleep(&self) -> bool {
        let mut state = self.table.lock();
        if !state.woken[self.number] {
            drop(state);
            state = self.give(Standing::Waiting);
        }
        std::mem::take(&mut state.woken[self.number])
    }

    fn resume<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.turn != self.number {
            state = self.table.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Takes part in the scene, and leaves it.
    fn take(self, part: Part) -> std::thread::Result<()> {
        SEAT.set(Some(self.clone()));
        drop(self.resume(self.table.lock()));
        let outcome = catch_unwind(AssertUnwindSafe(part));
        SEAT.set(None);
        let mut state = self.table.lock();
        state.standings[self.number] = Standing::Over;
        self.table.pass(&mut state, self.number);
        outcome
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses whose turn it is.
    fn pass(&self, state: &mut State, from: usize) {
        let stays = state.standings[from] == Standing::Ready;
        let others = (0..state.standings.len()).filter(|number| *number != from);
        let mut movable: Vec<usize> = if stays { vec![from] } else { Vec::new() };
        if !stays || state.changes > 0 {
            movable.extend(others.filter(|number| state.standings[*number] == Standing::Ready));
        }
        if movable.is_empty() {
            // All that are left wait: the first of them learns that nobody will wake it.
            let Some(left) = state.standings.iter().position(|standing| *standing != Standing::Over) else {
                return;
            };
            state.standings[left] = Standing::Ready;
            movable.push(left);
        }
        state.turn = movable[state.choose(movable.len())];
        if stays && state.turn != from {
            state.changes -= 1;
        }
        // Whoever waits for a lock looks again after each step of another.
        for standing in &mut state.standings {
            if *standing == Standing::Held {
                *standing = Standing::Ready;
            }
        }
        self.turned.notify_all();
    }
}

impl State {
    fn choose(&mut self, count: usize) -> usize {
        if self.made == self.choices.len() {
            self.choices.push(Choice { count, taken: 0 });
        }
        let choice = self.choices[self.made];
        assert_eq!(choice.count, count, "a scene goes the same way if the same choices are made");
        self.made += 1;
        choice.taken
    }
}

/// Plays a scene in every order with no more than `changes` threads stopped that could go on, and says how
/// many that were. A part that panics ends it.
pub(in crate::credential) fn explore(changes: usize, scene: impl Fn() -> Scene) -> usize {
    let mut choices = Vec::new();
    for run in 1.. {
        let Scene { parts, server, afterwards } = scene();
        let parts: Vec<Part> = parts.into_iter().chain([server]).collect();
        let mut state = State {
            standings: vec![Standing::Ready; parts.len()],
            woken: vec![false; parts.len()],
            turn: 0,
            choices: std::mem::take(&mut choices),
            made: 0,
            changes,
        };
        state.turn = state.choose(parts.len());
        let table = Arc::new(Table { state: Mutex::new(state), turned: Condvar::new() });
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let seats = parts.into_iter().enumerate();
            let threads: Vec<_> = seats
                .map(|(number, part)| {
                    let seat = Seat { table: Arc::clone(&table), number };
                    scope.spawn(move || seat.take(part))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().and_then(|outcome| outcome)).collect()
        });
        choices = std::mem::take(&mut table.lock().choices);
        let outcome = outcomes.into_iter().collect::<std::thread::Result<()>>();
        if let Err(panic) = outcome.and_then(|()| catch_unwind(AssertUnwindSafe(afterwards))) {
            let taken: Vec<_> = choices.iter().map(|choice| choice.taken).collect();
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            panic!("in run {run}, with the choices {taken:?}: {why}");
        }
        // The next run differs in the last choice that has something else left.
        while choices.last().is_some_and(|choice| choice.taken + 1 == choice.count) {
            choices.pop();
        }
        let Some(last) = choices.last_mut() else { return run };
        last.taken += 1;
    }
    unreachable!("it has an end")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;

    use super::{Part, Scene, block_on, explore, step};
    use crate::credential::step::lock;

    /// Two that add one to a number in two steps each.
    fn adders(is_right: fn(u64) -> bool) -> Scene {
        let number = Arc::new(AtomicU64::new(0));
        let adds = |number: &Arc<AtomicU64>| -> Part {
            let number = Arc::clone(number);
            Box::new(move || {
                step();
                let before = number.load(Ordering::Relaxed);
                step();
                number.store(before + 1, Ordering::Relaxed);
            })
        };
        let parts = vec![adds(&number), adds(&number)];
        let afterwards = Box::new(move || assert!(is_right(number.load(Ordering::Relaxed))));
        Scene { parts, server: Box::new(|| {}), afterwards }
    }

    #[test]
    fn every_order_is_played_and_a_lost_update_found() {
        assert!(explore(2, || adders(|number| number >= 1)) > 20);
        assert!(std::panic::catch_unwind(|| explore(1, || adders(|number| number == 2))).is_err());
        // Without a change of threads one follows the other.
        explore(0, || adders(|number| number == 2));
    }

    #[test]
    fn who_begins_to_wait_when_the_news_are_over_is_stuck_and_told_so() {
        let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
        explore(1, || {
            let (news, outcomes) = (Arc::new(Notify::new()), Arc::clone(&outcomes));
            let tells: Part = {
                let news = Arc::clone(&news);
                Box::new(move || {
                    step();
                    news.notify_waiters();
                })
            };
            let waits: Part = Box::new(move || {
                let told = block_on(async { news.notified().await });
                lock(&outcomes).insert(told.is_some());
            });
            Scene { parts: vec![tells, waits], server: Box::new(|| {}), afterwards: Box::new(|| {}) }
        });
        assert_eq!(*lock(&outcomes), BTreeSet::from([true, false]));
    }
}
