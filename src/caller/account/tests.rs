use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::{Accounts, AccountsSpec, KeysAt};
use crate::jose::key::SigningKey;
use crate::jose::verify::KeySet;
use crate::secret::Secret;

const NOW: i64 = 1_900_000_000;
const ISSUER: &str = "https://kubernetes.default.svc";

struct Cluster(String);

impl Cluster {
    fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem())
    }

    fn keys(&self) -> KeySet {
        let key = SigningKey::read(&Secret::from(self.0.as_str()), None).expect("a key");
        let mut jwk: Value = serde_json::from_str(&key.public_jwk().expect("public")).expect("JSON");
        jwk["kid"] = json!("k1");
        KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).expect("a set")
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        let message = [header, claims.to_string()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
        let key = SigningKey::read(&Secret::from(self.0.as_str()), Some("ES256")).expect("a key");
        let signature = key.sign(message.as_bytes()).expect("a signature");
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn accounts(allowed: &[&str]) -> Accounts {
    Accounts::new(AccountsSpec {
        issuer: ISSUER.to_owned(),
        audience: "bearerd".to_owned(),
        accounts: allowed.iter().map(|text| (*text).to_owned()).collect(),
        keys: KeysAt::File("/nowhere".into()),
        token: None,
        egress: String::new(),
    })
}

/// The claims of a projected token, with some of them changed.
fn claims(changed: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": ["bearerd"],
        "sub": "system:serviceaccount:shop:app",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 600,
    });
    for (name, value) in changed.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

#[tokio::test]
async fn a_projected_token_of_an_allowed_account_counts_until_it_ends() {
    let cluster = Cluster::new();
    for (allowed, subject, may_call) in [
        ("shop/app", "system:serviceaccount:shop:app", true),
        ("shop/*", "system:serviceaccount:shop:app", true),
        ("*/app", "system:serviceaccount:shop:app", true),
        ("shop/ap", "system:serviceaccount:shop:app", false),
        ("shop/app", "system:serviceaccount:shop:app:x", false),
        ("*/*", "system:serviceaccount:shop:app:x", false),
        ("*/*", "system:node:shop:app", false),
        ("*/*", "shop:app", false),
    ] {
        let accounts = accounts(&[allowed]);
        accounts.set_keys(cluster.keys());
        let token = cluster.token("k1", &claims(&json!({ "sub": subject })));
        let known = accounts.recognise(token.as_bytes(), now()).await;
        assert_eq!(known.is_ok(), may_call, "{allowed} {subject}: {known:?}");
        if let Ok(known) = known {
            assert_eq!(known.until.as_second(), NOW + 660);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_whole_and_right_is_nobodys() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let accounts = accounts(&["shop/app"]);
    accounts.set_keys(cluster.keys());
    for (token, why) in [
        (cluster.token("k1", &claims(&json!({ "iss": "https://elsewhere" }))), "issuer"),
        (cluster.token("k1", &claims(&json!({ "aud": "other" }))), "audience"),
        (cluster.token("k1", &claims(&json!({ "aud": null }))), "audience"),
        (cluster.token("k1", &claims(&json!({ "exp": NOW - 61 }))), "has ended"),
        (cluster.token("k1", &claims(&json!({ "exp": null }))), "never ends"),
        (cluster.token("k1", &claims(&json!({ "nbf": NOW + 61 }))), "not count yet"),
        (cluster.token("k1", &claims(&json!({ "nbf": "tomorrow" }))), "not count yet"),
        (cluster.token("k1", &claims(&json!({ "sub": "system:serviceaccount:shop:api" }))), "shop/api"),
        (other.token("k1", &claims(&json!({}))), "signature"),
        (cluster.token("k2", &claims(&json!({}))), "no key"),
        ("a.b.c".to_owned(), "it "),
        (String::new(), "not a signed token"),
    ] {
        let told = accounts.recognise(token.as_bytes(), now()).await.expect_err(why);
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn keys_that_are_not_there_are_waited_for() {
    let cluster = Cluster::new();
    let accounts = accounts(&["shop/app"]);
    let token = cluster.token("k1", &claims(&json!({})));
    let fetching = async {
        accounts.keys_are_wanted().await;
        accounts.set_keys(cluster.keys());
    };
    let (known, ()) = tokio::join!(accounts.recognise(token.as_bytes(), now()), fetching);
    known.expect("the keys have come");
}
