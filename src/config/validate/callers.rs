//! Who may call: `allow` of a listener, `callers` of a route.

use crate::caller::Rule;
use crate::caller::cgroup::Pattern;
use crate::config::raw::listener::Allow;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::server::{Address, Bind};

/// How callers come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'a> {
    /// To where; `None` if that has mistakes of its own.
    pub(crate) bind: Option<&'a Bind>,
    /// They show certificates.
    pub(crate) shows_certificates: bool,
}

/// A rule over callers that come by `way`. What cannot be known of them there is a mistake.
pub(crate) fn rule(raw: &Allow, way: Way<'_>, place: Place<'_>, context: &mut Context<'_>) -> Option<Rule> {
    for (key, list_is_empty, obstacle) in [
        ("uids", raw.uids.as_ref().map(Vec::is_empty), way.hides_users()),
        ("gids", raw.gids.as_ref().map(Vec::is_empty), way.hides_processes()),
        ("cgroups", raw.cgroups.as_ref().map(Vec::is_empty), way.hides_processes()),
        ("names", raw.names.as_ref().map(Vec::is_empty), way.hides_names()),
    ] {
        let Some(is_empty) = list_is_empty else { continue };
        if let Some((message, help)) = obstacle {
            context.findings.error_at(place.key(key).key_span(), message).help(help);
        } else if is_empty {
            context.findings.error(place.key(key), "an empty list lets nobody call");
        }
    }
    let cgroups = cgroups(raw.cgroups.as_deref().unwrap_or_default(), place.key("cgroups"), context);
    let names = raw.names.clone().unwrap_or_default();
    check_names(&names, place.key("names"), context);
    Some(Rule {
        uids: raw.uids.clone().unwrap_or_default(),
        gids: raw.gids.clone().unwrap_or_default(),
        cgroups: cgroups?,
        names,
    })
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

impl Way<'_> {
    fn is_tcp(self) -> bool {
        matches!(self.bind, Some(Bind::To(Address::Tcp(_))))
    }

    fn is_unix(self) -> bool {
        matches!(self.bind, Some(Bind::To(Address::Unix(_))))
    }

    fn hides_users(self) -> Obstacle {
        let is_remote = matches!(self.bind, Some(Bind::To(address)) if address.is_remote());
        if is_remote {
            let message = "users of other machines are not known here: this is for loopback and Unix sockets";
            return Some((message, "`tls.client_ca` and `names` tell callers on other machines apart"));
        }
        (self.is_tcp() && !cfg!(target_os = "linux")).then_some(ON_LINUX_ONLY)
    }

    fn hides_processes(self) -> Obstacle {
        if self.is_tcp() {
            let message = "over TCP the kernel tells a caller's user alone: this is for Unix sockets";
            return Some((message, "`uids` works on loopback too"));
        }
        (!cfg!(target_os = "linux")).then_some(ON_LINUX_ONLY)
    }

    fn hides_names(self) -> Obstacle {
        if self.is_unix() {
            let message = "names stand in certificates, which a Unix socket does not ask for";
            return Some((message, "`uids`, `gids` and `cgroups` tell callers apart there"));
        }
        (!self.shows_certificates).then_some((
            "names are looked for in callers' certificates, which nobody has to show without `tls.client_ca`",
            "`client_ca` under `tls` is a file of the authorities that callers' certificates are of",
        ))
    }
}
