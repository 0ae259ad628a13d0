//! Routes for tests, without anything behind them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::credential::shared::Shared;
use crate::credential::slot::Slot;
use crate::credential::status::Status;
use crate::credential::{CredentialName, Owner};
use crate::guard::Mode;
use crate::route::{Refusal, RouteLimits, RouteSpec, RouteTable, Terms, Tokens, Wiring};
use crate::upstream::EgressSpec;
use crate::upstream::connect::Connector;

/// The route `/r` of the listener `app` to an upstream, which injects nothing and looks at no answer.
pub(crate) fn spec(upstream: &str) -> RouteSpec {
    RouteSpec {
        name: "r".into(),
        host: None,
        path: "/r".into(),
        upstream: upstream.parse().expect("a URL"),
        credential: CredentialName::from("c"),
        subject: None,
        terms: terms().into(),
    }
}

/// The same with other terms.
pub(crate) fn spec_with(upstream: &str, terms: Terms) -> RouteSpec {
    RouteSpec { terms: terms.into(), ..spec(upstream) }
}

/// The terms of a route that injects nothing and looks at no answer.
pub(crate) fn terms() -> Terms {
    Terms {
        listener: "app".into(),
        injection: Arc::default(),
        refusal: Arc::new(Refusal::default()),
        verification: None,
        callers: [].into(),
        allow: [].into(),
        denied: [].into(),
        wait: Duration::ZERO,
        egress: String::new(),
        encoded_slash: false,
        rate: None,
        guard: Mode::Off,
        allows_token_answers: false,
        limits: Arc::new(RouteLimits::default()),
        remove: Arc::default(),
    }
}

/// A table of routes whose credential has no token.
pub(crate) fn table(specs: impl IntoIterator<Item = RouteSpec>) -> RouteTable {
    let specs: Vec<_> = specs.into_iter().map(Arc::new).collect();
    let mut wire = |_: &Arc<RouteSpec>| {
        let (pokes, _) = mpsc::unbounded_channel();
        let status = Status::unknown(Owner::from("c"), "static");
        let slot = Slot::new(Arc::new(Shared::new(true, status, pokes)), Arc::new(|_| Err(String::new())));
        Wiring {
            tokens: Tokens::Own(Arc::new(slot)),
            connector: Connector::new(&EgressSpec::default()).expect("a connector"),
            awaits_issuer: false,
        }
    };
    RouteTable::build(&specs, &mut wire, None)
}
