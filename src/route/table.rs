//! The route table: immutable; one atomic store replaces it, and requests in flight finish on the
//! old one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::credential::roster::Roster;
use crate::credential::slot::Slot;
use crate::guard::Mode;
use crate::http1::field::is_same_name;
use crate::inject::{InjectedNames, Prepared};
use crate::route::matcher::Matcher;
use crate::route::metrics::RouteMetrics;
use crate::route::policy::Policy;
use crate::route::rate::Bucket;
use crate::route::{Refusal, RouteLimits, RouteSpec, SubjectSource};
use crate::upstream::Destination;
use crate::upstream::connect::Connector;
use crate::upstream::destination::Destinations;

/// All routes of all listeners.
#[derive(Debug, Default)]
pub struct RouteTable {
    listeners: BTreeMap<String, Matcher>,
    routes: Vec<Arc<Route>>,
    superseded: Notify,
}

/// What a route is connected to: the credential that it reads, and how its connections leave.
pub struct Wiring {
    /// The route's view of its credential.
    pub tokens: Tokens,
    /// How connections to the upstream are opened.
    pub connector: Connector,
    /// See [`Route::awaits_issuer`].
    pub awaits_issuer: bool,
}

/// Where a route's requests find their token, prepared for this route.
pub enum Tokens {
    /// One for all of them.
    Own(Arc<Slot<Prepared>>),
    /// One for each subject.
    Subjects(Arc<Roster<Prepared>>),
}

/// One route, with all that can be made of its spec before the first request.
///
/// Where there are thousands, the processor's caches have little of each: what nearly every request reads
/// stands here side by side, or in what routes share. The rest is behind `spec`.
pub struct Route {
    /// The prefix of its paths, and behind that the one that they have upstream; neither ends with a slash.
    prefixes: Box<str>,
    /// Where in `prefixes` the second begins.
    base_at: usize,
    /// The current credential, prepared for this route.
    pub tokens: Tokens,
    /// Where connections to the upstream lead; other routes may share it.
    pub destination: Arc<Destination>,
    /// Its numbers, which outlive a reload.
    pub metrics: Arc<RouteMetrics>,
    /// Its limits.
    pub limits: Arc<RouteLimits>,
    /// How the upstream says that the token is dead.
    pub refusal: Arc<Refusal>,
    /// What is done where a secret is found in an answer.
    pub guard: Mode,
    /// Answers of token endpoints pass.
    pub allows_token_answers: bool,
    /// The names that the injection takes: the app cannot send them.
    pub injected: InjectedNames,
    /// How many requests it still takes; outlives a reload that leaves `rate` as it is.
    pub bucket: Option<Arc<Bucket>>,
    /// The content of a request is held, and put on or made something of.
    pub holds_content: bool,
    /// Of the token something is made that is as secret as it is.
    pub derives: bool,
    /// The bodies of answers are verified.
    pub verifies: bool,
    /// Not everybody who may call the listener may call it.
    pub picks_callers: bool,
    /// Some fields of the app's are taken off, beside those that the injection takes.
    removes: bool,
    /// What it lets pass.
    pub policy: Policy,
    /// An issuer on the upstream's server has not told its endpoints yet: each path there could be one.
    pub awaits_issuer: bool,
    /// All that the configuration says.
    pub spec: Arc<RouteSpec>,
}

impl RouteTable {
    /// Builds the table. Routes that `previous` had by the same name keep their numbers, and those that
    /// lead where one of its routes led keep the connections.
    pub fn build(
        specs: &[Arc<RouteSpec>],
        wire: &mut dyn FnMut(&Arc<RouteSpec>) -> Wiring,
        previous: Option<&Self>,
    ) -> Self {
        let (mut table, mut destinations) = (Self::default(), Destinations::default());
        let before: HashMap<&str, &Arc<Route>> = previous
            .iter()
            .flat_map(|table| &table.routes)
            .inspect(|route| destinations.insert(&route.destination))
            .map(|route| (route.spec.name.as_str(), route))
            .collect();
        for spec in specs {
            let wiring = wire(spec);
            let destination = destinations.find(&spec.upstream.origin, &wiring.connector, spec.limits.pool);
            let before = before.get(spec.name.as_str()).copied();
            let route = Arc::new(Route::new(spec, wiring, destination, before));
            table.listeners.entry(spec.listener.to_string()).or_default().insert(route.clone());
            table.routes.push(route);
        }
        table
    }

    /// All routes, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of this name.
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| route.spec.name == name)
    }

    /// Done when another table has taken the place of this one: the first time after this call.
    pub fn superseded(&self) -> Notified<'_> {
        self.superseded.notified()
    }

    /// For whoever has stored another table in the place of this one.
    pub fn supersede(&self) {
        self.superseded.notify_waiters();
    }

    /// The routes of a listener.
    pub fn listener(&self, name: &str) -> Option<&Matcher> {
        self.listeners.get(name)
    }

    /// The route of a listener for this host (lower case, without port) and path (without query).
    pub fn find(&self, listener: &str, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.listener(listener)?.find(host, path)
    }
}

impl Route {
    fn new(
        spec: &Arc<RouteSpec>,
        wiring: Wiring,
        destination: Arc<Destination>,
        before: Option<&Arc<Self>>,
    ) -> Self {
        let Wiring { tokens, awaits_issuer, .. } = wiring;
        let kept = before.filter(|before| before.spec.rate == spec.rate);
        let kept = kept.and_then(|before| before.bucket.clone());
        let (prefix, base) = (spec.prefix(), spec.upstream.path().trim_end_matches('/'));
        Self {
            prefixes: [prefix, base].concat().into(),
            base_at: prefix.len(),
            tokens,
            destination,
            metrics: before.map(|before| before.metrics.clone()).unwrap_or_default(),
            limits: Arc::clone(&spec.limits),
            refusal: Arc::clone(&spec.refusal),
            guard: spec.guard,
            allows_token_answers: spec.allows_token_answers,
            injected: InjectedNames::new(&spec.injection),
            bucket: kept.or_else(|| spec.rate.map(|rate| Arc::new(Bucket::new(rate)))),
            holds_content: spec.injection.holds_content(),
            derives: spec.injection.derives(),
            verifies: spec.verification.is_some(),
            picks_callers: !spec.callers.is_empty(),
            removes: !spec.remove.is_empty(),
            policy: Policy::new(spec),
            awaits_issuer,
            spec: Arc::clone(spec),
        }
    }

    /// What the paths that it takes begin with, in whole segments and without a slash at the end.
    pub fn prefix(&self) -> &str {
        &self.prefixes[..self.base_at]
    }

    /// The upstream's path, without a trailing slash: what is put before the stripped path.
    pub fn base(&self) -> &str {
        &self.prefixes[self.base_at..]
    }

    /// Where its requests say for whom they are, if they have to.
    pub fn subject(&self) -> Option<&SubjectSource> {
        match self.tokens {
            Tokens::Own(_) => None,
            Tokens::Subjects(_) => self.spec.subject.as_deref(),
        }
    }

    /// Whether a field is not for the upstream, in whatever spelling: it is injected, tells the subject, or is
    /// taken off.
    pub fn takes_header(&self, name: &[u8]) -> bool {
        let tells_subject = match self.subject() {
            Some(SubjectSource::Header(own)) => is_same_name(own.as_str().as_bytes(), name),
            _ => false,
        };
        let is_removed = || self.spec.remove.iter().any(|own| is_same_name(own.as_str().as_bytes(), name));
        tells_subject || self.injected.has_header(name) || (self.removes && is_removed())
    }

    /// What is left of a path that the route takes when its prefix is gone; empty, or with a slash
    /// in front.
    pub fn strip<'a>(&self, path: &'a str) -> &'a str {
        &path[self.base_at..]
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Route").field("name", &self.spec.name).finish_non_exhaustive()
    }
}
