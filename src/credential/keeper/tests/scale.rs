//! Many credentials.

use super::*;

#[tokio::test(start_paused = true)]
async fn renewals_of_a_thousand_credentials_are_spread() {
    let house = House::new();
    house.keep((0..1000).map(|number| spec(&format!("c{number}"))));
    settle().await;
    let start = house.clock.boot();
    pass(seconds(3000)).await;
    let mut by_minute = [0; 6];
    for number in 0..1000 {
        let second = house.issuer.calls(&format!("c{number}"))[1].at - start;
        let minute = (second.as_secs() - 2519) / 60;
        by_minute[usize::try_from(minute).expect("small")] += 1;
    }
    // 167 fall into each minute of the window; half as many more would be far outside of chance.
    assert!(by_minute.iter().all(|count| (110..230).contains(count)), "{by_minute:?}");
}

#[tokio::test(start_paused = true)]
async fn so_many_exchanges_run_at_once_with_one_issuer() {
    let house = House::with_issuer_concurrency(4);
    let names: Vec<_> = (0..20).map(|number| format!("c{number}")).collect();
    for name in &names {
        house.issuer.answers(name, |call| next_token(call).after(seconds(1)));
    }
    house.keep(names.iter().map(|name| spec(name)));
    settle().await;
    for second in 1..=5 {
        let asked: usize = names.iter().map(|name| house.issuer.count(name)).sum();
        assert_eq!(asked, second * 4);
        pass(seconds(1)).await;
    }
    assert_eq!(house.keeper.limited().issuer_concurrency.get(), 16, "each that waited is counted");
}

#[tokio::test(start_paused = true)]
async fn the_earliest_end_comes_first_when_exchanges_wait() {
    let house = House::with_issuer_concurrency(1);
    let lifetimes = [("long", 1000), ("short", 500), ("middle", 700)];
    for (name, lifetime) in lifetimes {
        house.issuer.answers(name, move |call| match call.number {
            1 => token("first", seconds(lifetime)),
            _ => token("second", HOUR).after(seconds(1)),
        });
    }
    house.issuer.answers("blocker", |call| match call.number {
        1 => token("first", HOUR),
        _ => token("second", HOUR).after(seconds(5)),
    });
    house.keep(lifetimes.map(|(name, _)| spec(name)).into_iter().chain([spec("blocker")]));
    pass(seconds(10)).await;
    let refresh = |name: &'static str| house.keeper.refresh(&name.into(), false).expect("it is kept");
    let blocker = refresh("blocker");
    let others = ["long", "middle", "short"].map(refresh);
    assert_eq!(blocker.await, Outcome::Ok);
    for other in others {
        assert_eq!(other.await, Outcome::Ok);
    }
    let at = |name: &str| house.issuer.calls(name)[1].at;
    assert!(at("short") < at("middle") && at("middle") < at("long"));
}

#[tokio::test(start_paused = true)]
async fn one_slow_issuer_does_not_hold_up_the_others() {
    let house = House::with_issuer_concurrency(1);
    house.issuer.answers("slow", |_| Answer::Hangs);
    let mut other = spec("other");
    if let Flow::OAuth2(flow) = &mut other.flow {
        flow.endpoints = Endpoints::of_token("https://elsewhere.test/token".parse().expect("a URL")).into();
    }
    house.keep([spec("slow"), spec("waiting"), other]);
    pass(seconds(1)).await;
    assert_eq!((house.state("other"), house.issuer.count("waiting")), (State::Ready, 0));
    pass(seconds(30)).await;
    assert_eq!(house.state("waiting"), State::Ready, "its turn comes when the slow one is given up");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_credentials_are_kept() {
    let house = House::with_issuer_concurrency(10_000);
    house.keep((0..10_000).map(|number| spec(&format!("c{number}"))));
    settle().await;
    let statuses = house.keeper.statuses();
    assert_eq!(statuses.len(), 10_000);
    assert!(statuses.iter().all(|status| status.state == State::Ready));
    pass(HOUR).await;
    assert!(house.keeper.statuses().iter().all(|status| status.generation >= 2));
}
