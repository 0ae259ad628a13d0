//! Chains: the output of one credential is an input of another.

use super::*;

/// A parent `user`, its child `secret` and the grandchild `entity`, in an order that helps nobody.
fn family() -> [CredentialSpec; 3] {
    [child("entity", "secret"), child("secret", "user"), spec("user")]
}

#[tokio::test(start_paused = true)]
async fn a_chain_starts_from_its_first_parent_down() {
    let house = House::new();
    house.issuer.answers("user", |call| next_token(call).after(seconds(1)));
    house.issuer.answers("secret", |call| token(&format!("s({})", call.input("key")), HOUR));
    house.issuer.answers("entity", |call| token(&format!("e({})", call.input("key")), HOUR));
    house.keep(family());
    let slot = house.slot("entity");
    assert_eq!(house.wait(&slot).await.expect("a token"), "e(s(t1))");
    for name in ["user", "secret", "entity"] {
        assert_eq!(house.issuer.count(name), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_value_of_a_parent_renews_its_dependents_in_order() {
    let house = House::new();
    house.issuer.answers("secret", |call| token(&format!("s({})", call.input("key")), HOUR));
    house.issuer.answers("entity", |call| token(&format!("e({})", call.input("key")), HOUR));
    house.keep(family());
    let slot = house.slot("entity");
    pass(seconds(10)).await;
    assert_eq!(house.refresh("user", false).await, Outcome::Ok);
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("e(s(t2))"));
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_gives_the_same_value_again_renews_nobody() {
    let house = House::new();
    house.issuer.answers("user", |_| token("constant", HOUR));
    house.keep([spec("user"), child("entity", "user")]);
    pass(seconds(10)).await;
    assert_eq!(house.refresh("user", false).await, Outcome::Ok);
    pass(seconds(10)).await;
    assert_eq!((house.issuer.count("user"), house.issuer.count("entity")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_changes_while_the_child_is_at_it_renews_the_child_once_more() {
    let house = House::new();
    house
        .issuer
        .answers("entity", |call| token(&format!("e({})", call.input("key")), HOUR).after(seconds(8)));
    house.keep([spec("user"), child("entity", "user")]);
    let slot = house.slot("entity");
    pass(seconds(4)).await;
    assert_eq!(house.refresh("user", false).await, Outcome::Ok);
    pass(seconds(5)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("e(t1)"));
    pass(seconds(10)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("e(t2)"));
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_child_waits_while_its_parent_is_at_it() {
    let house = House::new();
    house.issuer.answers("user", |call| match call.number {
        1 => down(),
        _ => next_token(call).after(seconds(2)),
    });
    house.keep(family());
    let slot = house.slot("entity");
    assert!(house.wait(&slot).await.is_ok(), "the parent's next try and its exchange are waited for");
}

#[tokio::test(start_paused = true)]
async fn a_child_takes_its_parents_next_try_for_its_own() {
    let house = House::new();
    house.issuer.answers("user", |_| Answer::Fails(MintError::Stubborn { message: "400".to_owned() }));
    house.keep(family());
    let slot = house.slot("entity");
    settle().await;
    let start = house.clock.boot();
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!(house.clock.boot(), start);
    assert!(unavailable.retry_after.expect("it is known when") > seconds(200));
}

#[tokio::test(start_paused = true)]
async fn requests_on_a_child_of_a_rejected_parent_are_told_so_at_once() {
    let house = House::new();
    house.issuer.answers("user", |_| rejected());
    house.keep(family());
    let slot = house.slot("entity");
    settle().await;
    let start = house.clock.boot();
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!((house.clock.boot(), unavailable.state), (start, State::Rejected));
    let status = house.status("entity");
    let waits_for = Box::new(("user".into(), State::Rejected));
    assert_eq!((status.state, status.waits_for), (State::Pending, Some(waits_for)));
    let error = status.last_error.expect("an error");
    assert!(
        error.message.contains("`user`") && error.message.contains("wrong password"),
        "{}",
        error.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_child_has_its_parent_renewed_once_and_is_tried_again() {
    let house = House::new();
    house
        .issuer
        .answers("entity", |call| if call.input("key") == "t1" { rejected() } else { token("entity", HOUR) });
    house.keep([spec("user"), child("entity", "user")]);
    let slot = house.slot("entity");
    assert_eq!(house.wait(&slot).await.expect("requests wait for it"), "entity");
    assert_eq!((house.issuer.count("user"), house.issuer.count("entity")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_rejected_again_stops_and_leaves_its_parent_alone() {
    let house = House::new();
    house.issuer.answers("user", |_| token("constant", 100 * HOUR));
    house.issuer.answers("entity", |_| rejected());
    house.keep([spec("user"), child("entity", "user")]);
    pass(HOUR).await;
    assert_eq!((house.issuer.count("user"), house.issuer.count("entity")), (2, 2));
    assert_eq!((house.state("user"), house.state("entity")), (State::Ready, State::Rejected));
}

#[tokio::test(start_paused = true)]
async fn if_the_parent_cannot_be_renewed_the_childs_rejection_stands() {
    let house = House::new();
    house.issuer.answers("user", |call| if call.number == 1 { next_token(call) } else { rejected() });
    house.issuer.answers("entity", |_| rejected());
    house.keep([spec("user"), child("entity", "user")]);
    pass(seconds(20)).await;
    assert_eq!((house.state("user"), house.state("entity")), (State::Failing, State::Rejected));
    assert_eq!((house.issuer.count("user"), house.issuer.count("entity")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_child_of_a_static_parent_stops_at_once() {
    let house = House::new();
    house.issuer.answers("entity", |_| rejected());
    house.keep([static_spec("user", Source::Value(Secret::from("abc"))), child("entity", "user")]);
    settle().await;
    assert_eq!((house.state("entity"), house.issuer.count("entity")), (State::Rejected, 1));
}

#[tokio::test(start_paused = true)]
async fn a_child_serves_its_token_while_its_parent_is_down() {
    let house = House::new();
    house.issuer.answers("user", |call| match call.number {
        1 => token("short", seconds(60)),
        _ => down(),
    });
    house.issuer.answers("entity", |call| token(&format!("e{}", call.number), seconds(1000)));
    house.keep([spec("user"), child("entity", "user")]);
    let slot = house.slot("entity");
    pass(seconds(900)).await;
    assert_eq!((house.state("user"), house.state("entity")), (State::Expired, State::Failing));
    assert_eq!(house.token(&slot).as_deref(), Some("e1"));
    house.issuer.answers("user", next_token);
    assert_eq!(house.refresh("user", false).await, Outcome::Ok);
    settle().await;
    assert_eq!((house.state("entity"), house.issuer.count("entity")), (State::Ready, 2));
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_renews_a_child_of_a_dead_parent_is_answered() {
    let house = House::new();
    house.issuer.answers("user", |_| rejected());
    house.keep([spec("user"), child("entity", "user")]);
    settle().await;
    let answer = tokio::time::timeout(seconds(10), house.refresh("entity", false)).await;
    assert_eq!(answer.expect("an answer"), Outcome::Transient);
}

#[tokio::test(start_paused = true)]
async fn a_request_on_an_expired_child_does_not_wait_for_a_parent_that_is_far_off() {
    let house = House::new();
    house.issuer.answers("user", |call| match call.number {
        1 => next_token(call),
        _ => Answer::Fails(MintError::Stubborn { message: "400".to_owned() }),
    });
    house.issuer.answers("entity", |call| match call.number {
        1 => token("short", seconds(100)),
        _ => rejected(),
    });
    house.keep([spec("user"), child("entity", "user")]);
    let slot = house.slot("entity");
    pass(seconds(120)).await;
    assert_eq!((house.state("user"), house.state("entity")), (State::Failing, State::Expired));
    let start = house.clock.boot();
    let unavailable = house.wait(&slot).await.expect_err("nothing is there");
    assert_eq!((house.clock.boot(), unavailable.state), (start, State::Expired));
    assert!(unavailable.retry_after.expect("the parent's next try") > seconds(100));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_stands_is_told_down_the_whole_chain() {
    let house = House::new();
    house.issuer.answers("user", |call| if call.number == 1 { next_token(call) } else { rejected() });
    house.issuer.answers("secret", |_| rejected());
    house.keep(family());
    let slot = house.slot("entity");
    pass(seconds(10)).await;
    assert_eq!((house.state("secret"), house.state("entity")), (State::Rejected, State::Pending));
    assert_eq!(house.wait(&slot).await.expect_err("nothing is there").state, State::Rejected);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_orders_is_done_though_the_parent_has_lost_its_token_while_the_child_stood_in_line() {
    let house = House::with_issuer_concurrency(1);
    house.issuer.answers("user", |call| match call.number {
        1 => token("t1", seconds(60)),
        _ => down(),
    });
    house.issuer.answers("busy", |call| match call.number {
        1 => next_token(call),
        _ => next_token(call).after(seconds(100)),
    });
    let times = Times { exchange_timeout: HOUR, ..Times::default() };
    let busy = CredentialSpec { times: times.into(), ..spec("busy") };
    house.keep([spec("user"), child("entity", "user"), busy]);
    pass(seconds(10)).await;
    for name in ["busy", "entity"] {
        drop(house.keeper.refresh(&name.into(), false));
        settle().await;
    }
    pass(seconds(60)).await;
    assert_eq!(house.state("user"), State::Expired);
    assert!(house.status("entity").running, "it stands in line");
    house.keeper.forget(&"entity".into()).await.expect("logged out");
    assert_eq!(house.state("entity"), State::Revoked);
}
