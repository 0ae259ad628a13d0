//! Egresses.

use std::net::IpAddr;
use std::time::Duration;

use crate::certificate::{self, CertificateError, Identity};
use crate::config::raw::choice::Texts;
use crate::config::raw::listener::{ExpectAddress, MinimumTls as RawTls};
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::raw::{self, Map};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::check_name;
use crate::config::validate::inject::is_pointer;
use crate::config::validate::secret;
use crate::credential::CredentialSpec;
use crate::upstream::{
    CertificateSpec, EgressLimits, EgressSpec, ExpectSpec, MinimumTls, ProxyLogin, ProxySpec, Scheme, Url,
};

/// How often the address is asked for, where the file does not say.
const CHECK_EVERY: Duration = Duration::from_secs(3600);

/// The most often that it may be.
const SHORTEST_CHECK: Duration = Duration::from_secs(1);

/// All egresses, in the order of the file.
pub(crate) fn all(raw: &Map<raw::Egress>, place: Place<'_>, context: &mut Context<'_>) -> Vec<EgressSpec> {
    raw.into_iter().filter_map(|(name, raw)| egress(name, raw, place.key(name), context)).collect()
}

fn egress(name: &str, raw: &raw::Egress, place: Place<'_>, context: &mut Context<'_>) -> Option<EgressSpec> {
    check_name(name, place, context);
    let ipv4_only = raw.ipv4_only == Some(true);
    let source: Option<IpAddr> = match raw.source.as_deref().map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(source)) => Some(source),
        Some(Err(_)) => {
            let problem = context.findings.error(place.key("source"), "this is not an address");
            problem.help("such as \"203.0.113.10\", without a port");
            return None;
        }
    };
    if ipv4_only && source.is_some_and(|source| source.is_ipv6()) {
        context.findings.error(place.key("source"), "this is an IPv6 address, and `ipv4_only` is set");
    }
    let proxy = proxy(raw, place, context);
    if proxy.as_ref().is_some_and(|proxy| !proxy.origin.is_loopback()) {
        context.remote_proxies.insert(name.to_owned());
    }
    let ca = raw.ca.as_deref().map(|path| context.path(path));
    if let Some(Err(error)) = ca.as_deref().map(certificate::authorities) {
        context.findings.error(place.key("ca"), error.to_string());
    }
    Some(EgressSpec {
        name: name.to_owned(),
        source,
        proxy,
        ca,
        certificate: certificate(raw.client_cert.as_deref(), raw.client_key.as_ref(), place, context),
        min_tls: match raw.min_tls {
            None | Some(RawTls::Tls12) => MinimumTls::Tls12,
            Some(RawTls::Tls13) => MinimumTls::Tls13,
        },
        ipv4_only,
        allow_private: raw.allow_private == Some(true),
        expect: raw
            .expect_address
            .as_ref()
            .and_then(|raw| expect(raw, source, place.key("expect_address"), context))
            .map(Box::new),
        limits: limits(raw, place, context),
    })
}

/// How much of the machine it takes.
fn limits(raw: &raw::Egress, place: Place<'_>, context: &mut Context<'_>) -> EgressLimits {
    let default = EgressLimits::default();
    let mut limit = |key: &str, given: Option<u32>, default: usize, most: usize| {
        let value = given.map_or(default, |given| given as usize);
        if !(1..=most).contains(&value) {
            context.findings.error(place.key(key), format!("`{key}` is from 1 to {most}"));
        }
        value
    };
    EgressLimits {
        lookups: limit("max_lookups", raw.max_lookups, default.lookups, 64),
        tls_servers: limit("max_tls_servers", raw.max_tls_servers, default.tls_servers, 10_000),
    }
}

/// The address that the world has to see.
fn expect(
    raw: &ExpectAddress,
    source: Option<IpAddr>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<ExpectSpec> {
    let mut addresses = Vec::new();
    match &raw.address {
        Some(Texts(texts)) => {
            let at = place.key("address");
            for (index, text) in texts.iter().enumerate() {
                if let Ok(address) = text.parse() {
                    addresses.push(address);
                } else {
                    let problem = context.findings.error(at.item(index), "this is not an address");
                    problem.help("such as \"203.0.113.10\"");
                }
            }
            if texts.is_empty() {
                context.findings.error(at, "an empty list expects no address at all");
            }
        }
        None => addresses.extend(source),
    }
    if addresses.is_empty() && raw.address.is_none() {
        let why = "the address that the world has to see, since the egress has no `source`";
        context.findings.missing(place, "address", why);
    }
    let Some(url) = &raw.url else {
        let why = "a service of your own that answers with the address that it was asked from";
        context.findings.missing(place, "url", why);
        return None;
    };
    let at = place.key("url");
    let url = url.parse::<Url>().map_err(|mistake| {
        context.findings.error(at, mistake).help("such as \"https://address.example.org/\"");
    });
    if raw.json.as_ref().is_some_and(|pointer| !is_pointer(pointer)) {
        let problem = context.findings.error(place.key("json"), "this is not a JSON pointer");
        problem.help("such as \"/client/ip\" (RFC 6901)");
    }
    let every = raw.every.map_or(CHECK_EVERY, |time| time.0);
    if every < SHORTEST_CHECK {
        context.findings.error(place.key("every"), "the address is asked for once a second at the most");
    }
    let strict = raw.strict == Some(true);
    Some(ExpectSpec { addresses, url: url.ok()?, pointer: raw.json.clone(), every, strict })
}

/// How a route leaves whose token is that of a credential: as the token was obtained. One that says another
/// way is told, unless nothing was obtained: a `static` token without `egress` was brought by a person.
pub(crate) fn of_route(
    said: Option<&str>,
    credential: &CredentialSpec,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> String {
    let bound = &credential.egress;
    let is_brought = credential.flow.is_static() && bound.is_empty();
    let Some(said) = said else {
        let differs = differ("", bound, context);
        return if differs { bound.clone() } else { String::new() };
    };
    if !is_brought && differ(said, bound, context) {
        let message = "the token is obtained by another egress than this one, and an address may be what it is \
                       bound to";
        let problem = context.findings.error(place.key("egress"), message);
        problem.help(if bound.is_empty() {
            "say the same `egress` on the credential, too"
        } else {
            "without `egress` the route leaves as its token was obtained"
        });
    }
    said.to_owned()
}

/// Whether connections by the two leave in different ways. Of one with mistakes of its own it is not known.
pub(crate) fn differ(one: &str, other: &str, context: &Context<'_>) -> bool {
    let default = EgressSpec::default();
    let spec = |name: &str| match name {
        "" => Some(&default),
        name => context.egresses.iter().find(|egress| egress.name == name),
    };
    matches!((spec(one), spec(other)), (Some(one), Some(other)) if !one.leaves_like(other))
}

fn proxy(raw: &raw::Egress, place: Place<'_>, context: &mut Context<'_>) -> Option<ProxySpec> {
    let Some(text) = &raw.proxy else {
        for (key, given) in
            [("proxy_user", raw.proxy_user.is_some()), ("proxy_password", raw.proxy_password.is_some())]
        {
            if given && !place.is_spoiled("proxy") {
                context.findings.error_at(place.key(key).key_span(), format!("`{key}` belongs to `proxy`"));
            }
        }
        return None;
    };
    let login = login(raw, place, context);
    let at = place.key("proxy");
    let help = "such as \"http://proxy.internal:3128\"; `proxy_user` and `proxy_password` say who bearerd is";
    let url = match text.parse::<Url>() {
        Ok(url) if url.origin.scheme == Scheme::Https => Err("a proxy is spoken to in plain text here"),
        Ok(url) if url.path_and_query != "/" => Err("a proxy has no path"),
        other => other,
    };
    let origin = url.map_err(|mistake| context.findings.error(at, mistake).help(help)).ok()?.origin;
    if login.is_some() && !origin.is_loopback() {
        let message = format!("the password of the proxy is sent to {origin} over plain HTTP");
        context.findings.warning(at, message).help("whoever is on the way to the proxy can read it");
    }
    Some(ProxySpec { origin, login })
}

fn login(raw: &raw::Egress, place: Place<'_>, context: &mut Context<'_>) -> Option<ProxyLogin> {
    if raw.proxy_user.is_none() && raw.proxy_password.is_none() {
        return None;
    }
    if raw.proxy_user.is_none() {
        context.findings.missing(place, "proxy_user", "a password without a user");
    }
    if raw.proxy_password.is_none() {
        context.findings.missing(place, "proxy_password", "a user without a password");
    }
    let user = raw.proxy_user.clone()?;
    if user.is_empty() || user.contains(':') || user.contains(|next: char| next.is_control()) {
        context.findings.error(place.key("proxy_user"), "a user's name is not empty and has no colon");
        return None;
    }
    let at = place.key("proxy_password");
    let password = TextOr::Table(raw.proxy_password.clone()?);
    let password = secret::at_hand(&password, at, context)?;
    let login = ProxyLogin { user, password };
    if let Err(mistake) = login.authorization() {
        context.findings.error(at, mistake);
    }
    Some(login)
}

/// A client certificate and its key, where both are given; tells half of one, and one that cannot be
/// used.
pub(crate) fn certificate(
    cert: Option<&str>,
    key: Option<&TextOr<SecretReference>>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<CertificateSpec> {
    let at_hand = key.map(|key| secret::at_hand(key, place.key("client_key"), context));
    match (cert, &at_hand) {
        (None, None) => return None,
        (Some(_), None) => context.findings.missing(place, "client_key", "the private key of `client_cert`"),
        (None, Some(_)) => context.findings.missing(place, "client_cert", "the certificate of `client_key`"),
        (Some(_), Some(_)) => {}
    }
    let spec = CertificateSpec { chain: context.path(cert?), key: at_hand?? };
    if let Err(error) = Identity::read(&spec.chain, &spec.key) {
        let key = if matches!(error, CertificateError::Key(_)) { "client_key" } else { "client_cert" };
        context.findings.error(place.key(key), error.to_string());
    }
    Some(spec)
}
