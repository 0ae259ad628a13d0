//! Sending one request to the upstream.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::proxy::error::{Code, ProxyError};
use crate::proxy::sanitize::Outbound;
use crate::proxy::upload::{Progress, RequestBody, Upload};
use crate::proxy::watch::{Elapsed, Phase, Watch};
use crate::route::Route;
use crate::route::metrics::{Limit, RouteMetrics};
use crate::upstream::connect::{ConnectError, Offer};
use crate::upstream::pool::{Connection, Pool};

/// Idle connections of one route and worker.
pub type RoutePool = Pool<RequestBody>;

/// The connection that an answer comes by: back to the pool when the answer has ended, closed if it
/// is given up before.
pub struct Lease {
    connection: Option<Connection<RequestBody>>,
    pool: Rc<RoutePool>,
    watch: Rc<Watch>,
    upload: Option<Rc<Upload>>,
    is_trusted: bool,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Lease")
    }
}

impl Lease {
    /// The connection is closed when the answer has ended.
    pub fn distrust(&mut self) {
        self.is_trusted = false;
    }

    /// The answer has ended. If the request has not, the connection cannot be used again: what is
    /// left of the upload is stopped.
    pub fn finish(&mut self) {
        let is_sent = self.upload.as_ref().is_none_or(|upload| upload.progress() == Progress::Finished);
        if is_sent
            && self.is_trusted
            && let Some(connection) = self.connection.take()
        {
            self.pool.put(connection, self.watch.sweeper().now());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

/// One more connection to the upstream, until it is dropped.
struct Counted(Arc<RouteMetrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.upstream_connections.decrement();
    }
}

/// Sends a request and waits for the head of its answer. A request that hyper gives back was never
/// sent: it goes on a fresh connection.
pub async fn forward(
    route: &Arc<Route>,
    pool: &Rc<RoutePool>,
    watch: &Rc<Watch>,
    outbound: Outbound,
    body: RequestBody,
) -> Result<(Response<Incoming>, Lease), ProxyError> {
    let upload = match &body {
        RequestBody::Streaming(_, upload) => Some(upload.clone()),
        RequestBody::Empty | RequestBody::Held(_) => None,
    };
    let mut request = outbound.into_request(body);
    loop {
        let connection = match pool.take(watch.sweeper().now()) {
            Some(connection) => connection,
            None => Box::pin(connect(route, watch)).await?,
        };
        let reused = connection.reused;
        let mut lease = Lease {
            connection: Some(connection),
            pool: pool.clone(),
            watch: watch.clone(),
            upload: upload.clone(),
            is_trusted: true,
        };
        match send(route, watch, &mut lease, request).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(protocol("the upstream switched protocols without being asked"));
            }
            Ok(response) => return Ok((response, lease)),
            Err(Failure::NeverSent(given_back)) if reused => request = *given_back,
            Err(Failure::NeverSent(_)) => {
                let detail = "the upstream closed the connection before the request was sent";
                return Err(ProxyError::new(Code::UpstreamConnect, detail));
            }
            Err(Failure::Told(error)) => return Err(error),
        }
    }
}

enum Failure {
    /// Not a byte left: the request as it was.
    NeverSent(Box<Request<RequestBody>>),
    /// What to answer.
    Told(ProxyError),
}

async fn send(
    route: &Route,
    watch: &Watch,
    lease: &mut Lease,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, Failure> {
    let limits = &route.spec.limits;
    match &lease.upload {
        // The first poll of the body sets the limits that hold while it streams.
        Some(_) => watch.enter(Phase::Upload, limits.stall_timeout),
        None => watch.enter(Phase::Answer, limits.answer_timeout),
    }
    let Some(connection) = lease.connection.as_mut() else {
        return Err(Failure::NeverSent(Box::new(request)));
    };
    let sent = connection.sender().try_send_request(request);
    let progress = || lease.upload.as_ref().map(|upload| upload.progress());
    match watch.guard(sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut failed)) => Err(match failed.take_message() {
            Some(request) if progress() != Some(Progress::Finished) => Failure::NeverSent(Box::new(request)),
            _ => Failure::Told(broken(&failed.into_error(), progress(), route)),
        }),
        Err(Elapsed(phase)) => Err(Failure::Told(too_slow(phase, route))),
    }
}

/// Why a request that was sent, at least in part, has no answer.
fn broken(error: &hyper::Error, progress: Option<Progress>, route: &Route) -> ProxyError {
    match progress {
        Some(Progress::TooLarge) => {
            route.metrics.limited(Limit::MaxBody);
            ProxyError::new(Code::TooLarge, "the request body is longer than the route takes").and_close()
        }
        Some(Progress::Broken) => {
            ProxyError::new(Code::BadRequest, "the request body is malformed or ended early").and_close()
        }
        _ if error.is_parse() => protocol("the upstream's answer is not HTTP").because(error),
        _ => protocol("the upstream broke off before it answered").because(error),
    }
}

fn protocol(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::UpstreamProtocol, detail)
}

fn too_slow(phase: Phase, route: &Route) -> ProxyError {
    match phase {
        Phase::RequestBody => {
            ProxyError::new(Code::RequestTimeout, "the request body made no progress").and_close()
        }
        Phase::Upload => {
            route.metrics.limited(Limit::StallTimeout);
            ProxyError::new(Code::UpstreamTimeout, "the upstream took no more of the request body")
                .and_close()
        }
        _ => {
            route.metrics.limited(Limit::AnswerTimeout);
            ProxyError::new(Code::UpstreamTimeout, "the upstream did not answer in time")
        }
    }
}

async fn connect(route: &Arc<Route>, watch: &Watch) -> Result<Connection<RequestBody>, ProxyError> {
    watch.enter(Phase::Busy, std::time::Duration::ZERO);
    let (origin, limit) = (&route.spec.upstream.origin, route.spec.limits.connect_timeout);
    let opened = route.connector.connect(origin, Offer::FORWARDING, limit).await;
    watch.sweeper().read_clock();
    let stream = opened.map_err(|error| unreachable(&error, route))?.stream;
    route.metrics.upstream_connections.increment();
    let counted = Counted(route.metrics.clone());
    Connection::open(stream, counted)
        .await
        .map_err(|error| protocol("the upstream does not speak HTTP").because(error))
}

fn unreachable(error: &ConnectError, route: &Route) -> ProxyError {
    let (code, kind, detail) = match error {
        ConnectError::Resolve { .. } => {
            (Code::UpstreamConnect, "dns_error", "the upstream's name does not resolve")
        }
        ConnectError::Forbidden { .. } => (
            Code::UpstreamConnect,
            "destination_ip_prohibited",
            "the upstream's name leads to an address that is forbidden",
        ),
        ConnectError::Unreachable { .. } => {
            (Code::UpstreamConnect, "connection_refused", "the upstream does not take connections")
        }
        ConnectError::Proxy { proxy, status, reason } => {
            let kind =
                if *status == Some(407) { "proxy_configuration_error" } else { "destination_unavailable" };
            let detail = format!("the outbound proxy {proxy} {reason}");
            return ProxyError::new(Code::UpstreamConnect, detail).of_kind(kind);
        }
        ConnectError::Exhausted(_) => {
            let detail = "this machine has no room for another connection now";
            let error = ProxyError::new(Code::Overloaded, detail).because(error);
            return error.retry_after(std::time::Duration::from_secs(1));
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
