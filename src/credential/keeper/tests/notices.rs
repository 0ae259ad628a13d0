//! A token that nobody renews: who is told of its end, and when.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn ending(name: &str, token: &str, expires: Expires) -> CredentialSpec {
    let spec = static_spec(name, Source::Value(Secret::from(token)));
    CredentialSpec { flow: Flow::Static(StaticFlow { expires }), ..spec }
}

fn end(house: &House, days: u32) -> Timestamp {
    house.clock.wall() + days * DAY
}

fn notice(house: &House) -> Option<String> {
    house.status("a").warnings.into_iter().find(|warning| warning.contains("nobody renews it"))
}

#[tokio::test(start_paused = true)]
async fn from_two_weeks_before_its_end_on_a_person_is_told_each_day() {
    let house = House::new();
    house.keep([ending("a", "one", Expires::At(end(&house, 180)))]);
    let _slot = house.slot("a");
    pass(165 * DAY).await;
    assert_eq!(notice(&house), None, "15 days are left");
    pass(DAY + HOUR).await;
    let told = notice(&house).expect("not quite 14 days are left");
    assert!(told.contains("in 14 days") && told.contains("`bearerd set a`"), "{told}");
    assert!(told.contains("1970-06-30T01:00:00Z"), "{told}");
    let mut last = told;
    for days in (2..14).rev() {
        pass(DAY).await;
        let told = notice(&house).expect("it comes nearer");
        assert!(told.contains(&format!("in {days} days")) && told != last, "{told}");
        last = told;
    }
    pass(DAY).await;
    assert!(notice(&house).is_some_and(|told| told.contains("within a day")));
    assert_eq!(house.state("a"), State::Ready);
    pass(DAY).await;
    assert_eq!((notice(&house), house.state("a")), (None, State::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_with_less_is_told_of_at_once_and_one_that_is_renewed_never() {
    let house = House::new();
    house.issuer.answers("b", |call| token(&format!("t{}", call.number), 3 * DAY));
    house.keep([ending("a", "one", Expires::After(5 * DAY)), spec("b")]);
    let _slots = (house.slot("a"), house.slot("b"));
    settle().await;
    assert!(notice(&house).is_some_and(|told| told.contains("in 5 days")));
    assert!(house.status("b").warnings.iter().all(|told| !told.contains("nobody renews")));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_set_with_its_end_ends_then_also_after_a_restart() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::rehearsing(&[7; 32]));
    let first = clock.wall() + 10 * DAY;
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.keep([ending("a", "one", Expires::At(first))]);
    let slot = house.slot("a");
    settle().await;
    assert!(notice(&house).is_some());
    let until = first + 190 * DAY;
    house.keeper.set_token(&"a".into(), Secret::from("two"), Some(until)).await.expect("set");
    assert_eq!((house.token(&slot).as_deref(), notice(&house)), (Some("two"), None));
    assert_eq!(house.status("a").expires_at, Some(until));
    house.keeper.shutdown().await;

    pass(11 * DAY).await;
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.keep([ending("a", "one", Expires::At(first))]);
    let slot = house.slot("a");
    settle().await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("two"), State::Ready));
    assert_eq!(house.status("a").expires_at, Some(until));
}

#[tokio::test(start_paused = true)]
async fn a_length_counts_from_when_the_token_was_set_and_not_from_each_restart() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::rehearsing(&[7; 32]));
    let mut ends = Vec::new();
    for restart in 0..3 {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.keep([ending("a", "one", Expires::After(180 * DAY))]);
        let _slot = house.slot("a");
        settle().await;
        if restart == 0 {
            pass(DAY).await;
            house.keeper.set_token(&"a".into(), Secret::from("two"), None).await.expect("set");
        }
        ends.push(house.status("a").expires_at.expect("an end"));
        house.keeper.shutdown().await;
        pass(10 * DAY).await;
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_is_not_set_and_says_what_to_do() {
    let house = House::new();
    house.keep([ending("a", "one", Expires::At(end(&house, 10)))]);
    let _slot = house.slot("a");
    pass(11 * DAY).await;
    let refused = house.keeper.set_token(&"a".into(), Secret::from("two"), None).await;
    assert!(matches!(&refused, Err(SetError::Unusable(why)) if why.contains("`--expires`")), "{refused:?}");
    let until = end(&house, 100);
    house.keeper.set_token(&"a".into(), Secret::from("two"), Some(until)).await.expect("set");
    assert_eq!(house.state("a"), State::Ready);
}
