use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{CLIENT_ID, CLIENT_SECRET, Neighbours, REFRESH_TOKEN, basic};
use crate::clock::Clock;
use crate::sandbox::received::tests::request;
use crate::sandbox::{Received, Simulator, TokenBook};

fn neighbours() -> Neighbours {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    Neighbours::new(TokenBook::new(clock.clone(), None), clock)
}

fn form(kind: &str) -> String {
    format!("grant_type={kind}&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}")
}

fn refresh(vendor: &Neighbours, path: &str, token: &str) -> Value {
    let form = format!("{}&refresh_token={token}", form("refresh_token"));
    vendor.answer(&request("POST", path).posting_form(&form)).value()
}

#[tokio::test(start_paused = true)]
async fn more_tokens_than_the_vendor_gives_in_a_time_are_refused() {
    let vendor = neighbours();
    let ask = || refresh(&vendor, "/zoho/oauth/v2/token", REFRESH_TOKEN)["error"].clone();
    assert!((0..10).all(|_| ask() == Value::Null));
    assert_eq!(ask(), "Access Denied");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(ask(), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_bound_to_an_address_is_good_from_there_alone() {
    let vendor = neighbours();
    let from = |mut asked: Received, last: u8| {
        asked.from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        vendor.answer(&asked)
    };
    let asked = request("POST", "/cashfree-payouts/payout/v1/authorize");
    let token = from(asked.with("x-client-id", CLIENT_ID).with("x-client-secret", CLIENT_SECRET), 2).value();
    let call = || request("GET", "/cashfree-payouts/data").with_bearer(&token["data"]["token"]);
    assert_eq!(from(call(), 2).complaint(), None);
    assert_eq!(from(call(), 3).value()["subCode"], "403");
}

#[tokio::test(start_paused = true)]
async fn a_device_waits_for_its_person_and_its_refresh_token_works_once() {
    let vendor = neighbours();
    let client = format!("client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
    let begun = vendor.answer(&request("POST", "/device/authorize").posting_form(&client)).value();
    let code = begun["device_code"].as_str().expect("a code").to_owned();
    let poll = || {
        let form = format!("{}&device_code={code}", form("urn:ietf:params:oauth:grant-type:device_code"));
        vendor.answer(&request("POST", "/device/token").posting_form(&form)).value()
    };
    assert_eq!(poll()["error"], "authorization_pending");
    tokio::time::advance(Duration::from_secs(10)).await;
    let first = poll()["refresh_token"].as_str().expect("a refresh token").to_owned();
    assert_ne!(refresh(&vendor, "/device/token", &first)["access_token"], Value::Null);
    assert_eq!(refresh(&vendor, "/device/token", &first)["error"], "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn what_the_table_does_not_want_is_refused_in_the_words_of_the_vendor() {
    let vendor = neighbours();
    let keycloak = "/keycloak/realms/demo/protocol/openid-connect/token";
    let asked = |field: &str| {
        let asked = request("POST", keycloak).with("authorization", field);
        vendor.answer(&asked.posting_form("grant_type=client_credentials"))
    };
    assert_eq!(asked("Basic eA==").value()["error"], "invalid_client");
    let token = asked(&format!("Basic {}", basic())).value()["access_token"].clone();
    assert_eq!(vendor.answer(&request("GET", "/keycloak/data").with_bearer(&token)).complaint(), None);
    assert_eq!(vendor.answer(&request("GET", "/zoho/data").with_bearer(&token)).status(), 401);
    let unsigned = request("POST", "/github-app/app/installations/12345678/access_tokens")
        .with("accept", "application/vnd.github+json")
        .with("x-github-api-version", "2022-11-28")
        .with("authorization", "Bearer a.b.c");
    assert_eq!(vendor.answer(&unsigned).status(), 401);
    assert_eq!(vendor.answer(&request("GET", "/elsewhere/data")).status(), 404);
}
