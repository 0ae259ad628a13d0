//! Tokens that are revoked, and refresh tokens that came with nothing else of use.

use super::*;

/// Of the usable tokens the first is spoiled; each answer rotates.
fn spoils_the_second(call: &Call) -> Answer {
    let successor = Secret::from(format!("r{}", call.number));
    let error = Box::new(MintError::Stubborn { message: "of a type that cannot be used".to_owned() });
    if call.number == 2 {
        return Answer::Fails(MintError::Spoiled { successor, error });
    }
    assert_eq!(call.input("refresh_token"), format!("r{}", call.number - 1));
    let lifetime = Some(Lifetime::For(seconds(600)));
    Answer::Minted(Minted { rotated: Some(successor), ..minted(&format!("t{}", call.number), lifetime) })
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_a_spoiled_answer_is_used_next() {
    let (house, slot) = House::with_one(refresh_spec("a", "r0"));
    house.issuer.answers("a", spoils_the_second);
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("t1"));
    pass(seconds(490)).await;
    assert!(house.issuer.count("a") >= 2);
    assert_eq!((house.state("a"), house.error_class("a")), (State::Failing, Some(ErrorClass::Transient)));
    pass(seconds(600)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("t3"));
    assert_eq!(house.state("a"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_revoked_what_renews_before_what_is_renewed() {
    let (house, _slot) = House::with_one(refresh_spec("a", "r0"));
    house.issuer.answers("a", |call| {
        let mut minted = minted("t", Some(Lifetime::For(HOUR)));
        minted.outputs.insert("access_token", Secret::from(format!("t{}", call.number)));
        Answer::Minted(Minted { rotated: Some(Secret::from("r1")), ..minted })
    });
    settle().await;
    house.keeper.forget(&"a".into()).await.expect("forgotten");
    assert_eq!(house.state("a"), State::Revoked);
    let revoked = house.issuer.script("a", |script| script.revoked.clone());
    let both = [(Secret::from("r1"), TokenHint::RefreshToken), (Secret::from("t1"), TokenHint::AccessToken)];
    assert_eq!(revoked, both);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_only_those_are_revoked_that_say_so() {
    let house = House::new();
    let ends = |name: &str, revoke_on_exit: bool| {
        let Flow::OAuth2(flow) = oauth2(Grant::ClientCredentials) else { panic!("an OAuth flow") };
        let flow = Flow::OAuth2(Box::new(OAuth2Flow { revoke_on_exit, ..*flow }));
        CredentialSpec { flow, ..spec(name) }
    };
    house.keep([ends("a", true), ends("b", false)]);
    for name in ["a", "b"] {
        house.issuer.answers(name, |_| {
            let mut minted = minted("t", Some(Lifetime::For(HOUR)));
            minted.outputs.insert("access_token", Secret::from("t1"));
            Answer::Minted(minted)
        });
    }
    settle().await;
    house.keeper.revoke_on_exit().await;
    assert_eq!((house.state("a"), house.state("b")), (State::Revoked, State::Ready));
    assert_eq!(house.issuer.script("a", |script| script.revoked.len()), 1);
    assert_eq!(house.issuer.script("b", |script| script.revoked.len()), 0);
}
