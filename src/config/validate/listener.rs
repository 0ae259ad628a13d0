//! Listeners, and the admin listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::AdminSpec;
use crate::caller::{Needs, Rule};
use crate::config::raw::{self, Map};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::check_name;
use crate::config::validate::names::Names;
use crate::config::validate::{callers, route, secret, tls};
use crate::credential::Source;
use crate::proxy::admit::SkipLimits;
use crate::server::{Address, Bind, CalmLimits, ListenerLimits, ListenerSpec};

/// Where the admin listener is without `[admin]`.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// How long a session of the console may last.
const SHORTEST_SESSION: Duration = Duration::from_secs(60);
const LONGEST_SESSION: Duration = Duration::from_secs(86_400);

/// All listeners, in the order of the file.
pub(crate) fn all(
    raw: &Map<raw::Listener>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Vec<ListenerSpec> {
    let mut listeners: Vec<ListenerSpec> = Vec::new();
    for (name, raw) in raw {
        let place = place.key(name);
        check_name(name, place, context);
        let Some(listener) = listener(name, raw, place, context) else { continue };
        if let Some(other) = listeners.iter().find(|other| is_same(&other.bind, &listener.bind)) {
            let message = format!("the listener `{}` is bound to this address too", other.name);
            context.findings.error(place.key("bind"), message);
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(
    name: &str,
    raw: &raw::Listener,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<ListenerSpec> {
    if raw.bind.is_none() {
        context.findings.missing(place, "bind", "such as \"127.0.0.1:8080\"");
    }
    let bind = raw.bind.as_ref().and_then(|text| bind(text, place.key("bind"), context));
    let shows_certificates = raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if let Some(Bind::To(address)) = &bind
        && !shows_certificates
    {
        check_remote(address, raw.allow_remote, "bind", place, context);
    }
    let tls = raw.tls.as_ref().map(|raw| tls::spec(raw, bind.as_ref(), place.key("tls"), context));
    let allow = callers::of_listener(raw, place, context);
    let hosts = raw.hosts.as_deref().unwrap_or_default();
    let hosts: Vec<Option<String>> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| route::host_name(host, place.key("hosts").item(index), context))
        .collect();
    let limits = limits(raw, place, context);
    Some(ListenerSpec {
        name: name.to_owned(),
        bind: bind?,
        allow_remote: raw.allow_remote == Some(true),
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        hosts: hosts.into_iter().collect::<Option<_>>()?,
        allow: Some(allow?).filter(|rule| *rule != Rule::default()).map(Arc::new),
        needs: Needs::default(),
        accounts: Vec::new(),
        control: raw.control == Some(true),
        limits,
    })
}

/// The admin listener.
pub(crate) fn admin(raw: &raw::Admin, place: Place<'_>, context: &mut Context<'_>) -> Option<AdminSpec> {
    let listen = match &raw.listen {
        Some(listen) if listen.starts_with("fd:") => {
            let problem =
                context.findings.error(place.key("listen"), "the admin listener binds its address itself");
            problem.help("such as \"127.0.0.1:9180\" or \"unix:/run/bearerd/admin.sock\"");
            None
        }
        Some(listen) => address(listen, place.key("listen"), context),
        None => Some(Address::Tcp(ADMIN)),
    };
    if let Some(listen) = &listen {
        check_remote(listen, raw.allow_remote, "listen", place, context);
    }
    let token = raw.token.as_ref().map(|token| {
        let at = place.key("token");
        let source = secret::source(token, at, &Names::default(), context);
        context.input("token", at);
        if let Some(Source::Output { .. } | Source::Jwt(_) | Source::Part { .. }) = source {
            context.findings.error(at, "this token is a fixed secret: no output and no assertion");
        }
        source
    });
    let session_lifetime = raw.session_lifetime.map_or(AdminSpec::SESSION_LIFETIME, |time| time.0);
    if !(SHORTEST_SESSION..=LONGEST_SESSION).contains(&session_lifetime) {
        context.findings.error(place.key("session_lifetime"), "a session lasts from one minute to one day");
    }
    let max_connections = raw.max_connections.unwrap_or(AdminSpec::MAX_CONNECTIONS);
    if max_connections == 0 {
        context.findings.error(place.key("max_connections"), "`max_connections` is 1 or more");
    }
    Some(AdminSpec {
        listen: listen?,
        token: token.map_or(Some(None), |token| token.map(Some))?,
        allow_quit: raw.allow_quit == Some(true),
        session_lifetime,
        max_event_streams: raw.max_event_streams.unwrap_or(AdminSpec::MAX_EVENT_STREAMS),
        max_connections,
        max_wrong_tokens: raw.max_wrong_tokens.unwrap_or(AdminSpec::MAX_WRONG_TOKENS),
        max_wrong_sign_ins: raw.max_wrong_sign_ins.unwrap_or(AdminSpec::MAX_WRONG_SIGN_INS),
    })
}

/// Tells a listener at the address of the admin listener.
pub(crate) fn apart(listeners: &[ListenerSpec], admin: &Address, root: Place<'_>, context: &mut Context<'_>) {
    let admin = Bind::To(admin.clone());
    for listener in listeners.iter().filter(|listener| is_same(&listener.bind, &admin)) {
        let at = root.key("listeners").key(&listener.name).key("bind");
        let problem = context.findings.error(at, "the admin listener is bound to this address too");
        problem.help("`listen` under [admin] moves it");
    }
}

/// Two sockets cannot share an address; port 0 is another one each time.
fn is_same(one: &Bind, other: &Bind) -> bool {
    one == other && !matches!(one, Bind::To(Address::Tcp(address)) if address.port() == 0)
}

fn bind(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Bind> {
    let Some(name) = text.strip_prefix("fd:") else {
        return address(text, place, context).map(Bind::To);
    };
    // What systemd takes for `FileDescriptorName=` (systemd.socket(5)).
    let is_name = (1..=255).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':');
    if !is_name {
        let problem = context.findings.error(place, "this names no inherited socket");
        problem.help("such as \"fd:app\", for `FileDescriptorName=app` in the socket unit");
        return None;
    }
    Some(Bind::Inherited(name.to_owned()))
}

fn address(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() || path.ends_with('/') {
            context
                .findings
                .error(place, "this names no socket")
                .help("such as \"unix:/run/bearerd/app.sock\"");
            return None;
        }
        // The longest path that a socket address holds (unix(7)), its end included.
        let path = context.path(path);
        if path.as_os_str().len() > 107 {
            context.findings.error(place, "the path of a Unix socket has at most 107 bytes");
            return None;
        }
        return Some(Address::Unix(path));
    }
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    if let Ok(address) = local.as_deref().unwrap_or(text).parse() {
        return Some(Address::Tcp(address));
    }
    let problem = context.findings.error(place, "this is not an address to listen on");
    problem.help("such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/bearerd/app.sock\"");
    None
}

fn check_remote(
    address: &Address,
    allowed: Option<bool>,
    key: &str,
    place: Place<'_>,
    context: &mut Context<'_>,
) {
    if !address.is_remote() {
        return;
    }
    if allowed == Some(true) {
        let message = "everyone who reaches this address may call: it is not a loopback address";
        context.findings.warning(place.key(key), message).help("`allow_remote` permits it");
    } else {
        let message = "this is not a loopback address: everyone who reaches it could use the credentials";
        let certificates =
            if key == "bind" { "let callers show certificates (`tls.client_ca`), " } else { "" };
        let help = format!(
            "bind to 127.0.0.1, {certificates}or say `allow_remote = true` where the network keeps others out"
        );
        context.findings.error(place.key(key), message).help(help);
    }
}

fn limits(raw: &raw::Listener, place: Place<'_>, context: &mut Context<'_>) -> ListenerLimits {
    let default = ListenerLimits::default();
    let size = |size: Option<raw::scalar::Size>, default: usize| {
        size.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
    };
    let count = |count: Option<u32>, default: usize| count.map_or(default, |count| count as usize);
    let time = |time: Option<raw::scalar::Time>, default| time.map_or(default, |time| time.0);
    let limits = ListenerLimits {
        max_connections: count(raw.max_connections, default.max_connections),
        max_head: size(raw.max_head, default.max_head),
        max_fields: count(raw.max_fields, default.max_fields),
        max_target: size(raw.max_target, default.max_target),
        head_timeout: time(raw.head_timeout, default.head_timeout),
        idle_timeout: time(raw.idle_timeout, default.idle_timeout),
        body_timeout: time(raw.body_timeout, default.body_timeout),
        skipped: SkipLimits {
            bytes: size(raw.max_skipped, default.skipped.bytes),
            time: time(raw.skip_timeout, default.skipped.time),
        },
        max_streams: raw.max_streams.unwrap_or(default.max_streams),
        calm: CalmLimits {
            frames: raw.max_fruitless_frames.unwrap_or(default.calm.frames),
            continuations: raw.max_continuations.unwrap_or(default.calm.continuations),
            streams: raw.max_fruitless_streams.unwrap_or(default.calm.streams),
        },
        max_wrong_bearers: raw.max_wrong_bearers.unwrap_or(default.max_wrong_bearers),
    };
    let ranges = [
        ("max_connections", limits.max_connections, 1, 1 << 20),
        ("max_head", limits.max_head, 1 << 10, 1 << 20),
        ("max_fields", limits.max_fields, 1, 10_000),
        ("max_target", limits.max_target, 64, 1 << 20),
        ("max_streams", limits.max_streams as usize, 1, 1 << 16),
    ];
    for (key, value, least, most) in ranges {
        if !(least..=most).contains(&value) {
            context.findings.error(place.key(key), format!("`{key}` is from {least} to {most}"));
        }
    }
    limits
}
