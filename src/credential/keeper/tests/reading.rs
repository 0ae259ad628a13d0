//! Requests: when they wait, for how long, and what they never notice.

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_waiting_requests_share_one_exchange() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(3)));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    let requests: Vec<_> = (0..10_000)
        .map(|_| {
            let (slot, clock) = (Arc::clone(&slot), house.clock.clone());
            tokio::spawn(async move { slot.wait(&clock, WAIT).await.map(|current| current.value.clone()) })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("a token"), "t1");
    }
    assert_eq!(house.issuer.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_cancels_nothing() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(3)));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    let (leader, clock) = (Arc::clone(&slot), house.clock.clone());
    let leader = tokio::spawn(async move { leader.wait(&clock, WAIT).await.is_ok() });
    pass(seconds(1)).await;
    leader.abort();
    assert_eq!(house.wait(&slot).await.expect("a token"), "t1");
    assert_eq!(house.issuer.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_its_limit() {
    let house = House::new();
    house.issuer.answers("a", |_| Answer::Hangs);
    house.keep([spec("a")]);
    let slot = house.slot("a");
    let start = house.clock.boot();
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!(unavailable.state, State::Pending);
    assert_eq!((house.clock.boot() - start).as_secs(), WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_an_exchange_that_is_due_within_its_limit() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { down() } else { next_token(call) });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    settle().await;
    assert_eq!(house.issuer.count("a"), 1, "the second try is one or two seconds off");
    assert_eq!(house.wait(&slot).await.expect("a token"), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_told_at_once_when_the_next_try_is_far_off() {
    let house = House::new();
    house.issuer.answers("a", |_| {
        let message = "busy".to_owned();
        Answer::Fails(MintError::Transient { message, retry_after: Some(seconds(100)) })
    });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    settle().await;
    let start = house.clock.boot();
    for _ in 0..1000 {
        let unavailable = house.wait(&slot).await.expect_err("nothing is there");
        let retry_after = unavailable.retry_after.expect("it is known when");
        assert!(retry_after > seconds(90) && retry_after <= seconds(111), "{retry_after:?}");
    }
    assert_eq!(house.clock.boot(), start, "nobody waited");
    assert_eq!(house.issuer.count("a"), 1, "requests do not make the issuer work");
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_at_once_that_the_input_was_rejected() {
    let house = House::new();
    house.issuer.answers("a", |_| rejected());
    house.keep([spec("a")]);
    let slot = house.slot("a");
    settle().await;
    let start = house.clock.boot();
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!((unavailable.state, unavailable.retry_after), (State::Rejected, None));
    assert_eq!(house.clock.boot(), start);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_comes_later_is_fed_at_once() {
    let (house, _first) = House::with_one(spec("a"));
    settle().await;
    assert_eq!(house.token(&house.slot("a")).as_deref(), Some("t1"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_route_can_use_is_not_published_to_any() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => token("good", seconds(100)),
        2 => token("line\nbreak", seconds(100)),
        _ => down(),
    });
    house.keep([spec("a")]);
    let strict = house.slot("a");
    let lax = house.keeper.slot(&"a".into(), Arc::new(|outputs: &Outputs| Ok(outputs.len())));
    let lax = lax.expect("the credential is kept");
    pass(seconds(81)).await;
    assert_eq!(house.token(&strict).as_deref(), Some("good"));
    assert_eq!(lax.wait(&house.clock, WAIT).await.expect("a token").generation, 1);
    let error = house.status("a").last_error.expect("an error");
    assert_eq!((house.state("a"), error.class), (State::Failing, ErrorClass::Transient));
    assert!(!error.message.contains("break\n") && error.message.contains("line break"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_cannot_use_a_good_token_is_told_about_and_does_not_wait() {
    let (house, good) = House::with_one(static_spec("a", Source::Value(Secret::from("abc"))));
    settle().await;
    let refuse = |_: &Outputs| Err::<(), _>("there is no `x`".to_owned());
    let bad = house.keeper.slot(&"a".into(), Arc::new(refuse)).expect("the credential is kept");
    settle().await;
    let start = house.clock.boot();
    assert!(bad.wait(&house.clock, WAIT).await.is_err());
    assert_eq!(house.clock.boot(), start);
    assert!(house.status("a").last_error.expect("an error").message.contains("no `x`"));
    assert_eq!(house.token(&good).as_deref(), Some("abc"));
}
