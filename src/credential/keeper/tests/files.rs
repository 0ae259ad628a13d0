//! Static tokens: from files, from `set`, and to their end.

use super::*;

pub(super) fn file_with(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_picked_up_live() {
    let (_folder, path) = file_with("one");
    let (house, slot) = House::with_one(static_spec("a", Source::File(path.clone().into())));
    assert_eq!(house.wait(&slot).await.expect("a token"), "one");
    std::fs::write(&path, "two").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!((house.token(&slot).as_deref(), house.status("a").generation), (Some("two"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_touched_file_renews_nothing() {
    let (_folder, path) = file_with("one");
    let (house, _slot) = House::with_one(static_spec("a", Source::File(path.clone().into())));
    settle().await;
    for _ in 0..10 {
        house.keeper.input_changed(vec![path.clone()]);
        settle().await;
    }
    assert_eq!((house.status("a").generation, house.outcomes().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_vanishes_leaves_the_token_in_use_and_says_so_until_it_is_back() {
    let (_folder, path) = file_with("one");
    let (house, slot) = House::with_one(static_spec("a", Source::File(path.clone().into())));
    settle().await;
    std::fs::remove_file(&path).expect("removed");
    house.keeper.input_changed(vec![path.clone()]);
    settle().await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("one"), State::Failing));
    std::fs::write(&path, "one").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Ready, None));
    assert_eq!(house.status("a").generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_set_serves_until_the_file_changes() {
    let (_folder, path) = file_with("one");
    let (house, slot) = House::with_one(static_spec("a", Source::File(path.clone().into())));
    settle().await;
    house.keeper.set_token(&"a".into(), Secret::from("set"), None).await.expect("set");
    assert_eq!(house.token(&slot).as_deref(), Some("set"));
    house.keeper.input_changed(vec![path.clone()]);
    settle().await;
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert_eq!(house.token(&slot).as_deref(), Some("set"), "neither a touch nor a refresh undoes it");
    std::fs::write(&path, "two").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_token_can_be_set_where_the_file_is_not_there_yet() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let (house, slot) = House::with_one(static_spec("a", Source::File(path.clone().into())));
    settle().await;
    assert_eq!(house.state("a"), State::Pending);
    house.keeper.set_token(&"a".into(), Secret::from("set"), None).await.expect("set");
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("set"), State::Ready));
    pass(HOUR).await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("set"), State::Ready));
    std::fs::write(&path, "file").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("file"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_set_survives_a_restart_with_a_store() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&clock));
    for (configured, expected) in [("one", "set"), ("two", "two"), ("one", "one")] {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.keep([static_spec("a", Source::Value(Secret::from(configured)))]);
        let slot = house.slot("a");
        house.wait(&slot).await.expect("a token");
        if expected == "set" {
            house.keeper.set_token(&"a".into(), Secret::from("set"), None).await.expect("set");
        }
        assert_eq!(house.token(&slot).as_deref(), Some(expected));
        house.keeper.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_route_can_use_is_not_set() {
    let (house, slot) = House::with_one(static_spec("a", Source::Value(Secret::from("one"))));
    settle().await;
    let refused = house.keeper.set_token(&"a".into(), Secret::from("line\nbreak"), None).await;
    assert!(matches!(refused, Err(SetError::Unusable(message)) if message.contains("line break")));
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("one"), State::Ready));
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert_eq!(house.token(&slot).as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn only_static_tokens_can_be_set() {
    let (house, _slot) = House::with_one(spec("a"));
    for (name, error) in [("a", SetError::NotStatic), ("b", SetError::Unknown)] {
        assert_eq!(house.keeper.set_token(&name.into(), Secret::from("x"), None).await, Err(error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_static_token_ends_with_a_clear_message_and_heals_when_replaced() {
    let house = House::new();
    house.issuer.answers("a", |call| token(&format!("t{}", call.number), seconds(100)));
    // The script answers where the input is not called `token`.
    let (_folder, path) = file_with("one");
    let spec = with_inputs(
        static_spec("a", Source::Value(Secret::from(""))),
        [("key", Source::File(path.clone().into()))],
    );
    house.keep([spec]);
    let slot = house.slot("a");
    pass(seconds(94)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 1), "nobody can renew it");
    pass(seconds(2)).await;
    assert_eq!((house.state("a"), house.token(&slot)), (State::Expired, None));
    assert!(house.status("a").last_error.expect("an error").message.contains("bearerd set a"));
    let start = house.clock.boot();
    assert!(house.wait(&slot).await.is_err());
    assert_eq!(house.clock.boot(), start, "nothing is due that could be waited for");
    std::fs::write(&path, "two").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Ready, Some("t2")));
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_renews_a_credential_that_asks_an_issuer() {
    let (_folder, path) = file_with("one");
    let spec = with_inputs(spec("a"), [("client_secret", Source::File(path.clone().into()))]);
    let (house, slot) = House::with_one(spec);
    pass(seconds(10)).await;
    std::fs::write(&path, "two").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("t2"));
    assert_eq!(house.issuer.calls("a")[1].input("client_secret"), "two");
}

#[tokio::test(start_paused = true)]
async fn an_input_that_changes_during_an_exchange_is_used_for_another_one() {
    let (_folder, path) = file_with("one");
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(5)));
    house.keep([with_inputs(spec("a"), [("client_secret", Source::File(path.clone().into()))])]);
    settle().await;
    std::fs::write(&path, "two").expect("written");
    house.keeper.input_changed(vec![path]);
    pass(seconds(20)).await;
    let used: Vec<_> =
        house.issuer.calls("a").iter().map(|call| call.input("client_secret").to_owned()).collect();
    assert_eq!(used, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_set_at_once_follow_each_other_and_the_last_one_stays() {
    let (_folder, path) = file_with("file");
    let (house, slot) = House::with_one(static_spec("a", Source::File(path.into())));
    settle().await;
    let name = "a".into();
    let set = |token: &str| house.keeper.set_token(&name, Secret::from(token), None);
    let outcomes = tokio::join!(set("one"), set("two"), set("three"));
    assert_eq!(outcomes, (Ok(()), Ok(()), Ok(())), "each is told what came of its own");
    assert_eq!((house.token(&slot).as_deref(), house.status("a").generation), (Some("three"), 4));
}
