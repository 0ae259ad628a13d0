//! The route table: immutable; one atomic store replaces it, and requests in flight finish on the
//! old one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use crate::credential::slot::Slot;
use crate::inject::{InjectedNames, Prepared};
use crate::route::RouteSpec;
use crate::route::matcher::Matcher;
use crate::route::metrics::RouteMetrics;
use crate::route::policy::Policy;
use crate::route::rate::Bucket;
use crate::upstream::connect::Connector;

/// All routes of all listeners.
#[derive(Debug, Default)]
pub struct RouteTable {
    listeners: BTreeMap<String, Matcher>,
    routes: Vec<Arc<Route>>,
}

/// What a route is connected to: the credential that it reads, and how its connections leave.
pub struct Wiring {
    /// The route's view of its credential.
    pub slot: Arc<Slot<Prepared>>,
    /// How connections to the upstream are opened.
    pub connector: Connector,
}

/// One route, with all that can be made of its spec before the first request.
pub struct Route {
    /// What the configuration says.
    pub spec: Arc<RouteSpec>,
    /// The current credential, prepared for this route.
    pub slot: Arc<Slot<Prepared>>,
    /// How connections to the upstream are opened.
    pub connector: Connector,
    /// The `Host` that the upstream gets, whatever the app sent.
    pub authority: HeaderValue,
    /// The upstream's path, without a trailing slash: what is put before the stripped path.
    pub base: String,
    /// The names that the injection takes: the app cannot send them.
    pub injected: InjectedNames,
    /// What it lets pass.
    pub policy: Policy,
    /// How many requests it still takes.
    pub bucket: Option<Bucket>,
    /// Its numbers, which outlive a reload.
    pub metrics: Arc<RouteMetrics>,
}

impl RouteTable {
    /// Builds the table. Routes that `previous` had by the same name keep their numbers.
    pub fn build(
        specs: &[Arc<RouteSpec>],
        wire: &mut dyn FnMut(&Arc<RouteSpec>) -> Wiring,
        previous: Option<&Self>,
    ) -> Self {
        let mut table = Self::default();
        for spec in specs {
            let metrics =
                previous.and_then(|table| table.route(&spec.name)).map(|route| route.metrics.clone());
            let route = Arc::new(Route::new(spec, wire(spec), metrics.unwrap_or_default()));
            table.listeners.entry(spec.listener.clone()).or_default().insert(route.clone());
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
    fn new(spec: &Arc<RouteSpec>, wiring: Wiring, metrics: Arc<RouteMetrics>) -> Self {
        // A host that `Url` took is a valid field value; no route is forwarded without one.
        let authority = HeaderValue::from_str(&spec.upstream.origin.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("invalid."));
        Self {
            authority,
            base: spec.upstream.path().trim_end_matches('/').to_owned(),
            injected: InjectedNames::new(&spec.injection),
            policy: Policy::new(spec),
            bucket: spec.rate.map(Bucket::new),
            slot: wiring.slot,
            connector: wiring.connector,
            spec: Arc::clone(spec),
            metrics,
        }
    }

    /// What is left of a path that the route takes when its prefix is gone; empty, or with a slash
    /// in front.
    pub fn strip<'a>(&self, path: &'a str) -> &'a str {
        &path[self.spec.path.trim_end_matches('/').len()..]
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Route").field("name", &self.spec.name).finish_non_exhaustive()
    }
}
