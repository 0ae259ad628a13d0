//! Routes: which request goes where, with which credential, and what it may ask for.

mod guesses;
pub mod matcher;
pub mod metrics;
pub mod path;
pub mod policy;
pub mod rate;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;

use crate::caller::Rule;
use crate::credential::CredentialName;
use crate::guard::Mode;
use crate::inject::{Injection, Verification};
use crate::upstream::Url;
use crate::upstream::pool::PoolLimits;

pub use crate::rate::Rate;
pub use guesses::{Guesser, Guesses};
pub use table::{Conduct, Route, RouteTable, Tokens, Wiring};

/// One route, as validated from `[routes.NAME]`. Its [`Terms`] are read as if they were its own.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSpec {
    /// The name in the configuration.
    pub name: Box<str>,
    /// The `Host` that it asks for, in lower case and without port; `None` takes any.
    pub host: Option<Box<str>>,
    /// The segment-aligned prefix: `/`, or `/a/b` without a trailing slash.
    pub path: Box<str>,
    /// Where requests go; its path is put before the stripped path.
    pub upstream: Url,
    /// Whose tokens are injected.
    pub credential: CredentialName,
    /// Which of its subjects, and who says so; `None` for the token that the credential has by itself.
    pub subject: Option<Box<SubjectSource>>,
    /// How its requests are served.
    pub terms: Arc<Terms>,
}

/// How the requests of a route are served. There may be thousands of routes, and most have the same terms as
/// others: those share them.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The listener that it is reached through.
    pub listener: Arc<str>,
    /// How tokens are injected.
    pub injection: Arc<Injection>,
    /// How the upstream says that the token is dead.
    pub refusal: Arc<Refusal>,
    /// What the bodies of answers have to fit.
    pub verification: Option<Arc<Verification>>,
    /// Who of those that may call the listener: whoever one of these rules takes; empty for all.
    pub callers: Arc<[Rule]>,
    /// What may be asked for; empty means everything but the denied endpoints.
    pub allow: Arc<[AllowRule]>,
    /// Paths of token endpoints on the upstream's origin, in canonical form ([`path::canonical`]).
    pub denied: Arc<[String]>,
    /// How long a request waits for a token.
    pub wait: Duration,
    /// The egress that connections leave by; empty for the default.
    pub egress: String,
    /// An encoded slash is part of a segment instead of a reason to refuse.
    pub encoded_slash: bool,
    /// At most so many requests in a time.
    pub rate: Option<Rate>,
    /// What is done where a secret is found in an answer.
    pub guard: Mode,
    /// Answers of token endpoints pass.
    pub allows_token_answers: bool,
    /// Limits of this route.
    pub limits: Arc<RouteLimits>,
    /// Fields that are not forwarded, in any spelling: what an earlier hop has put on, say.
    pub remove: Arc<[HeaderName]>,
}

impl Deref for RouteSpec {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl RouteSpec {
    /// Its prefix without a slash at the end: empty for `/`.
    pub fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    /// The upstream's path without a slash at the end.
    pub fn base(&self) -> &str {
        self.upstream.path().trim_end_matches('/')
    }
}

/// Where a request says whose token it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectSource {
    /// In this header field, which is not forwarded in any spelling.
    Header(HeaderName),
    /// In this segment of the path behind the route's prefix, counted from 1; it is not forwarded.
    Path(usize),
}

/// One line of `allow`: `GET /user/*`, or a path alone for every method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// The method; `GET` covers HEAD; `None` covers all.
    pub method: Option<Method>,
    /// A pattern over the stripped path; `*` stays in a segment, `**` crosses.
    pub pattern: String,
}

/// How an upstream says that the token is dead.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Statuses that refuse.
    pub status: Vec<u16>,
    /// Statuses that never refuse, whatever else matches.
    pub except: Vec<u16>,
    /// Pointers (RFC 6901) into a JSON answer, with the values that refuse.
    pub json: Vec<(String, Vec<Value>)>,
    /// How much of a JSON answer is looked at, in bytes.
    pub peek: usize,
    /// Requests that are sent once more only after a refusal that proves that nothing was done.
    pub proof: Option<Proof>,
}

/// What proves that a refused request did nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// The requests that need it, over the canonical path upstream ([`path::canonical`]).
    pub requests: Vec<AllowRule>,
    /// Pointers (RFC 6901) into a JSON answer, with the values that prove it.
    pub json: Vec<(String, Vec<Value>)>,
}

impl Proof {
    /// Whether a request to this path upstream needs it.
    pub fn is_needed(&self, method: &Method, path: &str) -> bool {
        let path = path::canonical(path);
        self.requests.iter().any(|rule| rule.takes(method, &path))
    }
}

impl Default for Refusal {
    fn default() -> Self {
        Self { status: vec![401], except: Vec::new(), json: Vec::new(), peek: 4096, proof: None }
    }
}

/// Limits of a route; a zero duration switches a time limit off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimits {
    /// The longest request body in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// Until a connection stands, TLS included.
    pub connect_timeout: Duration,
    /// From the last request byte to the head of the answer.
    pub answer_timeout: Duration,
    /// Without progress in either direction.
    pub stall_timeout: Duration,
    /// The longest request body that is held for one replay, in bytes.
    pub replay_body: usize,
    /// The longest request body that is held for the injection, in bytes.
    pub inject_body: usize,
    /// Informational answers before the one that counts.
    pub max_interim_answers: u32,
    /// How connections to the upstream are kept.
    pub pool: PoolLimits,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            max_body: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(300),
            replay_body: 64 * 1024,
            inject_body: 1024 * 1024,
            max_interim_answers: 100,
            pool: PoolLimits::default(),
        }
    }
}
