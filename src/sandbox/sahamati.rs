//! Sahamati's token service: a user's token opens the entity's secret, which opens the entity's
//! token, which opens the network.
//!
//! ```text
//! username + password -> user token -> entity secret -> entity token -> central registry, members
//! ```
//!
//! Secrets age: [`Rules`] say how.

mod vault;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::vault::{Given, Standing, Vault};
use super::token::{self, TokenBook};
use super::{Answer, Exchange, Received, Simulator, Tour};
use crate::clock::Clock;

pub use vault::Rules;

/// The entity's administrator.
pub const USERNAME: &str = "admin@fiu.example";
/// Their password.
pub const PASSWORD: &str = "sahamati-demo-password";
/// The entity.
pub const ENTITY: &str = "fiu-demo";

pub(super) const USER_TOKEN: &str = "/iam/v1/user/token/generate";
const READ_SECRET: &str = "/iam/v1/entity/secret/read";
pub(super) const RESET_SECRET: &str = "/iam/v1/entity/secret/reset";
const ENTITY_TOKEN: &str = "/iam/v1/entity/token/generate";
/// The central registry, which takes `Authorization: Bearer`.
const REGISTRY: &str = "/cr/v2/entityInfo/AA";
/// A member of the network, which takes the bare token as `client_api_key`.
const MEMBER: &str = "/aa/v2/Heartbeat";
const DAY: Duration = Duration::from_secs(86_400);
/// What an entity's token comes with while the secret is in its grace period.
const GRACE_MESSAGE: &str = "The secret for entity with ID fiu-demo is expired and within the grace period";
/// What a new secret comes with if nobody said for how many days, or for too many.
const DEFAULT_MESSAGE: &str = "The expiry is set to 180 days by default, as the user didn't specify or exceeded the \
                               default limit.";

/// The simulator.
#[derive(Debug)]
pub struct Sahamati {
    tokens: TokenBook,
    clock: Clock,
    vault: Vault,
    user_lifetime: Duration,
    /// Whether `expiresOn` is in milliseconds this time: the vendor's documents show both units.
    milliseconds: AtomicBool,
}

impl Sahamati {
    /// A vendor that treats secrets so.
    pub fn new(tokens: TokenBook, clock: Clock, rules: Rules) -> Self {
        let vault = Vault::new(clock.clone(), rules);
        let user_lifetime = rules.user_lifetime;
        Self { tokens, clock, vault, user_lifetime, milliseconds: AtomicBool::new(false) }
    }

    /// How often the secret was reset.
    pub fn resets(&self) -> usize {
        self.vault.resets()
    }

    /// Whether a secret works.
    pub fn takes(&self, secret: &str) -> bool {
        self.vault.check(secret).is_some()
    }

    fn user_token(&self, request: &Received) -> Result<Answer, Answer> {
        let missing =
            |complaint| self.bad_request("User Id/Password is missing in the request").because(complaint);
        request.without_authorization().map_err(missing)?;
        let form = request.form(&["username", "password"], &[]).map_err(missing)?;
        if form["username"] != USERNAME || form["password"] != PASSWORD {
            return Err(self
                .unauthorized("Invalid username/password or password is expired")
                .because("username or password is wrong"));
        }
        let lifetime = self.tokens.lifetime(self.user_lifetime);
        Ok(self.envelope(200, self.grant("user", lifetime, "email secret-expiry-ts profile entityMetadata")))
    }

    /// Reads the secret, or resets it.
    fn secret(&self, request: &Received, resets: bool) -> Result<Answer, Answer> {
        let unauthorized = |complaint: String| self.unauthorized("Unauthorized").because(complaint);
        let token = request.bearer().map_err(unauthorized)?;
        let kind = self.tokens.check(token).map_err(|dead| unauthorized(dead.to_string()))?;
        if kind != "user" {
            return Err(unauthorized("only a user's token opens a secret".into()));
        }
        let missing =
            |complaint: String| self.bad_request("Entity Id is missing in the request").because(complaint);
        let body = request
            .json(&["ver", "timestamp", "txnId", "entityId"], &["secretExpiryDays"])
            .map_err(missing)?;
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        if text("ver") != "1.0.0"
            || text("timestamp").parse::<Timestamp>().is_err()
            || !is_uuid(text("txnId"))
        {
            return Err(missing("`ver`, `timestamp` or `txnId` is not of the documented form".into()));
        }
        let days = body.get("secretExpiryDays");
        if days.is_some_and(|days| !days.is_u64()) {
            return Err(missing("`secretExpiryDays` is not a whole number".into()));
        }
        if text("entityId") != ENTITY {
            return Err(self.unauthorized("Invalid entity id").because("the entity is unknown"));
        }
        let days = days.and_then(Value::as_u64).and_then(|days| u32::try_from(days).ok());
        let given = if resets { self.vault.reset(days, self.tokens.left(token)) } else { self.vault.read() };
        Ok(self.envelope(200, self.told(&given)))
    }

    fn told(&self, given: &Given) -> Value {
        let milliseconds = self.milliseconds.fetch_xor(true, Ordering::Relaxed);
        let expires_on = if milliseconds { given.ends.as_millisecond() } else { given.ends.as_second() };
        let mut told = json!({
            "entityId": ENTITY, "secret": given.secret, "expiresOn": expires_on,
            "expirationDate": given.ends.to_string().trim_end_matches('Z'),
        });
        if given.by_default {
            told["message"] = DEFAULT_MESSAGE.into();
        }
        told
    }

    fn entity_token(&self, request: &Received) -> Result<Answer, Answer> {
        let missing =
            |complaint| self.bad_request("Entity Id/Secret is missing in the request").because(complaint);
        request.without_authorization().map_err(missing)?;
        let form = request.form(&["id", "secret"], &[]).map_err(missing)?;
        let standing =
            self.vault.check(&form["secret"]).filter(|_| form["id"] == ENTITY).ok_or_else(|| {
                self.unauthorized("Invalid entity id/secret or secret is expired")
                    .because("the entity's id or secret is wrong, or has ended")
            })?;
        let scope = "email microprofile-jwt profile address phone offline_access";
        let mut body = self.grant("entity", self.tokens.lifetime(DAY), scope);
        if standing == Standing::Grace {
            body["message"] = GRACE_MESSAGE.into();
        }
        Ok(self.envelope(200, body))
    }

    fn grant(&self, kind: &str, lifetime: Duration, scope: &str) -> Value {
        let seconds = lifetime.as_secs().max(1);
        let issued_at = self.clock.wall().as_second();
        let claims = json!({
            "iss": "https://api.sandbox.sahamati.org.in/auth/realms/sahamati",
            "aud": "account",
            "typ": "Bearer",
            "azp": if kind == "entity" { ENTITY } else { "user" },
            "sub": self.clock.uuid(),
            "roles": "FIU",
            "iat": issued_at,
            "exp": issued_at.saturating_add_unsigned(seconds),
            "scope": scope,
            "secret-expiry-ts": self.vault.read().ends.as_second().to_string(),
        });
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": "sandbox-1"});
        let token = token::jwt(&header, &claims, 256, &self.clock);
        self.tokens.issue(&token, lifetime, kind);
        json!({"accessToken": token, "expiresIn": seconds, "refreshExpiresIn": 0,
               "tokenType": "Bearer", "notBeforePolicy": 0, "scope": scope})
    }

    fn registry(&self, request: &Received) -> Result<Answer, Answer> {
        let unauthorized = |complaint: String| {
            Answer::json(401, &json!({"responseCode": 401, "responseText": "401 UNAUTHORIZED"}))
                .because(complaint)
        };
        self.entity_of(request.bearer()).map_err(unauthorized)?;
        Ok(Answer::json(
            200,
            &json!([{"entityinfo": {"name": "Demo AA", "id": "aa-demo", "code": "aa-demo"}}]),
        ))
    }

    fn heartbeat(&self, request: &Received) -> Result<Answer, Answer> {
        self.entity_of(request.field("client_api_key"))
            .map_err(|complaint| self.unauthorized("Unauthorized").because(complaint))?;
        Ok(self.envelope(200, json!({"Status": "UP"})))
    }

    fn entity_of(&self, token: Result<&str, String>) -> Result<(), String> {
        let kind = self.tokens.check(token?).map_err(|dead| dead.to_string())?;
        if kind == "entity" { Ok(()) } else { Err("this is a user's token, not an entity's".into()) }
    }

    fn bad_request(&self, message: &str) -> Answer {
        self.envelope(400, json!({"errorCode": "Bad Request", "errorMsg": message}))
    }

    fn unauthorized(&self, message: &str) -> Answer {
        self.envelope(401, json!({"errorCode": "Unauthorized", "errorMsg": message}))
    }

    /// The members that every answer of the token service begins with.
    fn envelope(&self, status: u16, mut body: Value) -> Answer {
        body["ver"] = "1.0.0".into();
        body["timestamp"] = self.clock.wall().to_string().into();
        body["txnId"] = self.clock.uuid().into();
        Answer::json(status, &body)
    }
}

impl Simulator for Sahamati {
    fn answer(&self, request: &Received) -> Answer {
        let answer = match (request.method.as_str(), request.path()) {
            ("POST", USER_TOKEN) => self.user_token(request),
            ("POST", READ_SECRET) => self.secret(request, false),
            ("POST", RESET_SECRET) => self.secret(request, true),
            ("POST", ENTITY_TOKEN) => self.entity_token(request),
            ("GET", REGISTRY) => self.registry(request),
            ("GET", MEMBER) => self.heartbeat(request),
            _ => Err(self
                .envelope(404, json!({"errorCode": "Not Found", "errorMsg": "No such resource"}))
                .because("there is no such endpoint")),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn is_issuer(&self, path: &str) -> bool {
        path.starts_with("/iam/")
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }
}

/// What there is to see here: a chain of three exchanges.
pub(super) fn tour() -> Tour {
    Tour {
        method: Method::GET,
        app_path: "/sahamati/cr/v2/entityInfo/AA",
        path: REGISTRY,
        body: "",
        exchanges: &[
            Exchange { path: USER_TOKEN, shows: "username and password", brings: "user token" },
            Exchange { path: READ_SECRET, shows: "user token", brings: "entity secret" },
            Exchange { path: ENTITY_TOKEN, shows: "entity secret", brings: "entity token" },
        ],
        rotating: None,
        refusal: "HTTP 401",
        lifetime: Some(Duration::from_secs(6)),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        DEFAULT_MESSAGE, ENTITY, ENTITY_TOKEN, GRACE_MESSAGE, PASSWORD, READ_SECRET, REGISTRY, RESET_SECRET,
        Rules, Sahamati, USER_TOKEN, USERNAME,
    };
    use crate::clock::Clock;
    use crate::sandbox::received::tests::request;
    use crate::sandbox::{Simulator, TokenBook};

    fn vendor(in_grace: bool) -> Sahamati {
        let clock = Clock::system();
        let first_left = in_grace.then_some(std::time::Duration::ZERO);
        Sahamati::new(TokenBook::new(clock.clone(), None), clock, Rules { first_left, ..Rules::default() })
    }

    fn user_token(vendor: &Sahamati) -> Value {
        let form = format!("username={USERNAME}&password={PASSWORD}");
        vendor.answer(&request("POST", USER_TOKEN).posting_form(&form)).value()["accessToken"].clone()
    }

    fn secret_request(vendor: &Sahamati, token: &Value) -> Value {
        ask_for_secret(vendor, READ_SECRET, token, None)
    }

    fn ask_for_secret(vendor: &Sahamati, path: &str, token: &Value, days: Option<u32>) -> Value {
        let mut body = json!({"ver": "1.0.0", "timestamp": "2024-07-16T11:33:34.509Z",
                          "txnId": "f35761ac-4a18-11e8-96ff-0277a9fbfedc", "entityId": ENTITY});
        if let Some(days) = days {
            body["secretExpiryDays"] = days.into();
        }
        vendor.answer(&request("POST", path).with_bearer(token).posting_json(&body)).value()
    }

    fn entity_token(vendor: &Sahamati) -> Value {
        let secret = secret_request(vendor, &user_token(vendor))["secret"].clone();
        let form = format!("id={ENTITY}&secret={}", secret.as_str().expect("text"));
        vendor.answer(&request("POST", ENTITY_TOKEN).posting_form(&form)).value()
    }

    #[test]
    fn the_chain_of_user_secret_and_entity_opens_the_registry() {
        let vendor = vendor(false);
        let answer = entity_token(&vendor);
        assert_eq!((&answer["expiresIn"], &answer["message"]), (&json!(86_400), &Value::Null));
        let opened = vendor.answer(&request("GET", REGISTRY).with_bearer(&answer["accessToken"]));
        assert_eq!((opened.status().as_u16(), opened.complaint()), (200, None));
    }

    #[test]
    fn a_users_token_does_not_open_the_registry_nor_an_entitys_the_secret() {
        let vendor = vendor(false);
        let refused = vendor.answer(&request("GET", REGISTRY).with_bearer(&user_token(&vendor)));
        assert_eq!(refused.complaint(), Some("this is a user's token, not an entity's"));
        assert_eq!(refused.value()["responseCode"], 401);
        let entity = entity_token(&vendor)["accessToken"].clone();
        assert_eq!(secret_request(&vendor, &entity)["errorCode"], "Unauthorized");
    }

    #[test]
    fn the_end_of_the_secret_comes_in_seconds_and_in_milliseconds() {
        let vendor = vendor(false);
        let token = user_token(&vendor);
        let ends = [(); 2].map(|()| secret_request(&vendor, &token)["expiresOn"].as_i64().expect("a number"));
        assert_eq!(ends[1] / 1000, ends[0]);
    }

    #[test]
    fn a_reset_gives_another_secret_and_says_so_if_the_days_are_not_its() {
        let vendor = vendor(false);
        let token = user_token(&vendor);
        let old = secret_request(&vendor, &token)["secret"].clone();
        for (days, message) in [(None, DEFAULT_MESSAGE.into()), (Some(100), Value::Null)] {
            let answer = ask_for_secret(&vendor, RESET_SECRET, &token, days);
            assert_eq!(answer["message"], message);
            assert_ne!(answer["secret"], old);
            assert_eq!(secret_request(&vendor, &token)["secret"], answer["secret"]);
        }
        assert_eq!(vendor.resets(), 2);
        assert!(vendor.takes(old.as_str().expect("a text")), "the old one works for some days");
    }

    #[test]
    fn a_secret_in_its_grace_period_is_told_of_with_the_token() {
        assert_eq!(entity_token(&vendor(true))["message"], GRACE_MESSAGE);
    }
}
