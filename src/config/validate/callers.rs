//! Who may call: `allow` of a listener, `callers` of a route.

mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::caller::cgroup::Pattern;
use crate::caller::{Needs, Rule};
use crate::config::raw;
use crate::config::raw::choice::Several;
use crate::config::raw::listener::Allow;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::route::RouteSpec;
use crate::server::ListenerSpec;

/// How callers come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    kind: Kind,
    /// They show certificates.
    shows_certificates: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unix,
    Loopback,
    Remote,
    /// It is known when the socket is taken over; or the address has mistakes of its own.
    Unknown,
}

/// A rule over callers that come by `way`. What cannot be known of them there is a mistake.
pub(crate) fn rule(raw: &Allow, way: Way, place: Place<'_>, context: &mut Context<'_>) -> Option<Rule> {
    for (key, is_empty, obstacle) in [
        ("uids", raw.uids.as_ref().map(Vec::is_empty), way.hides_users()),
        ("gids", raw.gids.as_ref().map(Vec::is_empty), way.hides_processes()),
        ("cgroups", raw.cgroups.as_ref().map(Vec::is_empty), way.hides_processes()),
        ("names", raw.names.as_ref().map(Vec::is_empty), way.hides_names()),
        ("subjects", raw.subjects.as_ref().map(Vec::is_empty), None),
    ] {
        let Some(is_empty) = is_empty else { continue };
        if let Some((message, help)) = obstacle {
            context.findings.error_at(place.key(key).key_span(), message).help(help);
        } else if is_empty {
            context.findings.error(place.key(key), "an empty list lets nobody call");
        }
    }
    let cgroups = cgroups(raw.cgroups.as_deref().unwrap_or_default(), place.key("cgroups"), context);
    let names = raw.names.clone().unwrap_or_default();
    check_names(&names, place.key("names"), context);
    let bearers = raw.bearer.as_ref().map(|raw| tokens::bearers(raw, place.key("bearer"), context));
    let accounts = raw.service_accounts.as_ref();
    let accounts = accounts.map(|raw| tokens::accounts(raw, place.key("service_accounts"), context));
    Some(Rule {
        uids: raw.uids.clone().unwrap_or_default(),
        gids: raw.gids.clone().unwrap_or_default(),
        cgroups: cgroups?,
        names,
        bearers: bearers.map_or(Some(None), |some| some.map(Some))?,
        accounts: accounts.map_or(Some(None), |some| some.map(Some))?,
        subjects: raw.subjects.clone().unwrap_or_default(),
    })
}

/// The rule of a listener; one that asks for nothing if it has none.
pub(crate) fn of_listener(raw: &raw::Listener, place: Place<'_>, context: &mut Context<'_>) -> Option<Rule> {
    let Some(allow) = &raw.allow else { return Some(Rule::default()) };
    let place = place.key("allow");
    if allow.subjects.is_some() {
        let message = "a listener has no subjects: this is for `callers` of a route";
        context.findings.error_at(place.key("subjects").key_span(), message);
    }
    rule(allow, Way::of(raw), place, context)
}

/// The rules of a route behind a listener.
pub(crate) fn of_route(
    raw: &raw::Route,
    listener: Option<&raw::Listener>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Arc<[Rule]>> {
    let Some(Several(rules)) = &raw.callers else { return Some(Arc::default()) };
    let place = place.key("callers");
    if rules.is_empty() {
        let problem = context.findings.error(place, "an empty list lets nobody call");
        problem.help("without `callers` whoever may call the listener may call the route");
        return None;
    }
    let way = listener.map_or(Way { kind: Kind::Unknown, shows_certificates: true }, Way::of);
    let mut checked = Vec::with_capacity(rules.len());
    for (index, raw_rule) in rules.iter().enumerate() {
        let place = place.item(index);
        if raw_rule.subjects.is_some() && raw.subject.is_none() {
            let message = "the route has no subjects: requests do not say for whom they are";
            let problem = context.findings.error_at(place.key("subjects").key_span(), message);
            problem.help("`subject` of the route says where they do");
        }
        let rule = rule(raw_rule, way, place, context);
        if rule.as_ref() == Some(&Rule::default()) && place.spoiled().is_empty() {
            let problem = context.findings.error(place, "this takes every caller");
            problem.help("such as { uids = [1001] }");
        }
        checked.extend(rule);
    }
    (checked.len() == rules.len()).then(|| checked.into())
}

/// What has to be known of a listener's callers, for its own rule and those of its routes.
pub(crate) fn gather(listeners: &mut [ListenerSpec], routes: &[Arc<RouteSpec>]) {
    for listener in listeners {
        let own = listener.allow.iter().map(|rule| &**rule);
        let of_routes = routes.iter().filter(|route| *route.listener == *listener.name);
        let rules: Vec<&Rule> = own.chain(of_routes.flat_map(|route| route.callers.iter())).collect();
        listener.needs = rules.iter().fold(Needs::default(), |needs, rule| needs.and(rule.needs()));
        listener.accounts = rules.iter().filter_map(|rule| rule.accounts.clone()).collect();
    }
}

/// Names are compared as a whole.
pub(crate) fn check_names(names: &[String], place: Place<'_>, context: &mut Context<'_>) {
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || name.contains('*') {
            let problem = context
                .findings
                .error(place.item(index), "a name is compared as a whole: it is not empty and has no `*`");
            problem.help("such as \"app.internal\" or \"spiffe://cluster/ns/shop/sa/app\"");
        }
    }
}

fn cgroups(texts: &[String], place: Place<'_>, context: &mut Context<'_>) -> Option<Vec<Pattern>> {
    let mut patterns = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match Pattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => {
                context.findings.error(place.item(index), why);
            }
        }
    }
    (patterns.len() == texts.len()).then_some(patterns)
}

/// Why something cannot be known of callers, and what to do.
type Obstacle = Option<(&'static str, &'static str)>;

const ON_LINUX_ONLY: (&str, &str) =
    ("this is known of callers on Linux only", "a Unix socket and `uids` tell callers apart here");

impl Way {
    fn of(listener: &raw::Listener) -> Self {
        let bind = listener.bind.as_deref().unwrap_or_default();
        let is_remote = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
        let kind = match bind.parse().map(is_remote) {
            Ok(true) => Kind::Remote,
            Ok(false) => Kind::Loopback,
            Err(_) if bind.starts_with("unix:") => Kind::Unix,
            Err(_) if bind.starts_with("localhost:") => Kind::Loopback,
            Err(_) => Kind::Unknown,
        };
        Self { kind, shows_certificates: listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) }
    }

    fn hides_users(self) -> Obstacle {
        match self.kind {
            Kind::Remote => Some((
                "users of other machines are not known here: this is for loopback and Unix sockets",
                "`tls.client_ca` and `names` tell callers on other machines apart",
            )),
            Kind::Loopback if !cfg!(target_os = "linux") => Some(ON_LINUX_ONLY),
            Kind::Loopback | Kind::Unix | Kind::Unknown => None,
        }
    }

    fn hides_processes(self) -> Obstacle {
        match self.kind {
            Kind::Loopback | Kind::Remote => Some((
                "over TCP the kernel tells a caller's user alone: this is for Unix sockets",
                "`uids` works on loopback too",
            )),
            Kind::Unix | Kind::Unknown => (!cfg!(target_os = "linux")).then_some(ON_LINUX_ONLY),
        }
    }

    fn hides_names(self) -> Obstacle {
        match self.kind {
            Kind::Unix => Some((
                "names stand in certificates, which a Unix socket does not ask for",
                "`uids`, `gids` and `cgroups` tell callers apart there",
            )),
            _ if self.shows_certificates => None,
            _ => Some((
                "names are looked for in callers' certificates, which nobody has to show without `tls.client_ca`",
                "`client_ca` under `tls` is a file of the authorities that callers' certificates are of",
            )),
        }
    }
}
