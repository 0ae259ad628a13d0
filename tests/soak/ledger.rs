//! What is known of tokens and requests on both sides of bearerd, and what was found wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bearerd::clock::Clock;
use tokio::time::Instant;

use crate::app::BREAKERS;
use crate::fault::Fault;

/// Findings that are kept in full; beyond, they are only counted.
const KEPT: usize = 5;

/// How long a token may still be seen after its end: its receipt is later than its issue.
const LEEWAY: Duration = Duration::from_secs(1);

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A request was not answered as it should be, or its connection was lost.
    Failed,
    /// An answer belongs to another request, or came from another route's upstream.
    Crossed,
    /// A body or a head arrived changed.
    Altered,
    /// A request came to an upstream twice.
    Repeated,
    /// A token was on a request that is not its own route's.
    ForeignToken,
    /// A token was injected that had ended.
    DeadToken,
    /// An issuer was asked more often than it should be, or shown a used refresh token.
    Issuer,
    /// A reload was refused, or a bad one accepted.
    Reload,
    /// Memory grew.
    Memory,
    /// Descriptors grew, or were left over.
    Descriptors,
    /// A token in a log or an answer.
    Leak,
}

/// Everything that both sides of bearerd report to.
pub struct Ledger {
    start: Instant,
    fault: Option<Fault>,
    tokens: Mutex<HashMap<String, Token>>,
    serial: AtomicU64,
    findings: Mutex<BTreeMap<Kind, (u64, Vec<String>)>>,
    /// The last whole request of each client that an upstream saw.
    seen: Mutex<HashMap<u32, u32>>,
    ending: AtomicBool,
    /// Requests answered as they should be.
    pub answered: AtomicU64,
    /// Requests that were broken off on purpose.
    pub broken_off: AtomicU64,
    /// Bytes of bodies that were compared.
    pub compared: AtomicU64,
    /// Requests that an upstream refused, and that were sent once more.
    pub refused: AtomicU64,
}

#[derive(Clone)]
struct Token {
    credential: &'static str,
    serial: u64,
    /// Since the start; `None` while nobody has ended it.
    end: Option<Duration>,
    is_revoked: bool,
}

/// What an upstream makes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the right one.
    Valid,
    /// It was revoked: 401.
    Revoked,
    /// It should not have been there; this was reported.
    Wrong,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(fault: Option<Fault>) -> Self {
        Self {
            start: Clock::instant(),
            fault,
            tokens: Mutex::default(),
            serial: AtomicU64::new(0),
            findings: Mutex::default(),
            seen: Mutex::default(),
            ending: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            broken_off: AtomicU64::new(0),
            compared: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether this fault was planted.
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        Clock::instant().saturating_duration_since(self.start)
    }

    /// Whether no new requests should be made.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// No new requests from now on.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Notes something wrong.
    pub fn find(&self, kind: Kind, what: impl fmt::Display) {
        let mut findings = lock(&self.findings);
        let (count, kept) = findings.entry(kind).or_default();
        *count += 1;
        if kept.len() < KEPT {
            kept.push(format!("{:.3} s: {what}", self.now().as_secs_f64()));
        }
    }

    /// How often this was found.
    pub fn count(&self, kind: Kind) -> u64 {
        lock(&self.findings).get(&kind).map_or(0, |(count, _)| *count)
    }

    /// All findings as text; empty if there are none.
    pub fn findings(&self) -> String {
        let line = |(kind, (count, kept)): (&Kind, &(u64, Vec<String>))| {
            format!("{kind:?}: {count}\n    {}\n", kept.join("\n    "))
        };
        lock(&self.findings).iter().map(line).collect()
    }

    /// A new token of a credential that ends after `lifetime`, or when it is retired.
    pub fn issue(&self, credential: &'static str, lifetime: Option<Duration>) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let token =
            format!("tok-{credential}-{serial:08}-{:016x}", serial.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut end = lifetime.map(|lifetime| self.now() + lifetime);
        if self.has(Fault::ShortLivedTokens) {
            end = end.map(|_| self.now());
        }
        let owner =
            if self.has(Fault::ForeignTokens) && credential == "login" { "grant" } else { credential };
        let entry = Token { credential: owner, serial, end, is_revoked: false };
        lock(&self.tokens).insert(token.clone(), entry);
        token
    }

    /// Another value of the same exchange: the token with an ending.
    pub fn alias(&self, token: &str, ending: &str) -> String {
        let alias = format!("{token}{ending}");
        let mut tokens = lock(&self.tokens);
        if let Some(known) = tokens.get(token).cloned() {
            tokens.insert(alias.clone(), known);
        }
        alias
    }

    /// A token that is replaced: it may be in use until `grace` has passed.
    pub fn retire(&self, token: &str, grace: Duration) {
        if let Some(token) = lock(&self.tokens).get_mut(token) {
            token.end = Some(self.now() + grace);
        }
    }

    /// Every token of a credential is refused from now on.
    pub fn revoke(&self, credential: &str) {
        for token in lock(&self.tokens).values_mut().filter(|token| token.credential == credential) {
            token.is_revoked = true;
        }
    }

    /// The number of tokens that were issued.
    pub fn issued(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Whether a token may stand on a request of this credential that the app sent at `sent`.
    pub fn judge(&self, token: &str, credential: &str, sent: Duration) -> Verdict {
        let tokens = lock(&self.tokens);
        let Some(known) = tokens.get(token) else {
            self.find(Kind::ForeignToken, format!("`{token}` was never issued; wanted one of {credential}"));
            return Verdict::Wrong;
        };
        if known.credential != credential {
            self.find(
                Kind::ForeignToken,
                format!("{token} of {} on a request of {credential}", known.credential),
            );
            return Verdict::Wrong;
        }
        if known.is_revoked {
            return Verdict::Revoked;
        }
        if let Some(end) = known.end
            && end + LEEWAY < sent
        {
            let late = (sent - end).as_millis();
            self.find(
                Kind::DeadToken,
                format!("{token} (number {}) had ended {late} ms before", known.serial),
            );
            return Verdict::Wrong;
        }
        Verdict::Valid
    }

    /// Notes that an upstream saw a request as a whole; none comes twice.
    pub fn arrived(&self, id: Id) {
        if id.client >= BREAKERS {
            return;
        }
        let mut seen = lock(&self.seen);
        let last = seen.entry(id.client).or_default();
        if id.number <= *last {
            self.find(Kind::Repeated, format!("{id} came after number {last}"));
        }
        *last = (*last).max(id.number);
    }
}

/// The number of a request: whose it is and which of theirs, from 1 up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The client.
    pub client: u32,
    /// The request.
    pub number: u32,
}

impl Id {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (client, number) = text.split_once('-')?;
        Some(Self {
            client: u32::from_str_radix(client, 16).ok()?,
            number: u32::from_str_radix(number, 16).ok()?,
        })
    }

    /// A number that no other request has.
    pub fn seed(self) -> u64 {
        u64::from(self.client) << 32 | u64::from(self.number)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04x}-{:08x}", self.client, self.number)
    }
}

/// What a lock holds, also after a panic elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
