//! The soak: a bearerd at load for as long as `SOAK_SECONDS` says (60 by itself, 600 by `make soak`),
//! while its configuration, its certificates and its tokens change every second.
//!
//! ```text
//! apps ──▶ bearerd ──▶ upstreams        every request has a number, and every byte of it and of its
//!             └──────▶ issuers          answer follows from that: what is crossed, cut or stale shows
//! ```
//!
//! Zero requests may fail, be crossed, changed or repeated, or carry a token that is another route's
//! or has ended; memory and descriptors stay flat. Each of these assertions is seen to fail: there is
//! a test with a planted fault for each.
//!
//! `SOAK_WORKERS` sets the data-plane threads (2).

#![expect(unreachable_pub, reason = "nothing is outside a test binary")]

/// The support of the other test binary: the built bearerd.
#[path = "../it"]
#[expect(dead_code, unused_imports, reason = "shared with the other test binary, which uses the rest")]
mod it {
    pub mod support;
}

use it::support;

mod app;
mod certificate;
mod configuration;
mod fault;
mod gauge;
mod http2;
mod issuer;
mod ledger;
mod origin;
mod plan;
mod random;
mod run;
mod wire;

use std::io::Write;
use std::time::Duration;

use fault::Fault;
use ledger::Kind;
use run::{Run, run};

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_fails_or_is_crossed_or_grows_at_load_while_everything_changes() {
    let seconds = Duration::from_secs(variable("SOAK_SECONDS", 60));
    let report = run(&Run { length: seconds, tick: Duration::from_secs(1), fault: None });
    writeln!(std::io::stderr(), "{}", report.figures).expect("standard error");
    assert_eq!(report.ledger.findings(), "", "{}{}", report.figures, report.complaints);
}

/// A few seconds with a planted fault: what it should be found as.
#[track_caller]
fn finds(fault: Fault, kinds: &[Kind]) {
    let report =
        run(&Run { length: Duration::from_secs(6), tick: Duration::from_millis(500), fault: Some(fault) });
    for kind in kinds {
        let findings = report.ledger.findings();
        assert!(report.ledger.count(*kind) > 0, "{fault:?} is not found as {kind:?}: {findings}");
    }
}

#[test]
fn an_answer_of_another_request_is_found() {
    finds(Fault::SwappedAnswers, &[Kind::Crossed]);
}

#[test]
fn a_changed_byte_is_found() {
    finds(Fault::ChangedByte, &[Kind::Altered]);
}

#[test]
fn an_answer_that_is_cut_is_found() {
    finds(Fault::CutAnswers, &[Kind::Failed]);
}

#[test]
fn a_request_that_comes_twice_is_found() {
    finds(Fault::RepeatedRequests, &[Kind::Repeated]);
}

#[test]
fn a_token_of_another_credential_is_found() {
    finds(Fault::ForeignTokens, &[Kind::ForeignToken]);
}

#[test]
fn a_token_that_has_ended_is_found() {
    finds(Fault::ShortLivedTokens, &[Kind::DeadToken]);
}

#[test]
fn a_route_that_a_reload_loses_is_found() {
    finds(Fault::LostRoute, &[Kind::Failed]);
}

#[test]
fn a_reload_that_is_refused_is_found() {
    finds(Fault::BadReload, &[Kind::Reload]);
}

#[test]
fn memory_and_descriptors_that_grow_are_found() {
    finds(Fault::HoardedConnections, &[Kind::Memory, Kind::Descriptors]);
}

#[test]
fn a_token_that_an_app_is_shown_is_found() {
    finds(Fault::ShownTokens, &[Kind::Leak]);
}
