//! Rejections: the issuer says that the input is wrong.

use super::*;

/// A credential whose password lies in a file, and that file.
fn with_password(folder: &tempfile::TempDir) -> (CredentialSpec, std::path::PathBuf) {
    let path = folder.path().join("password");
    std::fs::write(&path, "wrong").expect("written");
    (with_inputs(spec("a"), [("password", Source::File(path.clone().into()))]), path)
}

fn knows_the_password(call: &Call) -> Answer {
    if call.input("password") == "right" { next_token(call) } else { rejected() }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_stops_all_tries() {
    let house = House::new();
    house.issuer.answers("a", |_| rejected());
    house.keep([spec("a")]);
    pass(24 * HOUR).await;
    assert_eq!((house.issuer.count("a"), house.state("a")), (1, State::Rejected));
    assert_eq!(house.error_class("a"), Some(ErrorClass::Rejected));
    assert_eq!(house.outcomes(), [Outcome::Rejected]);
}

#[tokio::test(start_paused = true)]
async fn while_the_old_token_is_valid_a_rejection_is_failing_and_then_rejected() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { rejected() });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(3000)).await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Failing, Some(ErrorClass::Rejected)));
    assert!(house.token(&slot).is_some());
    pass(seconds(600)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Rejected, 2));
}

#[tokio::test(start_paused = true)]
async fn a_changed_input_heals_a_rejection_and_a_touched_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spec, path) = with_password(&folder);
    let house = House::new();
    house.issuer.answers("a", knows_the_password);
    house.keep([spec]);
    settle().await;
    assert_eq!(house.state("a"), State::Rejected);
    for _ in 0..10 {
        house.keeper.input_changed(vec![path.clone()]);
        settle().await;
    }
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Rejected, 1), "only touched");
    std::fs::write(&path, "right").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 2));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_vanishes_for_a_moment_does_not_hide_why_a_human_is_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spec, path) = with_password(&folder);
    let house = House::new();
    house.issuer.answers("a", knows_the_password);
    house.keep([spec]);
    settle().await;
    std::fs::remove_file(&path).expect("removed");
    house.keeper.input_changed(vec![path.clone()]);
    settle().await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Rejected, Some(ErrorClass::Rejected)));
    std::fs::write(&path, "right").expect("written");
    pass(seconds(3)).await;
    assert_eq!(house.state("a"), State::Ready, "it looks again by itself");
}

#[tokio::test(start_paused = true)]
async fn an_operators_refresh_counts_as_a_try_and_is_refused_after_three() {
    let house = House::new();
    house.issuer.answers("a", |_| rejected());
    house.keep([spec("a")]);
    settle().await;
    for _ in 0..5 {
        assert_eq!(house.refresh("a", false).await, Outcome::Rejected);
    }
    assert_eq!(house.issuer.count("a"), 3);
    assert!(house.status("a").last_error.expect("an error").message.contains("--force"));
    assert_eq!(house.refresh("a", true).await, Outcome::Rejected);
    assert_eq!(house.issuer.count("a"), 4, "force overrides");
}

#[tokio::test(start_paused = true)]
async fn a_restart_tries_again_until_three_rejections_of_the_same_input_are_stored() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&clock));
    let mut calls = 0;
    for _ in 0..5 {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.issuer.answers("a", |_| rejected());
        house.keep([with_inputs(spec("a"), [("password", Source::Value(Secret::from("wrong")))])]);
        settle().await;
        assert_eq!(house.state("a"), State::Rejected);
        calls += house.issuer.count("a");
    }
    assert_eq!(calls, 3);
    let house = House::with(clock.clone(), Some(store), 32);
    house.issuer.answers("a", knows_the_password);
    house.keep([with_inputs(spec("a"), [("password", Source::Value(Secret::from("right")))])]);
    settle().await;
    assert_eq!(house.state("a"), State::Ready, "other inputs are another matter");
}

#[tokio::test(start_paused = true)]
async fn forced_tries_do_not_count() {
    let house = House::new();
    house.issuer.answers("a", |_| rejected());
    house.keep([spec("a")]);
    settle().await;
    for _ in 0..4 {
        assert_eq!(house.refresh("a", true).await, Outcome::Rejected);
    }
    house.issuer.answers("a", next_token);
    assert_eq!(house.refresh("a", false).await, Outcome::Ok, "one of three tries was used");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_for_another_reason_leaves_a_rejection_in_force() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { rejected() } else { down() });
    house.keep([spec("a")]);
    settle().await;
    assert_eq!(house.refresh("a", false).await, Outcome::Transient);
    pass(HOUR).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Rejected, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_changed_input_a_failure_is_tried_again_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spec, path) = with_password(&folder);
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => rejected(),
        2 => down(),
        _ => knows_the_password(call),
    });
    house.keep([spec]);
    settle().await;
    std::fs::write(&path, "right").expect("written");
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Pending, Some(ErrorClass::Transient)));
    pass(seconds(3)).await;
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_corrected_configuration_is_tried_again_also_after_three_rejections() {
    let house = House::new();
    house.issuer.answers("a", |_| rejected());
    house.keep([spec("a")]);
    settle().await;
    for _ in 0..3 {
        assert_eq!(house.refresh("a", false).await, Outcome::Rejected);
    }
    house.issuer.answers("a", next_token);
    let mut corrected = spec("a");
    if let Flow::OAuth2(flow) = &mut corrected.flow {
        flow.client_id = Template::text("the right client");
    }
    house.keep([corrected]);
    settle().await;
    assert_eq!(house.state("a"), State::Ready);
}
