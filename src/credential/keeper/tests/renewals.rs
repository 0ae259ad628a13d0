//! Renewal: when, how often, and what nobody notices of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_new_credential_is_obtained_at_once() {
    let (house, slot) = House::with_one(spec("a"));
    assert_eq!(house.state("a"), State::Pending);
    assert_eq!(house.wait(&slot).await.expect("a token"), "t1");
    assert_eq!((house.state("a"), house.status("a").generation), (State::Ready, 1));
    assert_eq!(house.outcomes(), [Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn renewal_starts_between_seventy_and_eighty_percent_of_the_lifetime_for_a_day() {
    let (house, slot) = House::with_one(spec("a"));
    let mut ages = Vec::new();
    settle().await;
    for _ in 0..24 * 60 {
        pass(seconds(60)).await;
        assert!(house.token(&slot).is_some(), "a token is there at any time");
    }
    let calls = house.issuer.calls("a");
    for pair in calls.windows(2) {
        ages.push((pair[1].at - pair[0].at).as_secs_f64() / 3600.0);
    }
    assert!(ages.len() >= 24 * 10 / 8, "{} renewals", ages.len());
    // Timers fire within a millisecond or so.
    assert!(ages.iter().all(|age| (0.7..0.8001).contains(age)), "{ages:?}");
    let spread = ages.iter().copied().fold(0.0_f64, f64::max) - ages.iter().copied().fold(1.0_f64, f64::min);
    assert!(spread > 0.05, "the point is random: {spread}");
}

fn renewed_before(before: u64) -> CredentialSpec {
    let times = Times { renew_before: Some(seconds(before)), ..Times::default() };
    CredentialSpec { times: times.into(), ..spec("a") }
}

#[tokio::test(start_paused = true)]
async fn renew_before_overrides_the_point_of_renewal() {
    let (house, _slot) = House::with_one(renewed_before(600));
    pass(seconds(2999)).await;
    assert_eq!(house.issuer.count("a"), 1);
    pass(seconds(2)).await;
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renew_before_longer_than_the_lifetime_does_not_renew_without_a_pause() {
    let (house, _slot) = House::with_one(renewed_before(7200));
    pass(seconds(2500)).await;
    assert_eq!(house.issuer.count("a"), 1);
    pass(seconds(400)).await;
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn two_seconds_lie_between_renewals_whatever_the_issuer_says() {
    let house = House::new();
    house.issuer.answers("a", |_| token("short", Duration::from_millis(10)));
    house.keep([spec("a")]);
    pass(seconds(60)).await;
    let calls = house.issuer.calls("a");
    assert!((25..=31).contains(&calls.len()), "{} calls in a minute", calls.len());
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at >= seconds(2)));
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_absurd_lifetime_is_replaced_and_warned_about() {
    for said in [
        None,
        Some(Lifetime::Unlimited),
        Some(Lifetime::For(Duration::ZERO)),
        Some(Lifetime::For(seconds(367 * 24 * 3600))),
        Some(Lifetime::Until(Timestamp::UNIX_EPOCH)),
        Some(Lifetime::Until(Timestamp::MAX)),
    ] {
        let house = House::new();
        house.issuer.answers("a", move |_| Answer::Minted(minted("a-long-token", said)));
        house.keep([spec("a")]);
        settle().await;
        let status = house.status("a");
        let (from, to) = (status.obtained_at.expect("a time"), status.expires_at.expect("a time"));
        assert_eq!(to.duration_since(from).as_secs(), 3600, "{said:?}");
        assert_eq!(status.warnings.len(), 1, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn max_renewals_bounds_the_exchanges_in_a_time() {
    let house = House::new();
    house.issuer.answers("a", |_| token("short", seconds(3)));
    let rate = crate::rate::Rate { count: 5, per: seconds(600) };
    house.keep([CredentialSpec {
        times: Times { max_renewals: Some(rate), ..Times::default() }.into(),
        ..spec("a")
    }]);
    pass(seconds(590)).await;
    assert_eq!(house.issuer.count("a"), 5);
    let status = house.status("a");
    assert!(status.warnings.iter().any(|warning| warning.contains("max_renewals")), "{:?}", status.warnings);
    assert!(status.renew_at.is_some_and(|at| at > house.clock.wall()), "{:?}", status.renew_at);
    assert_eq!(house.refresh("a", true).await, Outcome::Transient, "it holds for operators too");
    assert_eq!(house.keeper.limited().max_renewals.get(), 1, "what waits is counted once");
    pass(seconds(590)).await;
    assert_eq!(house.issuer.count("a"), 10);
    assert!(house.keeper.limited().max_renewals.get() > 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_renewal_runs_requests_carry_the_old_token() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(20)));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(21)).await;
    let at = house.status("a").renew_at.expect("planned").duration_since(house.clock.wall());
    pass(Duration::try_from(at).expect("ahead") + seconds(1)).await;
    assert_eq!(house.state("a"), State::Renewing);
    assert_eq!(house.token(&slot).as_deref(), Some("t1"));
    pass(seconds(20)).await;
    assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Ready, Some("t2")));
    assert_eq!(house.status("a").generation, 2);
}

#[tokio::test(start_paused = true)]
async fn an_operator_renews_at_will_but_not_within_two_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(10)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert_eq!(house.token(&slot).as_deref(), Some("t2"));
    let first = house.clock.boot();
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert!(house.clock.boot() - first >= seconds(2));
    assert_eq!(house.issuer.count("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn operators_share_an_exchange_that_runs_already() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(3)));
    house.keep([spec("a")]);
    settle().await;
    let (one, two) = tokio::join!(house.refresh("a", false), house.refresh("a", true));
    assert_eq!((one, two, house.issuer.count("a")), (Outcome::Ok, Outcome::Ok, 1));
}
