//! Refusals: an upstream says that the token is dead.

use super::*;
use crate::credential::flow::LoginFlow;
use crate::credential::flow::login::Step;
use crate::credential::flow::mail::{MailStep, Mailbox, Then};

#[tokio::test(start_paused = true)]
async fn refused_requests_and_those_that_come_meanwhile_share_one_renewal() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(1)));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(20)).await;
    let refused = |_| {
        let (slot, clock) = (Arc::clone(&slot), house.clock.clone());
        tokio::spawn(async move {
            matches!(slot.refused(1, &clock, WAIT).await, AfterRefusal::Renewed(current) if current.value == "t2")
        })
    };
    let refused: Vec<_> = (0..100).map(refused).collect();
    pass(Duration::from_millis(100)).await;
    assert_eq!(house.token(&slot), None, "the token is suspected");
    assert_eq!(house.wait(&slot).await.expect("a token"), "t2");
    for request in refused {
        assert!(request.await.expect("no panic"), "each is sent once more with the new token");
    }
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_token_that_was_replaced_meanwhile_renews_nothing() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(5)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("t2"));
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn refusals_renew_at_most_once_in_ten_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(5)).await;
    let start = house.clock.boot();
    let mut passed_through = 0;
    while house.clock.boot() - start < seconds(60) {
        let generation = house.status("a").generation;
        passed_through += usize::from(house.refused(&slot, generation).await.is_none());
        pass(Duration::from_millis(100)).await;
    }
    let renewals = house.issuer.count("a") - 1;
    assert!((5..=6).contains(&renewals), "{renewals}");
    assert!(passed_through > 500, "the others passed through at once: {passed_through}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_mailed_is_asked_for_anew_once_and_not_again_if_that_is_refused_too() {
    let step = MailStep {
        mailbox: Mailbox::Maildir("/nowhere".into()),
        from: "token@portal.test".to_owned(),
        subject: None,
        wait: HOUR,
        then: Then::Seen,
        outputs: Vec::new(),
        expiry: Vec::new(),
    };
    let flow = Flow::Login(Box::new(LoginFlow { steps: vec![Step::Mail(step)] }));
    let house = House::new();
    house.issuer.answers("a", |call| token(&format!("token-{}", call.number), 100 * HOUR));
    house.keep([CredentialSpec { flow, ..spec("a") }]);
    let slot = house.slot("a");
    house.wait(&slot).await.expect("a token");
    pass(HOUR).await;
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("token-2"));
    for _ in 0..20 {
        pass(HOUR).await;
        assert_eq!(house.refused(&slot, 2).await, None);
    }
    assert_eq!((house.issuer.count("a"), house.error_class("a")), (2, Some(ErrorClass::Refused)));
    assert_eq!(house.token(&slot).as_deref(), Some("token-2"), "it stays in use");
    // A person may ask, and the schedule does: then it counts anew.
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    pass(HOUR).await;
    assert_eq!(house.refused(&slot, 3).await.as_deref(), Some("token-4"));
}

#[tokio::test(start_paused = true)]
async fn an_operators_refresh_does_not_count_towards_the_floor() {
    let (house, slot) = House::with_one(spec("a"));
    pass(seconds(5)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    pass(seconds(3)).await;
    assert_eq!(house.refused(&slot, 2).await.as_deref(), Some("t3"));
}

#[tokio::test(start_paused = true)]
async fn if_the_renewal_fails_the_old_token_stays_in_use() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { down() });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    assert_eq!(house.refused(&slot, 1).await, None);
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("t1"), State::Failing));
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_slow_renewal_no_longer_than_their_limit_and_then_use_the_old_token() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { Answer::Hangs });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    let start = house.clock.boot();
    let (refused, meanwhile) = tokio::join!(house.refused(&slot, 1), house.wait(&slot));
    assert_eq!((refused, meanwhile.expect("a token").as_str()), (None, "t1"));
    assert_eq!((house.clock.boot() - start).as_secs(), WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_during_a_pause_after_a_failure_passes_through_at_once() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => next_token(call),
        _ => Answer::Fails(MintError::Stubborn { message: "400".to_owned() }),
    });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Transient);
    let start = house.clock.boot();
    assert_eq!(house.refused(&slot, 1).await, None);
    assert_eq!((house.clock.boot(), house.issuer.count("a")), (start, 2));
    assert_eq!(house.token(&slot).as_deref(), Some("t1"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_joins_a_renewal_that_runs_already() {
    let house = House::new();
    house.issuer.answers("a", |call| next_token(call).after(seconds(1)));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    let (outcome, refused) = tokio::join!(house.refresh("a", false), async {
        settle().await;
        house.refused(&slot, 1).await
    });
    assert_eq!((outcome, refused.as_deref()), (Outcome::Ok, Some("t2")));
    assert_eq!(house.issuer.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_right_after_a_renewal_waits_out_the_two_seconds() {
    let (house, slot) = House::with_one(spec("a"));
    house.wait(&slot).await.expect("a token");
    let start = house.clock.boot();
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("t2"));
    assert!(house.clock.boot() - start >= seconds(2));
}

#[tokio::test(start_paused = true)]
async fn the_ten_seconds_count_from_the_renewal_and_not_from_the_refusal_that_asked_for_it() {
    let (house, slot) = House::with_one(spec("a"));
    house.wait(&slot).await.expect("a token");
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("t2"));
    let renewed = house.clock.boot();
    while house.refused(&slot, house.status("a").generation).await.is_none() {
        pass(Duration::from_millis(100)).await;
    }
    assert!(house.clock.boot() - renewed >= seconds(9), "{:?}", house.clock.boot() - renewed);
    assert_eq!(house.issuer.count("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn the_same_token_again_is_used_and_its_next_refusal_passes_through() {
    let house = House::new();
    house.issuer.answers("a", |_| token("same", HOUR));
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("same"));
    let generation = house.status("a").generation;
    assert_eq!((generation, house.refused(&slot, generation).await), (2, None));
    assert_eq!((house.token(&slot).as_deref(), house.issuer.count("a")), (Some("same"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_static_token_that_is_refused_stays_in_use_and_says_so() {
    let (house, slot) = House::with_one(static_spec("a", Source::Value(Secret::from("abc"))));
    settle().await;
    for _ in 0..5 {
        assert_eq!(house.refused(&slot, 1).await, None);
    }
    settle().await;
    assert_eq!((house.token(&slot).as_deref(), house.state("a")), (Some("abc"), State::Ready));
    assert_eq!(house.error_class("a"), Some(ErrorClass::Refused));
    assert_eq!(house.keeper.refusals(), [("a".into(), 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_the_input_is_rejected_passes_through_at_once() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { rejected() });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    pass(seconds(5)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Rejected);
    let start = house.clock.boot();
    assert_eq!(house.refused(&slot, 1).await, None);
    assert_eq!((house.clock.boot(), house.issuer.count("a")), (start, 2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_credential_that_was_removed_passes_through_at_once() {
    let (house, slot) = House::with_one(spec("a"));
    settle().await;
    house.keep([]);
    settle().await;
    let start = house.clock.boot();
    assert_eq!(house.refused(&slot, 1).await, None);
    assert_eq!(house.clock.boot(), start);
    assert_eq!(house.token(&slot).as_deref(), Some("t1"), "requests in flight finish with it");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_renews_a_credential_that_stands_in_line_only_to_look_at_its_inputs() {
    let (_folder, path) = files::file_with("password");
    let house = House::with_issuer_concurrency(1);
    house.issuer.answers("busy", |call| match call.number {
        1 => next_token(call),
        _ => next_token(call).after(seconds(3)),
    });
    let input = Source::File(path.clone().into());
    house.keep([spec("busy"), with_inputs(spec("a"), [("password", input)])]);
    let slot = house.slot("a");
    pass(seconds(20)).await;
    drop(house.keeper.refresh(&"busy".into(), false));
    settle().await;
    house.keeper.input_changed(vec![path]);
    settle().await;
    assert!(house.status("a").running, "it stands in line");
    assert_eq!(house.refused(&slot, 1).await.as_deref(), Some("t2"));
}
