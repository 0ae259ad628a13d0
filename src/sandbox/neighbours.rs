//! The common shapes of token services, as data: one simulator for all neighbours of the four vendors.
//!
//! ```text
//! /NAME/token endpoint ─▶ what the table wants to see? ─▶ a token, in the vendor's own words
//! /NAME/data           ─▶ a live token of this vendor, from the address that it is bound to?
//! ```
//!
//! [`table`] has a line for each vendor; nothing else here knows any.

mod assertion;
mod configuration;
mod table;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::assertion::SigningKey;
use self::table::{Content, Neighbour, Service, Want};
use super::grants::Grants;
use super::token::{self, TokenBook};
use super::{Answer, Exchange, Received, Simulator, Tour};
use crate::clock::Clock;

pub use configuration::configuration;
pub use table::NAMES;

/// The client that is registered everywhere.
pub const CLIENT_ID: &str = "neighbour-7a31";
/// Its secret.
pub const CLIENT_SECRET: &str = "neighbour-demo-secret";
/// The refresh token that a person's consent has brought, at each vendor that knows consents.
pub const REFRESH_TOKEN: &str = "neighbour-demo-refresh-token-0c0ffee";
/// A person's token, which goes beside a session's.
pub const USER_TOKEN: &str = "neighbour-demo-person";

/// Where each vendor's data is.
const DATA: &str = "/data";

/// A person types the code of a device so long after it was shown.
const TYPING: Duration = Duration::from_secs(7);

/// The simulator.
#[derive(Debug)]
pub struct Neighbours {
    tokens: TokenBook,
    clock: Clock,
    book: Mutex<Book>,
    key: OnceLock<SigningKey>,
}

/// What is remembered of those who ask.
#[derive(Debug)]
struct Book {
    grants: Grants,
    /// When codes of devices were handed out, in time since boot.
    devices: HashMap<String, Duration>,
    /// When each limited service was asked lately, in time since boot.
    asked: HashMap<&'static str, VecDeque<Duration>>,
}

/// Why a token service gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum No {
    /// The request is not one of its own.
    Request,
    /// The client, its secret or its assertion is wrong.
    Client,
    /// What a person granted is not valid.
    Grant,
    /// The person has not answered yet.
    Pending,
    /// It was asked too often.
    Limit,
}

/// What a token service gives.
struct Given {
    token: String,
    lifetime: Duration,
    now: Timestamp,
    /// The next refresh token, or the code of a device.
    further: Option<String>,
}

impl Neighbours {
    /// Vendors that have given nothing yet but the consent of [`REFRESH_TOKEN`].
    pub fn new(tokens: TokenBook, clock: Clock) -> Self {
        let grants = Grants::with(REFRESH_TOKEN);
        let book = Book { grants, devices: HashMap::new(), asked: HashMap::new() };
        Self { tokens, clock, book: Mutex::new(book), key: OnceLock::new() }
    }

    /// The private key of the client, as PEM: assertions are signed with it. Made when it is first needed.
    pub fn private_key(&self) -> &str {
        &self.key().pem
    }

    /// A person types the code of this device now.
    #[cfg(test)]
    pub(super) fn typed<'a>(&self, code: &'a str) -> &'a str {
        let begun = self.clock.boot().saturating_sub(TYPING);
        self.book().devices.insert(code.to_owned(), begun);
        code
    }

    fn key(&self) -> &SigningKey {
        self.key.get_or_init(SigningKey::generate)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, neighbour: &Neighbour, service: &Service, request: &Received) -> Result<Answer, Answer> {
        let refused = |no: No, complaint: String| (neighbour.refusal)(no).because(complaint);
        let malformed = |complaint: String| refused(No::Request, complaint);
        for (name, want) in service.headers {
            let value = request.field(name).map_err(malformed)?;
            self.holds(name, *want, value).map_err(|(no, complaint)| refused(no, complaint))?;
        }
        let values = fields(service.content, request).map_err(malformed)?;
        let kind = values.get("grant_type").map_or("", String::as_str);
        for (name, want) in service.content.wants(kind) {
            let value =
                values.get(*name).ok_or_else(|| malformed(format!("`{name}` is missing in the body")))?;
            self.holds(name, *want, value).map_err(|(no, complaint)| refused(no, complaint))?;
        }
        self.count(service).map_err(|complaint| refused(No::Limit, complaint))?;
        let further =
            self.further(service, neighbour, &values).map_err(|(no, complaint)| refused(no, complaint))?;
        let lifetime = self.tokens.lifetime(neighbour.lifetime);
        let token = token::opaque(&self.clock);
        if !service.begins_consent {
            self.tokens.issue(&token, lifetime, &bound(neighbour, request.from));
        }
        Ok((service.answer)(&Given { token, lifetime, now: self.clock.wall(), further }))
    }

    /// Whether a value is what the table wants.
    fn holds(&self, name: &str, want: Want, value: &str) -> Result<(), (No, String)> {
        let wrong = |no: No| Err((no, format!("`{name}` is wrong")));
        match want {
            Want::Is(text) if value == text => Ok(()),
            Want::Identifier if value.len() == 36 => Ok(()),
            Want::Time if value.parse::<Timestamp>().is_ok() => Ok(()),
            Want::Basic if value.strip_prefix("Basic ").is_some_and(|it| it == basic()) => Ok(()),
            Want::Assertion(rules) => {
                let assertion = value.strip_prefix("Bearer ").unwrap_or(value);
                let verified = self.key().verify(assertion, &rules, self.clock.wall());
                verified.map_err(|complaint| (No::Client, format!("`{name}`: {complaint}")))
            }
            // Both are looked up where they are used.
            Want::RefreshToken | Want::DeviceCode => Ok(()),
            Want::Is(_) | Want::Basic if name != "grant_type" => wrong(No::Client),
            Want::Is(_) | Want::Basic | Want::Identifier | Want::Time => wrong(No::Request),
        }
    }

    /// Counts a request to a service that takes only so many.
    fn count(&self, service: &Service) -> Result<(), String> {
        let Some((most, per)) = service.limit else { return Ok(()) };
        let now = self.clock.boot();
        let mut book = self.book();
        let asked = book.asked.entry(service.path).or_default();
        asked.retain(|at| now.saturating_sub(*at) < per);
        asked.push_back(now);
        if asked.len() > most {
            return Err(format!("{LIMIT_COMPLAINT}: {} requests in {per:?}", asked.len()));
        }
        Ok(())
    }

    /// What comes beside the token: the successor of a refresh token, or the code of a device.
    fn further(
        &self,
        service: &Service,
        neighbour: &Neighbour,
        values: &BTreeMap<String, String>,
    ) -> Result<Option<String>, (No, String)> {
        let mut book = self.book();
        if service.begins_consent {
            let code = token::opaque(&self.clock);
            book.devices.insert(code.clone(), self.clock.boot());
            return Ok(Some(code));
        }
        if let Some(code) = values.get("device_code") {
            let unknown = || (No::Grant, "the device's code is unknown or was used before".to_owned());
            let shown = *book.devices.get(code).ok_or_else(unknown)?;
            if self.clock.boot().saturating_sub(shown) < TYPING {
                return Err((No::Pending, "the person has not typed the code yet".to_owned()));
            }
            book.devices.remove(code);
            let first = token::opaque(&self.clock);
            book.grants.add(first.clone());
            return Ok(Some(first));
        }
        let Some(shown) = values.get("refresh_token") else { return Ok(None) };
        if !neighbour.rotates {
            let is_known = shown == REFRESH_TOKEN;
            return if is_known { Ok(None) } else { Err((No::Grant, "an unknown refresh token".to_owned())) };
        }
        let rotated = book.grants.rotate(shown, &self.clock);
        rotated.map(|(_, next)| Some(next)).map_err(|complaint| (No::Grant, complaint.to_owned()))
    }

    fn data(&self, neighbour: &Neighbour, request: &Received) -> Result<Answer, Answer> {
        let dead = |complaint: String| (neighbour.dead)().because(complaint);
        let (field, scheme) = neighbour.presents;
        let token = request.field(field).map_err(dead)?.strip_prefix(scheme);
        let token = token.ok_or_else(|| dead(format!("`{field}` does not begin with `{scheme}`")))?;
        let of = self.tokens.check(token).map_err(|why| dead(why.to_string()))?;
        if of != bound(neighbour, request.from) {
            return Err(dead(format!("the token is that of {of}, and is shown from {}", request.from)));
        }
        for (name, want) in neighbour.beside {
            let value = request.field(name).map_err(dead)?;
            self.holds(name, *want, value).map_err(|(_, complaint)| dead(complaint))?;
        }
        Ok(Answer::json(200, &json!({"vendor": neighbour.name, "items": []})))
    }
}

/// How a complaint about too many requests begins.
pub(in crate::sandbox) const LIMIT_COMPLAINT: &str = "asked too often";

/// What a token goes with.
fn bound(neighbour: &Neighbour, from: IpAddr) -> String {
    let name = neighbour.name;
    if neighbour.bound_to_address { format!("{name} at {from}") } else { name.to_owned() }
}

fn basic() -> String {
    STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
}

/// The fields of a body.
fn fields(content: Content, request: &Received) -> Result<BTreeMap<String, String>, String> {
    match content {
        Content::Nothing => Ok(BTreeMap::new()),
        Content::Form(..) => {
            let names = content.names();
            request.form(&[], &names)
        }
        Content::Json(..) => {
            let members = request.json(&[], &content.names())?;
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Ok(members.iter().map(|(name, value)| (name.clone(), text(value))).collect())
        }
    }
}

impl Simulator for Neighbours {
    fn answer(&self, request: &Received) -> Answer {
        let path = request.path().trim_start_matches('/');
        let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let unknown =
            || Err(Answer::json(404, &json!({"error": "not_found"})).because("there is no such endpoint"));
        let answer = match table::find(name) {
            None => unknown(),
            Some(neighbour) => match neighbour.services.iter().find(|service| service.path == rest) {
                Some(service) if request.method == Method::POST => self.serve(neighbour, service, request),
                None if rest.starts_with(DATA) => self.data(neighbour, request),
                _ => unknown(),
            },
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn is_issuer(&self, path: &str) -> bool {
        !path.ends_with(DATA)
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }
}

/// What there is to see here: a client's token.
pub(super) fn tour() -> Tour {
    Tour {
        method: Method::GET,
        app_path: "/keycloak/data",
        path: "/keycloak/data",
        body: "",
        exchanges: &[Exchange {
            path: "/keycloak/realms/demo/protocol/openid-connect/token",
            shows: "client identifier and secret",
            brings: "access token",
        }],
        rotating: None,
        refusal: "HTTP 401",
        lifetime: Some(Duration::from_secs(6)),
    }
}

#[cfg(test)]
mod tests;
