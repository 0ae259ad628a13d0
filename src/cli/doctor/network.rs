//! The ways out, certificates, and the clock beside those of issuers.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use http::header::DATE;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use crate::certificate::{Identity, KeySource};
use crate::cli::check::issuers;
use crate::cli::doctor::finding::Finding;
use crate::clock::Clock;
use crate::config::Config;
use crate::upstream::Url;
use crate::upstream::connect::Connector;
use crate::upstream::departure::{self, Departure, WrongAddress};
use crate::upstream::exchange::{Limits, Request, exchange};

/// Certificates that end within so many days are told.
const SOON: i64 = 14;

/// Tokens are taken to end so long before their end: a clock that is further off lets dead ones
/// through, or none.
const FURTHEST_OFF: Duration = Duration::from_secs(10);

/// How long an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be seen without connecting to anybody.
pub(super) fn look(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut certificate = |whose: String, chain: &Path, key: &KeySource| {
        findings.extend(judge(&whose, Identity::read(chain, key).map(|own| own.ends_at), clock.wall()));
    };
    for listener in &config.listeners {
        if let Some(tls) = &listener.tls {
            certificate(format!("the listener `{}`", listener.name), &tls.cert, &tls.key);
        }
    }
    for egress in &config.egress {
        if let Some(of) = &egress.certificate {
            certificate(format!("the egress `{}`", egress.name), &of.chain, &of.key);
        }
    }
    findings.extend(config.egress.iter().filter_map(|egress| source(egress.source?, &egress.name)));
    findings
}

/// An address that an egress connects from has to be this machine's.
fn source(address: IpAddr, egress: &str) -> Option<Finding> {
    let error = TcpListener::bind((address, 0)).err()?;
    let message = format!("the egress `{egress}` cannot connect from {address}: {error}");
    Some(Finding::fault(
        "egress",
        message,
        "give this machine that address, or name one of its own as `source`",
    ))
}

fn judge(whose: &str, end: Result<Timestamp, impl std::fmt::Display>, now: Timestamp) -> Option<Finding> {
    let fault = |message, advice| Some(Finding::fault("certificate", message, advice));
    match end {
        Err(error) => fault(format!("that of {whose} cannot be used: {error}"), "put one there that can"),
        Ok(end) if end <= now => fault(
            format!("that of {whose} ended on {end:.0}"),
            "put a new one in place: no restart is needed",
        ),
        Ok(end) if end.duration_since(now).as_hours() < SOON * 24 => {
            let message = format!("that of {whose} ends on {end:.0}, within {SOON} days");
            Some(Finding::advice("certificate", message, "renew it, or see why its renewal has not come"))
        }
        Ok(_) => None,
    }
}

/// Asks each issuer for its time by way of the egress of its credential. What it answers does not matter.
pub(super) async fn clocks(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (egress, origin) in issuers(config) {
        let unreachable = |reason: String| {
            let message = format!("{origin} cannot be reached: {reason}");
            Finding::fault(
                "issuer",
                message,
                "see to the network, its firewall or the `egress` of the credential",
            )
        };
        let (Ok(url), connector) = (origin.to_string().parse::<Url>(), Connector::new(&egress)) else {
            continue;
        };
        let connector = match connector {
            Ok(connector) => connector,
            Err(error) => {
                findings.push(unreachable(error.0));
                continue;
            }
        };
        let limits = Limits { connect: PATIENCE, whole: PATIENCE, body: 1 << 20 };
        let request = Request { method: Method::GET, headers: HeaderMap::new(), body: None };
        match exchange(&connector, &url, request, limits).await {
            Err(error) => findings.push(unreachable(error.to_string())),
            Ok(answer) => {
                let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
                let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
                let date = date.and_then(|date| Timestamp::try_from(date).ok());
                findings.extend(date.and_then(|theirs| off(&origin.to_string(), theirs, clock.wall())));
            }
        }
    }
    findings
}

/// Asks the echo of each egress that expects an address which one the world sees.
pub(super) async fn addresses(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for egress in &config.egress {
        let Some(expect) = &egress.expect else { continue };
        let name = &egress.name;
        match departure::look(egress, expect).await {
            Ok(Departure::Other(actual)) => {
                let wrong = WrongAddress { expected: expect.addresses.clone(), actual };
                findings.push(Finding::fault(
                    "address",
                    format!("the egress `{name}`: {wrong}"),
                    "see to its `source` and to the network's way out, or to the address that the other side knows",
                ));
            }
            Ok(_) => {}
            Err(reason) => findings.push(Finding::advice(
                "address",
                format!("which address the world sees of the egress `{name}` is not known: {reason}"),
                "see to the service at the `url` of its `expect_address`",
            )),
        }
    }
    findings
}

fn off(issuer: &str, theirs: Timestamp, ours: Timestamp) -> Option<Finding> {
    let difference = theirs.duration_since(ours);
    (difference.unsigned_abs() > FURTHEST_OFF).then(|| {
        let way = if difference.is_negative() { "ahead of" } else { "behind" };
        let message = format!(
            "this machine's clock is {} s {way} that of {issuer}",
            difference.unsigned_abs().as_secs()
        );
        Finding::fault("clock", message, "let NTP set it: tokens would be used after their end, or never")
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{judge, off, source};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_clock_that_is_further_off_than_the_skew_is_found() {
        let ours = at("2026-01-01T00:00:00Z");
        assert_eq!(off("https://a", at("2026-01-01T00:00:09Z"), ours), None);
        let found = off("https://a", at("2026-01-01T00:01:00Z"), ours).expect("a finding");
        assert_eq!(found.message, "this machine's clock is 60 s behind that of https://a");
        let found = off("https://a", at("2025-12-31T23:00:00Z"), ours).expect("a finding");
        assert!(found.message.contains("3600 s ahead of"), "{found:?}");
    }

    #[test]
    fn certificates_that_have_ended_or_soon_will_are_found() {
        let now = at("2026-01-01T00:00:00Z");
        let judge = |end: Result<&str, &str>| judge("it", end.map(at), now).map(|finding| finding.message);
        assert_eq!(judge(Ok("2026-02-01T00:00:00Z")), None);
        assert!(judge(Ok("2026-01-10T00:00:00Z")).is_some_and(|message| message.contains("within 14 days")));
        assert!(judge(Ok("2025-12-31T00:00:00Z")).is_some_and(|message| message.contains("ended on")));
        assert!(judge(Err("no")).is_some_and(|message| message.contains("cannot be used: no")));
    }

    #[test]
    fn an_address_that_is_not_this_machines_is_found() {
        assert_eq!(source("127.0.0.1".parse().expect("an address"), "a"), None);
        let found = source("192.0.2.1".parse().expect("an address"), "office").expect("a finding");
        assert!(found.message.contains("`office` cannot connect from 192.0.2.1"), "{found:?}");
    }
}
