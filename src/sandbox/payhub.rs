//! PayHub: a login gives a token and a key, and every answer is HTTP 200.
//!
//! What the answer means stands in `responseCode`. Token and key are a pair: this simulator wants
//! both of the same login. A token stays good after the next login.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::token::{self, TokenBook};
use super::{Answer, Exchange, Received, Simulator, Tour};
use crate::clock::Clock;

/// The account that may log in.
pub const EMAIL: &str = "merchant@shop.example";
/// Its password.
pub const PASSWORD: &str = "payhub-demo-password";

const LOGIN: &str = "/user/login";
const CALLS: [&str; 4] = [
    "/user/getpayinstatus",
    "/user/sendPayinRequest",
    "/user/sendPayinPageRequest",
    "/payouts/sendPayoutRequest",
];
const LIFETIME: Duration = Duration::from_secs(3600);

/// The simulator.
#[derive(Debug)]
pub struct Payhub {
    tokens: TokenBook,
    clock: Clock,
}

impl Payhub {
    /// A vendor without any session yet.
    pub fn new(tokens: TokenBook, clock: Clock) -> Self {
        Self { tokens, clock }
    }

    fn log_in(&self, request: &Received) -> Result<Answer, Answer> {
        let invalid = |complaint| refusal(400, "Please provide valid details.").because(complaint);
        request.without_authorization().map_err(invalid)?;
        let body = request.json(&["emailId", "password"], &[]).map_err(invalid)?;
        if body["emailId"] != EMAIL {
            return Err(refusal(404, "Please provide valid user details").because("the email is wrong"));
        }
        if body["password"] != PASSWORD {
            return Err(refusal(405, "Please provide valid password").because("the password is wrong"));
        }
        let lifetime = self.tokens.lifetime(LIFETIME);
        let issued_at = self.clock.wall().as_second();
        let expiry = lifetime.as_secs().max(1);
        // The vendor signs the whole login, password and all: its token is as secret as that.
        let claims = json!({
            "emailId": EMAIL,
            "password": PASSWORD,
            "iat": issued_at,
            "exp": issued_at.saturating_add_unsigned(expiry),
        });
        let token = token::jwt(&json!({"alg": "HS256", "typ": "JWT"}), &claims, 32, &self.clock);
        let key = format!("U2FsdGVkX1{}", token::opaque(&self.clock));
        self.tokens.issue(&token, lifetime, &key);
        Ok(success(&json!({"token": token, "apiKey": key, "expiry": expiry.to_string()})))
    }

    fn call(&self, request: &Received) -> Result<Answer, Answer> {
        let unauthorized =
            |complaint| refusal(403, "Please provide a valid authorization details").because(complaint);
        let token = request.field("token").map_err(unauthorized)?;
        let key = request.field("apikey").map_err(unauthorized)?;
        let partner = self.tokens.check(token).map_err(|dead| refusal(403, "invalid token").because(dead))?;
        if partner != key {
            return Err(refusal(403, "Invalid apiKey").because("the key is not of the token's login"));
        }
        if request.field("content-type").is_ok_and(|sent| !sent.starts_with("application/json")) {
            return Err(refusal(400, "Please provide valid details.").because("the body is not JSON"));
        }
        Ok(success(&json!({"transaction_id": "PH-1001", "status": "SUCCESS", "amount": 4999})))
    }
}

impl Simulator for Payhub {
    fn answer(&self, request: &Received) -> Answer {
        let answer = match (request.method.as_str(), request.path()) {
            ("POST", LOGIN) => self.log_in(request),
            ("POST", path) if CALLS.contains(&path) => self.call(request),
            _ => Err(refusal(404, "Not found").because("there is no such endpoint")),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn is_issuer(&self, path: &str) -> bool {
        path == LOGIN
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }
}

/// What there is to see here: a refusal inside HTTP 200.
pub(super) fn tour() -> Tour {
    Tour {
        method: Method::POST,
        app_path: "/payhub/user/getpayinstatus",
        path: CALLS[0],
        body: r#"{"transaction_id":"PH-1001"}"#,
        exchanges: &[Exchange { path: LOGIN, shows: "email and password", brings: "token and key" }],
        rotating: None,
        refusal: "HTTP 200 with responseCode 403",
        lifetime: Some(Duration::from_secs(5)),
    }
}

fn success(data: &Value) -> Answer {
    Answer::json(200, &json!({"responseCode": 200, "responseMessage": "Success", "responseData": data}))
}

fn refusal(code: u16, message: &str) -> Answer {
    Answer::json(200, &json!({"responseCode": code, "responseMessage": message}))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{EMAIL, LOGIN, PASSWORD, Payhub};
    use crate::clock::Clock;
    use crate::sandbox::received::tests::request;
    use crate::sandbox::{Answer, Simulator, TokenBook};

    const CALL: &str = "/user/getpayinstatus";

    fn vendor() -> Payhub {
        let clock = Clock::system();
        Payhub::new(TokenBook::new(clock.clone(), None), clock)
    }

    fn log_in(vendor: &Payhub, email: &str, password: &str) -> Value {
        let body = json!({"emailId": email, "password": password});
        let answer = vendor.answer(&request("POST", LOGIN).posting_json(&body));
        assert_eq!(answer.status(), 200);
        answer.value()
    }

    fn call(vendor: &Payhub, token: &Value, key: &Value) -> Answer {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let request = request("POST", CALL).with("token", &text(token)).with("apikey", &text(key));
        vendor.answer(&request.posting_json(&json!({"transaction_id": "PH-1001"})))
    }

    #[test]
    fn a_login_gives_a_pair_and_an_expiry_in_text() {
        let vendor = vendor();
        let first = log_in(&vendor, EMAIL, PASSWORD)["responseData"].clone();
        let second = log_in(&vendor, EMAIL, PASSWORD)["responseData"].clone();
        assert_eq!(first["expiry"], "3600");
        assert_eq!(call(&vendor, &first["token"], &first["apiKey"]).complaint(), None);
        let mixed = call(&vendor, &first["token"], &second["apiKey"]);
        assert_eq!(mixed.value()["responseMessage"], "Invalid apiKey");
    }

    #[test]
    fn refusals_come_with_status_200_and_their_code_inside() {
        let vendor = vendor();
        assert_eq!(log_in(&vendor, EMAIL, "wrong")["responseCode"], 405);
        assert_eq!(log_in(&vendor, "nobody@shop.example", PASSWORD)["responseCode"], 404);
        let data = log_in(&vendor, EMAIL, PASSWORD)["responseData"].clone();
        vendor.tokens().revoke();
        let refused = call(&vendor, &data["token"], &data["apiKey"]);
        assert_eq!((refused.status().as_u16(), &refused.value()["responseCode"]), (200, &json!(403)));
        assert_eq!(refused.complaint(), Some("the token was revoked"));
    }
}
