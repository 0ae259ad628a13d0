//! What callers show: bearers, and tokens of service accounts.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bearerd::clock::Clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::{Value, json};

use super::as_user;
use crate::support::configuration::{fixed, route};
use crate::support::message::Message;
use crate::support::{Reply, Setup, Sidecar, Upstream, canary};

fn setup(lines: &str, upstream: &Upstream) -> Setup {
    Setup::new(&format!("{lines}\n{}", fixed(&canary::token(), upstream)))
}

fn ready(setup: Setup) -> Sidecar {
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    bearerd
}

/// GET with a bearer in `Authorization`.
fn show(bearerd: &Sidecar, token: &str) -> Message {
    bearerd.app().get_with("/api/x", &format!("Authorization: Bearer {token}\r\n"))
}

#[track_caller]
fn assert_denied(answer: &Message) {
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (403, Some("caller_denied")));
    assert!(answer.field("proxy-status").is_some_and(|field| field.contains("http_request_denied")));
}

#[test]
fn with_a_bearer_exactly_requests_that_show_it_once_pass_and_it_goes_no_further() {
    let (upstream, bearer) = (Upstream::start(), canary::secret());
    let bearerd = ready(
        setup("allow = { bearer = { file = \"{folder}/bearer\" } }", &upstream)
            .file("bearer", &format!("{bearer}\n")),
    );
    for fields in [
        format!("Authorization: Bearer {bearer}\r\n"),
        format!("authorization: bEARER  {bearer}\r\n"),
        format!("Proxy-Authorization: Bearer {bearer}\r\n"),
        format!("Authorization: Bearer dummy\r\nProxy-Authorization: Bearer {bearer}\r\n"),
    ] {
        assert_eq!(bearerd.app().get_with("/api/x", &fields).status(), 200, "{fields}");
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!(seen.fields("authorization").len(), 1);
        assert!(!seen.head().contains(&bearer) && !seen.head().to_lowercase().contains("proxy-auth"));
    }
    let (short, upper) = (&bearer[..bearer.len() - 1], bearer.to_uppercase());
    for fields in [
        String::new(),
        format!("Authorization: Bearer {short}\r\n"),
        format!("Authorization: Bearer {bearer}x\r\n"),
        format!("Authorization: Bearer {upper}\r\n"),
        format!("Authorization: Basic {bearer}\r\n"),
        format!("Authorization: {bearer}\r\n"),
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: Bearer {bearer}\r\nAuthorization: Bearer {bearer}\r\n"),
        format!("Authorization: Bearer {bearer}\r\nProxy-Authorization: Bearer x\r\n"),
        format!("X-Authorization: Bearer {bearer}\r\n"),
        format!("Authorization_: Bearer {bearer}\r\n"),
        format!("Authorization: Bearer {}\r\n", "x".repeat(20_000)),
    ] {
        assert_denied(&bearerd.app().get_with("/api/x", &fields));
    }
    // Whoever may not call learns nothing of routes.
    assert_denied(&bearerd.app().get("/nowhere"));
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn each_of_several_bearers_counts_and_a_changed_file_counts_without_a_reload() {
    let (upstream, first, second) = (Upstream::start(), canary::secret(), canary::secret());
    let lines = "allow = { bearer = [{ file = \"{folder}/first\" }, { env = \"SECOND\" }] }";
    let bearerd = ready(setup(lines, &upstream).file("first", &first).variable("SECOND", &second));
    for bearer in [&first, &second] {
        assert_eq!(show(&bearerd, bearer).status(), 200);
    }
    let third = canary::secret();
    bearerd.replace_file("first", &third);
    bearerd.wait("the new bearer", || (show(&bearerd, &third).status() == 200).then_some(()));
    assert_denied(&show(&bearerd, &first));
    assert_eq!(show(&bearerd, &second).status(), 200);
    bearerd.replace_file("first", "two words");
    bearerd
        .log("what is wrong", |line| line["error"].as_str().is_some_and(|error| error.contains("no spaces")));
    assert_eq!(show(&bearerd, &third).status(), 200, "the old one stays");
}

#[test]
fn wrong_bearers_are_limited_and_whoever_has_shown_the_right_one_goes_on() {
    let (upstream, bearer) = (Upstream::start(), canary::secret());
    let lines = "max_wrong_bearers = \"3/1h\"\nallow = { bearer = { file = \"{folder}/bearer\" } }";
    let bearerd = ready(setup(lines, &upstream).file("bearer", &bearer));
    let client = bearerd.app();
    let head = client.head("GET", "/api/x", &format!("Authorization: Bearer {bearer}\r\n"), 0);
    let mut proven = client.connect();
    proven.send(&head);
    assert_eq!(proven.answer().status(), 200);
    for guess in 0..3 {
        assert_denied(&show(&bearerd, &format!("guess-{guess}")));
        assert_denied(&bearerd.app().get("/api/x"));
    }
    for token in ["guess-4", bearer.as_str()] {
        let answer = show(&bearerd, token);
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (429, Some("rate_limited")));
        assert!(answer.field("retry-after").is_some());
    }
    proven.send(&head);
    assert_eq!(proven.answer().status(), 200);
    assert_eq!(bearerd.metric("bearerd_limited_total{limit=\"max_wrong_bearers\"}"), 2);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn who_guesses_locks_out_nobody_but_himself() {
    let (upstream, bearer) = (Upstream::start(), canary::secret());
    let lines = "max_wrong_bearers = \"3/1h\"\nallow = { bearer = { file = \"{folder}/bearer\" } }";
    let setup = setup(lines, &upstream).file("bearer", &bearer).admin("max_wrong_tokens = \"3/1h\"");
    let bearerd = ready(setup.admin("max_wrong_sign_ins = \"3/1h\""));
    let (app, admin) = (bearerd.app(), bearerd.admin());
    let guess = move || {
        let fields = "Authorization: Bearer guess\r\n";
        [
            app.get_with("/api/x", fields).status(),
            admin.request("POST", "/v1/reload", fields, b"").status(),
            admin.request("POST", "/v1/session", fields, b"").status(),
        ]
    };
    for status in [403, 403, 403, 429, 429] {
        let admin = if status == 403 { 401 } else { 429 };
        assert_eq!(as_user(1002, &[1002], guess), [status, admin, admin]);
    }
    assert_eq!(show(&bearerd, &bearer).status(), 200);
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.control("POST", "/v1/session", b"").status(), 200);
    for limit in ["max_wrong_bearers", "admin_wrong_tokens", "admin_sign_ins"] {
        assert_eq!(bearerd.metric(&format!("bearerd_limited_total{{limit=\"{limit}\"}}")), 2, "{limit}");
    }
}

#[test]
fn a_bearer_that_cannot_be_used_ends_the_start() {
    let upstream = Upstream::start();
    let lines = "allow = { bearer = { file = \"{folder}/bearer\" } }";
    for content in [None, Some(""), Some("\n"), Some("two words")] {
        let setup = setup(lines, &upstream);
        let setup = match content {
            Some(content) => setup.file("bearer", content),
            None => setup,
        };
        let (code, told) = setup.start_in_vain();
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("bearer") && !told.contains("two words"), "{told}");
    }
}

#[test]
fn a_route_narrows_who_of_the_callers_may_call_it() {
    let (upstream, shop, billing) = (Upstream::start(), canary::secret(), canary::secret());
    let own = "callers = { bearer = { env = \"BILLING\" } }\n";
    let other = route("key", &upstream).replace("routes.api", "routes.open").replace("\"/api\"", "\"/open\"");
    let lines = "allow = { bearer = [{ env = \"SHOP\" }, { env = \"BILLING\" }] }";
    let routes = fixed(&canary::token(), &upstream);
    let bearerd = ready(
        Setup::new(&format!("{lines}\n{routes}{own}{other}"))
            .variable("SHOP", &shop)
            .variable("BILLING", &billing),
    );
    let ask = |path: &str, bearer: &str| {
        bearerd.app().get_with(path, &format!("Authorization: Bearer {bearer}\r\n"))
    };
    assert_eq!(ask("/api/x", &billing).status(), 200);
    let denied = ask("/api/x", &shop);
    assert_denied(&denied);
    assert_eq!(denied.json()["route"], "api");
    assert_eq!(ask("/open/x", &shop).status(), 200);
    assert_denied(&ask("/open/x", "neither"));
    assert_eq!(bearerd.metric("bearerd_errors_total{route=\"api\",code=\"caller_denied\"}"), 1);
}

/// Who signs the tokens of service accounts.
struct Cluster {
    key: KeyPair,
    id: &'static str,
}

impl Cluster {
    fn new(id: &'static str) -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"), id }
    }

    fn keys(&self) -> Value {
        let point = self.key.der_bytes();
        let part = |range| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
        let (x, y) = (part(1..33), part(33..65));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y}]})
    }

    fn token(&self, account: &str, audience: &str, lives: i64) -> String {
        let now = Clock::system().wall().as_second();
        let claims = json!({
            "iss": "https://cluster.test", "aud": [audience], "sub": format!("system:serviceaccount:{account}"),
            "iat": now - 100, "nbf": now - 100, "exp": now + lives,
        });
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).expect("a token")
    }
}

const ACCOUNTS: &str = "issuer = \"https://cluster.test\", audience = \"bearerd\", accounts = [\"shop/app\"]";

#[test]
fn service_accounts_call_by_tokens_that_the_cluster_has_signed() {
    let (upstream, cluster) = (Upstream::start(), Cluster::new("k1"));
    let keys = cluster.keys().to_string();
    let lines = format!("allow = {{ service_accounts = {{ {ACCOUNTS}, jwks = \"{{folder}}/jwks.json\" }} }}");
    let bearerd = ready(setup(&lines, &upstream).file("jwks.json", &keys));
    assert_eq!(show(&bearerd, &cluster.token("shop:app", "bearerd", 600)).status(), 200);
    let (impostor, later) = (Cluster::new("k1"), Cluster::new("k2"));
    for token in [
        cluster.token("shop:api", "bearerd", 600),
        cluster.token("shop:app", "vault", 600),
        cluster.token("shop:app", "bearerd", -90),
        impostor.token("shop:app", "bearerd", 600),
        "a.b.c".to_owned(),
    ] {
        assert_denied(&show(&bearerd, &token));
    }
    assert_eq!(upstream.requests().len(), 1);
    bearerd.log("whose it was", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.contains("its account is \"shop/api\""))
    });
    bearerd.replace_file("jwks.json", &later.keys().to_string());
    let token = later.token("shop:app", "bearerd", 600);
    bearerd.wait("the new keys", || (show(&bearerd, &token).status() == 200).then_some(()));
}

#[test]
fn the_keys_of_service_accounts_are_asked_for_and_waited_for() {
    let (upstream, cluster) = (Upstream::start(), Cluster::new("k1"));
    let keys = cluster.keys();
    let own = canary::secret();
    let wanted = format!("Bearer {own}");
    let server = Upstream::issuer(move |request| {
        if request.field("authorization").as_deref() == Some(&wanted) {
            Reply::json(200, &keys).after(Duration::from_millis(300))
        } else {
            Reply::json(401, &json!({}))
        }
    });
    let lines = format!(
        "allow = {{ service_accounts = {{ {ACCOUNTS}, jwks = \"{}/openid/v1/jwks\", \
         token = {{ file = \"{{folder}}/own\" }} }} }}",
        server.origin()
    );
    let bearerd = ready(setup(&lines, &upstream).file("own", &own));
    assert_eq!(show(&bearerd, &cluster.token("shop:app", "bearerd", 600)).status(), 200);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].target(), "/openid/v1/jwks");
}
