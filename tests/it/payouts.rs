//! A vendor that answers everything with 200, and whose calls move money.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::message::Message;
use crate::support::{Origin, Reply, Sidecar, Upstream};

/// The vendor is its own upstream, so that the password is no canary: no upstream may see those.
const PASSWORD: &str = "correct-horse-battery-staple";
const LOGIN: &str = "/user/login";
const PAYOUT: &str = "/payouts/sendPayoutRequest";

/// A vendor whose first call is refused like this, and a bearerd before it.
struct Stage {
    bearerd: Sidecar,
    vendor: Upstream,
}

/// A pair of a login: the claims of its token hold what was sent, as the vendor's do.
fn pair(login: &Message, number: usize) -> (String, String) {
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let token = format!("{}.{}.{}", encode(br#"{"alg":"HS256"}"#), encode(&login.body), encode(&[7; 32]));
    (token, format!("U2FsdGVkX1-key-of-login-{number}"))
}

fn credential(origin: &str, password: &str) -> String {
    format!(
        "[credentials.pay]\npreset = \"payhub\"\nbase_url = \"{origin}\"\nemail = {{ value = \"me@shop.example\" }}\n\
         password = {{ value = \"{password}\" }}\n\n[routes.pay]\nupstream = \"{origin}\"\ncredential = \"pay\"\n"
    )
}

impl Stage {
    fn new(refusal: Reply) -> Self {
        let (logins, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let vendor = Upstream::answering(move |request| {
            if request.target() == LOGIN {
                let (token, key) = pair(request, logins.fetch_add(1, Ordering::SeqCst));
                let data = json!({"token": token, "apiKey": key, "expiry": "2901"});
                return Reply::json(200, &json!({"responseCode": 200, "responseData": data}));
            }
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => refusal.clone(),
                _ => Reply::json(200, &json!({"responseCode": 200, "responseMessage": "Success"})),
            }
        });
        let bearerd = Sidecar::ready(&credential(&vendor.origin(), PASSWORD));
        Self { bearerd, vendor }
    }

    fn refusing(code: u16, message: &str) -> Self {
        Self::new(Reply::json(200, &json!({"responseCode": code, "responseMessage": message})))
    }

    fn post(&self, target: &str) -> Value {
        let answer = self.bearerd.app().post(target, r#"{"amount":4999}"#);
        serde_json::from_str(&answer.text()).unwrap_or(json!({ "status": answer.status() }))
    }

    /// The calls that the vendor saw, each by number of its login's token and of its login's key.
    fn calls(&self) -> Vec<(usize, usize)> {
        let (mut tokens, mut keys, mut calls) = (HashMap::new(), HashMap::new(), Vec::new());
        for seen in self.vendor.requests() {
            if seen.target() == LOGIN {
                let number = tokens.len();
                let (token, key) = pair(&seen, number);
                // Tokens of equal claims are equal: keys tell logins apart.
                tokens.insert(token, number);
                keys.insert(key, keys.len());
            } else {
                let field = |name: &str| seen.field(name).expect("an injected field");
                calls.push((tokens[&field("token")], keys[&field("apikey")]));
            }
        }
        calls
    }

    fn logins(&self) -> usize {
        self.vendor.requests().iter().filter(|seen| seen.target() == LOGIN).count()
    }
}

#[test]
fn a_payout_is_sent_once_more_after_a_refusal_that_proves_that_nothing_was_done() {
    for message in ["invalid token", "Invalid apiKey", "Please provide a valid authorization details"] {
        let stage = Stage::refusing(403, message);
        assert_eq!(stage.post(PAYOUT)["responseCode"], 200, "{message}");
        let keys: Vec<usize> = stage.calls().iter().map(|(_, key)| *key).collect();
        assert_eq!((keys, stage.logins()), (vec![0, 1], 2));
    }
}

#[test]
fn a_payout_is_not_sent_once_more_after_any_other_refusal_and_the_next_one_has_the_next_pair() {
    for target in [PAYOUT, "/Payouts//sendPayoutRequest", "/%70ayouts/sendPayoutRequest/"] {
        let stage = Stage::refusing(403, "The beneficiary is blocked");
        assert_eq!(stage.post(target)["responseMessage"], "The beneficiary is blocked", "{target}");
        stage.bearerd.wait_for_generation("pay", 2);
        assert_eq!(stage.post(target)["responseCode"], 200);
        let keys: Vec<usize> = stage.calls().iter().map(|(_, key)| *key).collect();
        assert_eq!(keys, [0, 1], "{target}");
    }
    let stage = Stage::new(Reply::status(401, "text/plain", "invalid token"));
    assert_eq!(stage.post(PAYOUT)["status"], 401);
    assert_eq!(stage.calls().len(), 1);
}

#[test]
fn other_calls_are_sent_once_more_after_every_refusal() {
    for refusal in [
        Reply::json(200, &json!({"responseMessage": "expired", "responseCode": 401})),
        Reply::json(200, &json!({"responseCode": "403"})),
        Reply::status(401, "text/plain", "no"),
    ] {
        let stage = Stage::new(refusal);
        assert_eq!(stage.post("/user/getpayinstatus")["responseCode"], 200);
        assert_eq!(stage.calls().len(), 2);
        assert_eq!(stage.bearerd.metric("bearerd_replays_total{route=\"pay\"}"), 1);
    }
    // What says no more than that the request was wrong refuses nothing.
    let stage = Stage::refusing(422, "low balance");
    assert_eq!(stage.post(PAYOUT)["responseCode"], 422);
    assert_eq!((stage.calls().len(), stage.logins()), (1, 1));
}

#[test]
fn an_answer_that_has_told_its_code_does_not_wait_for_its_end() {
    let (origin, vendor) = (
        Origin::start(),
        Upstream::answering(|request| {
            let (token, key) = pair(request, 0);
            let data = json!({"token": token, "apiKey": key, "expiry": 3600});
            Reply::json(200, &json!({"responseCode": 200, "responseData": data}))
        }),
    );
    let configuration = credential(&vendor.origin(), PASSWORD)
        .replace(&format!("upstream = \"{}\"", vendor.origin()), &format!("upstream = \"{}\"", origin.url()));
    let bearerd = Sidecar::ready(&configuration);
    let mut app = bearerd.app().ask("GET", "/user/statement", "");
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    upstream.send_chunk(r#"{"responseCode":200,"responseData":["#);
    // A guarded JSON answer waits for the names of a token answer: a member that is no such name is enough.
    upstream.send_chunk(" ".repeat(70_000));
    assert_eq!(app.head().status(), 200);
    upstream.send_chunk("1]}");
    upstream.send("0\r\n\r\n");
}

#[test]
fn a_token_is_as_secret_as_the_password_that_its_claims_hold() {
    let token = Arc::<Mutex<String>>::default();
    let shown = Arc::clone(&token);
    let vendor = Upstream::answering(move |request| {
        let mut shown = shown.lock().expect("no panic before");
        if request.target() == LOGIN {
            let (token, key) = pair(request, 0);
            shown.clone_from(&token);
            let data = json!({"token": token, "apiKey": key, "expiry": 3600});
            return Reply::json(200, &json!({"responseCode": 200, "responseData": data}));
        }
        // The claims alone, encoded and in clear, and with another signature behind them.
        let claims = shown.split('.').nth(1).unwrap_or_default();
        let clear = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
        Reply::text(&format!("{claims} {} x.{claims}.y", String::from_utf8_lossy(&clear)))
    });
    let password = PASSWORD;
    let bearerd = Sidecar::ready(&credential(&vendor.origin(), password));
    let answer = bearerd.app().get("/user/me").text();
    assert!(!answer.contains(password));
    for part in answer.split([' ', '.', '*']) {
        for cut in 0..4.min(part.len()) {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(&part[cut..part.len() - (part.len() - cut) % 4]);
            let decoded = String::from_utf8_lossy(&decoded.unwrap_or_default()).into_owned();
            assert!(!decoded.contains(&password[..password.len() / 2]), "{decoded}");
        }
    }
}
