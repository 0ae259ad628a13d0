//! Readers and the keeper in every order of their steps: see `credential/step/model.rs`.
//!
//! Time stands still here, so that whoever waits is woken by news, or is stuck and fails the test.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::*;
use crate::credential::slot::Current;
use crate::credential::step::model::{Part, Scene, block_on, drive, explore};

/// How many threads are stopped in one run that could go on: of a keeper's many steps there are many orders.
const CHANGES: usize = 1;

/// Polls of the keeper in a row, between which the exchanges that it started go on.
const POLLS: usize = 6;

/// A keeper of the credential `a`, which has its first token, and a reader of it.
struct Stage {
    runtime: Arc<Runtime>,
    clock: Clock,
    issuer: Arc<ScriptedIssuer>,
    keeper: Keeper,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    slot: Arc<Slot<String>>,
}

impl Stage {
    fn new() -> Self {
        let runtime = Arc::new(runtime());
        let entered = runtime.enter();
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
        let issuer = Arc::new(ScriptedIssuer { clock: clock.clone(), scripts: Arc::default() });
        let options =
            Options { issuer_concurrency: 32, sleep: SleepRules::default(), observe: Box::new(|_, _, _| {}) };
        let store = Arc::new(MemoryStore::new(&clock));
        let (keeper, task) = start(clock.clone(), store, Arc::clone(&issuer) as _, options);
        let mut task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
        keeper.reconcile(vec![Arc::new(spec("a"))]);
        let slot = reader(&keeper);
        drop(entered);
        while slot.current(clock_in(&runtime, &clock)).is_none() {
            let _ = poll(&runtime, &mut task, &mut Context::from_waker(Waker::noop()));
        }
        // Right after a renewal there is none.
        clock.suspend(seconds(20));
        Self { runtime, clock, issuer, keeper, task, slot }
    }

    /// The request's token was refused, and this is what becomes of it.
    fn refused(&self, then: impl FnOnce(AfterRefusal<String>) + Send + 'static) -> Part {
        let (slot, clock) = (Arc::clone(&self.slot), self.clock.clone());
        self.part(move || {
            then(
                block_on(slot.refused(1, &clock, WAIT)).expect("whoever was refused learns what comes of it"),
            );
        })
    }

    /// A request wants a token, and this one it gets.
    fn waits(&self, then: impl FnOnce(Arc<Current<String>>) + Send + 'static) -> Part {
        let (slot, clock) = (Arc::clone(&self.slot), self.clock.clone());
        self.part(move || {
            let waited = block_on(slot.wait(&clock, WAIT)).expect("whoever waits is woken");
            then(waited.expect("there is a token, or there will be one"));
        })
    }

    fn part(&self, does: impl FnOnce() + Send + 'static) -> Part {
        let runtime = Arc::clone(&self.runtime);
        Box::new(move || {
            let _entered = runtime.enter();
            does();
        })
    }

    fn scene(self, parts: Vec<Part>, afterwards: impl FnOnce(&Self) + Send + 'static) -> Scene {
        let Self { runtime, clock, issuer, keeper, mut task, slot } = self;
        let driven = Arc::clone(&runtime);
        let server: Part = Box::new(move || {
            let _ = drive(|context| poll(&driven, &mut task, context));
        });
        let stage = Self { runtime, clock, issuer, keeper, task: Box::pin(async {}), slot };
        let afterwards = Box::new(move || {
            let runtime = Arc::clone(&stage.runtime);
            let _entered = runtime.enter();
            afterwards(&stage);
        });
        Scene { parts, server, afterwards }
    }

    fn generation(&self) -> Option<u64> {
        seen(&self.slot, &self.clock)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn clock_in(runtime: &Runtime, clock: &Clock) -> crate::clock::Moment {
    let _entered = runtime.enter();
    clock.now()
}

/// Lets the keeper do what it can do now.
fn poll(
    runtime: &Runtime,
    task: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
    context: &mut Context<'_>,
) -> Poll<()> {
    runtime.block_on(async {
        for _ in 0..POLLS {
            let polled = poll_fn(|_| Poll::Ready(task.as_mut().poll(context))).await;
            if polled.is_ready() {
                return polled;
            }
            yield_now().await;
        }
        Poll::Pending
    })
}

fn reader(keeper: &Keeper) -> Arc<Slot<String>> {
    let prepare = |outputs: &Outputs| {
        let token = outputs.get("token").and_then(Secret::expose_str);
        token.map(str::to_owned).ok_or_else(|| "no token".to_owned())
    };
    keeper.slot(&"a".into(), Arc::new(prepare)).expect("the credential is kept")
}

/// The generation that a request would use now.
fn seen<T>(slot: &Slot<T>, clock: &Clock) -> Option<u64> {
    let guard = slot.current(clock.now())?;
    guard.as_ref().map(|current| current.generation)
}

fn is_renewed(outcome: AfterRefusal<String>) {
    assert!(matches!(outcome, AfterRefusal::Renewed(current) if current.value == "t2"), "it stands");
}

#[test]
fn whoever_is_refused_gets_the_next_token_and_all_share_one_renewal() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let parts = vec![stage.refused(is_renewed), stage.refused(is_renewed)];
        stage.scene(parts, |stage| {
            assert_eq!((stage.issuer.count("a"), stage.generation()), (2, Some(2)));
        })
    });
}

#[test]
fn whoever_comes_meanwhile_waits_for_the_next_token_and_never_sees_an_older_one_again() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let (slot, clock) = (Arc::clone(&stage.slot), stage.clock.clone());
        let looks = stage.part(move || {
            let looks = (0..3).map(|_| seen(&slot, &clock)).collect::<Vec<_>>();
            let seen: Vec<_> = looks.iter().flatten().collect();
            assert!(seen.is_sorted(), "{looks:?}");
        });
        let parts = vec![stage.refused(is_renewed), stage.waits(|_| {}), looks];
        stage.scene(parts, |stage| assert_eq!(stage.generation(), Some(2)))
    });
}

#[test]
fn if_the_renewal_fails_the_refusal_stands_and_the_token_stays_in_use() {
    explore(CHANGES, || {
        let stage = Stage::new();
        stage.issuer.answers("a", |_| down());
        let stands = |outcome| assert!(matches!(outcome, AfterRefusal::Stands));
        let parts = vec![stage.refused(stands), stage.waits(|current| assert_eq!(current.generation, 1))];
        stage.scene(parts, |stage| {
            assert_eq!((stage.issuer.count("a"), stage.generation()), (2, Some(1)));
        })
    });
}

#[test]
fn a_refusal_that_meets_a_renewal_for_another_reason_ends_with_its_token() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let keeper = stage.keeper.clone();
        let orders = stage.part(move || drop(keeper.refresh(&"a".into(), false)));
        let newer =
            |outcome| assert!(matches!(outcome, AfterRefusal::Renewed(current) if current.generation >= 2));
        let parts = vec![orders, stage.refused(newer)];
        stage.scene(parts, |stage| assert_eq!(stage.generation(), Some(2)))
    });
}

#[test]
fn nobody_misses_the_token_that_follows_one_that_has_ended() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let clock = stage.clock.clone();
        let sleeps = stage.part(move || {
            clock.suspend(2 * HOUR);
        });
        let parts = vec![sleeps, stage.waits(|_| {}), stage.waits(|_| {})];
        stage.scene(parts, |stage| assert!(stage.issuer.count("a") <= 2, "one renewal for all"))
    });
}

#[test]
fn whoever_saw_the_news_sees_the_token() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let (slot, clock, keeper) = (Arc::clone(&stage.slot), stage.clock.clone(), stage.keeper.clone());
        let looks = stage.part(move || {
            let told = keeper.status(&"a".into()).expect("it is kept").generation;
            assert!(seen(&slot, &clock).is_none_or(|seen| seen >= told));
        });
        let parts = vec![stage.refused(is_renewed), looks];
        stage.scene(parts, |_| {})
    });
}

#[test]
fn a_route_that_is_added_meanwhile_reads_the_newest_token() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let (keeper, clock) = (stage.keeper.clone(), stage.clock.clone());
        let added = Arc::new(Mutex::new(None));
        let adds = Arc::clone(&added);
        let parts = vec![
            stage.refused(is_renewed),
            stage.part(move || {
                let slot = reader(&keeper);
                block_on(slot.wait(&clock, WAIT)).expect("whoever waits is woken").expect("there is a token");
                *adds.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
            }),
        ];
        stage.scene(parts, move |stage| {
            let slot = added.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it was added");
            assert_eq!(seen(&slot, &stage.clock), Some(2));
        })
    });
}

#[test]
fn a_credential_that_is_replaced_by_a_reload_lets_nobody_wait() {
    explore(CHANGES, || {
        let stage = Stage::new();
        let keeper = stage.keeper.clone();
        let times = Times { renew_before: Some(HOUR / 2), ..Times::default() };
        let other = CredentialSpec { times: times.into(), ..spec("a") };
        let reloads = stage.part(move || keeper.reconcile(vec![Arc::new(other)]));
        let parts = vec![reloads, stage.refused(|_| {}), stage.waits(|_| {})];
        stage.scene(parts, |stage| {
            assert_eq!(
                seen(&reader(&stage.keeper), &stage.clock),
                Some(1),
                "the new one has a token of its own"
            );
        })
    });
}
