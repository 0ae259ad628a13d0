//! Subjects: how they wake when they are asked for, and sleep when nobody asks.

use super::consent::{clock_and_store, consented, interactive_spec, owner, rotates};
use super::*;
use crate::credential::keeper::SubjectNumbers;
use crate::credential::roster::Roster;

/// A house with a credential `a` whose subjects have consented, and the roster of a route.
async fn house_of(subjects: &[&str], sleep: SleepRules) -> (House, Arc<Roster<String>>) {
    let (clock, store) = clock_and_store();
    let house = House::with_rules(clock, Some(store), 32, sleep);
    house.issuer.answers("a", rotates);
    house.keep([interactive_spec("a")]);
    for subject in subjects {
        let consent = consented(&format!("of {subject}"));
        house.keeper.adopt(&owner("a", subject), consent, house.clock.now()).await.expect("adopted");
    }
    let roster = house.roster("a");
    (house, roster)
}

impl House {
    fn roster(&self, name: &str) -> Arc<Roster<String>> {
        let prepare = |outputs: &Outputs| {
            let token = outputs.get("token").and_then(Secret::expose_str);
            token.map(str::to_owned).ok_or_else(|| "no token".to_owned())
        };
        self.keeper.roster(&name.into(), Arc::new(prepare)).expect("the credential is kept")
    }

    /// What a request for a subject gets.
    async fn ask(&self, roster: &Roster<String>, subject: &str) -> Result<String, Unavailable> {
        let slot = roster.slot(subject, self.clock.now()).expect("the credential is kept");
        match self.token(&slot) {
            Some(token) => Ok(token),
            None => self.wait(&slot).await,
        }
    }

    fn numbers(&self, name: &str) -> SubjectNumbers {
        self.keeper.subject_numbers().get(&name.into()).copied().unwrap_or_default()
    }

    fn is_awake(&self, subject: &str) -> bool {
        self.keeper.status(&owner("a", subject)).is_some()
    }
}

fn at_most(most_awake: usize) -> SleepRules {
    SleepRules { most_awake, ..SleepRules::default() }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_subject_is_told_at_once_that_a_person_must_log_in_and_is_forgotten() {
    let (house, roster) = house_of(&[], SleepRules::default()).await;
    let start = house.clock.boot();
    let unavailable = house.ask(&roster, "carol").await.expect_err("nobody has consented");
    assert_eq!((unavailable.state, house.clock.boot() - start), (State::LoginRequired, Duration::ZERO));
    assert_eq!(house.issuer.count("a"), 0);
    pass(seconds(6)).await;
    assert_eq!(house.numbers("a"), SubjectNumbers { awake: 0, woken: 1, idle: 1, displaced: 0 });
    assert_eq!(house.keeper.count(&"a".into()).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn unknown_subjects_never_take_more_room_than_there_is() {
    let (house, roster) = house_of(&["alice"], at_most(160)).await;
    for number in 0..5_000 {
        let unavailable = house.ask(&roster, &format!("u{number}")).await;
        assert_eq!(unavailable.expect_err("unknown").state, State::LoginRequired);
        assert!(house.numbers("a").awake <= 161);
    }
    assert_eq!(house.ask(&roster, "alice").await.expect("known"), "of alice");
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_nobody_uses_sleeps_and_wakes_with_the_token_that_it_had() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    assert_eq!(house.ask(&roster, "alice").await.expect("awake"), "of alice");
    pass(seconds(590)).await;
    assert!(house.is_awake("alice"));
    pass(seconds(11)).await;
    assert!(!house.is_awake("alice"));
    assert_eq!(house.ask(&roster, "alice").await.expect("woken"), "of alice");
    assert_eq!((house.is_awake("alice"), house.issuer.count("a")), (true, 0));
    assert_eq!(house.numbers("a"), SubjectNumbers { awake: 1, woken: 2, idle: 1, displaced: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_subject_whose_token_has_ended_is_renewed_when_it_is_asked_for() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    pass(HOUR * 50).await;
    assert_eq!((house.is_awake("alice"), house.issuer.count("a")), (false, 0), "none for the idle");
    assert_eq!(house.ask(&roster, "alice").await.expect("renewed"), "t1");
    assert_eq!(house.issuer.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subject_in_use_always_has_a_token_at_hand() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    for _minute in 0..600 {
        let slot = roster.slot("alice", house.clock.now()).expect("kept");
        assert!(house.token(&slot).is_some());
        pass(seconds(60)).await;
    }
    assert!((10..=15).contains(&house.issuer.count("a")), "{}", house.issuer.count("a"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_has_used_is_not_renewed() {
    let rules = SleepRules { idle: HOUR * 5, ..SleepRules::default() };
    let (house, roster) = house_of(&["alice"], rules).await;
    house.ask(&roster, "alice").await.expect("a token");
    pass(HOUR * 4).await;
    assert_eq!((house.is_awake("alice"), house.issuer.count("a")), (false, 0));
    assert_eq!(house.ask(&roster, "alice").await.expect("renewed"), "t1");
    pass(seconds(10)).await;
    house.ask(&roster, "alice").await.expect("used");
    pass(HOUR * 4).await;
    assert_eq!((house.is_awake("alice"), house.issuer.count("a")), (false, 2), "once for what was used");
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_a_request_holds_stays_awake() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    let slot = roster.slot("alice", house.clock.now()).expect("kept");
    pass(seconds(2000)).await;
    assert!(house.is_awake("alice"));
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("t1"), "its refusal is heard");
    drop(slot);
    pass(seconds(1300)).await;
    assert!(!house.is_awake("alice"));
}

#[tokio::test(start_paused = true)]
async fn those_unused_for_longest_sleep_first_when_there_are_too_many() {
    let names: Vec<String> = (0..32).map(|number| format!("s{number:02}")).collect();
    let subjects: Vec<&str> = names.iter().map(String::as_str).collect();
    let (house, roster) = house_of(&subjects, at_most(32)).await;
    for subject in subjects.iter().rev() {
        pass(seconds(1)).await;
        house.ask(&roster, subject).await.expect("a token");
    }
    pass(seconds(1)).await;
    // One too many: a sixteenth is put to sleep, and the one more.
    assert!(house.ask(&roster, "another").await.is_err());
    let asleep: Vec<_> = subjects.iter().filter(|subject| !house.is_awake(subject)).collect();
    assert_eq!(asleep, [&"s29", &"s30", &"s31"]);
    assert_eq!(house.numbers("a").displaced, 3);
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_of_the_store_does_not_wait_for_a_slow_issuer() {
    let (clock, store) = clock_and_store();
    let house = House::with(clock, Some(store), 1);
    house.keep([interactive_spec("a")]);
    for subject in ["alice", "bob"] {
        let lifetime = if subject == "alice" { seconds(1000) } else { HOUR };
        let consent = Minted { lifetime: Some(Lifetime::For(lifetime)), ..consented(subject) };
        house.keeper.adopt(&owner("a", subject), consent, house.clock.now()).await.expect("adopted");
    }
    pass(seconds(1100)).await;
    house.issuer.answers("a", |_| Answer::Hangs);
    let roster = house.roster("a");
    let alice = roster.slot("alice", house.clock.now()).expect("kept");
    settle().await;
    assert_eq!((house.token(&alice), house.issuer.count("a")), (None, 1), "the only lane is taken");
    let start = house.clock.boot();
    assert_eq!(house.ask(&roster, "bob").await.expect("in the store"), "bob");
    assert_eq!(house.clock.boot(), start);
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_has_rejected_is_not_tried_again_by_a_subject_that_wakes() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    house.issuer.answers("a", |_| rejected());
    pass(HOUR * 2).await;
    for _ in 0..10 {
        let unavailable = house.ask(&roster, "alice").await.expect_err("rejected");
        assert_eq!(unavailable.state, State::Rejected);
        pass(seconds(60)).await;
        assert!(!house.is_awake("alice"));
    }
    assert_eq!(house.issuer.count("a"), 1);
    let outcome = house.keeper.refresh(&owner("a", "alice"), true).expect("kept").await;
    assert_eq!((outcome, house.issuer.count("a")), (Outcome::Rejected, 2), "unless an operator says so");
}

#[tokio::test(start_paused = true)]
async fn a_pause_after_a_failure_holds_for_subjects_too() {
    let (house, roster) = house_of(&["alice"], SleepRules::default()).await;
    house.issuer.answers("a", |_| down());
    pass(HOUR * 2).await;
    for _ in 0..360 {
        let unavailable = house.ask(&roster, "alice").await.expect_err("the issuer is down");
        assert_ne!(unavailable.state, State::LoginRequired);
        pass(seconds(5)).await;
    }
    assert!(house.issuer.count("a") < 30, "{}", house.issuer.count("a"));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_only_has_subjects_is_ready() {
    let (clock, store) = clock_and_store();
    let house = House::with(clock, Some(store), 32);
    house.keep([CredentialSpec { only_subjects: true, ..interactive_spec("a") }]);
    settle().await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 0));
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    settle().await;
    assert_eq!((house.state("a"), house.issuer.count("a")), (State::Ready, 0));
    let adopted = house.keeper.adopt(&"a".into(), consented("t0"), house.clock.now()).await;
    assert_eq!(adopted, Err(SetError::NoSubject));
    house.keeper.adopt(&owner("a", "alice"), consented("t0"), house.clock.now()).await.expect("adopted");
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_subject_that_sleeps_is_told_without_waking_it() {
    let (house, roster) = house_of(&["alice", "bob"], SleepRules::default()).await;
    pass(seconds(700)).await;
    let states = async || {
        let statuses = house.keeper.subject_statuses(&"a".into(), None, 10).await.expect("read");
        statuses.into_iter().map(|it| (it.state, it.asleep)).collect::<Vec<_>>()
    };
    assert_eq!(states().await, [(State::Ready, true), (State::Ready, true)]);
    pass(HOUR).await;
    assert_eq!(states().await, [(State::Expired, true), (State::Expired, true)]);
    house.ask(&roster, "bob").await.expect("renewed");
    assert_eq!(states().await, [(State::Expired, true), (State::Ready, false)]);
    let unknown =
        house.keeper.look(&owner("a", "carol")).await.expect("read").expect("the credential is kept");
    assert_eq!((unknown.state, unknown.generation), (State::LoginRequired, 0));
    assert_eq!(house.numbers("a").awake, 1);
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_logs_in_serves_the_requests_that_wait_for_it() {
    let (house, roster) = house_of(&[], SleepRules::default()).await;
    assert!(house.ask(&roster, "alice").await.is_err());
    house.keeper.adopt(&owner("a", "alice"), consented("t0"), house.clock.now()).await.expect("adopted");
    assert_eq!(house.ask(&roster, "alice").await.expect("at once"), "t0");
    house.keeper.forget(&owner("a", "alice")).await.expect("logged out");
    assert_eq!(house.ask(&roster, "alice").await.expect_err("at once").state, State::Revoked);
    pass(seconds(6)).await;
    assert_eq!(house.ask(&roster, "alice").await.expect_err("for good").state, State::LoginRequired);
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a consent brings whose refresh token ends after so long a time without use.
fn consented_for(token: &str, lapses: Duration) -> Minted {
    Minted { lapses: Some(Lifetime::For(lapses)), ..consented(token) }
}

/// Rotates, and each refresh token ends after so long a time without use.
fn rotates_for(lapses: Duration) -> impl Fn(&Call) -> Answer {
    move |call| match rotates(call) {
        Answer::Minted(minted) => Answer::Minted(Minted { lapses: Some(Lifetime::For(lapses)), ..minted }),
        other => other,
    }
}

#[tokio::test(start_paused = true)]
async fn a_subject_is_woken_to_renew_before_its_refresh_token_lapses_and_sleeps_again() {
    for lapses in [seconds(60), HOUR, DAY] {
        let (house, roster) = house_of(&[], SleepRules::default()).await;
        house.issuer.answers("a", rotates_for(lapses));
        let consent = consented_for("t0", lapses);
        house.keeper.adopt(&owner("a", "alice"), consent, house.clock.now()).await.expect("adopted");
        let start = house.clock.boot();
        pass(lapses * 10).await;
        let calls = house.issuer.calls("a");
        assert!((10..=20).contains(&calls.len()), "{lapses:?}: {}", calls.len());
        let mut last = start;
        for call in &calls {
            let age = call.at - last;
            assert!(age >= lapses.mul_f64(0.44) && age < lapses.mul_f64(0.9), "{lapses:?}: {age:?}");
            last = call.at;
        }
        pass(seconds(3)).await;
        assert!(lapses < HOUR || !house.is_awake("alice"));
        assert!(house.ask(&roster, "alice").await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_when_a_refresh_token_lapses_is_asked_again() {
    let (house, _roster) = house_of(&[], SleepRules::default()).await;
    house.issuer.answers("a", |call| if call.number < 5 { down() } else { rotates_for(DAY)(call) });
    let consent = consented_for("t0", DAY);
    house.keeper.adopt(&owner("a", "alice"), consent, house.clock.now()).await.expect("adopted");
    pass(DAY * 9 / 10).await;
    assert_eq!((house.issuer.count("a"), house.is_awake("alice")), (5, false));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_renewed_before_it_lapses_is_not_tried_again_and_again() {
    for answer in [|| rejected(), || Answer::Fails(MintError::Withdrawn { message: "gone".to_owned() })] {
        let (house, _roster) = house_of(&[], SleepRules::default()).await;
        house.issuer.answers("a", move |_| answer());
        let consent = consented_for("t0", DAY);
        house.keeper.adopt(&owner("a", "alice"), consent, house.clock.now()).await.expect("adopted");
        pass(DAY * 3).await;
        assert_eq!((house.issuer.count("a"), house.is_awake("alice")), (1, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_whose_end_is_not_put_off_by_its_use_is_used_once_for_it() {
    let (house, _roster) = house_of(&[], SleepRules::default()).await;
    house.issuer.answers("a", |_| token("t", HOUR));
    let consent = consented_for("t0", DAY);
    house.keeper.adopt(&owner("a", "alice"), consent, house.clock.now()).await.expect("adopted");
    pass(DAY * 3).await;
    assert_eq!((house.issuer.count("a"), house.is_awake("alice")), (1, false));
}

#[tokio::test(start_paused = true)]
async fn thousands_of_refresh_tokens_that_lapse_together_are_all_renewed() {
    let (house, _roster) = house_of(&[], SleepRules::default()).await;
    house.issuer.answers("a", rotates_for(DAY));
    for number in 0..2_000 {
        let subject = owner("a", &format!("s{number}"));
        let consent = consented_for("t0", DAY);
        house.keeper.adopt(&subject, consent, house.clock.now()).await.expect("adopted");
    }
    pass(DAY * 85 / 100).await;
    assert_eq!((house.issuer.count("a"), house.numbers("a").awake), (2_000, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_refresh_tokens_are_still_renewed_before_they_lapse() {
    let (clock, store) = clock_and_store();
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    house.keep([interactive_spec("a")]);
    let consent = consented_for("t0", DAY);
    house.keeper.adopt(&owner("a", "alice"), consent, house.clock.now()).await.expect("adopted");
    house.keeper.shutdown().await;
    let house = House::with(clock, Some(store), 32);
    house.issuer.answers("a", rotates_for(DAY));
    house.keep([interactive_spec("a")]);
    pass(DAY * 85 / 100).await;
    assert_eq!(house.issuer.count("a"), 1);
}
