//! Tokens that are bound to a key (DPoP, RFC 9449): proofs as an issuer and an upstream see them.

use std::collections::HashSet;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::message::Message;
use crate::support::{Issuer, Reply, Setup, Upstream, canary};

/// The header and the claims of the proof on a request, whose signature is verified by the key in it.
#[track_caller]
fn proof(request: &Message) -> (Value, Value) {
    let proof = request.field("dpop").expect("a proof");
    let header = BASE64_URL_SAFE_NO_PAD.decode(proof.split('.').next().expect("a header"));
    let header: Value = serde_json::from_slice(&header.expect("base64url")).expect("JSON");
    let jwk: Jwk = serde_json::from_value(header["jwk"].clone()).expect("a public key");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let claims = jsonwebtoken::decode::<Value>(&proof, &key, &validation).expect("a signature").claims;
    (header, claims)
}

/// An issuer of bound tokens; `nonce`, if there is one, has to be in each proof.
fn issuer(nonce: Option<&'static str>) -> Issuer {
    Issuer::new(
        |token| json!({"access_token": token, "token_type": "DPoP", "expires_in": 3600}),
        move |request| {
            let nonce = nonce.filter(|nonce| proof(request).1["nonce"] != *nonce)?;
            let fields = format!("Content-Type: application/json\r\nDPoP-Nonce: {nonce}\r\n");
            Some(Reply::with_fields(400, &fields, r#"{"error": "use_dpop_nonce"}"#))
        },
    )
}

/// A credential `bound`, and a route to `upstream` with a path of its own.
fn setup(issuer: &Issuer, upstream: &Upstream, dpop: &str) -> Setup {
    Setup::new(&format!(
        "[credentials.bound]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}?tenant=a\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\n{dpop}\n\n[routes.api]\npath = \"/api\"\n\
         upstream = \"{}/base\"\ncredential = \"bound\"\n",
        issuer.url(),
        canary::secret(),
        upstream.origin(),
    ))
}

/// 401 with a challenge for `nonce`, until a proof has it.
fn challenging(nonce: &'static str) -> Upstream {
    Upstream::answering(move |request| {
        if proof(request).1["nonce"] == nonce {
            return Reply::with_fields(200, "DPoP-Nonce: next-nonce\r\n", "hello");
        }
        let fields = format!("WWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nDPoP-Nonce: {nonce}\r\n");
        Reply::with_fields(401, &fields, "")
    })
}

#[test]
fn every_request_carries_a_proof_of_its_own_for_the_upstreams_uri() {
    let (issuer, upstream) = (issuer(None), Upstream::start());
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    let app = bearerd.app();
    for _ in 0..3 {
        assert_eq!(app.get_with("/api/a%20b?q=1", "DPoP: of-the-app\r\ndpop: x\r\n").status(), 200);
    }
    assert_eq!(app.post("/api", "{}").status(), 200);

    let asked = issuer.requests().remove(0);
    let (_, claims) = proof(&asked);
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("POST"), &json!(issuer.url())));
    assert!(claims.get("ath").is_none(), "there is no token yet");
    let token = issuer.token();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut identifiers = HashSet::new();
    for (number, request) in upstream.requests().iter().enumerate() {
        assert_eq!(request.field("authorization"), Some(format!("DPoP {token}")));
        let (header, claims) = proof(request);
        let (method, path) = if number < 3 { ("GET", "/base/a%20b") } else { ("POST", "/base") };
        assert_eq!(claims["htm"], json!(method));
        assert_eq!(claims["htu"], json!(format!("{}{path}", upstream.origin())));
        assert_eq!(claims["ath"], json!(BASE64_URL_SAFE_NO_PAD.encode(digest)));
        assert_eq!(header, proof(&asked).0, "one key for the token and its use");
        assert!(identifiers.insert(claims["jti"].to_string()), "a proof was sent twice");
    }
}

#[test]
fn a_nonce_of_the_issuer_is_sent_at_once_and_from_then_on() {
    let (issuer, upstream) = (issuer(Some("issuer-nonce")), Upstream::start());
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.credential("bound")["last_error"], Value::Null);
    assert_eq!(bearerd.control("POST", "/v1/credentials/bound/refresh?wait=true", b"").status(), 200);
    let nonces: Vec<_> = issuer.requests().iter().map(|request| proof(request).1["nonce"].clone()).collect();
    assert_eq!(nonces, [json!(null), json!("issuer-nonce"), json!("issuer-nonce")]);
}

#[test]
fn a_signed_assertion_is_signed_anew_for_the_proof_with_the_nonce() {
    let seen = Mutex::new(HashSet::new());
    let issuer = Issuer::new(
        |token| json!({"access_token": token, "token_type": "DPoP", "expires_in": 3600}),
        move |request| {
            let assertion = request.form().remove("client_assertion").expect("an assertion");
            if !seen.lock().expect("nobody panicked").insert(assertion) {
                return Some(Reply::json(401, &json!({"error": "invalid_client"})));
            }
            let fields = "Content-Type: application/json\r\nDPoP-Nonce: n\r\n";
            let again = Reply::with_fields(400, fields, r#"{"error": "use_dpop_nonce"}"#);
            (proof(request).1["nonce"] != "n").then_some(again)
        },
    );
    let upstream = Upstream::start();
    let lines = "dpop = true\nclient_auth = \"client_secret_jwt\"";
    let bearerd = setup(&issuer, &upstream, lines).start();
    bearerd.wait_until_ready();
    assert_eq!(issuer.requests().len(), 2);
}

#[test]
fn a_nonce_of_the_upstream_is_sent_at_once_and_the_token_is_not_in_question() {
    let (issuer, upstream) = (issuer(None), challenging("api-nonce"));
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    let answer = bearerd.app().post("/api/thing", "{\"a\": 1}");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.field("dpop-nonce"), None, "it is between bearerd and the upstream");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.text() == "{\"a\": 1}"));
    let nonces: Vec<_> = requests.iter().map(|request| proof(request).1["nonce"].clone()).collect();
    assert_eq!(nonces, [json!(null), json!("api-nonce")]);
    // The answer brought the next one: a server may change it at any time.
    assert_eq!(bearerd.app().get("/api/thing").status(), 200);
    let nonces: Vec<_> = upstream.requests()[2..].iter().map(|it| proof(it).1["nonce"].clone()).collect();
    assert_eq!(nonces, [json!("next-nonce"), json!("api-nonce")]);
    assert_eq!(issuer.requests().len(), 1, "nothing was renewed");
    assert_eq!(bearerd.credential("bound")["generation"], 1);
}

#[test]
fn an_upstream_that_is_never_content_with_a_nonce_is_asked_twice() {
    let (issuer, upstream) = (issuer(None), challenging("a nonce that no proof can have"));
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 401);
    // What cannot stand in a proof is no nonce: there is nothing to try again with, and it is a refusal.
    let upstream = Upstream::answering(|_| {
        let fields = "WWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nDPoP-Nonce: n\r\n";
        Reply::with_fields(401, fields, "")
    });
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 401);
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(bearerd.credential("bound")["generation"], 1, "the token is not in question");
}

#[test]
fn a_refused_bound_token_is_renewed_as_any_other() {
    let issuer = issuer(None);
    let first = Mutex::new(None);
    let upstream = Upstream::answering(move |request| {
        let token = request.field("authorization");
        let mut first = first.lock().expect("nobody panicked");
        if *first.get_or_insert_with(|| token.clone()) == token {
            return Reply::with_fields(401, "WWW-Authenticate: DPoP error=\"invalid_token\"\r\n", "");
        }
        Reply::text("hello")
    });
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(issuer.requests().len(), 2);
}

#[test]
fn a_configured_key_makes_the_proofs() {
    let (issuer, upstream) = (issuer(None), Upstream::start());
    let key = rcgen::KeyPair::generate().expect("a key");
    let setup =
        setup(&issuer, &upstream, "dpop = { key = { file = \"{folder}/dpop.pem\" }, alg = \"ES256\" }");
    let bearerd = setup.file("dpop.pem", &key.serialize_pem()).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    let point = BASE64_URL_SAFE_NO_PAD.encode(&key.public_key_raw()[1..33]);
    for request in [issuer.requests().remove(0), upstream.request()] {
        assert_eq!(proof(&request).0["jwk"]["x"], json!(point));
    }
}

#[test]
fn a_token_that_is_not_bound_is_not_used() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let bearerd = setup(&issuer, &upstream, "dpop = true").start();
    let told = bearerd.wait("an error", || {
        bearerd.credential("bound")["last_error"]["message"].as_str().map(str::to_owned)
    });
    assert!(told.contains("`Bearer`") && told.contains("bound to a key"), "{told}");
    assert_eq!(bearerd.app().get("/api/x").status(), 503);
    assert!(upstream.requests().is_empty());
}
