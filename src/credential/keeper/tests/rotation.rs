//! Single-use inputs: refresh tokens that rotate, answers that are lost, stores that fail.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::credential::store::testing::OverMemory;
use crate::credential::store::{Record, StoreError, StoreFuture};

use super::*;

/// Rotates `r0` to `r1`, `r1` to `r2` and so on, and rejects every other token, as strict issuers do.
fn rotates(call: &Call) -> Answer {
    let expected = format!("r{}", call.number - 1);
    if call.input("refresh_token") != expected {
        return rejected();
    }
    let rotated = Some(Secret::from(format!("r{}", call.number)));
    let lifetime = Some(Lifetime::For(seconds(60)));
    Answer::Minted(Minted { rotated, ..minted(&format!("t{}", call.number), lifetime) })
}

/// A store that can be made to fail, and that remembers what it was given.
struct FragileStore {
    inner: MemoryStore,
    broken: AtomicBool,
    /// So long each write takes.
    slow: Mutex<Duration>,
    saved: Mutex<Vec<Record>>,
}

impl FragileStore {
    fn new(clock: &Clock) -> Arc<Self> {
        let inner = MemoryStore::new(clock);
        Arc::new(Self {
            inner,
            broken: AtomicBool::new(false),
            slow: Mutex::default(),
            saved: Mutex::default(),
        })
    }

    fn slow_down(&self, by: Duration) {
        *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn saved(&self) -> Vec<Record> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OverMemory for FragileStore {
    fn memory(&self) -> &MemoryStore {
        &self.inner
    }

    fn write(&self, owner: &Owner, record: Record) -> StoreFuture<'_, ()> {
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError("no space left".to_owned())) });
        }
        let slow = *self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owner.clone();
        Box::pin(async move {
            pass(slow).await;
            self.saved.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
            self.inner.save(&owner, record).await
        })
    }
}

fn house_with_store() -> (House, Arc<FragileStore>) {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 3);
    let store = FragileStore::new(&clock);
    (House::with(clock, Some(Arc::clone(&store) as _), 32), store)
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_used_for_the_next_exchange_over_many_renewals() {
    let house = House::new();
    house.issuer.answers("a", rotates);
    house.keep([refresh_spec("a", "r0")]);
    let slot = house.slot("a");
    pass(HOUR).await;
    assert!(house.issuer.count("a") > 60);
    assert!(house.outcomes().iter().all(|outcome| *outcome == Outcome::Ok));
    assert!(house.token(&slot).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_delays_a_token_only_where_something_rotated() {
    let (house, store) = house_with_store();
    store.slow_down(seconds(20));
    house.issuer.answers("machine", |_| Answer::Minted(minted("t1", Some(Lifetime::For(HOUR)))));
    house.issuer.answers("person", rotates);
    house.keep([spec("machine"), refresh_spec("person", "r0")]);
    let (machine, person) = (house.slot("machine"), house.slot("person"));
    settle().await;
    assert_eq!((house.token(&machine).as_deref(), store.saved().len()), (Some("t1"), 0));
    assert_eq!(house.state("machine"), State::Renewing, "until it is saved");
    assert_eq!(house.issuer.count("person"), 0, "the intent comes first");
    pass(seconds(21)).await;
    assert_eq!((house.issuer.count("person"), house.token(&person)), (1, None), "its successor comes first");
    assert_eq!((house.state("machine"), store.saved().len()), (State::Ready, 2));
    pass(seconds(20)).await;
    assert_eq!(house.token(&person).as_deref(), Some("t1"));
    assert_eq!(house.issuer.count("machine"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_published_before_it_is_saved_renews_its_children_at_once() {
    let (house, store) = house_with_store();
    store.slow_down(seconds(20));
    for name in ["parent", "child"] {
        house.issuer.answers(name, move |_| Answer::Minted(minted(name, Some(Lifetime::For(HOUR)))));
    }
    house.keep([spec("parent"), child("child", "parent")]);
    let slot = house.slot("child");
    pass(seconds(3)).await;
    assert_eq!((house.token(&slot).as_deref(), store.saved().len()), (Some("child"), 0));
    pass(seconds(60)).await;
    assert_eq!((house.issuer.count("parent"), house.issuer.count("child")), (1, 1), "asked once each");
    assert_eq!((house.state("parent"), house.state("child")), (State::Ready, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn the_intent_is_saved_before_the_exchange_and_its_successor_before_the_token_is_published() {
    let (house, store) = house_with_store();
    let answered = Arc::new(Notify::new());
    let answer = Arc::clone(&answered);
    house.issuer.answers("a", move |call| Answer::Once(Arc::clone(&answer), Box::new(rotates(call))));
    house.keep([refresh_spec("a", "r0")]);
    settle().await;
    let saved = store.saved();
    assert!(saved.len() == 1 && saved[0].in_flight.is_some(), "{saved:?}");
    answered.notify_one();
    settle().await;
    let record = store.saved().pop().expect("saved");
    assert_eq!(record.in_flight, None);
    assert_eq!(record.replacement.map(|(_, token)| token), Some(Secret::from("r1")));
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_rotated_value_wins_until_the_configured_one_changes() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&clock));
    for (configured, used) in [("r0", "r0"), ("r0", "next"), ("other", "other"), ("other", "next")] {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.issuer.answers("a", |_| {
            let rotated = Some(Secret::from("next"));
            Answer::Minted(Minted { rotated, ..minted("t", Some(Lifetime::For(HOUR))) })
        });
        house.keep([refresh_spec("a", configured)]);
        settle().await;
        assert_eq!(house.issuer.calls("a")[0].input("refresh_token"), used);
        house.keeper.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_repeated_with_a_single_use_token() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { rotates(call) } else { unanswered() });
    house.keep([refresh_spec("a", "r0")]);
    let slot = house.slot("a");
    pass(seconds(50)).await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Failing, Some(ErrorClass::Ambiguous)));
    assert!(house.token(&slot).is_some());
    pass(HOUR).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 2));
    assert_eq!(house.outcomes(), [Outcome::Ok, Outcome::Ambiguous]);
    assert_eq!(house.refresh("a", false).await, Outcome::Ambiguous);
    assert_eq!(house.issuer.count("a"), 2, "an operator has to force it");
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!(unavailable.state, State::LoginRequired);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_times_out_with_a_single_use_token_is_ambiguous_too() {
    let house = House::new();
    house.issuer.answers("a", |_| Answer::Hangs);
    house.keep([refresh_spec("a", "r0")]);
    pass(HOUR).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_token_heals_a_lost_answer_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("refresh-token");
    std::fs::write(&path, "old").expect("written");
    let house = House::new();
    house.issuer.answers("a", |call| match call.input("refresh_token") {
        "new" => token("healed", HOUR),
        _ => unanswered(),
    });
    let source = [("refresh_token", Source::File(path.clone().into()))];
    house.keep([with_inputs(refresh_spec("a", ""), source)]);
    settle().await;
    assert_eq!(house.state("a"), State::LoginRequired);
    std::fs::write(&path, "new").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_repeated_after_a_restart_either() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&clock));
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.issuer.answers("a", |_| Answer::Hangs);
    house.keep([refresh_spec("a", "r0")]);
    settle().await;
    // The process dies here: the exchange neither ends nor reports.
    let house = House::with(clock.clone(), Some(store), 32);
    house.keep([refresh_spec("a", "r0")]);
    settle().await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 0));
    assert_eq!(house.error_class("a"), Some(ErrorClass::Ambiguous));
    assert_eq!(house.refresh("a", true).await, Outcome::Ok, "an operator may force it");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_lost_answer_is_told_while_the_old_token_is_still_valid() {
    for retry_ambiguous in [false, true] {
        let (house, store) = house_with_store();
        house.issuer.answers("a", |call| match call.number {
            1 => Answer::Minted(Minted {
                rotated: Some(Secret::from("r1")),
                ..minted("t1", Some(Lifetime::For(HOUR)))
            }),
            _ => Answer::Hangs,
        });
        let spec = || CredentialSpec { retry_ambiguous, ..refresh_spec("a", "r0") };
        house.keep([spec()]);
        pass(seconds(3)).await;
        drop(house.keeper.refresh(&"a".into(), false));
        settle().await;
        assert_eq!(house.issuer.count("a"), 2);
        // The process dies here.
        let house = House::with(house.clock.clone(), Some(store), 32);
        house.issuer.answers("a", |_| token("t2", HOUR));
        house.keep([spec()]);
        let slot = house.slot("a");
        pass(seconds(3)).await;
        if retry_ambiguous {
            assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Ready, Some("t2")));
        } else {
            assert_eq!(
                (house.state("a"), house.error_class("a")),
                (State::Failing, Some(ErrorClass::Ambiguous))
            );
            assert_eq!(house.token(&slot).as_deref(), Some("t1"), "it is used on");
        }
        assert_eq!(house.issuer.count("a"), usize::from(retry_ambiguous));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_repeated_if_the_issuer_has_a_grace_window() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { unanswered() } else { token("t", HOUR) });
    house.keep([CredentialSpec { retry_ambiguous: true, ..refresh_spec("a", "r0") }]);
    pass(seconds(3)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_answer_the_same_token_is_tried_once_more_and_never_again() {
    let house = House::new();
    house.issuer.answers("a", |_| unanswered());
    house.keep([CredentialSpec { retry_ambiguous: true, ..refresh_spec("a", "r0") }]);
    pass(HOUR).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 2));
    assert_eq!(house.error_class("a"), Some(ErrorClass::Ambiguous));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_was_never_sent_does_not_count_as_the_one_after_a_lost_answer() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => unanswered(),
        2..5 => down(),
        _ => token("t", HOUR),
    });
    house.keep([CredentialSpec { retry_ambiguous: true, ..refresh_spec("a", "r0") }]);
    pass(seconds(60)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 5));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_came_back_without_a_successor_is_not_single_use() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => token("t1", seconds(60)),
        2 => unanswered(),
        _ => token("t2", seconds(60)),
    });
    house.keep([refresh_spec("a", "constant")]);
    pass(seconds(55)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 3));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_that_cannot_have_used_anything_up_is_transient() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { unanswered() } else { next_token(call) });
    house.keep([spec("a")]);
    settle().await;
    assert_eq!(house.error_class("a"), Some(ErrorClass::Transient));
    pass(seconds(3)).await;
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_intent_cannot_be_saved() {
    let (house, store) = house_with_store();
    house.issuer.answers("a", rotates);
    store.break_down(true);
    house.keep([refresh_spec("a", "r0")]);
    pass(seconds(60)).await;
    assert_eq!((house.issuer.count("a"), house.error_class("a")), (0, Some(ErrorClass::Transient)));
    assert!(house.status("a").last_error.expect("an error").message.contains("no space left"));
    store.break_down(false);
    pass(seconds(60)).await;
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_cannot_be_saved_is_kept_in_memory_and_saved_before_the_next_exchange() {
    let (house, store) = house_with_store();
    let breaking = Arc::clone(&store);
    house.issuer.answers("a", move |call| {
        // The disk fills up between the question and the answer.
        breaking.break_down(call.number == 1);
        rotates(call)
    });
    house.keep([refresh_spec("a", "r0")]);
    let slot = house.slot("a");
    pass(seconds(3)).await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("t1"), State::Failing));
    assert!(house.status("a").last_error.expect("an error").message.contains("no space left"));
    store.break_down(false);
    pass(seconds(17)).await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Ready, None), "the write is retried");
    pass(seconds(60)).await;
    assert!(house.issuer.count("a") >= 2);
    assert!(house.outcomes().iter().all(|outcome| *outcome == Outcome::Ok), "{:?}", house.outcomes());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_until_what_was_rotated_is_saved() {
    let (house, store) = house_with_store();
    house.issuer.answers("a", |call| rotates(call).after(seconds(4)));
    house.issuer.answers("b", |_| Answer::Hangs);
    house.keep([refresh_spec("a", "r0"), spec("b")]);
    settle().await;
    let start = house.clock.boot();
    house.keeper.shutdown().await;
    assert_eq!((house.clock.boot() - start).as_secs(), 3, "it waits for the one and not for the other");
    assert_eq!(store.saved().pop().expect("saved").in_flight, None);
    settle().await;
    assert_eq!(house.issuer.count("a"), 1, "nothing starts any more");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_panics_is_not_repeated_with_a_single_use_token() {
    let house = House::new();
    house.issuer.answers("a", |_| Answer::Panics);
    house.keep([refresh_spec("a", "r0")]);
    pass(HOUR).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 1));
}
