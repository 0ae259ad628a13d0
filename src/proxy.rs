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
//! takes what the phase before made, so that their order cannot be wrong. What protocol the app speaks
//! is the server's business: here a request is a head and a [`Caller`], who sends its body.

pub mod admit;
pub mod answer;
mod callers;
pub mod challenge;
pub mod choose;
mod content;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod guarded;
mod hold;
mod incoming;
pub mod lent;
pub mod logins;
pub mod pointer;
mod pools;
pub mod record;
mod refusal;
mod request;
pub mod sanitize;
pub mod subject;
pub mod upload;
mod verified;
pub mod watch;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Response, StatusCode};

use crate::buffer::Held;
use crate::caller::Peer;
use crate::clock::Clock;
use crate::control::Control;
use crate::credential::slot::{AfterRefusal, Current, Slot, Unavailable};
use crate::guard::Mode;
use crate::http1::{AnswerHead, Framing, RequestHead};
use crate::inject::Prepared;
use crate::memory::ahead;
use crate::proxy::admit::{Door, Found};
use crate::proxy::choose::{Chosen, choose};
use crate::proxy::exchange::Awaited;
use crate::proxy::lent::Lent;
use crate::proxy::pools::Pools;
use crate::proxy::record::Record;
use crate::proxy::request::Request;
use crate::proxy::sanitize::Sanitized;
use crate::proxy::subject::Claim;
use crate::proxy::upload::Caller;
use crate::proxy::watch::{Phase, Sweeper, Watch};
use crate::route::metrics::Limit;
use crate::route::{Route, RouteTable, Tokens};
use crate::telemetry::AccessLog;
use crate::upstream::pool::{Bites, Pool, Ready};

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
    pub via: String,
    /// The logins of people, if there are any.
    pub control: Option<Control>,
    /// How often the limits of pools bit.
    pub pool_bites: Arc<Bites>,
}

/// The request path of one worker.
pub struct Proxy {
    shared: Arc<Shared>,
    sweeper: Rc<Sweeper>,
    pools: RefCell<Pools>,
}

/// How often a request is sent that upstreams refuse unseen, or say goodbye to (RFC 9113, sections 6.8 and
/// 8.7): many requests that lose a connection at once may meet on another that ends, too.
const MOST_TRIES: usize = 4;

/// By which connection a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// One that is there, or that several wait for.
    Any,
    /// One that is opened for it. It is the first on it: an upstream that takes any, and ends its connections
    /// after a few, takes this one.
    Own,
}

/// What a request is answered with.
pub enum Answer {
    /// By bearerd, and not with an error of its own.
    Own(Response<Bytes>),
    /// By the upstream; the head is where the caller wanted it.
    Upstream(Lent),
    /// By nobody: the app does not wait any more.
    Gone,
}

/// A request, as far as it has come.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// It is known that no body follows, though the head does not say so (HTTP/2).
    pub is_over: bool,
    /// Who is at the other end of its connection, if any rule asks.
    pub peer: Option<&'a Peer>,
}

impl Shared {
    /// The shared half of a process's data plane, with a name of its own for `Via`.
    pub fn new(
        table: Arc<ArcSwap<RouteTable>>,
        clock: Clock,
        access_log: AccessLog,
        control: Option<Control>,
    ) -> Self {
        let mut random = [0; 8];
        clock.fill_random(&mut random);
        let pseudonym = format!("{}{:016x}", admit::PSEUDONYM, u64::from_le_bytes(random));
        let via = format!("1.1 {pseudonym}");
        let access_log = ArcSwap::from_pointee(access_log);
        Self { table, clock, access_log, pseudonym, via, control, pool_bites: Arc::default() }
    }
}

impl Proxy {
    /// The request path of a new worker.
    pub fn new(shared: Arc<Shared>, sweeper: Rc<Sweeper>) -> Self {
        Self { shared, sweeper, pools: RefCell::default() }
    }

    /// Begins to note a request.
    pub fn record(&self, watch: &Rc<Watch>, door: &Arc<Door>, head: &RequestHead) -> Record {
        let mut record = Record::begin(watch.clone(), door.clone());
        record.log(**self.shared.access_log.load(), head);
        record
    }

    /// Brings one request to its answer, whose head is left in `answer`, fit for the app.
    pub async fn serve<S: Caller>(
        &self,
        record: &mut Record,
        asking: Asking<'_>,
        caller: &mut S,
        answer: &mut AnswerHead,
    ) -> Result<Answer, ProxyError> {
        let (head, clock) = (asking.head, &self.shared.clock);
        if !record.door().accounts.is_empty() {
            Box::pin(callers::recognise(record.door(), asking, clock)).await;
        }
        let (route, found, claim, seen) = {
            let table = self.shared.table.load();
            let door = record.door();
            let routes = table.listener(&door.listener);
            // Of one in thousands of routes the processor's caches have nothing: each `bring` asks for what a step
            // further on reads.
            let likely = routes.and_then(|routes| routes.bring_likely(head.target()));
            let found = admit::admit(door, head, &self.shared.pseudonym, routes)?;
            if let Some(route) = likely {
                route.bring();
            }
            callers::check_listener(door, asking, clock)?;
            let choice = match choose(routes, door, found)? {
                Chosen::Route(choice) => choice,
                Chosen::Control(found) => {
                    return Box::pin(logins::answer(&self.shared, record, asking, &found, caller))
                        .await
                        .map(Answer::Own);
                }
                Chosen::Nobody => return Ok(Answer::Own(nothing_to_say())),
            };
            record.route = Some(choice.route.clone());
            let claim = choice.claim(head)?;
            if choice.route.picks_callers {
                let rules = &choice.route.spec.callers;
                callers::check_route(rules, claim.subject.as_deref(), record.door(), asking, clock)?;
            }
            (choice.route.clone(), choice.found, claim, Arc::as_ptr(&table))
        };
        let framing = asking.framing(&found);
        let has_body = framing != Framing::NONE;
        if route.awaits_issuer
            && let Some(left) = hold::left(record.held, &route, &head.method, &found, has_body)?
        {
            return if self.hold(record, (seen, left), (caller, has_body)).await {
                Box::pin(self.serve(record, asking, caller, answer)).await
            } else {
                Ok(Answer::Gone)
            };
        }
        self.check_limits(&route, &found)?;
        let of_subject;
        let slot = match &route.tokens {
            Tokens::Own(slot) => slot,
            Tokens::Subjects(_) => {
                of_subject = self.slot_of_subject(&route, &claim)?;
                &of_subject
            }
        };
        slot.bring_current();
        let mut request = Request {
            sanitized: Sanitized::new(head, &found, &route, &claim.rest, &self.shared.via),
            route: &route,
            slot,
            claim: &claim,
            framing,
            content: None,
            held: record.held,
            watch: record.watch(),
            body_timeout: record.door().body_timeout,
        };
        if route.holds_content {
            request.content = Some(Box::pin(self.content(&request, head, caller)).await?);
        }
        let Some(mut exchange) = self.exchange(&request, caller, answer).await? else {
            return Ok(Answer::Gone);
        };
        answer::check_switch(head, answer)?;
        answer::sanitize(answer, &route, &claim, found.authority, record.door());
        exchange.begin_answer();
        if let Some(verifier) = exchange.verifier.take() {
            verified::begin(&mut exchange, answer, &verifier)?;
        }
        if route.guard != Mode::Off {
            let waits = guarded::begin(&mut exchange, answer, slot)?;
            if !guarded::first_piece(&mut exchange, caller, waits).await? {
                return Ok(Answer::Gone);
            }
        }
        exchange.commit();
        Ok(Answer::Upstream(exchange))
    }

    /// Where the token of the subject is found for which a request asks.
    fn slot_of_subject(&self, route: &Route, claim: &Claim<'_>) -> Result<Arc<Slot<Prepared>>, ProxyError> {
        let (Tokens::Subjects(roster), Some(subject)) = (&route.tokens, &claim.subject) else {
            return Err(ProxyError::new(Code::SubjectMissing, "the route asks for whom the request is"));
        };
        // The credential has left the configuration while the request was on its way.
        let gone = || ProxyError::new(Code::CredentialUnavailable, "the credential is kept no longer");
        roster.slot(subject, self.shared.clock.now()).ok_or_else(gone)
    }

    fn check_limits(&self, route: &Route, found: &Found<'_>) -> Result<(), ProxyError> {
        if let Some(bucket) = &route.bucket
            && let Err(pause) = bucket.take(self.shared.clock.boot())
        {
            route.metrics.limited(Limit::Rate);
            let detail = "the route's `rate` is used up";
            return Err(ProxyError::new(Code::RateLimited, detail).retry_after(pause));
        }
        let is_too_long = |length: u64| route.limits.max_body.is_some_and(|longest| length > longest);
        if found.content_length.is_some_and(is_too_long) {
            return Err(upload::too_long(route));
        }
        Ok(())
    }

    /// Sends the request with the current token and, if that is refused, once more with the next.
    async fn exchange<S: Caller>(
        &self,
        request: &Request<'_>,
        caller: &mut S,
        answer: &mut AnswerHead,
    ) -> Result<Option<Lent>, ProxyError> {
        // An app that has sent all may go away while it waits; what it asked for is not sent then.
        let has_body = request.framing != Framing::NONE && request.content.is_none();
        let Some(sent) = while_awaited(caller, has_body, self.send(request)).await else {
            return Ok(None);
        };
        let (mut generation, mut exchange) = sent?;
        let places = request.slot.places();
        let mut awaited = ahead::bring_before(&places, exchange.answer_head(caller, answer)).await?;
        request.slot.bring_patterns();
        for tries in 1..MOST_TRIES {
            if awaited != Awaited::Unprocessed {
                break;
            }
            let sent = exchange.upload.take_sent().ok_or_else(exchange::unprocessed)?;
            drop(exchange);
            let by = if tries + 1 == MOST_TRIES { By::Own } else { By::Any };
            (generation, exchange, awaited) =
                Box::pin(self.again(request, None, by, &sent, caller, answer)).await?;
        }
        match awaited {
            Awaited::Answer => {}
            Awaited::Gone => return Ok(None),
            Awaited::Unprocessed => return Err(exchange::unprocessed()),
        }
        let mut wants_nonce = challenge::learn(request.route, answer);
        if wants_nonce {
            let again = Box::pin(self.after_challenge(request, (generation, exchange), caller, answer));
            let Some(again) = again.await? else { return Ok(None) };
            (generation, exchange) = again;
            wants_nonce = challenge::learn(request.route, answer);
        }
        if wants_nonce
            || !refusal::judge(&mut refusal::Answered { exchange: &mut exchange, caller }, answer).await?
        {
            exchange.upload.release();
            return Ok(Some(exchange));
        }
        Box::pin(self.after_refusal(request, generation, exchange, caller, answer)).await
    }

    /// Sends the request once more with the nonce that the upstream wants to see, if it was held. The
    /// token is not in question.
    async fn after_challenge<S: Caller>(
        &self,
        request: &Request<'_>,
        (generation, mut exchange): (u64, Lent),
        caller: &mut S,
        answer: &mut AnswerHead,
    ) -> Result<Option<(u64, Lent)>, ProxyError> {
        let Some(sent) = exchange.upload.take_sent() else { return Ok(Some((generation, exchange))) };
        drop(exchange);
        let (generation, exchange, awaited) =
            self.again(request, None, By::Any, &sent, caller, answer).await?;
        match awaited {
            Awaited::Answer => Ok(Some((generation, exchange))),
            Awaited::Gone => Ok(None),
            Awaited::Unprocessed => Err(exchange::unprocessed()),
        }
    }

    /// Waits for the next token and sends the request once more, if what was sent of it was held. Many upstreams
    /// refuse by the head alone: what the app has not sent by then follows in the second try.
    async fn after_refusal<S: Caller>(
        &self,
        request: &Request<'_>,
        generation: u64,
        mut exchange: Lent,
        caller: &mut S,
        answer: &mut AnswerHead,
    ) -> Result<Option<Lent>, ProxyError> {
        let (route, clock) = (request.route, &self.shared.clock);
        if route.refusal.proof.is_some() {
            let (method, path) = (request.sanitized.method(), request.sanitized.path());
            let mut answered = refusal::Answered { exchange: &mut exchange, caller };
            if !refusal::may_repeat(&mut answered, answer, method, &path).await? {
                request.slot.refused(generation, clock, Duration::ZERO).await;
                return Ok(Some(exchange));
            }
        }
        let outgrew = exchange.upload.outgrew();
        let Some(mut sent) = exchange.upload.take_sent() else {
            if outgrew {
                route.metrics.limited(Limit::ReplayBody);
            }
            // It cannot be sent again, but the keeper should know.
            request.slot.refused(generation, clock, Duration::ZERO).await;
            return Ok(Some(exchange));
        };
        request.watch.enter(Phase::Busy, Duration::ZERO);
        let renewal = request.slot.refused(generation, clock, route.spec.wait);
        let Some(renewed) = while_awaited(caller, !exchange.is_sent(), renewal).await else {
            return Ok(None);
        };
        let current = match renewed {
            AfterRefusal::Stands => return Ok(Some(exchange)),
            AfterRefusal::Renewed(current) => current,
        };
        drop(exchange);
        route.metrics.replays.increment();
        for turn in 0..2 {
            let (current, by) = (Some(current.clone()), if turn == 0 { By::Any } else { By::Own });
            let (_, mut exchange, awaited) = self.again(request, current, by, &sent, caller, answer).await?;
            let is_answered = awaited == Awaited::Answer;
            match awaited {
                // Only another nonce is wanted: the new token is not refused.
                Awaited::Answer if challenge::learn(route, answer) && turn == 0 => {}
                Awaited::Answer => {
                    exchange.upload.release();
                    return Ok(Some(exchange));
                }
                Awaited::Gone => return Ok(None),
                Awaited::Unprocessed => {}
            }
            match exchange.upload.take_sent() {
                Some(more) => sent = more,
                None if is_answered => return Ok(Some(exchange)),
                None => break,
            }
        }
        Err(exchange::unprocessed())
    }

    /// Sends the request another time, with the token that is given or the current one, and waits for
    /// the head of the answer. `sent` is what was sent of its body before.
    async fn again<S: Caller>(
        &self,
        request: &Request<'_>,
        given: Option<Arc<Current<Prepared>>>,
        by: By,
        sent: &Held,
        caller: &mut S,
        answer: &mut AnswerHead,
    ) -> Result<(u64, Lent, Awaited), ProxyError> {
        let pool = self.pool(request.route);
        let (generation, mut exchange) = self.send_fresh(request, pool, given, by).await?;
        exchange.upload.send_again(sent);
        let awaited = exchange.answer_head(caller, answer).await?;
        Ok((generation, exchange, awaited))
    }

    /// Writes the head, with the current token, for a connection that is there, or a fresh one.
    async fn send(&self, request: &Request<'_>) -> Result<(u64, Lent), ProxyError> {
        let route = request.route;
        let pool = self.pool(route);
        if let Some(current) = request.slot.current(self.shared.clock.now())
            && let Some(current) = current.as_ref()
        {
            ahead::bring_slice(&current.value.lines);
            if let Some(ready) = self.ready(request, &pool) {
                return Ok((current.generation, request.begin(current, ready, pool)?));
            }
        }
        Box::pin(self.send_fresh(request, pool, None, By::Any)).await
    }

    /// The same, where a token or a connection has to be waited for.
    async fn send_fresh(
        &self,
        request: &Request<'_>,
        pool: Rc<Pool>,
        given: Option<Arc<Current<Prepared>>>,
        by: By,
    ) -> Result<(u64, Lent), ProxyError> {
        let route = request.route;
        if given.is_none() {
            self.token(request).await?;
        }
        let there = if by == By::Own { None } else { self.ready(request, &pool) };
        let ready = match there {
            Some(ready) => ready,
            None if by == By::Own => forward::connect_alone(route, &pool, request.watch).await?,
            None => {
                let upgrades = request.sanitized.upgrades();
                forward::connect(route, &pool, request.watch, upgrades).await?
            }
        };
        // Connecting may have taken longer than the token had left.
        let current = match given {
            Some(current) => current,
            None => self.token(request).await?,
        };
        Ok((current.generation, request.begin(&current, ready, pool)?))
    }

    /// A connection that is there.
    fn ready(&self, request: &Request<'_>, pool: &Pool) -> Option<Ready> {
        let now = self.sweeper.now();
        if request.sanitized.upgrades() { pool.idle(now).map(Ready::Http1) } else { pool.take(now) }
    }

    /// The current token, waited for if there is none.
    async fn token(&self, request: &Request<'_>) -> Result<Arc<Current<Prepared>>, ProxyError> {
        let clock = &self.shared.clock;
        let slot = request.slot;
        if let Some(current) = slot.current(clock.now())
            && let Some(current) = current.as_ref()
        {
            return Ok(current.clone());
        }
        let unavailable =
            |why: Unavailable| ProxyError::unavailable(&why).of_subject(request.claim.subject.as_deref());
        let wait = request.route.spec.wait.saturating_sub(request.held);
        slot.wait(clock, wait).await.map_err(unavailable)
    }

    fn pool(&self, route: &Route) -> Rc<Pool> {
        let (mut pools, destination) = (self.pools.borrow_mut(), &route.destination);
        let new = || {
            let pool = Pool::new(destination, self.shared.pool_bites.clone());
            (Arc::downgrade(destination), Rc::new(pool))
        };
        pools.entry(Arc::as_ptr(destination).addr()).or_insert_with(new).1.clone()
    }

    /// The answer to a request that is refused; notes it.
    pub fn refuse(&self, error: &ProxyError, record: &mut Record) -> Response<Bytes> {
        let route = record.route.as_deref();
        note_refusal(error, record.door(), route);
        if error.code == Code::RequestTimeout {
            record.door().metrics.unrouted.limited(Limit::BodyTimeout);
        }
        let login = logins::invitation(error, self.shared.control.as_ref(), record.door(), route);
        error.response(route.map(|route| &*route.spec), login.as_ref())
    }

    /// Closes connections that have lain idle for too long, or lead where no route leads any more.
    pub fn tidy(&self) {
        let now = self.sweeper.read_clock();
        self.pools.borrow_mut().retain(|_, (destination, pool)| {
            if destination.strong_count() == 0 {
                return false;
            }
            let has_connections = pool.tidy(now);
            // A request that holds the pool brings its connection back.
            has_connections || Rc::strong_count(pool) > 1
        });
    }
}

/// Waits for `work` as long as somebody waits for what comes of it; an app that still sends is not
/// asked.
async fn while_awaited<S: Caller, T>(
    caller: &mut S,
    still_sends: bool,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if still_sends => Poll::Pending,
        Poll::Pending => caller.poll_gone(context).map(|()| None),
    })
    .await
}

impl Asking<'_> {
    /// How the body is delimited on its way to the upstream.
    fn framing(&self, found: &Found<'_>) -> Framing {
        match found.content_length {
            None if self.head.is_http2 && !self.is_over => Framing::Chunked,
            _ => found.framing(),
        }
    }
}

/// 204 (RFC 9110, section 15.3.5).
fn nothing_to_say() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The line in the log and the number of a refused request.
pub fn note_refusal(error: &ProxyError, door: &Door, route: Option<&Route>) {
    let metrics = route.map_or(&door.metrics.unrouted, |route| &route.metrics);
    metrics.refused(error.code as usize);
    tracing::warn!(
        listener = door.listener,
        route = route.map_or("", |route| &*route.spec.name),
        credential = route.map_or("", |route| route.spec.credential.as_str()),
        code = error.code.as_str(),
        status = error.code.status().as_u16(),
        detail = &*error.detail,
        cause = error.cause.as_deref().unwrap_or_default(),
        "request refused"
    );
}
