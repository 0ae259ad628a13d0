//! The life of a request.
//!
//! ```text
//! admit ─▶ match ─▶ policy ─▶ sanitize ─▶ inject ─▶ forward ─▶ refused? ── no ──▶ answer
//!   │        │        │                     ▲                     │ yes
//!   ▼        ▼        ▼                     └── once more, with ◀─┘
//!  400      404      403                        the next token
//! ```
//!
//! Each worker has one [`Proxy`]; nothing in it is shared with other workers but snapshots. A phase
//! takes what the phase before made, so that their order cannot be wrong.
//!
//! hyper moves the future of a request as a whole, so what is seldom awaited (a connection, a token, a
//! refusal) is boxed and keeps it small.

pub mod admit;
pub mod answer;
pub mod choose;
pub mod error;
pub mod forward;
pub mod pointer;
pub mod record;
pub mod refusal;
pub mod sanitize;
pub mod upload;
pub mod watch;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::credential::State;
use crate::credential::slot::{AfterRefusal, Current, Unavailable};
use crate::inject::Prepared;
use crate::proxy::admit::{Door, Found};
use crate::proxy::answer::AnswerBody;
use crate::proxy::choose::choose;
use crate::proxy::forward::{Lease, RoutePool, forward};
use crate::proxy::record::Record;
use crate::proxy::refusal::Peeked;
use crate::proxy::sanitize::{Outbound, Sanitized};
use crate::proxy::upload::{RequestBody, Upload, UploadLimits};
use crate::proxy::watch::{Sweeper, Watch};
use crate::route::metrics::Limit;
use crate::route::{Route, RouteTable};
use crate::telemetry::AccessLog;
use crate::upstream::pool::Pool;

pub use error::{Code, ProxyError};

/// What all workers of a process share.
#[derive(Debug)]
pub struct Shared {
    /// The routes; a reload stores another table.
    pub table: Arc<ArcSwap<RouteTable>>,
    /// Time and randomness.
    pub clock: Clock,
    /// Which requests are logged.
    pub access_log: ArcSwap<AccessLog>,
    /// This process's name in `Via`.
    pub pseudonym: String,
    /// This process's entry in `Via`.
    pub via: HeaderValue,
}

/// The request path of one worker.
pub struct Proxy {
    shared: Arc<Shared>,
    sweeper: Rc<Sweeper>,
    pools: RefCell<Pools>,
}

/// By the address of the route; a weak reference keeps the address from being used again.
type Pools = HashMap<*const Route, (Weak<Route>, Rc<RoutePool>)>;

/// What a request is answered with.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, once a request")]
enum Answer {
    /// By bearerd, without an error.
    Own(StatusCode),
    /// By the upstream.
    Upstream(Response<Incoming>, Peeked, Lease),
}

impl Shared {
    /// The shared half of a process's data plane, with a name of its own for `Via`.
    pub fn new(table: Arc<ArcSwap<RouteTable>>, clock: Clock, access_log: AccessLog) -> Self {
        let mut random = [0; 8];
        clock.fill_random(&mut random);
        let pseudonym = format!("{}{:016x}", admit::PSEUDONYM, u64::from_le_bytes(random));
        let via = HeaderValue::try_from(format!("1.1 {pseudonym}"))
            .unwrap_or(HeaderValue::from_static("1.1 bearerd"));
        Self { table, clock, access_log: ArcSwap::from_pointee(access_log), pseudonym, via }
    }
}

impl Proxy {
    /// The request path of a new worker.
    pub fn new(shared: Arc<Shared>, sweeper: Rc<Sweeper>) -> Self {
        Self { shared, sweeper, pools: RefCell::default() }
    }

    /// Answers one request; whatever goes wrong becomes an answer as well.
    pub async fn serve(
        &self,
        door: &Arc<Door>,
        watch: &Rc<Watch>,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let mut record = Record::begin(watch.clone(), door.clone());
        let (parts, body) = request.into_parts();
        record.log(**self.shared.access_log.load(), &parts.method, parts.uri.path());
        match self.answer(&mut record, parts, body).await {
            Ok(Answer::Own(status)) => {
                record.status = Some(status);
                let mut response = Response::new(AnswerBody::own(Bytes::new(), record));
                *response.status_mut() = status;
                response
            }
            Ok(Answer::Upstream(response, peeked, lease)) => {
                let (head, incoming) = response.into_parts();
                record.status = Some(head.status);
                let stall =
                    record.route.as_ref().map_or(Duration::ZERO, |route| route.spec.limits.stall_timeout);
                Response::from_parts(head, AnswerBody::upstream(peeked, incoming, lease, stall, record))
            }
            Err(error) => refuse(&error, record),
        }
    }

    async fn answer(&self, record: &mut Record, parts: Parts, body: Incoming) -> Result<Answer, ProxyError> {
        let (route, found) = {
            let table = self.shared.table.load();
            let Some(choice) = choose(&table, record.door(), &parts, &self.shared.pseudonym)? else {
                return Ok(Answer::Own(StatusCode::NO_CONTENT));
            };
            record.route = Some(choice.route.clone());
            choice.check_policy(&parts)?;
            (choice.route.clone(), choice.found)
        };
        self.check_limits(&route, &found)?;
        let called = Called::new(&parts);
        let sanitized = Sanitized::new(parts, &found, &route, &self.shared.via)?;
        let upload = upload(&route, &body, &found, record);
        let body = match &upload {
            None => RequestBody::Empty,
            Some(upload) => RequestBody::Streaming(body, upload.clone()),
        };
        let (mut response, peeked, mut lease) =
            self.exchange(&route, record.watch(), sanitized, body, upload.as_deref()).await?;
        let headers = response.headers_mut();
        let seen = answer::sanitize(headers, &route);
        if seen.two_framings {
            lease.distrust();
        }
        if seen.location {
            answer::rewrite_location(headers, &route, &called.authority(record.door()));
        }
        *response.version_mut() = http::Version::HTTP_11;
        Ok(Answer::Upstream(response, peeked, lease))
    }

    fn check_limits(&self, route: &Route, found: &Found) -> Result<(), ProxyError> {
        if let Some(bucket) = &route.bucket
            && let Err(pause) = bucket.take(self.shared.clock.boot())
        {
            route.metrics.limited(Limit::Rate);
            let detail = "the route's `rate` is used up";
            return Err(ProxyError::new(Code::RateLimited, detail).retry_after(pause));
        }
        let is_too_long = |length: u64| route.spec.limits.max_body.is_some_and(|longest| length > longest);
        if found.content_length.is_some_and(is_too_long) {
            route.metrics.limited(Limit::MaxBody);
            let detail = "the request body is longer than the route takes";
            return Err(ProxyError::new(Code::TooLarge, detail).and_close());
        }
        Ok(())
    }

    /// Sends the request with the current token and, if that is refused, once more with the next.
    async fn exchange(
        &self,
        route: &Arc<Route>,
        watch: &Rc<Watch>,
        sanitized: Sanitized,
        body: RequestBody,
        upload: Option<&Upload>,
    ) -> Result<(Response<Incoming>, Peeked, Lease), ProxyError> {
        let pool = self.pool(route);
        let is_held = upload.is_none_or(|upload| !upload.outgrew());
        let spare = (route.slot.is_renewable() && is_held).then(|| sanitized.clone());
        let (generation, outbound) = self.inject(route, sanitized).await?;
        let (mut response, lease) = forward(route, &pool, watch, outbound, body).await?;
        let (is_refused, peeked) = judge(route, watch, &mut response).await?;
        if !is_refused {
            if let Some(upload) = upload {
                upload.release();
            }
            return Ok((response, peeked, lease));
        }
        let again = match upload {
            None => Some(RequestBody::Empty),
            Some(upload) => upload.take_held().map(RequestBody::Held),
        };
        if let Some(upload) = upload.filter(|upload| upload.outgrew()) {
            upload.release();
            route.metrics.limited(Limit::ReplayBody);
        }
        let (Some(spare), Some(body)) = (spare, again) else {
            // It cannot be sent again, but the keeper should know.
            Box::pin(route.slot.refused(generation, &self.shared.clock, Duration::ZERO)).await;
            return Ok((response, peeked, lease));
        };
        watch.enter(watch::Phase::Busy, Duration::ZERO);
        match Box::pin(route.slot.refused(generation, &self.shared.clock, route.spec.wait)).await {
            AfterRefusal::Stands => Ok((response, peeked, lease)),
            AfterRefusal::Renewed(current) => {
                drop((response, peeked, lease));
                route.metrics.replays.increment();
                let outbound = put_on(route, spare, &current)?;
                let (response, lease) = Box::pin(forward(route, &pool, watch, outbound, body)).await?;
                Ok((response, Peeked::default(), lease))
            }
        }
    }

    /// Puts the current token on the request, or waits for one.
    async fn inject(&self, route: &Route, sanitized: Sanitized) -> Result<(u64, Outbound), ProxyError> {
        let clock = &self.shared.clock;
        if let Some(guard) = route.slot.current(clock.now())
            && let Some(current) = guard.as_ref()
        {
            return Ok((current.generation, put_on(route, sanitized, current)?));
        }
        let current =
            Box::pin(route.slot.wait(clock, route.spec.wait)).await.map_err(|why| unavailable(&why))?;
        Ok((current.generation, put_on(route, sanitized, &current)?))
    }

    fn pool(&self, route: &Arc<Route>) -> Rc<RoutePool> {
        let mut pools = self.pools.borrow_mut();
        let (_, pool) =
            pools.entry(Arc::as_ptr(route)).or_insert_with(|| (Arc::downgrade(route), Pool::new()));
        pool.clone()
    }

    /// Closes connections that have lain idle for too long, or whose route is gone.
    pub fn tidy(&self) {
        let now = self.sweeper.read_clock();
        self.pools.borrow_mut().retain(|_, (route, pool)| route.strong_count() > 0 && pool.tidy(now));
    }
}

fn put_on(route: &Route, sanitized: Sanitized, current: &Current<Prepared>) -> Result<Outbound, ProxyError> {
    let outbound = Outbound::new(sanitized, &current.value).map_err(|why| {
        ProxyError::new(Code::CredentialUnavailable, "the token cannot be put on this request").because(why)
    })?;
    route.metrics.injections.increment();
    Ok(outbound)
}

fn upload(route: &Route, body: &Incoming, found: &Found, record: &Record) -> Option<Rc<Upload>> {
    if body.is_end_stream() {
        return None;
    }
    let limits = &route.spec.limits;
    let limits = UploadLimits {
        max_body: limits.max_body,
        replay_body: if route.slot.is_renewable() { limits.replay_body } else { 0 },
        body_timeout: record.door().body_timeout,
        stall_timeout: limits.stall_timeout,
        answer_timeout: limits.answer_timeout,
    };
    let known = if found.chunked { None } else { found.content_length };
    Some(Upload::new(record.watch().clone(), limits, known))
}

/// The authority under which the app called.
struct Called {
    target: Option<Authority>,
    host: Option<HeaderValue>,
}

impl Called {
    fn new(parts: &Parts) -> Self {
        Self { target: parts.uri.authority().cloned(), host: parts.headers.get(header::HOST).cloned() }
    }

    /// As text, for the `Location` of an answer.
    fn authority(&self, door: &Door) -> String {
        let named = self.target.as_ref().map(Authority::as_str);
        let named = named.or_else(|| self.host.as_ref()?.to_str().ok());
        let own = || door.address.map_or_else(|| "localhost".to_owned(), |address| address.to_string());
        named.map_or_else(own, str::to_owned)
    }
}

async fn judge(
    route: &Route,
    watch: &Watch,
    response: &mut Response<Incoming>,
) -> Result<(bool, Peeked), ProxyError> {
    let refusal = &route.spec.refusal;
    if let Some(is_refused) = refusal::by_status(refusal, response.status().as_u16(), response.headers()) {
        return Ok((is_refused, Peeked::default()));
    }
    watch.enter(watch::Phase::Streaming, route.spec.limits.stall_timeout);
    Box::pin(refusal::by_body(refusal, response.body_mut(), watch)).await.map_err(|_| {
        route.metrics.limited(Limit::StallTimeout);
        ProxyError::new(Code::UpstreamTimeout, "the upstream's answer made no progress")
    })
}

fn unavailable(why: &Unavailable) -> ProxyError {
    let (code, detail) = match why.state {
        State::Rejected => (
            Code::CredentialRejected,
            "the issuer refused the credential's input; `bearerd status` says what to do",
        ),
        State::LoginRequired | State::Revoked => {
            (Code::LoginRequired, "a person must log in; `bearerd status` says where")
        }
        _ => (Code::CredentialUnavailable, "there is no usable token; it is being obtained"),
    };
    let error = ProxyError::new(code, detail);
    match why.retry_after {
        Some(pause) => error.retry_after(pause),
        None => error,
    }
}

/// The answer to a request that is refused.
pub fn refuse(error: &ProxyError, mut record: Record) -> Response<AnswerBody> {
    let route = record.route.clone();
    note_refusal(error, record.door(), route.as_deref());
    if error.code == Code::RequestTimeout {
        record.door().metrics.unrouted.limited(Limit::BodyTimeout);
    }
    let response = error.response(route.as_deref().map(|route| &route.spec));
    record.status = Some(response.status());
    response.map(|document| AnswerBody::own(document, record))
}

/// The line in the log and the number of a refused request.
pub fn note_refusal(error: &ProxyError, door: &Door, route: Option<&Route>) {
    let metrics = route.map_or(&door.metrics.unrouted, |route| &route.metrics);
    metrics.refused(error.code as usize);
    tracing::warn!(
        listener = door.listener,
        route = route.map_or("", |route| route.spec.name.as_str()),
        credential = route.map_or("", |route| route.spec.credential.as_str()),
        code = error.code.as_str(),
        status = error.code.status().as_u16(),
        detail = &*error.detail,
        cause = error.cause.as_deref().unwrap_or_default(),
        "request refused"
    );
}
