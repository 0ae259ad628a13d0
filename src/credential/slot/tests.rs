//! The slot against a keeper played by hand, also from many threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{AfterRefusal, Slot};
use crate::clock::Clock;
use crate::credential::shared::{Poke, Published, REFUSAL_FLOOR, Shared};
use crate::credential::step::model::{CHANGES, Part, Scene, block_on, explore};
use crate::credential::{Expiry, Lifetime, Outputs, Owner, State, Status};

const WAIT: Duration = Duration::from_secs(5);

fn status(state: State) -> Status {
    Status { state, ..Status::unknown(Owner::from("a"), "oauth2") }
}

/// A credential, its readers' half and what they tell the keeper.
struct Bench {
    clock: Clock,
    shared: Arc<Shared>,
    slot: Arc<Slot<u64>>,
    pokes: mpsc::UnboundedReceiver<Poke>,
}

impl Bench {
    fn new(clock: Clock) -> Self {
        let (sender, pokes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(true, status(State::Pending), sender));
        let slot = Arc::new(Slot::new(Arc::clone(&shared), Arc::new(|_| Ok(7))));
        shared.register(&slot);
        Self { clock, shared, slot, pokes }
    }

    fn publish(&self, generation: u64) {
        publish(&self.shared, &self.clock, generation);
    }

    fn current(&self) -> Option<u64> {
        let guard = self.slot.current(self.clock.now())?;
        guard.as_ref().map(|current| current.generation)
    }
}

fn generation(clock: &Clock, generation: u64) -> Published {
    let expiry = Expiry::new(clock.now(), Lifetime::For(Duration::from_secs(3600)));
    Published { generation, expiry, outputs: Outputs::new(), warnings: Vec::new() }
}

fn publish(shared: &Shared, clock: &Clock, number: u64) {
    shared.publish(generation(clock, number)).expect("the slot takes all");
    shared.clear_suspicion();
    shared.set_status(Status { generation: number, ..status(State::Ready) });
}

fn paused_clock() -> Clock {
    Clock::simulated(Timestamp::UNIX_EPOCH, 1)
}

#[tokio::test(start_paused = true)]
async fn a_suspected_token_is_not_given_out_until_the_keeper_has_answered() {
    let mut bench = Bench::new(paused_clock());
    bench.publish(1);
    assert_eq!(bench.current(), Some(1));
    let (slot, clock) = (Arc::clone(&bench.slot), bench.clock.clone());
    let refused = tokio::spawn(async move { slot.refused(1, &clock, WAIT).await });
    assert!(matches!(bench.pokes.recv().await, Some(Poke::Refused { generation: 1, .. })));
    assert_eq!(bench.current(), None);
    bench.shared.clear_suspicion();
    assert!(matches!(refused.await.expect("no panic"), AfterRefusal::Stands));
    assert_eq!(bench.current(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_within_the_floor_tells_nobody() {
    let mut bench = Bench::new(paused_clock());
    bench.publish(1);
    assert!(matches!(bench.slot.refused(1, &bench.clock, Duration::ZERO).await, AfterRefusal::Stands));
    assert!(bench.pokes.try_recv().is_ok());
    bench.publish(2);
    tokio::time::advance(REFUSAL_FLOOR - Duration::from_millis(1)).await;
    assert!(matches!(bench.slot.refused(2, &bench.clock, WAIT).await, AfterRefusal::Stands));
    assert!(bench.pokes.try_recv().is_err());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(matches!(bench.slot.refused(2, &bench.clock, Duration::ZERO).await, AfterRefusal::Stands));
    assert!(bench.pokes.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_ended_token_is_told_about_once_however_many_ask() {
    let mut bench = Bench::new(paused_clock());
    bench.publish(1);
    bench.clock.suspend(Duration::from_secs(7200));
    let waiting = (0..100).map(|_| {
        let (slot, clock) = (Arc::clone(&bench.slot), bench.clock.clone());
        tokio::spawn(async move { slot.wait(&clock, WAIT).await.is_ok() })
    });
    let waiting: Vec<_> = waiting.collect();
    assert!(matches!(bench.pokes.recv().await, Some(Poke::Expired { .. })));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(bench.pokes.try_recv().is_err());
    bench.publish(2);
    for request in waiting {
        assert!(request.await.expect("no panic"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_gone_lets_nobody_wait_for_ever() {
    let Bench { clock, shared, slot, pokes } = Bench::new(paused_clock());
    shared.set_status(Status { running: true, ..status(State::Pending) });
    drop((shared, pokes));
    let waited = tokio::time::timeout(WAIT * 2, slot.wait(&clock, WAIT)).await;
    assert!(waited.expect("it ends").is_err());
}

#[test]
fn no_refusal_is_lost_between_threads() {
    let Bench { clock, shared, slot, mut pokes } = Bench::new(Clock::system());
    publish(&shared, &clock, 1);
    // As in the data plane: each worker is a thread with a runtime of its own.
    let worker = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let refused = (0..50).map(|_| {
                let (slot, clock) = (Arc::clone(&slot), clock.clone());
                async move { slot.refused(1, &clock, WAIT).await }
            });
            let tasks = tokio::task::LocalSet::new();
            let refused: Vec<_> = refused.map(|refused| tasks.spawn_local(refused)).collect();
            tasks.await;
            for request in refused {
                let AfterRefusal::Renewed(current) = request.await.expect("no panic") else {
                    panic!("a refusal of the old generation stood, though there is a new one");
                };
                assert_eq!(current.generation, 2);
            }
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(worker);
        }
        assert!(matches!(pokes.blocking_recv(), Some(Poke::Refused { generation: 1, .. })));
        publish(&shared, &clock, 2);
    });
    assert!(pokes.try_recv().is_err(), "all shared one poke");
}

#[test]
fn who_saw_the_news_sees_the_token_and_generations_only_go_up() {
    let Bench { clock, shared, slot, pokes: _pokes } = Bench::new(Clock::system());
    let done = AtomicBool::new(false);
    let reader = || {
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let told = shared.status().generation;
            let guard = slot.current(clock.now());
            let seen = guard.and_then(|guard| guard.as_ref().map(|it| it.generation)).unwrap_or(0);
            assert!(seen >= told && seen >= last, "told {told}, saw {seen} after {last}");
            last = seen;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(reader);
        }
        for generation in 1..=2000 {
            publish(&shared, &clock, generation);
        }
        done.store(true, Ordering::Release);
    });
}

/// What a keeper does with a new generation.
type Act = fn(&Bench, u64);

#[test]
fn a_keeper_that_does_things_in_a_wrong_order_is_found_out_by_the_model() {
    let publish: Act = |bench, generation| {
        bench.shared.publish(self::generation(&bench.clock, generation)).expect("the slot takes all");
    };
    let clear: Act = |bench, _| bench.shared.clear_suspicion();
    let tell: Act =
        |bench, generation| bench.shared.set_status(Status { generation, ..status(State::Ready) });
    for (acts, is_right) in [
        (vec![publish, clear, tell], true),
        (vec![clear, publish, tell], false),
        (vec![tell, clear, publish], false),
        (vec![publish], false),
    ] {
        let explored = std::panic::catch_unwind(|| explore(CHANGES, || played(acts.clone())));
        assert_eq!(explored.is_ok(), is_right, "{explored:?}");
    }
}

/// A request that is refused, one that looks, and a keeper that answers by these acts.
fn played(acts: Vec<Act>) -> Scene {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Arc::new(runtime.expect("a runtime"));
    let _entered = runtime.enter();
    let mut bench = Bench::new(paused_clock());
    bench.publish(1);
    let part = |does: Box<dyn FnOnce() + Send>| -> Part {
        let runtime = Arc::clone(&runtime);
        Box::new(move || {
            let _entered = runtime.enter();
            does();
        })
    };
    let (slot, clock) = (Arc::clone(&bench.slot), bench.clock.clone());
    let refused = part(Box::new(move || {
        let outcome = block_on(slot.refused(1, &clock, WAIT)).expect("it learns what comes of it");
        assert!(matches!(outcome, AfterRefusal::Renewed(_)));
    }));
    let (slot, clock, shared) = (Arc::clone(&bench.slot), bench.clock.clone(), Arc::clone(&bench.shared));
    let looks = part(Box::new(move || {
        let told = shared.status().generation;
        let guard = slot.current(clock.now());
        let seen = guard.and_then(|guard| guard.as_ref().map(|it| it.generation));
        assert!(seen.is_none_or(|seen| seen >= told), "told {told}, saw {seen:?}");
    }));
    let server = part(Box::new(move || {
        while let Some(Some(poke)) = block_on(bench.pokes.recv()) {
            assert!(matches!(poke, Poke::Refused { generation: 1, .. }));
            for act in &acts {
                act(&bench, 2);
            }
        }
    }));
    Scene { parts: vec![refused, looks], server, afterwards: Box::new(|| {}) }
}
