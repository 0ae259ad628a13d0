//! Routes.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::config::raw;
use crate::config::raw::route::{EncodedSlash, Guard};
use crate::config::raw::scalar::TextOr;
use crate::config::tree::Place;
use crate::config::validate::alike::Alike;
use crate::config::validate::context::{Context, unknown};
use crate::config::validate::credential::{Credential, check_name};
use crate::config::validate::names::Names;
use crate::config::validate::oauth2::certificate;
use crate::config::validate::plaintext::is_exposed;
use crate::config::validate::{bundle, callers, egress, inject, login, signature, subject};
use crate::credential::{CredentialName, CredentialSpec};
use crate::guard::Mode;
use crate::inject::{Injection, Verification};
use crate::route::path::canonical;
use crate::route::{AllowRule, Refusal, RouteLimits, RouteSpec, Terms};
use crate::upstream::http2::ArrivalLimits;
use crate::upstream::pool::PoolLimits;
use crate::upstream::{Scheme, Url, address as addresses};

/// All routes, in the order of the file.
pub(crate) fn all(
    file: &raw::File,
    credentials: &[Credential],
    root: Place<'_>,
    context: &mut Context<'_>,
) -> (Vec<Arc<RouteSpec>>, Vec<CredentialSpec>) {
    let place = root.key("routes");
    let by_name = credentials.iter().map(|credential| (&credential.spec.name, credential)).collect();
    let (reader, mut common) = (Reader { file, credentials, by_name }, Common::default());
    let mut routes: Vec<Arc<RouteSpec>> = Vec::new();
    for (name, raw) in &file.routes {
        check_name(name, place.key(name), context);
        let Some(route) = reader.route(name, raw, &mut common, place.key(name), context) else { continue };
        routes.push(Arc::new(route));
    }
    check_shadows(&routes, place, context);
    if file.routes.is_empty() && !root.is_spoiled("routes") {
        context.findings.warning(root, "there is no route: no request will be forwarded");
    }
    let bundles = common.bundles.into_values().collect();
    (routes, bundles)
}

/// Of two routes that take the same, one would have nothing to do.
fn check_shadows(routes: &[Arc<RouteSpec>], place: Place<'_>, context: &mut Context<'_>) {
    let mut taken = HashMap::with_capacity(routes.len());
    for route in routes {
        let RouteSpec { name, host, path, .. } = &**route;
        let listener = &route.listener;
        let first = taken.entry((listener, host, path)).or_insert(name);
        if *first != name {
            let message = format!(
                "the routes `{first}` and `{name}` shadow each other: both take {path} on `{listener}`"
            );
            let help = "they differ by `listener`, `host` or `path`";
            context.findings.error(place.key(name), message).help(help);
        }
    }
}

struct Reader<'a> {
    file: &'a raw::File,
    credentials: &'a [Credential],
    by_name: HashMap<&'a CredentialName, &'a Credential>,
}

/// What routes have in common.
#[derive(Default)]
struct Common {
    injections: Alike<Injection>,
    refusals: Alike<Refusal>,
    allowed: Alike<[AllowRule]>,
    denied: Alike<[String]>,
    limits: Alike<RouteLimits>,
    listeners: Alike<str>,
    upstreams: Alike<str>,
    terms: Alike<Terms>,
    /// By name: what routes make of several credentials.
    bundles: BTreeMap<CredentialName, CredentialSpec>,
}

impl Common {
    /// The same URL, whose host lies where that of others does.
    fn at_one(&mut self, mut url: Url) -> Url {
        url.origin.host = self.upstreams.one(url.origin.host);
        url
    }
}

impl Reader<'_> {
    fn route(
        &self,
        name: &str,
        raw: &raw::Route,
        common: &mut Common,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Option<RouteSpec> {
        let listener = self.listener(raw, place, context);
        let path = path(raw.path.as_deref().unwrap_or("/"), place.key("path"), context);
        let host = raw.host.as_deref().map(|host| host_name(host, place.key("host"), context));
        let upstream = upstream(raw, place, context);
        let allow = allow(raw, place, context);
        let limits = limits(raw, place, context);
        let refusal = raw.refusal.as_ref().map(|raw| inject::refusal(raw, place.key("refusal"), context));
        let mut egress = context.egress(raw.egress.as_deref(), place.key("egress"));
        let (named, credential) = self.credential(raw, place, context);
        if let Some(credential) = credential.filter(|credential| credential.is_certificate_bound) {
            let (said, upstream) = (raw.egress.as_deref(), upstream.as_ref());
            egress = certificate::egress_of_route(said, &credential.spec.egress, upstream, place, context);
        }
        if let (Some(credential), Some(upstream)) = (credential, &upstream)
            && upstream.origin.scheme != Scheme::Unix
        {
            let by_address = egress::of_route(raw.egress.as_deref(), &credential.spec, place, context);
            if egress.is_empty() {
                egress = by_address;
            }
        }
        let injection = injection(raw, credential, place, context);
        let verification = Self::verification(raw, credential, place, context);
        let subject = subject::source(raw, credential, injection.as_ref(), place, context);
        if let Some(upstream) = &upstream {
            let of_credential = named.and_then(|credential| credential.allow_plaintext);
            let allowed = raw.allow_plaintext.or(of_credential) == Some(true);
            let by = (!egress.is_empty()).then_some(egress.as_str());
            check_plaintext(upstream, by, allowed, place, context);
            check_metadata(upstream, place, context);
            if upstream.origin.scheme == Scheme::Unix && raw.egress.is_some() {
                let message = "connections to a Unix socket do not leave the machine: they have no egress";
                context.findings.error(place.key("egress"), message);
            }
        }
        let behind = listener.as_ref().and_then(|name| self.file.listeners.get(name));
        let callers = callers::of_route(raw, behind, place, context);
        let denied = upstream.as_ref().map(|upstream| self.denied(upstream));
        let upstream = upstream.map(|url| common.at_one(url));
        let credential = credential?;
        let bundle = injection.as_ref().and_then(|injection| {
            let lends = subject.is_some()
                || credential.is_key_bound
                || verification.is_some()
                || injection.holds_content();
            bundle::of(credential, injection, verification.as_deref(), lends, context)
        });
        if bundle.is_some() && (subject.is_some() || credential.is_key_bound) {
            let message = "with subjects or `dpop` only the route's own credential can be injected";
            context.findings.error(place, message);
        }
        let name_of_tokens = bundle.as_ref().unwrap_or(&credential.spec).name.clone();
        if let Some(bundle) = bundle {
            match common.bundles.entry(bundle.name.clone()) {
                Entry::Vacant(place) => drop(place.insert(bundle)),
                Entry::Occupied(mut known) => bundle::join(known.get_mut(), &bundle),
            }
        }
        let terms = Terms {
            listener: common.listeners.one(listener?),
            denied: common.denied.one(denied?),
            injection: common.injections.one(injection?),
            refusal: common.refusals.one(refusal.unwrap_or_else(|| credential.refusal.clone())),
            verification,
            callers: callers?,
            allow: common.allowed.one(allow?),
            wait: credential.wait,
            egress,
            encoded_slash: raw.encoded_slash == Some(EncodedSlash::Pass),
            guard: guard(raw, place, context),
            allows_token_answers: raw.allow_token_answers == Some(true),
            limits: common.limits.one(limits),
            rate: raw.rate,
            remove: removed(raw.remove.as_deref().unwrap_or_default(), place.key("remove"), context),
        };
        Some(RouteSpec {
            name: name.into(),
            host: host.map_or(Some(None), |host| host.map(|host| Some(host.into())))?,
            path: path?.into(),
            upstream: upstream?,
            credential: name_of_tokens,
            subject: subject.map(Box::new),
            terms: common.terms.one(terms),
        })
    }

    fn listener(&self, raw: &raw::Route, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
        let names: Vec<&str> = self.file.listeners.names().collect();
        match (&raw.listener, names.as_slice()) {
            (Some(name), _) if names.contains(&name.as_str()) => Some(name.clone()),
            (Some(name), _) => {
                unknown(&mut context.findings, place.key("listener"), "listener", name, &names);
                None
            }
            (None, [only]) => Some((*only).to_owned()),
            (None, []) => {
                let problem = context.findings.error(place, "there is no listener for this route");
                problem.help("such as [listeners.app] with bind = \"127.0.0.1:8080\"");
                None
            }
            (None, _) => {
                context.findings.missing(place, "listener", "there are several");
                None
            }
        }
    }

    /// The credential that a route names: as it is written, and as it was built. One that was not
    /// built has mistakes of its own.
    fn credential(
        &self,
        raw: &raw::Route,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> (Option<&raw::Credential>, Option<&Credential>) {
        let Some(name) = &raw.credential else {
            context.findings.missing(
                place,
                "credential",
                "a route injects one; without it nothing is forwarded",
            );
            return (None, None);
        };
        let written = self.file.credentials.get(name);
        if written.is_none() {
            let names: Vec<&str> = self.file.credentials.names().collect();
            unknown(&mut context.findings, place.key("credential"), "credential", name, &names);
        }
        let name = CredentialName::from(name.as_str());
        (written, self.by_name.get(&name).copied())
    }

    /// What answers have to fit: by the route's own rule, or that of its credential.
    fn verification(
        raw: &raw::Route,
        credential: Option<&Credential>,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Option<Arc<Verification>> {
        let Some(own) = &raw.verify else { return credential?.verification.clone() };
        let outputs = raw.credential.as_ref().and_then(|name| context.outputs.get(name)?.clone());
        let place = place.key("verify");
        signature::verification(own, place, &names(credential), outputs.as_deref(), context)
    }

    /// The token endpoints of all credentials on the server of a route: no app gets a token there.
    fn denied(&self, upstream: &Url) -> Vec<String> {
        let mut denied: Vec<String> = self
            .credentials
            .iter()
            .flat_map(|credential| &credential.endpoints)
            .filter(|endpoint| endpoint.origin.is_same_server(&upstream.origin))
            .map(|endpoint| canonical(&endpoint.path))
            .filter(|path| !path.is_empty())
            .collect();
        denied.sort();
        denied.dedup();
        denied
    }
}

/// What a route injects: its own rule, or that of its credential.
fn injection(
    raw: &raw::Route,
    credential: Option<&Credential>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Injection> {
    let outputs = raw.credential.as_ref().and_then(|name| context.outputs.get(name)?.clone());
    let Some(raw) = &raw.inject else {
        let credential = credential?;
        let of_credential = credential.injection.clone().filter(|injection| !injection.is_empty());
        if of_credential.is_none() {
            let message = format!("nothing is injected: `{}` has no rule of its own", credential.spec.name);
            let output = outputs.unwrap_or_default().first().cloned().unwrap_or_else(|| "token".to_owned());
            let problem = context.findings.error(place, message);
            problem.help(format!(
                "such as inject = {{ headers = {{ Authorization = \"Bearer {{{output}}}\" }} }}"
            ));
        }
        return of_credential;
    };
    let at = place.key("inject");
    let raw = match raw {
        TextOr::Table(raw) => raw,
        TextOr::Text(name) => return inject::named(name, &credential?.injections, at, context),
    };
    let is_empty =
        raw.headers.is_empty() && raw.query.is_empty() && raw.cookies.is_empty() && raw.body.is_empty();
    if is_empty && at.spoiled().is_empty() {
        let problem = context.findings.error(at, "this injects nothing");
        problem.help("without `inject` the credential's rule counts");
    }
    let names = names(credential);
    let dpop = credential.is_some_and(|credential| credential.is_key_bound);
    Some(inject::injection(raw, at, &names, (outputs.as_deref(), dpop), context))
}

/// The fields that a route does not forward.
fn removed(names: &[String], place: Place<'_>, context: &mut Context<'_>) -> Arc<[HeaderName]> {
    if names.is_empty() {
        // All routes that remove nothing share it.
        return Arc::default();
    }
    let mut fields = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        if let Ok(field) = name.parse() {
            fields.push(field);
        } else {
            context.findings.error(place.item(index), "this is not the name of a header field");
        }
    }
    fields.into()
}

fn guard(raw: &raw::Route, place: Place<'_>, context: &mut Context<'_>) -> Mode {
    match raw.guard {
        None | Some(Guard::Mask) => Mode::Mask,
        Some(Guard::Block) => Mode::Block,
        Some(Guard::Off) => {
            if raw.allow_token_answers == Some(false) {
                let message = "answers are not looked at with `guard = \"off\"`: none is blocked";
                context.findings.error(place.key("allow_token_answers"), message);
            }
            Mode::Off
        }
    }
}

/// What the templates of a route may name beside outputs.
fn names(credential: Option<&Credential>) -> Names {
    let plain = credential.map(|credential| credential.plain.clone()).unwrap_or_default();
    let secrets = credential.map(|credential| credential.secrets.clone()).unwrap_or_default();
    let sources = credential.map(|credential| credential.sources.clone()).unwrap_or_default();
    Names { plain, secrets, sources, hides_secrets: credential.is_none(), ..Names::default() }
}

fn check_metadata(upstream: &Url, place: Place<'_>, context: &mut Context<'_>) {
    let host = &upstream.origin.host;
    if addresses::is_metadata_name(host) || addresses::literal(host).is_some_and(addresses::is_metadata) {
        let message = "this is the metadata service of a cloud: no connection to it is ever opened";
        context.findings.warning(place.key("upstream"), message);
    }
}

fn check_plaintext(
    upstream: &Url,
    egress: Option<&str>,
    allowed: bool,
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    if !is_exposed(&upstream.origin, egress, context) {
        return;
    }
    let at = place.key("upstream");
    if allowed {
        let message = format!("tokens are sent to {} over plain HTTP", upstream.origin);
        context.findings.warning(at, message).help("`allow_plaintext` permits it");
    } else {
        let message = format!("{} is plain HTTP: everyone on the way could read the token", upstream.origin);
        let help = "use https://, or say `allow_plaintext = true` if the upstream has nothing else";
        context.findings.error(at, message).help(help);
    }
}

fn upstream(raw: &raw::Route, place: Place<'_>, context: &mut Context<'_>) -> Option<Url> {
    let Some(text) = &raw.upstream else {
        context.findings.missing(place, "upstream", "requests go there");
        return None;
    };
    let at = place.key("upstream");
    match Url::of_upstream(text, context.folder) {
        Ok(url) if url.path_and_query.query().is_some() => {
            context.findings.error(at, "an upstream has no query");
            None
        }
        Ok(url) => Some(url),
        Err(error) => {
            context.findings.error(at, error);
            None
        }
    }
}

/// A prefix without its trailing slash.
fn path(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    let trimmed = if text.len() > 1 { text.strip_suffix('/').unwrap_or(text) } else { text };
    let mistake = if !text.starts_with('/') {
        Some("a path starts with `/`".to_owned())
    } else if text.contains(['?', '*', ' ']) || !text.is_ascii() {
        Some(
            "a path is a plain prefix, as it is sent: no query, no pattern, other characters as %XX"
                .to_owned(),
        )
    } else if trimmed.contains("//") || trimmed.len() > 1 && trimmed.ends_with('/') {
        Some("a path has no empty segments".to_owned())
    } else if trimmed == "/.bearerd" || trimmed.starts_with("/.bearerd/") {
        Some("`/.bearerd` is kept for bearerd itself".to_owned())
    } else {
        crate::route::path::check(trimmed).err().map(|ambiguity| ambiguity.to_string())
    };
    match mistake {
        None => Some(trimmed.to_owned()),
        Some(mistake) => {
            context.findings.error(place, mistake);
            None
        }
    }
}

/// A name for `Host`: lower case, without port.
pub(crate) fn host_name(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
    let is_name = |text: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !text.is_empty() && text.bytes().all(is_part)
    };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if is_name(text) || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(text.to_ascii_lowercase());
    }
    let problem = context.findings.error(place, "this is not the name of a host");
    problem.help("such as \"api.localhost\": no scheme, no port, no pattern");
    None
}

fn allow(raw: &raw::Route, place: Place<'_>, context: &mut Context<'_>) -> Option<Vec<AllowRule>> {
    let Some(rules) = &raw.allow else { return Some(Vec::new()) };
    let at = place.key("allow");
    if rules.is_empty() {
        if !place.is_spoiled("allow") {
            let problem = context.findings.error(at, "an empty list allows nothing");
            problem.help("without `allow` everything but token endpoints is allowed");
        }
        return None;
    }
    let rules: Vec<Option<AllowRule>> =
        rules.iter().enumerate().map(|(index, rule)| allow_rule(rule, at.item(index), context)).collect();
    rules.into_iter().collect()
}

/// A method and a pattern of paths, or a pattern alone.
pub(crate) fn allow_rule(rule: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<AllowRule> {
    let (method, pattern) = match rule.trim().split_once(char::is_whitespace) {
        Some((method, pattern)) => (Some(method), pattern.trim_start()),
        None => (None, rule.trim()),
    };
    if !pattern.starts_with('/') || pattern.contains(['?', '#']) || pattern.contains(char::is_whitespace) {
        let problem = context.findings.error(place, "this is not a method and a path, or a path alone");
        problem.help("such as \"GET /user/*\"; `*` stays in a segment, `**` crosses");
        return None;
    }
    let method = match method {
        None | Some("*") => None,
        Some(name) => Some(login::method(name, place, context)?),
    };
    Some(AllowRule { method, pattern: pattern.to_owned() })
}

fn limits(raw: &raw::Route, place: Place<'_>, context: &mut Context<'_>) -> RouteLimits {
    let default = RouteLimits::default();
    if raw.timeout.is_some() && raw.answer_timeout.is_some() {
        let message = "`timeout` and `answer_timeout` are the same: one is enough";
        context.findings.error_at(place.key("timeout").key_span(), message);
    }
    let size = |given: Option<raw::scalar::Size>, default: usize| {
        given.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
    };
    let time = |given: Option<raw::scalar::Time>, default: Duration| given.map_or(default, |time| time.0);
    let max_interim_answers = raw.max_interim_answers.unwrap_or(default.max_interim_answers);
    RouteLimits {
        max_body: raw.max_body.map(|size| size.0),
        connect_timeout: time(raw.connect_timeout, default.connect_timeout),
        answer_timeout: time(raw.answer_timeout.or(raw.timeout), default.answer_timeout),
        stall_timeout: time(raw.stall_timeout, default.stall_timeout),
        replay_body: size(raw.replay_body, default.replay_body),
        inject_body: size(raw.inject_body, default.inject_body),
        max_interim_answers,
        pool: PoolLimits {
            idle_timeout: time(raw.pool_idle_timeout, default.pool.idle_timeout),
            max_age: time(raw.pool_max_age, default.pool.max_age),
            max_idle: raw.pool_max_idle.map_or(default.pool.max_idle, |most| most as usize),
            arrivals: ArrivalLimits {
                interim: max_interim_answers,
                fruitless: raw.max_fruitless_frames.unwrap_or(default.pool.arrivals.fruitless),
            },
        },
    }
}
