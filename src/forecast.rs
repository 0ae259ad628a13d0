//! What is to come: the keeper itself, in virtual time, against an issuer that is assumed to answer.
//!
//! ```text
//! configuration + records -> specs with their inputs read -> keeper over a copy of the records
//!     -> days pass in a moment, each exchange is noted -> what happens when, and what ends
//! ```
//!
//! No second implementation of the schedule: what the forecast says, the keeper did. Nobody is asked, and
//! nothing is written.

mod inputs;
mod issuer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::certificate::Identity;
use crate::clock::Clock;
use crate::config::Config;
use crate::credential::keeper::{Keeper, Options, SleepRules, start};
use crate::credential::store::archive::Archive;
use crate::credential::store::{MemoryStore, Store};
use crate::credential::{CredentialSpec, Owner, State, Status, Subject};
use crate::forecast::issuer::AssumedIssuer;
use crate::upstream::connect::Connector;

pub use crate::forecast::issuer::{Errand, Exchange};

/// How often it is looked whether something has ended.
const LOOK: Duration = Duration::from_secs(3600);

/// Before a look counts, what starts at once has so long.
const SETTLED: Duration = Duration::from_secs(600);

/// What is to come.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Whether there were records to begin with.
    pub has_records: bool,
    /// Each credential, in the order of the names.
    pub credentials: Vec<Outlook>,
    /// What happens once, in its order.
    pub events: Vec<Event>,
    /// What breaks first, if anything does; else what breaks first if its issuer is silent.
    pub weakest: Option<Link>,
    /// Inputs that could not be read.
    pub problems: Vec<String>,
}

/// What becomes of one credential.
#[derive(Debug, Serialize)]
pub struct Outlook {
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow: &'static str,
    /// How long its token lives, in seconds; `None` if it does not end.
    pub lifetime: Option<u64>,
    /// Where that is known from.
    pub lifetime_by: Source,
    /// How often the issuer is asked for it (for a value that is replaced: how often it is read).
    pub exchanges: usize,
    /// How often its value is replaced.
    pub replacements: usize,
    /// For how long requests go on at the least if its issuer is silent, in seconds.
    pub endures: Option<u64>,
    /// The state at the end.
    pub state: State,
}

/// Where a lifetime is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The token that the store holds.
    Record,
    /// The configuration.
    Configuration,
    /// Nothing: it is assumed.
    Assumed,
}

/// One thing that happens.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To what: a credential, or `egress.NAME`.
    pub name: String,
    /// What.
    pub kind: Kind,
    /// Nothing waits for it: it is told, and breaks nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// For people.
    pub what: String,
}

impl Event {
    fn breaks(&self) -> bool {
        self.kind == Kind::Ends && !self.optional
    }
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A value is replaced by bearerd.
    Replaced,
    /// The value before stops working.
    GraceEnds,
    /// It ends unless a person acts before, and then requests fail.
    Ends,
}

/// What is weakest.
#[derive(Debug, Serialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// For people.
    pub why: String,
}

impl Forecast {
    /// Whether something ends that nobody renews, and that is not optional.
    pub fn breaks(&self) -> bool {
        self.events.iter().any(Event::breaks)
    }
}

/// Lives so many days in virtual time, from `now` on. Has to run in a runtime whose time is paused; the
/// inputs of `config` were made ready by [`prepare`].
pub async fn forecast(
    specs: Vec<Arc<CredentialSpec>>,
    records: Option<&Archive>,
    now: Timestamp,
    days: u32,
) -> Forecast {
    let clock = Clock::simulated(now, 1);
    let length = Duration::from_secs(86_400) * days;
    let to = now.saturating_add(length).unwrap_or(Timestamp::MAX);
    let store = Arc::new(copy_of(records).await);
    let issuer = Arc::new(AssumedIssuer::new(&clock, records));
    let options =
        Options { issuer_concurrency: 32, sleep: SleepRules::default(), observe: Box::new(|_, _, _| {}) };
    let (keeper, task) = start(clock.clone(), store, Arc::clone(&issuer) as _, options);
    let running = tokio::spawn(task);
    keeper.reconcile(specs.clone());
    let mut ended = BTreeMap::new();
    tokio::time::sleep(SETTLED.min(length)).await;
    // What is over once all has settled was over from the start.
    let mut unless_known = now;
    loop {
        for status in keeper.statuses().into_iter().filter(is_over) {
            let at = works_until(&specs, &status).filter(|end| *end <= clock.wall()).unwrap_or(unless_known);
            ended.entry(status.owner.credential.clone()).or_insert((at.max(now), status));
        }
        unless_known = clock.wall();
        let left = Duration::try_from(to.duration_since(clock.wall())).unwrap_or_default();
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(LOOK.min(left)).await;
    }
    let exchanges = issuer.exchanges();
    let credentials: Vec<Outlook> =
        specs.iter().map(|spec| outlook(spec, &keeper, &issuer, &exchanges)).collect();
    running.abort();
    let mut events: Vec<Event> = specs.iter().flat_map(|spec| replacements(spec, &exchanges, to)).collect();
    events.extend(ended.into_values().map(|(at, status)| Event {
        at,
        name: status.owner.credential.to_string(),
        kind: Kind::Ends,
        optional: status.optional,
        what: what_ended(&status),
    }));
    events.extend(specs.iter().filter_map(|spec| deadline(spec, records?)).filter(|event| event.at <= to));
    events.sort_by_key(|event| (event.at, event.kind));
    let weakest = weakest(&events, &credentials);
    let has_records = records.is_some_and(|records| !records.records.is_empty());
    Forecast { from: now, to, has_records, credentials, events, weakest, problems: Vec::new() }
}

pub use inputs::prepare;

/// The certificates of egresses and listeners that end within the time.
pub fn certificates(config: &Config, forecast: &mut Forecast) {
    let leaving = config.egress.iter().filter_map(|egress| {
        let end = Connector::new(egress).ok()?.certificate_ends_at()?;
        Some((format!("egress.{}", egress.name), "client certificate", end))
    });
    let shown = config.listeners.iter().filter_map(|listener| {
        let tls = listener.tls.as_ref()?;
        let end = Identity::read(&tls.cert, &tls.key).ok()?.ends_at;
        Some((format!("listener.{}", listener.name), "certificate", end))
    });
    let (from, to) = (forecast.from, forecast.to);
    let ends = leaving.chain(shown).filter(|(.., end)| *end <= to);
    forecast.events.extend(ends.map(|(name, which, end)| Event {
        at: end.max(from),
        name,
        kind: Kind::Ends,
        optional: false,
        what: format!("its {which} ends at {end:.0}: a person puts a new one in its place"),
    }));
    forecast.events.sort_by_key(|event| (event.at, event.kind));
    forecast.weakest = weakest(&forecast.events, &forecast.credentials);
}

/// The records in memory: the forecast changes none of the store's.
async fn copy_of(records: Option<&Archive>) -> MemoryStore {
    let Some(archive) = records else { return MemoryStore::rehearsing(&[0; 32]) };
    let store = MemoryStore::rehearsing(&archive.fingerprints);
    for archived in &archive.records {
        let credential = archived.credential.as_str();
        let subject = archived.subject.as_deref().and_then(|subject| Subject::new(subject).ok());
        let owner = Owner { credential: credential.into(), subject };
        // A memory takes everything.
        let _ = store.save(&owner, archived.record.clone()).await;
    }
    store
}

fn is_over(status: &Status) -> bool {
    matches!(status.state, State::Expired | State::Rejected | State::LoginRequired | State::Pending)
        && status.waits_for.is_none()
}

/// When the token of a credential stops working.
fn works_until(specs: &[Arc<CredentialSpec>], status: &Status) -> Option<Timestamp> {
    let spec = specs.iter().find(|spec| spec.name == status.owner.credential)?;
    let grace = spec.rotation.as_ref().map_or(Duration::ZERO, |rotation| rotation.grace);
    status.expires_at?.checked_add(grace).ok()
}

fn what_ended(status: &Status) -> String {
    match (status.state, &status.last_error) {
        (State::LoginRequired, _) => {
            format!("a person has to log in: `bearerd login {}`", status.owner.credential)
        }
        (_, Some(error)) => error.message.clone(),
        (state, None) => format!("its state is `{}`", state.as_str()),
    }
}

/// Each replacement, and the end of the grace of the value before.
fn replacements(spec: &CredentialSpec, exchanges: &[Exchange], to: Timestamp) -> Vec<Event> {
    let Some(rotation) = &spec.rotation else { return Vec::new() };
    let replaced = exchanges.iter().filter(|it| it.name == spec.name && it.errand == Errand::Replace);
    let name = spec.name.to_string();
    let events = replaced.flat_map(|exchange| {
        let until = exchange.at.saturating_add(rotation.grace).unwrap_or(Timestamp::MAX);
        let left = exchange.ends_before.map(|end| end.duration_since(exchange.at));
        let what = match left {
            Some(left) => format!("its value is replaced, {} before its end", days(left)),
            None => "its value is replaced".to_owned(),
        };
        let event = |at, kind, what| Event { at, name: name.clone(), kind, optional: false, what };
        let replaced = event(exchange.at, Kind::Replaced, what);
        let what = "the value before stops working (its grace ends)".to_owned();
        let over = event(until, Kind::GraceEnds, what);
        [replaced, over]
    });
    events.filter(|event| event.at <= to).collect()
}

/// What ends beside the token of the record. What parents give, they renew.
fn deadline(spec: &CredentialSpec, records: &Archive) -> Option<Event> {
    let rule = spec.deadline.as_ref().filter(|_| spec.parents().next().is_none())?;
    let name = spec.name.to_string();
    let archived = records.records.iter().find(|it| it.credential == name && it.subject.is_none())?;
    let at = rule.read(&archived.record.current.as_ref()?.outputs)?;
    let what = format!("{} ends: a person puts a new one in its place", rule.of);
    Some(Event { at, name, kind: Kind::Ends, optional: spec.optional, what })
}

fn days(length: SignedDuration) -> String {
    format!("{:.1} days", length.as_secs_f64() / 86_400.0)
}

fn outlook(
    spec: &CredentialSpec,
    keeper: &Keeper,
    issuer: &AssumedIssuer,
    exchanges: &[Exchange],
) -> Outlook {
    let count = |errand| exchanges.iter().filter(|it| it.name == spec.name && it.errand == errand).count();
    let status = keeper.status(&Owner::from(&spec.name));
    let lives = status
        .as_ref()
        .and_then(|status| Duration::try_from(status.expires_at?.duration_since(status.obtained_at?)).ok());
    let (given, by) = issuer.lifetime(spec);
    let lifetime = if spec.rotation.is_some() { Some(given) } else { lives };
    let endures = match &spec.rotation {
        Some(rotation) => Some(rotation.before + rotation.grace),
        None if !spec.is_renewable() => None,
        // It is renewed after 80 % of its lifetime at the latest.
        None => lifetime.map(|lifetime| spec.times.renew_before.unwrap_or(lifetime / 5)),
    };
    Outlook {
        name: spec.name.to_string(),
        flow: spec.flow.as_str(),
        lifetime: lifetime.map(|length| length.as_secs()),
        lifetime_by: by,
        exchanges: count(Errand::Obtain),
        replacements: count(Errand::Replace),
        endures: endures.map(|length| length.as_secs()),
        state: status.map_or(State::Pending, |status| status.state),
    }
}

/// What ends first; else what ends first if its issuer is silent.
fn weakest(events: &[Event], credentials: &[Outlook]) -> Option<Link> {
    if let Some(end) = events.iter().find(|event| event.breaks()) {
        return Some(Link { name: end.name.clone(), why: format!("ends at {:.0}: {}", end.at, end.what) });
    }
    let shortest =
        credentials.iter().filter_map(|it| Some((it.endures?, it))).min_by_key(|(length, _)| *length);
    let (length, of) = shortest?;
    let length = SignedDuration::try_from(Duration::from_secs(length)).unwrap_or(SignedDuration::MAX);
    let why = format!("if its issuer is silent for {length:#} at the wrong time, requests fail");
    Some(Link { name: of.name.clone(), why })
}

#[cfg(test)]
mod tests;
