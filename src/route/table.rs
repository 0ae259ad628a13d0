//! The route table: immutable; one atomic store replaces it, and requests in flight finish on the
//! old one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use http::Method;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::credential::roster::Roster;
use crate::credential::slot::Slot;
use crate::guard::Mode;
use crate::http1::field::is_same_name;
use crate::inject::{InjectedNames, Prepared};
use crate::memory::ahead;
use crate::route::matcher::Matcher;
use crate::route::metrics::RouteMetrics;
use crate::route::path::Shape;
use crate::route::policy::{Base, Denial, Policy};
use crate::route::rate::Bucket;
use crate::route::{Refusal, RouteLimits, RouteSpec, SubjectSource, Terms};
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
/// stands here side by side, or in the [`Conduct`] that routes share and that is read as if it were their own. The
/// rest is behind `spec`.
pub struct Route {
    texts: Texts,
    /// The current credential, prepared for this route.
    pub tokens: Tokens,
    /// Where connections to the upstream lead; other routes may share it.
    pub destination: Arc<Destination>,
    /// Its numbers, which outlive a reload.
    pub metrics: Arc<RouteMetrics>,
    /// How many requests it still takes; outlives a reload that leaves `rate` as it is.
    pub bucket: Option<Arc<Bucket>>,
    conduct: Arc<Conduct>,
    /// The path upstream has but one spelling, save for letter case.
    base_is_canonical: bool,
    /// An issuer on the upstream's server has not told its endpoints yet: each path there could be one.
    pub awaits_issuer: bool,
    /// All that the configuration says.
    pub spec: Arc<RouteSpec>,
}

/// The prefix of a route's paths, and behind it what stands in its place upstream; neither ends with a slash. They
/// are parts of one text that has those of all routes of the table: each for itself would be a line of the
/// processor's caches.
struct Texts {
    all: Arc<str>,
    /// Where the prefix begins, where it ends and the other begins, and where that ends.
    places: [u32; 3],
}

/// What is made of [`Terms`] before the first request, once for all routes that have them.
pub struct Conduct {
    /// Limits.
    pub limits: Arc<RouteLimits>,
    /// How the upstream says that the token is dead.
    pub refusal: Arc<Refusal>,
    /// What is done where a secret is found in an answer.
    pub guard: Mode,
    /// Answers of token endpoints pass.
    pub allows_token_answers: bool,
    /// The names that the injection takes: the app cannot send them.
    pub injected: InjectedNames,
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
    /// What may pass.
    pub policy: Policy,
}

/// The conduct of routes while a table is made, by the address of their terms.
type Conducts = HashMap<usize, Arc<Conduct>>;

impl RouteTable {
    /// Builds the table. Routes that `previous` had by the same name keep their numbers, and those that
    /// lead where one of its routes led keep the connections.
    pub fn build(
        specs: &[Arc<RouteSpec>],
        wire: &mut dyn FnMut(&Arc<RouteSpec>) -> Wiring,
        previous: Option<&Self>,
    ) -> Self {
        let (mut table, mut destinations) = (Self::default(), Destinations::default());
        let (mut conducts, mut texts) = (Conducts::new(), Texts::of_all(specs));
        let before: HashMap<&str, &Arc<Route>> = previous
            .iter()
            .flat_map(|table| &table.routes)
            .inspect(|route| destinations.insert(&route.destination))
            .map(|route| (&*route.spec.name, route))
            .collect();
        for spec in specs {
            let wiring = wire(spec);
            let destination = destinations.find(&spec.upstream.origin, &wiring.connector, spec.limits.pool);
            let before = before.get(&*spec.name).copied();
            let conduct = conducts.entry(Arc::as_ptr(&spec.terms).addr());
            let conduct = Arc::clone(conduct.or_insert_with(|| Arc::new(Conduct::new(&spec.terms))));
            let shared = (texts.next(spec), destination, conduct);
            let route = Arc::new(Route::new(spec, wiring, shared, before));
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
        self.routes.iter().find(|route| *route.spec.name == *name)
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
        (texts, destination, conduct): (Texts, Arc<Destination>, Arc<Conduct>),
        before: Option<&Arc<Self>>,
    ) -> Self {
        let Wiring { tokens, awaits_issuer, .. } = wiring;
        let kept = before.filter(|before| before.spec.rate == spec.rate);
        let kept = kept.and_then(|before| before.bucket.clone());
        Self {
            texts,
            tokens,
            destination,
            metrics: before.map(|before| before.metrics.clone()).unwrap_or_default(),
            bucket: kept.or_else(|| spec.rate.map(|rate| Arc::new(Bucket::new(rate)))),
            conduct,
            base_is_canonical: Base::new(spec.base()).is_canonical,
            awaits_issuer,
            spec: Arc::clone(spec),
        }
    }

    /// Has the processor bring what each of its requests reads behind it.
    pub fn bring(&self) {
        ahead::bring_slice(self.prefix().as_bytes());
        ahead::bring(&*self.metrics);
        if let Tokens::Own(slot) = &self.tokens {
            slot.bring();
        }
    }

    /// What the paths that it takes begin with, in whole segments and without a slash at the end.
    pub fn prefix(&self) -> &str {
        self.texts.between(0)
    }

    /// The upstream's path, without a trailing slash: what is put before the stripped path.
    pub fn base(&self) -> &str {
        self.texts.between(1)
    }

    /// Whether its policy lets a request pass, by its method and its stripped path without the query.
    pub fn check(&self, method: &Method, stripped: &str, shape: Shape) -> Result<(), Denial> {
        let base = || Base { path: self.base(), is_canonical: self.base_is_canonical };
        self.policy.check(method, base, stripped, shape)
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
        &path[self.texts.length(0)..]
    }
}

impl Texts {
    /// Nothing yet of the text that has those of all these routes.
    fn of_all(specs: &[Arc<RouteSpec>]) -> Self {
        let all: String = specs.iter().flat_map(|spec| [spec.prefix(), spec.base()]).collect();
        Self { all: all.into(), places: [0; 3] }
    }

    /// What belongs to the next of these routes.
    fn next(&mut self, spec: &RouteSpec) -> Self {
        let behind = |place: u32, text: &str| {
            let place = u32::try_from(text.len()).ok().and_then(|length| place.checked_add(length));
            place.expect("a configuration has less than 4 GiB")
        };
        let start = self.places[2];
        let base_at = behind(start, spec.prefix());
        self.places = [start, base_at, behind(base_at, spec.base())];
        Self { all: Arc::clone(&self.all), places: self.places }
    }

    /// How long is what stands between a place and the one behind it.
    fn length(&self, number: usize) -> usize {
        (self.places[number + 1] - self.places[number]) as usize
    }

    /// What stands between a place and the one behind it.
    fn between(&self, number: usize) -> &str {
        &self.all[self.places[number] as usize..self.places[number + 1] as usize]
    }
}

impl Deref for Route {
    type Target = Conduct;

    fn deref(&self) -> &Conduct {
        &self.conduct
    }
}

impl Conduct {
    fn new(terms: &Terms) -> Self {
        Self {
            limits: Arc::clone(&terms.limits),
            refusal: Arc::clone(&terms.refusal),
            guard: terms.guard,
            allows_token_answers: terms.allows_token_answers,
            injected: InjectedNames::new(&terms.injection),
            holds_content: terms.injection.holds_content(),
            derives: terms.injection.derives(),
            verifies: terms.verification.is_some(),
            picks_callers: !terms.callers.is_empty(),
            removes: !terms.remove.is_empty(),
            policy: Policy::new(terms),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Route").field("name", &self.spec.name).finish_non_exhaustive()
    }
}
