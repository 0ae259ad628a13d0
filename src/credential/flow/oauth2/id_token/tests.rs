use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::{Expected, IdTokenSpec};
use crate::credential::Minted;
use crate::credential::flow::oauth2::endpoints::Endpoints;
use crate::credential::flow::oauth2::{ClientAuth, Grant, OAuth2Flow};
use crate::credential::flow::testing::{NOW, class, mint};
use crate::credential::flow::{Flow, MintError};
use crate::jose::key::SigningKey;
use crate::jose::verify::SignedToken;
use crate::secret::Secret;
use crate::template::Template;
use crate::upstream::Url;
use crate::upstream::testing::{Reply, Server};

/// `{"alg":"RS256"}`.
const HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";

struct Issuer {
    der: Vec<u8>,
    /// The set of its public key.
    keys: String,
}

impl Issuer {
    fn new(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = SigningKey::read(&Secret::from(pair.serialize_pem()), None).expect("a key");
        let mut jwk: Value = serde_json::from_str(&key.public_jwk().expect("a key")).expect("JSON");
        jwk["kid"] = json!(kid);
        Self { der: pair.serialize_der(), keys: json!({"keys": [jwk]}).to_string() }
    }

    /// An answer with an ID token whose claims are the usual ones under `over`.
    fn answer(&self, kid: &str, over: &Value) -> String {
        let now = NOW.as_second();
        let mut claims =
            json!({"iss": "https://issuer", "aud": "me", "sub": "s", "iat": now, "exp": now + 60});
        for (name, value) in over.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.der);
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("a token");
        json!({"access_token": "at", "id_token": token, "refresh_token": "rt-2"}).to_string()
    }
}

/// Renews once at a server that answers so, one after the other.
async fn renew(replies: Vec<Reply>, required: bool) -> (Result<Minted, MintError>, Vec<String>) {
    let server = Server::start(replies).await;
    let spec = IdTokenSpec {
        issuer: Some("https://issuer".to_owned()),
        jwks: Some(server.url("/keys")),
        audience: None,
        required,
    };
    let minted = mint(flow(server.url("/token"), spec), &[("refresh_token", "rt-1")]).await;
    let lines =
        server.requests().await.iter().filter_map(|it| it.lines().next().map(str::to_owned)).collect();
    (minted, lines)
}

/// Renews at a token endpoint.
fn flow(token: Url, id_token: IdTokenSpec) -> Flow {
    Flow::OAuth2(Box::new(OAuth2Flow {
        grant: Grant::RefreshToken,
        endpoints: Endpoints::of_token(token).into(),
        client_id: Template::text("me"),
        client_auth: ClientAuth::None,
        scopes: Vec::new(),
        params: Vec::new(),
        outputs: Vec::new(),
        dpop: None,
        id_token: id_token.into(),
        rotates: true,
        rejected_errors: Vec::new(),
        revoke_on_exit: false,
        consent: Arc::default(),
    }))
}

#[tokio::test]
async fn a_token_of_the_issuer_for_this_client_is_an_output_and_the_keys_are_had_first() {
    let issuer = Issuer::new("k");
    let replies = vec![Reply::json(&issuer.keys), Reply::json(&issuer.answer("k", &json!({})))];
    let (minted, lines) = renew(replies, true).await;
    assert!(minted.expect("a token").outputs.contains_key("id_token"));
    assert_eq!(lines, ["GET /keys HTTP/1.1", "POST /token HTTP/1.1"]);
}

#[tokio::test]
async fn claims_are_compared_with_who_asked_and_when() {
    let issuer = Issuer::new("k");
    let now = NOW.as_second();
    for (over, right) in [
        (json!({"aud": ["me"]}), true),
        (json!({"aud": ["x", "me"], "azp": "me"}), true),
        (json!({"exp": now - 59}), true),
        (json!({"iat": now + 59}), true),
        (json!({"iss": "https://issuer/"}), false),
        (json!({"aud": "you"}), false),
        (json!({"aud": ["x", "me"]}), false),
        (json!({"aud": ["me"], "azp": "you"}), false),
        (json!({"aud": null}), false),
        (json!({"exp": now - 61}), false),
        (json!({"exp": null}), false),
        (json!({"iat": null}), false),
        (json!({"iat": now + 61}), false),
        (json!({"nbf": now + 61}), false),
    ] {
        let replies = || vec![Reply::json(&issuer.keys), Reply::json(&issuer.answer("k", &over))];
        let (minted, _) = renew(replies(), true).await;
        match minted {
            Ok(_) => assert!(right, "{over}"),
            Err(MintError::Spoiled { successor, error }) => {
                assert_eq!((successor, class(&error).0), (Secret::from("rt-2"), "id_token"));
                assert!(!right && class(&error).1.contains("the ID token"), "{over}: {error:?}");
            }
            Err(error) => panic!("{over}: {error:?}"),
        }
    }
}

#[test]
fn the_token_of_a_login_carries_its_nonce_and_that_of_a_renewal_need_not() {
    let claims = |over: Value| {
        let mut claims = json!({"iss": "i", "aud": "me", "iat": 0, "exp": 2000, "nonce": "n-1"});
        claims.as_object_mut().expect("claims").extend(over.as_object().expect("claims").clone());
        format!("{HEADER}.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let compare = |token: &str, nonce: Option<&Secret>| {
        let now = jiff::Timestamp::constant(1000, 0);
        let expected = Expected { issuer: Some("i"), audience: "me", client_id: "me", nonce, now };
        expected.compare(&SignedToken::parse(token).expect("a token"))
    };
    let nonce = Secret::from("n-1");
    assert_eq!(compare(&claims(json!({})), Some(&nonce)), Ok(()));
    for over in [json!({"nonce": "n-2"}), json!({"nonce": null}), json!({"nonce": 1})] {
        assert!(
            compare(&claims(over.clone()), Some(&nonce)).is_err_and(|what| what.contains("nonce")),
            "{over}"
        );
        assert_eq!(compare(&claims(over), None), Ok(()));
    }
}

#[tokio::test]
async fn where_nobody_knows_the_keys_the_connection_speaks_for_a_token_and_that_is_warned_about() {
    let issuer = Issuer::new("k");
    for (over, right) in [(json!({}), true), (json!({"aud": "you"}), false)] {
        let server = Server::start(vec![Reply::json(&issuer.answer("k", &over))]).await;
        let spec = IdTokenSpec { required: true, ..IdTokenSpec::default() };
        let flow = flow(server.url("/token"), spec);
        match mint(flow, &[("refresh_token", "rt-1")]).await {
            Ok(minted) => {
                assert!(right && minted.outputs.contains_key("id_token"));
                assert!(minted.warnings.iter().any(|warning| warning.contains("signature is not checked")));
            }
            Err(error) => assert!(!right && class(&error).0 == "id_token", "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_forged_token_fails_where_it_is_relied_on_and_is_no_output_elsewhere() {
    let (issuer, other) = (Issuer::new("k"), Issuer::new("k"));
    let replies = || vec![Reply::json(&issuer.keys), Reply::json(&other.answer("k", &json!({})))];
    let (minted, _) = renew(replies(), true).await;
    assert!(matches!(&minted, Err(MintError::Spoiled { error, .. }) if class(error).1.contains("signature")));
    let mut replies = replies();
    replies.reverse();
    let (minted, _) = renew(replies, false).await;
    let minted = minted.expect("a token");
    assert!(!minted.outputs.contains_key("id_token") && minted.outputs.contains_key("access_token"));
    assert_eq!(minted.warnings.len(), 1, "{:?}", minted.warnings);
}

#[tokio::test]
async fn a_key_that_is_new_is_asked_for_at_most_once_a_minute() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    // The keys were asked for just now: a token that names another key does not have them asked for again.
    let replies = vec![Reply::json(&old.keys), Reply::json(&new.answer("new", &json!({})))];
    let (minted, lines) = renew(replies, true).await;
    assert!(
        matches!(&minted, Err(MintError::Spoiled { error, .. }) if class(error).1.contains("does not show"))
    );
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn without_the_keys_no_refresh_token_is_used_up() {
    for reply in [Reply::json("<html>"), Reply::answer("503 Service Unavailable", ""), Reply::Reset] {
        let (minted, lines) = renew(vec![reply], true).await;
        assert_eq!(class(&minted.expect_err("no keys")).0, "transient");
        assert_eq!(lines.len(), 1);
    }
}
