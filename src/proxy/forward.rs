//! Connections for requests: an idle one of the worker, or a fresh one.

use std::rc::Rc;
use std::time::Duration;

use crate::proxy::error::{Code, ProxyError};
use crate::proxy::watch::{Phase, Watch};
use crate::route::Route;
use crate::route::metrics::Limit;
use crate::upstream::connect::{ConnectError, Offer};
use crate::upstream::pool::{OpenError, Pool, Ready, left};

/// Waits for room on a connection that others use, or opens one for this request. One that `upgrades` needs
/// HTTP/1.1.
pub async fn connect(
    route: &Route,
    pool: &Rc<Pool>,
    watch: &Watch,
    upgrades: bool,
) -> Result<Ready, ProxyError> {
    watch.enter(Phase::Busy, Duration::ZERO);
    let limit = route.limits.connect_timeout;
    if upgrades {
        return open(route, pool, watch, Offer::Http1, limit).await;
    }
    let began = watch.sweeper().read_clock();
    let waited = pool.wait(route.metrics.clone(), limit).await;
    let now = watch.sweeper().read_clock();
    match waited {
        Some(waited) => waited.map_err(|error| not_open(&error, route)),
        None => open(route, pool, watch, Offer::FORWARDING, left(limit, began, now)).await,
    }
}

/// Opens a connection for this request alone to begin with, though others may share it afterwards.
pub async fn connect_alone(route: &Route, pool: &Rc<Pool>, watch: &Watch) -> Result<Ready, ProxyError> {
    watch.enter(Phase::Busy, Duration::ZERO);
    open(route, pool, watch, Offer::FORWARDING, route.limits.connect_timeout).await
}

async fn open(
    route: &Route,
    pool: &Rc<Pool>,
    watch: &Watch,
    offer: Offer,
    limit: Duration,
) -> Result<Ready, ProxyError> {
    let opened = pool.open(route.metrics.clone(), offer, limit).await;
    watch.sweeper().read_clock();
    opened.map_err(|error| not_open(&error, route))
}

fn not_open(error: &OpenError, route: &Route) -> ProxyError {
    match error {
        OpenError::Connect(error) => unreachable(error, route),
        OpenError::Late => {
            route.metrics.limited(Limit::ConnectTimeout);
            let detail = "the upstream did not begin HTTP/2 in time";
            ProxyError::new(Code::UpstreamTimeout, detail).of_kind("connection_timeout")
        }
        OpenError::BrokeOff(_) => {
            let detail = "the upstream broke off before it answered";
            ProxyError::new(Code::UpstreamProtocol, detail).because(error)
        }
    }
}

fn unreachable(error: &ConnectError, route: &Route) -> ProxyError {
    let (code, kind, detail) = match error {
        ConnectError::Resolve { .. } => {
            (Code::UpstreamConnect, "dns_error", "the upstream's name does not resolve")
        }
        ConnectError::Forbidden { .. } | ConnectError::ForbiddenName { .. } => (
            Code::UpstreamConnect,
            "destination_ip_prohibited",
            "the upstream's name leads to an address that is forbidden",
        ),
        ConnectError::Unreachable { .. } => {
            (Code::UpstreamConnect, "connection_refused", "the upstream does not take connections")
        }
        ConnectError::Proxy { proxy, status, reason } => {
            let kind = if matches!(status, Some(401 | 407)) {
                "proxy_configuration_error"
            } else {
                "destination_unavailable"
            };
            let detail = format!("the outbound proxy {proxy} {reason}");
            return ProxyError::new(Code::UpstreamConnect, detail).of_kind(kind);
        }
        ConnectError::Exhausted(_) => {
            let detail = "this machine has no room for another connection now";
            let error = ProxyError::new(Code::Overloaded, detail).because(error);
            return error.retry_after(Duration::from_secs(1));
        }
        ConnectError::WrongAddress(wrong) => {
            return ProxyError::new(Code::WrongAddress, wrong.to_string())
                .retry_after(Duration::from_secs(60));
        }
        ConnectError::Tls { .. } => {
            (Code::UpstreamTls, "tls_protocol_error", "the upstream's certificate or TLS is not acceptable")
        }
        ConnectError::Timeout { .. } => {
            route.metrics.limited(Limit::ConnectTimeout);
            (Code::UpstreamTimeout, "connection_timeout", "the upstream did not take a connection in time")
        }
    };
    ProxyError::new(code, detail).of_kind(kind).because(error)
}
