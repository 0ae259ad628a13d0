//! Clocks that are stepped and machines that sleep.

use jiff::SignedDuration;

use super::*;

#[tokio::test(start_paused = true)]
async fn after_a_sleep_a_dead_token_is_not_used_and_a_new_one_is_there_within_ten_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.suspend(2 * HOUR);
    assert_eq!(house.token(&slot), None, "the first request sees that it is dead");
    pass(seconds(9)).await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("t2"), State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_its_token_dead_after_a_sleep_starts_the_renewal_itself() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.suspend(2 * HOUR);
    let start = house.clock.boot();
    assert_eq!(house.wait(&slot).await.expect("a token"), "t2");
    assert!(house.clock.boot() - start < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fell_due_in_a_sleep_starts_within_ten_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.suspend(seconds(2900));
    assert_eq!(house.token(&slot).as_deref(), Some("t1"), "it is still valid");
    pass(seconds(9)).await;
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_stepped_forward_ends_tokens_and_renews_them_within_ten_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.step_wall(SignedDuration::from_hours(2));
    assert_eq!(house.token(&slot), None);
    pass(seconds(9)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("t2"));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_stepped_back_revives_nothing_and_delays_nothing() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.step_wall(SignedDuration::from_hours(-24 * 3650));
    pass(seconds(2881)).await;
    assert_eq!((house.issuer.count("a"), house.token(&slot).as_deref()), (2, Some("t2")));
    house.issuer.answers("a", |_| down());
    pass(HOUR).await;
    assert_eq!((house.token(&slot), house.state("a")), (None, State::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_step_to_and_fro_makes_no_storm() {
    let house = House::new();
    house.keep((0..100).map(|number| spec(&format!("c{number}"))));
    settle().await;
    for step in [5, -5, 10 * 365 * 24 * 60, -10 * 365 * 24 * 60] {
        house.clock.step_wall(SignedDuration::from_mins(step));
        pass(seconds(20)).await;
    }
    for number in 0..100 {
        let calls = house.issuer.count(&format!("c{number}"));
        assert!(calls <= 3, "credential {number} was renewed {calls} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_step_moves_the_renewal_with_the_wall_clock() {
    let (house, _slot) = House::with_one(spec("a"));
    settle().await;
    house.clock.step_wall(SignedDuration::from_secs(2890));
    assert_eq!(house.issuer.count("a"), 1);
    pass(seconds(9)).await;
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_drifts_slowly_is_followed_too() {
    let (house, slot) = House::with_one(spec("a"));
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { down() });
    settle().await;
    // Twice too fast, in steps that each are drift.
    for _ in 0..1790 {
        pass(seconds(1)).await;
        house.clock.step_wall(SignedDuration::from_secs(1));
    }
    assert!(house.issuer.count("a") > 1, "the renewal was not put off");
    pass(seconds(10)).await;
    assert_eq!((house.token(&slot), house.state("a")), (None, State::Expired));
}
