//! An issuer that may be asked only so often, over restarts.

use super::*;
use crate::credential::store::Record;
use crate::rate::Rate;

const HOURLY: Rate = Rate { count: 1, per: HOUR };

fn hourly(name: &str) -> CredentialSpec {
    CredentialSpec { times: Times { max_renewals: Some(HOURLY), ..Times::default() }.into(), ..spec(name) }
}

pub(super) fn durable() -> Arc<dyn Store> {
    Arc::new(MemoryStore::rehearsing(&[7; 32]))
}

/// A process that keeps the credential, with an issuer that never answers well.
fn start_with(clock: &Clock, store: &Arc<dyn Store>, spec: CredentialSpec) -> House {
    let house = House::with(clock.clone(), Some(Arc::clone(store)), 32);
    house.issuer.answers("a", |_| down());
    house.keep([spec]);
    house
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_may_be_asked_once_an_hour_is_not_asked_more_by_any_number_of_restarts() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store = durable();
    let mut asked = Vec::new();
    for _ in 0..40 {
        let house = start_with(&clock, &store, hourly("a"));
        pass(seconds(7 * 60)).await;
        asked.extend(house.issuer.calls("a").iter().map(|call| call.at));
        // A crash: nobody waits for anything.
        drop(house);
    }
    assert!((4..=5).contains(&asked.len()), "{asked:?}");
    for pair in asked.windows(2) {
        assert!(pair[1] - pair[0] >= HOUR, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_counts_from_before_it_is_made_and_whatever_comes_of_it() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    for answer in [rejected, unanswered, || Answer::Panics, || Answer::Hangs, || token("t", HOUR)] {
        let store = durable();
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.issuer.answers("a", move |_| answer());
        house.keep([hourly("a")]);
        settle().await;
        let Record { attempts, .. } = store.load(&"a".into()).await.expect("a record");
        assert_eq!((house.issuer.count("a"), attempts.len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_next_attempt_is_told_when_it_is() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store = durable();
    drop({
        let house = start_with(&clock, &store, hourly("a"));
        settle().await;
        house
    });
    pass(seconds(600)).await;
    let house = start_with(&clock, &store, hourly("a"));
    settle().await;
    let status = house.status("a");
    let message = status.last_error.expect("an error").message;
    assert!(message.contains("`max_renewals`") && message.contains("1970-01-01T02:00:10Z"), "{message}");
    let next = status.next_try.expect("a try") - clock.boot();
    assert!(next > seconds(2990) && next < HOUR, "{next:?}");
    // Not even an operator hurries it.
    assert_eq!(house.refresh("a", true).await, Outcome::Transient);
    assert_eq!(house.issuer.count("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_wrong_clock_noted_blocks_nobody_for_ever() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store = durable();
    let attempts = vec![Timestamp::UNIX_EPOCH + 10_000 * HOUR];
    store.save(&"a".into(), Record { attempts, ..Record::default() }).await.expect("saved");
    let house = start_with(&clock, &store, hourly("a"));
    settle().await;
    assert_eq!(house.issuer.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_several_counts_those_of_before_and_its_own() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store = durable();
    let rate = || CredentialSpec {
        times: Times { max_renewals: Some(Rate { count: 3, per: HOUR }), ..Times::default() }.into(),
        ..spec("a")
    };
    let mut asked = Vec::new();
    for _ in 0..6 {
        let house = start_with(&clock, &store, rate());
        pass(seconds(20 * 60)).await;
        asked.extend(house.issuer.calls("a").iter().map(|call| call.at));
        drop(house);
    }
    assert!((4..=6).contains(&asked.len()), "{asked:?}");
    for four in asked.windows(4) {
        assert!(four[3] - four[0] >= HOUR, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_durable_store_a_restart_asks_again() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&clock));
    for _ in 0..2 {
        let house = start_with(&clock, &store, hourly("a"));
        settle().await;
        assert_eq!(house.issuer.count("a"), 1);
    }
}
