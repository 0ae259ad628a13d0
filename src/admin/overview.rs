//! All that the console shows, as one document: credentials with their chains and what can be done,
//! and routes with their numbers. States, times and counts only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::view::{CredentialView, subjects_of};
use crate::control::view::rfc3339;
use crate::credential::advice::advice;
use crate::credential::flow::oauth2::Grant;
use crate::credential::{CredentialName, CredentialSpec, Flow, State, Status};
use crate::proxy::Code;
use crate::route::metrics::RouteMetrics;
use crate::route::{Route, RouteTable};

/// Something to show: everything, or what has changed since.
#[derive(Debug, Default, Serialize)]
pub(super) struct Overview {
    /// The time by the clock of this machine: countdowns go by it.
    pub(super) now: String,
    version: &'static str,
    draining: bool,
    pub(super) credentials: Vec<Entry>,
    pub(super) routes: Vec<RouteEntry>,
}

/// One credential.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    credential: CredentialView,
    /// An exchange runs.
    running: bool,
    /// The credential that it waits for.
    waits_for: Option<String>,
    /// The credentials whose outputs it uses.
    uses: BTreeSet<String>,
    /// The credentials that use its outputs.
    used_by: BTreeSet<String>,
    /// The routes that inject it.
    routes: Vec<String>,
    /// All of its routes choose a token by subject: it needs none of its own.
    by_subject: bool,
    actions: Actions,
    /// What a person can do about the state or the last error.
    advice: Option<&'static str>,
}

/// What a person can have done.
#[derive(Debug, Serialize)]
struct Actions {
    renew: bool,
    log_in: Option<LogIn>,
    log_out: bool,
}

/// How a person logs in.
#[derive(Debug, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
enum LogIn {
    /// In a browser.
    Browser,
    /// On a device of their own, by a code.
    Device,
    /// By a one-time password, which is sent to one of what is asked for.
    Otp { asks: Vec<String> },
}

impl LogIn {
    fn of(flow: &Flow) -> Option<Self> {
        let Flow::OAuth2(flow) = flow else { return None };
        match (flow.grant, &flow.consent.otp) {
            (_, Some(otp)) => {
                Some(Self::Otp { asks: otp.asks.iter().map(|(name, _)| name.clone()).collect() })
            }
            (Grant::AuthorizationCode, None) => Some(Self::Browser),
            (Grant::DeviceCode, None) => Some(Self::Device),
            _ => None,
        }
    }
}

/// One route, with its numbers since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RouteEntry {
    name: String,
    listener: String,
    host: Option<String>,
    path: String,
    credential: String,
    /// Requests by class of status; the first is 1xx.
    requests: [u64; 5],
    /// Errors that bearerd answered with, by code.
    errors: BTreeMap<&'static str, u64>,
}

/// Remembers what was shown, so as to show what has changed.
#[derive(Default)]
pub(super) struct Observer {
    table: Option<Arc<RouteTable>>,
    connections: Connections,
    draining: bool,
    /// Each with how many subjects it has.
    statuses: BTreeMap<CredentialName, (Status, usize)>,
    routes: Vec<RouteEntry>,
}

/// Who uses what; fixed by the configuration.
#[derive(Default)]
struct Connections {
    used_by: BTreeMap<CredentialName, BTreeSet<String>>,
    routes: BTreeMap<CredentialName, Vec<String>>,
    /// Of those with routes, whether all of these choose a token by subject.
    by_subject: BTreeMap<CredentialName, bool>,
}

impl Observer {
    /// Everything, whatever was shown before.
    pub(super) async fn whole(&mut self, admin: &Admin) -> Overview {
        let table = admin.table.load_full();
        *self = Self { connections: Connections::find(admin, &table), table: Some(table), ..Self::default() };
        self.news(admin).await
    }

    /// Whether another configuration is in force than the one that was shown.
    pub(super) fn is_outdated(&self, admin: &Admin) -> bool {
        self.table.as_ref().is_none_or(|table| !Arc::ptr_eq(table, &admin.table.load()))
    }

    /// What has changed since it was asked last; `None` if that is nothing.
    pub(super) async fn changes(&mut self, admin: &Admin) -> Option<Overview> {
        let drained_before = self.draining;
        let news = self.news(admin).await;
        let is_news =
            !news.credentials.is_empty() || !news.routes.is_empty() || news.draining != drained_before;
        is_news.then_some(news)
    }

    async fn news(&mut self, admin: &Admin) -> Overview {
        self.draining = *admin.draining.borrow();
        Overview {
            now: rfc3339(admin.clock.wall()),
            version: env!("CARGO_PKG_VERSION"),
            draining: self.draining,
            credentials: self.changed_credentials(admin).await,
            routes: self.changed_routes(),
        }
    }

    async fn changed_credentials(&mut self, admin: &Admin) -> Vec<Entry> {
        let mut changed = Vec::new();
        for status in admin.keeper.statuses() {
            let name = status.owner.credential.clone();
            let now = (status, subjects_of(&admin.keeper, &name).await);
            if self.statuses.get(&name) == Some(&now) {
                continue;
            }
            if let Some(spec) = admin.keeper.spec(&name) {
                changed.push(self.connections.entry(&now.0, now.1, &spec));
            }
            self.statuses.insert(name, now);
        }
        changed
    }

    fn changed_routes(&mut self) -> Vec<RouteEntry> {
        let routes = self.table.iter().flat_map(|table| table.routes());
        let now: Vec<_> = routes.map(|route| RouteEntry::from(&**route)).collect();
        let changed = |(place, route): &(usize, &RouteEntry)| self.routes.get(*place) != Some(*route);
        let news = now.iter().enumerate().filter(changed).map(|(_, route)| route.clone()).collect();
        self.routes = now;
        news
    }
}

impl Connections {
    fn find(admin: &Admin, table: &RouteTable) -> Self {
        let mut found = Self::default();
        for status in admin.keeper.statuses() {
            let name = &status.owner.credential;
            let Some(spec) = admin.keeper.spec(name) else { continue };
            for (parent, _) in spec.parents() {
                found.used_by.entry(parent.clone()).or_default().insert(name.to_string());
            }
        }
        for route in table.routes() {
            *found.by_subject.entry(route.spec.credential.clone()).or_insert(true) &=
                route.spec.subject.is_some();
            found.routes.entry(route.spec.credential.clone()).or_default().push(route.spec.name.to_string());
        }
        found
    }

    fn entry(&self, status: &Status, subjects: usize, spec: &CredentialSpec) -> Entry {
        let name = &status.owner.credential;
        Entry {
            credential: CredentialView::new(status.clone(), subjects),
            running: status.running,
            waits_for: status.waits_for.as_ref().map(|waits| waits.0.to_string()),
            uses: spec.parents().map(|(parent, _)| parent.to_string()).collect(),
            used_by: self.used_by.get(name).cloned().unwrap_or_default(),
            routes: self.routes.get(name).cloned().unwrap_or_default(),
            by_subject: self.by_subject.get(name).copied().unwrap_or_default(),
            actions: Actions::of(status, spec),
            advice: advice(status, spec),
        }
    }
}

impl Actions {
    fn of(status: &Status, spec: &CredentialSpec) -> Self {
        let log_in = LogIn::of(&spec.flow);
        let wants_person = matches!(status.state, State::LoginRequired | State::Revoked);
        Self {
            renew: spec.is_renewable() && !(log_in.is_some() && wants_person),
            log_out: log_in.is_some() && !wants_person && status.generation > 0,
            log_in,
        }
    }
}

impl From<&Route> for RouteEntry {
    fn from(route: &Route) -> Self {
        let (spec, metrics): (_, &RouteMetrics) = (&route.spec, &route.metrics);
        let errors = Code::ALL.iter().enumerate().map(|(place, code)| (code.as_str(), metrics.errors(place)));
        Self {
            name: spec.name.to_string(),
            listener: spec.listener.to_string(),
            host: spec.host.as_deref().map(str::to_owned),
            path: spec.path.to_string(),
            credential: spec.credential.to_string(),
            requests: std::array::from_fn(|class| {
                metrics.requests(class).map_or(0, |durations| durations.counts().iter().sum())
            }),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
        }
    }
}
