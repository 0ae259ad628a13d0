//! Reloads: equal credentials keep their token, others start, stop, or start anew.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_unchanged_credential_keeps_its_token_and_its_plan() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(100)).await;
    let before = house.status("a");
    house.keep([spec("a"), spec("b")]);
    settle().await;
    assert_eq!(house.status("a"), before);
    assert_eq!((house.token(&slot).as_deref(), house.issuer.count("a")), (Some("t1"), 1));
    assert_eq!(house.state("b"), State::Ready);
    assert_eq!(house.keeper.statuses().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_starts_anew_and_old_readers_keep_what_they_had() {
    let (house, old) = House::with_one(spec("a"));
    pass(seconds(100)).await;
    house.keep([CredentialSpec {
        times: Times { default_lifetime: 2 * HOUR, ..Times::default() }.into(),
        ..spec("a")
    }]);
    let new = house.slot("a");
    assert_eq!(house.wait(&new).await.expect("a token"), "t2");
    assert_eq!((house.token(&old).as_deref(), house.status("a").generation), (Some("t1"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_removed_credential_is_not_renewed_any_more() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(10)).await;
    house.keep([]);
    pass(2 * HOUR).await;
    assert_eq!(house.issuer.count("a"), 1);
    assert!(house.keeper.status(&"a".into()).is_none() && house.keeper.refresh(&"a".into(), false).is_none());
    let start = house.clock.boot();
    assert!(house.wait(&slot).await.is_err());
    assert!(house.clock.boot() - start <= WAIT);
}

#[tokio::test(start_paused = true)]
async fn a_credential_removed_and_added_again_has_no_ghosts() {
    let (house, _slot) = House::with_one(spec("a"));
    pass(seconds(1000)).await;
    for _ in 0..5 {
        house.keep([]);
        house.keep([spec("a")]);
        pass(seconds(10)).await;
    }
    assert_eq!(house.issuer.count("a"), 6);
    // The timers of the five older ones would fire within this time.
    pass(seconds(2450)).await;
    assert_eq!(house.issuer.count("a"), 6);
    pass(seconds(400)).await;
    assert_eq!(house.issuer.count("a"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_for_a_changed_credential_is_dropped() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => token("late", HOUR).after(seconds(20)),
        _ => next_token(call),
    });
    house.keep([refresh_spec("a", "r0")]);
    settle().await;
    house.keep([refresh_spec("a", "other")]);
    let slot = house.slot("a");
    pass(seconds(30)).await;
    assert_eq!((house.token(&slot).as_deref(), house.status("a").generation), (Some("t2"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_never_has_two_exchanges_at_once() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(5)));
    for wait in 1..10 {
        house.keep([CredentialSpec {
            times: Times { default_lifetime: seconds(wait * 600), ..Times::default() }.into(),
            ..refresh_spec("a", "r0")
        }]);
        pass(seconds(1)).await;
    }
    pass(seconds(20)).await;
    assert_eq!((house.issuer.most_open("a"), house.state("a")), (1, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_does_not_wait_for_an_exchange_that_may_be_broken_off() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { Answer::Hangs } else { next_token(call) });
    house.keep([spec("a")]);
    settle().await;
    house.keep([CredentialSpec { optional: true, ..spec("a") }]);
    assert_eq!(house.wait(&house.slot("a")).await.expect("a token"), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_changed_parent_renews_the_child_that_stayed() {
    let house = House::new();
    house.issuer.answers("entity", |call| token(&format!("e({})", call.input("key")), HOUR));
    house.keep([spec("user"), child("entity", "user")]);
    let slot = house.slot("entity");
    pass(seconds(10)).await;
    house.keep([CredentialSpec { optional: true, ..spec("user") }, child("entity", "user")]);
    pass(seconds(5)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("e(t2)"), "the old token served meanwhile");
    assert_eq!(house.issuer.count("entity"), 2);
}
