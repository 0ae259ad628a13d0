//! Egresses.

use std::net::IpAddr;

use crate::config::raw::listener::MinimumTls as RawTls;
use crate::config::raw::{self, Map};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::check_name;
use crate::upstream::{EgressSpec, MinimumTls};

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
    let ca = raw.ca.as_deref().map(|path| context.path(path));
    if let Some(path) = &ca {
        context.files.insert(path.clone());
        if let Err(error) = std::fs::read(path) {
            let message = format!("the file {} cannot be read: {}", path.display(), error.kind());
            context.findings.error(place.key("ca"), message);
        }
    }
    Some(EgressSpec {
        name: name.to_owned(),
        source,
        ca,
        min_tls: match raw.min_tls {
            None | Some(RawTls::Tls12) => MinimumTls::Tls12,
            Some(RawTls::Tls13) => MinimumTls::Tls13,
        },
        ipv4_only,
        allow_private: raw.allow_private == Some(true),
    })
}
