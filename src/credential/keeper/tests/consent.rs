//! Tokens that a person consented to, and tokens that are taken up from the store.

use super::*;

pub(super) fn interactive_spec(name: &str) -> CredentialSpec {
    CredentialSpec { flow: oauth2(Grant::AuthorizationCode), ..spec(name) }
}

pub(super) fn owner(name: &str, subject: &str) -> Owner {
    Owner::subject(name.into(), Subject::new(subject).expect("a subject"))
}

/// What a consent brings: a token for an hour and the refresh token `r0`.
pub(super) fn consented(token: &str) -> Minted {
    let rotated = Some(Secret::from("r0"));
    Minted { rotated, ..minted(token, Some(Lifetime::For(HOUR))) }
}

/// Rotates `r0` to `r1` and so on.
pub(super) fn rotates(call: &Call) -> Answer {
    let number: usize = call.input("refresh_token")[1..].parse().expect("a number");
    let rotated = Some(Secret::from(format!("r{}", number + 1)));
    Answer::Minted(Minted { rotated, ..minted(&format!("t{}", number + 1), Some(Lifetime::For(HOUR))) })
}

impl House {
    fn slot_of(&self, owner: &Owner) -> Arc<Slot<String>> {
        let prepare = |outputs: &Outputs| {
            let token = outputs.get("token").and_then(Secret::expose_str);
            token.map(str::to_owned).ok_or_else(|| "no token".to_owned())
        };
        self.keeper.slot(owner, Arc::new(prepare)).expect("the credential is kept")
    }

    fn state_of(&self, owner: &Owner) -> State {
        self.keeper.status(owner).expect("the credential is kept").state
    }
}

/// A store that outlives a house, and the clock that it was made with.
pub(super) fn clock_and_store() -> (Clock, Arc<dyn Store>) {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 5);
    let store = Arc::new(MemoryStore::new(&clock));
    (clock, store)
}

#[tokio::test(start_paused = true)]
async fn before_a_consent_a_person_is_called_for_and_the_issuer_is_not_asked() {
    let (house, slot) = House::with_one(interactive_spec("a"));
    settle().await;
    assert_eq!(house.state("a"), State::LoginRequired);
    assert_eq!(house.wait(&slot).await.expect_err("no token").state, State::LoginRequired);
    assert_eq!((house.issuer.count("a"), house.outcomes().len()), (0, 0));
    assert_eq!(house.status("a").last_error, None, "nothing went wrong");
}

#[tokio::test(start_paused = true)]
async fn a_consent_is_published_and_renewed_by_its_refresh_token() {
    let (house, slot) = House::with_one(interactive_spec("a"));
    house.issuer.answers("a", rotates);
    settle().await;
    house.keeper.adopt(&"a".into(), consented("t0"), house.clock.now()).await.expect("adopted");
    assert_eq!(house.token(&slot).as_deref(), Some("t0"));
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 0));
    pass(HOUR * 10).await;
    assert!(house.issuer.count("a") > 10 && house.state("a") == State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_consent_without_a_refresh_token_lasts_as_long_as_its_token() {
    let (house, slot) = House::with_one(interactive_spec("a"));
    settle().await;
    let consent = Minted { rotated: None, ..consented("t0") };
    house.keeper.adopt(&"a".into(), consent, house.clock.now()).await.expect("adopted");
    pass(HOUR - seconds(15)).await;
    assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Ready, Some("t0")));
    pass(seconds(15)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 0));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_consent_serves_to_the_tokens_end_and_then_calls_for_a_person() {
    let (house, slot) = House::with_one(interactive_spec("a"));
    house
        .issuer
        .answers("a", |_| Answer::Fails(MintError::Withdrawn { message: "invalid_grant".to_owned() }));
    settle().await;
    house.keeper.adopt(&"a".into(), consented("t0"), house.clock.now()).await.expect("adopted");
    pass(HOUR - seconds(15)).await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Failing, Some(ErrorClass::Rejected)));
    assert_eq!(house.token(&slot).as_deref(), Some("t0"));
    pass(seconds(20)).await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::LoginRequired, 1));
    house.keeper.adopt(&"a".into(), consented("t9"), house.clock.now()).await.expect("adopted");
    assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Ready, Some("t9")));
}

/// What is told of the last failure of a credential whose renewal ends so.
async fn told_of(spec: CredentialSpec, owner: &Owner, error: fn() -> MintError) -> (ErrorClass, String) {
    let house = House::new();
    house.issuer.answers("a", move |_| Answer::Fails(error()));
    let is_interactive = spec.flow.is_interactive();
    house.keep([spec]);
    let _slot = house.slot_of(owner);
    settle().await;
    if is_interactive {
        house.keeper.adopt(owner, consented("t0"), house.clock.now()).await.expect("adopted");
        pass(HOUR - seconds(15)).await;
    }
    let status = house.keeper.status(owner).expect("the credential is kept");
    let error = status.last_error.expect("it failed");
    (error.class, error.message)
}

fn lost() -> MintError {
    MintError::Unanswered { message: "the connection broke".to_owned() }
}

fn withdrawn() -> MintError {
    MintError::Withdrawn { message: "invalid_grant".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn who_has_to_do_something_about_a_used_up_refresh_token_is_told_and_what() {
    let (own, alice) = ("a".into(), owner("a", "alice"));
    for (spec, owner, remedy) in [
        (refresh_spec("a", "r0"), &own, "before a new one is configured"),
        (interactive_spec("a"), &own, "before somebody logs in (`bearerd login a`)"),
        (interactive_spec("a"), &alice, "before the subject logs in again"),
    ] {
        let (class, message) = told_of(spec.clone(), owner, lost).await;
        assert_eq!(class, ErrorClass::Ambiguous);
        assert!(message.contains("may be used up") && message.ends_with(remedy), "{message}");
        let (class, message) = told_of(spec.clone(), owner, withdrawn).await;
        assert_eq!(class, ErrorClass::Rejected);
        let calls_a_person = spec.flow.is_interactive();
        assert_eq!(message.ends_with(remedy), calls_a_person, "{message}");
        assert!(calls_a_person || message == "invalid_grant", "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn logging_out_takes_the_token_back_at_once_and_for_good() {
    let (clock, store) = clock_and_store();
    let alice = owner("a", "alice");
    let house = House::with(clock, Some(Arc::clone(&store)), 32);
    house.keep([interactive_spec("a")]);
    house.keeper.adopt(&alice, consented("t0"), house.clock.now()).await.expect("adopted");
    let slot = house.slot_of(&alice);
    assert_eq!(house.token(&slot).as_deref(), Some("t0"));
    house.keeper.forget(&alice).await.expect("forgotten");
    assert_eq!((house.state_of(&alice), house.token(&slot)), (State::Revoked, None));
    assert_eq!(store.count(&"a".into()).await, Ok(0));
    pass(HOUR * 3).await;
    assert_eq!(house.issuer.count("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn subjects_have_tokens_of_their_own() {
    let (clock, store) = clock_and_store();
    let house = House::with(clock, Some(Arc::clone(&store)), 32);
    house.keep([interactive_spec("a")]);
    for name in ["alice", "bob"] {
        house.keeper.adopt(&owner("a", name), consented(name), house.clock.now()).await.expect("adopted");
    }
    settle().await;
    for name in ["alice", "bob"] {
        assert_eq!(house.token(&house.slot_of(&owner("a", name))).as_deref(), Some(name));
    }
    assert_eq!(house.state("a"), State::LoginRequired, "its own token is another one");
    let _carol = house.slot_of(&owner("a", "carol"));
    assert_eq!(house.state_of(&owner("a", "carol")), State::Pending);
    settle().await;
    assert_eq!(house.state_of(&owner("a", "carol")), State::LoginRequired);
    let subjects = house.keeper.subjects(&"a".into(), None, 10).await.expect("listed");
    assert_eq!(subjects.iter().map(Subject::as_str).collect::<Vec<_>>(), ["alice", "bob"]);
    let behind = house.keeper.subjects(&"a".into(), Some(&subjects[0]), 10).await.expect("listed");
    assert_eq!(behind, subjects[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_a_valid_token_and_renews_it_when_its_time_comes() {
    let (clock, store) = clock_and_store();
    let alice = owner("a", "alice");
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.keep([interactive_spec("a")]);
    house.keeper.adopt(&alice, consented("t0"), house.clock.now()).await.expect("adopted");
    house.keeper.shutdown().await;
    pass(HOUR / 2).await;

    let house = House::with(clock, Some(store), 32);
    house.issuer.answers("a", rotates);
    house.keep([interactive_spec("a")]);
    let slot = house.slot_of(&alice);
    assert_eq!(house.wait(&slot).await.expect("taken up"), "t0");
    let status = house.keeper.status(&alice).expect("kept");
    assert_eq!((status.generation, house.issuer.count("a")), (1, 0));
    assert_eq!(house.outcomes(), [], "a token that is taken up is no renewal");
    pass(HOUR / 3).await;
    assert_eq!((house.token(&slot).as_deref(), house.issuer.count("a")), (Some("t1"), 1));
    assert_eq!(house.keeper.status(&alice).expect("kept").generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_the_store_that_has_ended_or_was_obtained_otherwise_is_not_taken_up() {
    for (pause, change) in [(HOUR, false), (seconds(1), true)] {
        let (clock, store) = clock_and_store();
        let alice = owner("a", "alice");
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        house.keep([interactive_spec("a")]);
        house.keeper.adopt(&alice, consented("t0"), house.clock.now()).await.expect("adopted");
        house.keeper.shutdown().await;
        pass(pause).await;
        let house = House::with(clock, Some(store), 32);
        house.issuer.answers("a", rotates);
        let spec = interactive_spec("a");
        let egress = if change { "other".to_owned() } else { spec.egress.clone() };
        house.keep([CredentialSpec { egress, ..spec }]);
        let slot = house.slot_of(&alice);
        assert_eq!(house.wait(&slot).await.expect("renewed"), "t1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operators_refresh_is_not_answered_with_a_token_of_the_store() {
    let (clock, store) = clock_and_store();
    let alice = owner("a", "alice");
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.keep([interactive_spec("a")]);
    house.keeper.adopt(&alice, consented("t0"), house.clock.now()).await.expect("adopted");
    house.keeper.shutdown().await;
    let house = House::with(clock, Some(store), 32);
    house.issuer.answers("a", rotates);
    house.keep([interactive_spec("a")]);
    let outcome = house.keeper.refresh(&alice, false).expect("kept").await;
    assert_eq!((outcome, house.issuer.count("a")), (Outcome::Ok, 1));
}

#[tokio::test(start_paused = true)]
async fn a_removed_credential_takes_its_subjects_along_and_a_kept_one_keeps_them() {
    let house = House::new();
    let alice = owner("a", "alice");
    house.keep([interactive_spec("a")]);
    house.keeper.adopt(&alice, consented("t0"), house.clock.now()).await.expect("adopted");
    let slot = house.slot_of(&alice);
    house.keep([interactive_spec("a"), spec("b")]);
    settle().await;
    assert_eq!((house.state_of(&alice), house.token(&slot).as_deref()), (State::Ready, Some("t0")));
    house.keep([spec("b")]);
    settle().await;
    assert!(house.keeper.status(&alice).is_none());
    assert!(!slot.is_renewable());
}
