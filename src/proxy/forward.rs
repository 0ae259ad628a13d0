//! Connections for requests: an idle one of the worker, or a fresh one.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::proxy::error::{Code, ProxyError};
use crate::proxy::watch::{Phase, Watch};
use crate::route::Route;
use crate::route::metrics::Limit;
use crate::upstream::Destination;
use crate::upstream::connect::{ConnectError, Offer, Protocol};
use crate::upstream::http1::Http1Link;
use crate::upstream::http2::{Http2Connection, NotBegun};
use crate::upstream::pool::{Counted, Pool, Ready};

/// Opens a connection to the upstream of a route, or waits for one that another request opens and that
/// can be shared. A request that `upgrades` needs HTTP/1.1.
pub async fn connect(route: &Route, pool: &Pool, watch: &Watch, upgrades: bool) -> Result<Ready, ProxyError> {
    watch.enter(Phase::Busy, Duration::ZERO);
    let limit = route.limits.connect_timeout;
    if upgrades {
        return open(route, pool, watch, Offer::Http1, limit).await;
    }
    // Whoever opens it may have more time than this request.
    let began = watch.sweeper().read_clock();
    let opening = within(limit, pool.opening()).await.map_err(|_| {
        let (origin, stage) = (route.spec.upstream.origin.clone(), "another request's connection");
        unreachable(&ConnectError::Timeout { origin, limit, stage }, route)
    })?;
    let now = watch.sweeper().read_clock();
    if opening.is_none()
        && let Some(shared) = pool.shared(now, route.destination.connector.identity())
    {
        return Ok(Ready::Http2(shared));
    }
    open(route, pool, watch, Offer::FORWARDING, left(limit, began, now)).await
}

/// Opens a connection for this request alone to begin with, though others may share it afterwards.
pub async fn connect_alone(route: &Route, pool: &Pool, watch: &Watch) -> Result<Ready, ProxyError> {
    watch.enter(Phase::Busy, Duration::ZERO);
    open(route, pool, watch, Offer::FORWARDING, route.limits.connect_timeout).await
}

/// What is left of a limit since it `began`; zero is no limit, which is not the same as no time left.
fn left(limit: Duration, began: Instant, now: Instant) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(1);
    let left = limit.saturating_sub(now.saturating_duration_since(began)).max(SHORTEST);
    if limit.is_zero() { limit } else { left }
}

/// Waits for `work` up to `limit`; zero is no limit.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    if limit.is_zero() { Ok(work.await) } else { timeout(limit, work).await }
}

async fn open(
    route: &Route,
    pool: &Pool,
    watch: &Watch,
    offer: Offer,
    limit: Duration,
) -> Result<Ready, ProxyError> {
    let Destination { origin, connector, .. } = &*route.destination;
    let began = watch.sweeper().read_clock();
    let opened = connector.connect(origin, offer, limit).await;
    let now = watch.sweeper().read_clock();
    let opened = opened.map_err(|error| unreachable(&error, route))?;
    let counted = Counted::new(&route.metrics);
    if offer == Offer::FORWARDING {
        pool.note(opened.protocol);
    }
    if opened.protocol == Protocol::Http1 {
        return Ok(Ready::Http1(Box::new(Http1Link::new(opened.stream, opened.identity, counted))));
    }
    let beginning = Http2Connection::begin(opened, counted, route.limits.pool.arrivals);
    let spoken = within(left(limit, began, now), beginning).await.map_err(|_elapsed| {
        route.metrics.limited(Limit::ConnectTimeout);
        let detail = "the upstream did not begin HTTP/2 in time";
        ProxyError::new(Code::UpstreamTimeout, detail).of_kind("connection_timeout")
    })?;
    let connection = spoken.map_err(|why| match why {
        NotBegun::Tls(reason) => unreachable(&ConnectError::Tls { origin: origin.clone(), reason }, route),
        NotBegun::BrokeOff(error) => {
            let detail = "the upstream broke off before it answered";
            ProxyError::new(Code::UpstreamProtocol, detail).because(error)
        }
    })?;
    pool.share(connection.clone());
    Ok(Ready::Http2(connection))
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
