//! Failures that may mend themselves.

use super::*;

#[tokio::test(start_paused = true)]
async fn while_the_issuer_is_down_the_old_token_serves_until_its_end() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { next_token(call) } else { down() });
    house.keep([spec("a")]);
    let slot = house.slot("a");
    settle().await;
    for second in 1..3589 {
        assert_eq!(house.token(&slot).as_deref(), Some("t1"), "after {second} s");
        pass(seconds(1)).await;
    }
    assert_eq!((house.state("a"), house.error_class("a")), (State::Failing, Some(ErrorClass::Transient)));
    pass(seconds(2)).await;
    assert_eq!((house.state("a"), house.token(&slot)), (State::Expired, None));
}

#[tokio::test(start_paused = true)]
async fn a_failure_never_replaces_a_token_that_is_still_valid() {
    for failure in [down, rejected, unanswered] {
        let house = House::new();
        house.issuer.answers("a", move |call| if call.number == 1 { next_token(call) } else { failure() });
        house.keep([spec("a")]);
        let slot = house.slot("a");
        pass(seconds(3000)).await;
        assert_eq!((house.state("a"), house.token(&slot).as_deref()), (State::Failing, Some("t1")));
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_between_tries_grow_from_a_second_to_five_minutes_and_never_end() {
    let house = House::new();
    house.issuer.answers("a", |_| down());
    house.keep([spec("a")]);
    pass(24 * HOUR).await;
    let calls = house.issuer.calls("a");
    let pauses: Vec<_> = calls.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
    for (failures, pause) in (1..).zip(&pauses) {
        let ceiling = 2_f64.powi(failures).min(300.0);
        assert!((1.0..ceiling + 0.1).contains(pause), "pause {failures}: {pause}");
    }
    // With full jitter the long pauses are 150 s in the middle.
    assert!((400..900).contains(&calls.len()), "{} tries in a day", calls.len());
    let hour = calls.iter().filter(|call| call.at - calls[0].at < HOUR).count();
    assert!(hour < 50, "{hour} tries in the first hour");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_obeyed() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => {
            Answer::Fails(MintError::Transient { message: "busy".to_owned(), retry_after: Some(seconds(40)) })
        }
        _ => next_token(call),
    });
    house.keep([spec("a")]);
    pass(seconds(39)).await;
    assert_eq!(house.issuer.count("a"), 1);
    pass(seconds(6)).await;
    assert_eq!((house.issuer.count("a"), house.state("a")), (2, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn what_will_not_mend_itself_soon_is_tried_at_the_longest_pause() {
    let house = House::new();
    house.issuer.answers("a", |_| Answer::Fails(MintError::Stubborn { message: "400".to_owned() }));
    house.keep([spec("a")]);
    pass(seconds(269)).await;
    assert_eq!(house.issuer.count("a"), 1);
    pass(seconds(32)).await;
    assert_eq!((house.issuer.count("a"), house.error_class("a")), (2, Some(ErrorClass::Transient)));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_given_up_after_the_exchange_timeout() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { Answer::Hangs } else { next_token(call) });
    house.keep([CredentialSpec {
        times: Times { exchange_timeout: seconds(12), ..Times::default() }.into(),
        ..spec("a")
    }]);
    pass(seconds(11)).await;
    assert_eq!(house.error_class("a"), None);
    pass(seconds(2)).await;
    assert_eq!(house.error_class("a"), Some(ErrorClass::Transient));
    pass(seconds(2)).await;
    assert_eq!((house.state("a"), house.error_class("a")), (State::Ready, None));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_panics_is_a_failure_like_others() {
    let house = House::new();
    house.issuer.answers("a", |call| if call.number == 1 { Answer::Panics } else { next_token(call) });
    house.keep([spec("a"), spec("b")]);
    settle().await;
    assert_eq!((house.error_class("a"), house.state("b")), (Some(ErrorClass::Transient), State::Ready));
    pass(seconds(301)).await;
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_operator_need_not_wait_for_the_next_try() {
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => Answer::Fails(MintError::Stubborn { message: "400".to_owned() }),
        2 => down(),
        _ => next_token(call),
    });
    house.keep([spec("a")]);
    settle().await;
    assert_eq!(house.refresh("a", false).await, Outcome::Transient);
    assert_eq!(house.refresh("a", false).await, Outcome::Ok);
    assert_eq!(house.outcomes(), [Outcome::Transient, Outcome::Transient, Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_cannot_be_read_is_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    let house = House::new();
    house.keep([with_inputs(spec("a"), [("client_secret", Source::File(path.clone().into()))])]);
    pass(seconds(20)).await;
    assert_eq!((house.issuer.count("a"), house.error_class("a")), (0, Some(ErrorClass::Transient)));
    std::fs::write(&path, "s").expect("written");
    pass(seconds(300)).await;
    assert_eq!((house.issuer.count("a"), house.state("a")), (1, State::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_and_goes_does_not_hide_that_the_issuer_is_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "s").expect("written");
    let house = House::new();
    house.issuer.answers("a", |call| match call.number {
        1 => next_token(call),
        _ => Answer::Fails(MintError::Stubborn { message: "the issuer is down".to_owned() }),
    });
    house.keep([with_inputs(spec("a"), [("client_secret", Source::File(path.clone().into()))])]);
    pass(seconds(5)).await;
    assert_eq!(house.refresh("a", false).await, Outcome::Transient);
    for there in [false, true] {
        if there {
            std::fs::write(&path, "s").expect("written");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
        house.keeper.input_changed(vec![path.clone()]);
        settle().await;
        let error = house.status("a").last_error.expect("an error");
        assert_eq!((house.state("a"), error.message.as_str()), (State::Failing, "the issuer is down"));
    }
}
