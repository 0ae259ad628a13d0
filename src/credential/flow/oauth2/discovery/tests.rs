use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::Minted;
use crate::credential::flow::oauth2::endpoints::{Endpoints, IssuerIdentifier, Plaintext};
use crate::credential::flow::oauth2::{ClientAuth, Grant, OAuth2Flow};
use crate::credential::flow::testing::{NOW, class, credential, output};
use crate::credential::flow::{Flow, Issuer, Mint, MintError};
use crate::credential::input::Inputs;
use crate::template::Template;
use crate::upstream::EgressSpec;
use crate::upstream::connect::Connector;
use crate::upstream::testing::{Reply, Server};

const TOKEN: &str = r#"{"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600}"#;
const NOTHING: &str = "404 Not Found";

/// An issuer on a scripted server, and a client of it.
struct House {
    server: Server,
    issuer: Issuer,
    clock: Clock,
    flow: OAuth2Flow,
}

impl House {
    /// The issuer's identifier has this path; `replies` may name its origin as `ORIGIN`.
    async fn new(path: &str, replies: impl FnOnce(&str) -> Vec<Reply>) -> Self {
        let server = Server::start_knowing(|origin| replies(&format!("{origin}{path}"))).await;
        let name = format!("http://{}", server.authority());
        let connector = Connector::new(&EgressSpec::default()).expect("the default egress");
        let clock = Clock::simulated(NOW, 1);
        let connectors = BTreeMap::from([(String::new(), connector)]);
        let issuer = Issuer::new(connectors, Arc::default(), clock.clone());
        let text = format!("{name}{path}");
        let url = text.parse().expect("a URL");
        let endpoints = Endpoints { issuer: Some(IssuerIdentifier { text, url }), ..Endpoints::default() };
        let flow = OAuth2Flow {
            grant: Grant::ClientCredentials,
            endpoints: endpoints.into(),
            client_id: Template::text("c"),
            client_auth: ClientAuth::None,
            scopes: Vec::new(),
            params: Vec::new(),
            outputs: Vec::new(),
            dpop: None,
            id_token: Arc::default(),
            rotates: true,
            rejected_errors: Vec::new(),
            revoke_on_exit: false,
            consent: Arc::default(),
        };
        Self { server, issuer, clock, flow }
    }

    async fn mint(&self) -> Result<Minted, MintError> {
        let flow = Flow::OAuth2(Box::new(self.flow.clone()));
        let spec = credential(flow, Duration::from_secs(5));
        self.issuer.mint(Arc::new(spec), Inputs::default()).await
    }

    /// The targets that were asked, in order.
    async fn targets(self) -> Vec<String> {
        let requests = self.server.requests().await;
        requests.iter().map(|request| request.lines().next().expect("a line").to_owned()).collect()
    }
}

fn metadata(issuer: &str) -> Reply {
    Reply::json(&format!(r#"{{"issuer": "{issuer}", "token_endpoint": "{}/t"}}"#, origin(issuer)))
}

fn origin(issuer: &str) -> &str {
    issuer.find("/tenant").map_or(issuer, |at| &issuer[..at])
}

#[tokio::test]
async fn the_token_endpoint_is_the_one_that_the_issuer_names() {
    let house = House::new("", |issuer| vec![metadata(issuer), Reply::json(TOKEN)]).await;
    assert_eq!(output(&house.mint().await.expect("a token"), "access_token"), "at-1");
    assert_eq!(house.targets().await, ["GET /.well-known/openid-configuration HTTP/1.1", "POST /t HTTP/1.1"]);
}

#[tokio::test]
async fn every_spelling_of_the_place_is_tried() {
    let house = House::new("/tenant/a/", |issuer| {
        vec![Reply::answer(NOTHING, ""), Reply::json("[]"), metadata(issuer), Reply::json(TOKEN)]
    })
    .await;
    house.mint().await.expect("a token");
    assert_eq!(
        house.targets().await,
        [
            "GET /tenant/a/.well-known/openid-configuration HTTP/1.1",
            "GET /.well-known/oauth-authorization-server/tenant/a HTTP/1.1",
            "GET /.well-known/openid-configuration/tenant/a HTTP/1.1",
            "POST /t HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn an_issuer_is_compared_exactly() {
    for other in ["/", "/tenant", "x"] {
        let house =
            House::new("", |issuer| vec![metadata(&format!("{issuer}{other}")), Reply::answer(NOTHING, "")])
                .await;
        let error = house.mint().await.expect_err("another issuer");
        let (class, message) = class(&error);
        assert_eq!(class, "stubborn", "{message}");
        assert!(message.contains("not exactly") && message.contains("correct `issuer`"), "{message}");
    }
}

#[tokio::test]
async fn what_is_configured_wins_over_what_is_discovered() {
    let mut house = House::new("", |issuer| vec![metadata(issuer), Reply::json(TOKEN)]).await;
    Arc::make_mut(&mut house.flow.endpoints).token = Some(house.server.url("/mine"));
    house.mint().await.expect("a token");
    assert_eq!(house.targets().await[1], "POST /mine HTTP/1.1");
}

#[tokio::test]
async fn metadata_is_believed_for_an_hour_and_longer_while_the_issuer_is_silent_about_it() {
    let house = House::new("", |issuer| {
        let (known, token) = (metadata(issuer), Reply::json(TOKEN));
        let unavailable = Reply::answer("503 Service Unavailable", "");
        vec![
            known.clone(),
            token.clone(),
            token.clone(),
            known,
            token.clone(),
            unavailable.clone(),
            unavailable,
            token,
        ]
    })
    .await;
    house.mint().await.expect("a token");
    house.clock.suspend(Duration::from_secs(3599));
    house.mint().await.expect("a token, without discovery");
    house.clock.suspend(Duration::from_secs(1));
    house.mint().await.expect("a token, after discovery");
    house.clock.suspend(Duration::from_secs(3600));
    house.mint().await.expect("a token, though metadata cannot be had");
    let targets = house.targets().await;
    assert_eq!(targets.iter().filter(|target| target.starts_with("POST")).count(), 4);
}

#[tokio::test]
async fn failures_of_discovery_are_classified_like_others_and_never_as_a_rejection_or_a_lost_answer() {
    let twice = |reply: Reply| vec![reply.clone(), reply];
    for (replies, wanted, what) in [
        (twice(Reply::answer("503 Busy\r\nretry-after: 7", "")), "transient", "503"),
        (vec![Reply::answer(NOTHING, ""), Reply::answer("429 Slow", "")], "transient", "429"),
        (vec![Reply::Reset], "transient", "broke the connection off"),
        (twice(Reply::answer("401 No", "")), "stubborn", "401"),
        (twice(Reply::answer(NOTHING, "")), "stubborn", "404"),
        (twice(Reply::answer("302 Found\r\nlocation: /x", "")), "stubborn", "redirects are never followed"),
        (twice(Reply::answer("200 OK", "<html>")), "stubborn", "not a JSON object"),
        (twice(Reply::json("{}")), "stubborn", "names no `issuer`"),
    ] {
        let house = House::new("", |_| replies).await;
        let error = house.mint().await.expect_err("discovery fails");
        let (found, message) = class(&error);
        assert_eq!(found, wanted, "{message}");
        assert!(message.contains(what), "{message}");
    }
}

#[tokio::test]
async fn a_missing_endpoint_is_told_by_its_name() {
    let house = House::new("", |issuer| vec![Reply::json(&format!(r#"{{"issuer": "{issuer}"}}"#))]).await;
    let error = house.mint().await.expect_err("no token endpoint");
    let (class, message) = class(&error);
    assert!(class == "stubborn" && message.contains("`token_endpoint`"), "{message}");
}

#[tokio::test]
async fn plain_http_is_refused_where_a_proxy_elsewhere_would_see_it() {
    let mut house = House::new("", |issuer| vec![metadata(issuer), Reply::answer(NOTHING, "")]).await;
    Arc::make_mut(&mut house.flow.endpoints).plaintext = Plaintext::Nowhere;
    let error = house.mint().await.expect_err("plain HTTP");
    let (class, message) = class(&error);
    assert!(class == "stubborn" && message.contains("plain HTTP"), "{message}");
}
