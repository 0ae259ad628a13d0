//! One stream of an app's connection: a request and its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::body::{BodyError, Fill, Source};
use crate::http1::{Fields, Framing};
use crate::http2::Received;
use crate::proxy::exchange::Exchange;
use crate::proxy::record::Record;
use crate::proxy::upload::Caller;
use crate::proxy::watch::{Phase, Watch};
use crate::proxy::{self, Answer, Asking, ProxyError};
use crate::route::metrics::Limit;
use crate::server::app::refused;
use crate::server::connection::{Heads, give_heads, take_heads};
use crate::server::http2::answer::{self, Body, Gathered, Piece};
use crate::server::http2::{Connection, MOMENT};

/// One stream.
pub(super) struct Stream {
    connection: Rc<Connection>,
    watch: Rc<Watch>,
    /// While the upstream's answer passes.
    passing: RefCell<Option<Passing>>,
}

/// An answer on its way from the upstream.
struct Passing {
    exchange: Box<Exchange>,
    /// The rest of the request.
    caller: Received,
    record: Record,
}

/// Pieces of an answer up to this length are gathered.
const SMALL: usize = 8 * 1024;

/// Nobody waits for the answer any more.
#[derive(Debug)]
pub(super) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the app does not wait any more")
    }
}

impl std::error::Error for Gone {}

type Answered = Result<Response<Body>, Gone>;

impl Stream {
    /// Begins a stream, whose task hyper starts next.
    pub(super) fn begin(
        connection: &Rc<Connection>,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Answered>>> {
        connection.enter();
        let stream = Rc::new(Self {
            connection: connection.clone(),
            watch: connection.watch.sweeper().watch(Phase::Busy, Duration::ZERO),
            passing: RefCell::new(None),
        });
        *connection.next.borrow_mut() = Some(stream.clone());
        Box::pin(async move {
            let mut heads = take_heads();
            let answered = stream.answer(request, &mut heads).await;
            give_heads(heads);
            answered
        })
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>, heads: &mut Heads) -> Answered {
        let Connection { service, settings, refusal, .. } = &*self.connection;
        let (parts, body) = request.into_parts();
        let mut caller = Received::new(body);
        let is_head = parts.method == Method::HEAD;
        let is_over = caller.is_over();
        let fits = heads.request.read_http2(&parts, settings.head_limits);
        drop(parts);
        let mut record = service.proxy.record(&self.watch, &settings.door, &heads.request);
        let answered = match (fits, refusal) {
            (Err(error), _) => {
                let (limit, error) = refused(error);
                settings.door.metrics.unrouted.limited_by(limit);
                Err(error)
            }
            (Ok(()), Some(refusal)) => Err(refusal.clone()),
            (Ok(()), None) => {
                let asking = Asking { head: &heads.request, is_over };
                service.proxy.serve(&mut record, asking, &mut caller, &mut heads.answer).await
            }
        };
        match answered {
            Ok(Answer::Upstream(exchange)) => {
                record.status = Some(heads.answer.status);
                let framing = exchange.framing();
                let head = answer::head(&heads.answer, framing, is_head, &service.date);
                self.passing.replace(Some(Passing { exchange, caller, record }));
                if framing == Framing::NONE {
                    self.finish();
                    return Ok(head.map(|()| Body::of(Bytes::new())));
                }
                Ok(head.map(|()| Body::passing(self, framing)))
            }
            Ok(Answer::Gone) => Err(Gone),
            Ok(Answer::Own(status)) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                Ok(self.answer_here(response, is_head, record))
            }
            Err(error) => Ok(self.refuse(&error, is_head, record)),
        }
    }

    fn refuse(&self, error: &ProxyError, is_head: bool, mut record: Record) -> Response<Body> {
        let response = proxy::refuse(error, &mut record);
        self.answer_here(response, is_head, record)
    }

    /// An answer that bearerd makes.
    fn answer_here(&self, response: Response<Bytes>, is_head: bool, mut record: Record) -> Response<Body> {
        record.status = Some(response.status());
        drop(record);
        self.watch.enter(Phase::Lingering, MOMENT);
        answer::made_here(response, is_head, &self.connection.service.date)
    }

    /// The stream's task: `future` is hyper's half of it. When it ends early, the stream is reset.
    pub(super) async fn run(self: Rc<Self>, future: impl Future<Output = ()>) {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.poll_rest(context),
        })
        .await;
    }

    /// What hyper does not look at while the answer passes: the rest of the request, and the time.
    /// Ready when the time is over.
    fn poll_rest(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(passing) = &mut *self.passing.borrow_mut() {
            if !passing.exchange.is_sent() {
                // How it ends is seen when the answer has ended.
                let _ = passing.exchange.poll_upload(&mut passing.caller, context);
            }
            self.watch.poll_passed(context).map(|_| {
                passing.exchange.route.metrics.limited(Limit::StallTimeout);
                passing.record.broken();
            })
        } else if self.watch.phase() == Phase::Lingering {
            self.watch.poll_passed(context).map(drop)
        } else {
            Poll::Pending
        }
    }

    /// What comes next of the answer: small pieces that are there are gathered to one.
    pub(super) fn poll_answer(&self, context: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let mut passing = self.passing.borrow_mut();
        let Some(exchange) = passing.as_mut().map(|passing| &mut passing.exchange) else {
            return Poll::Ready(Err(BodyError::BrokenOff));
        };
        let mut gathered = Gathered::default();
        let (is_last, trailers) = loop {
            match exchange.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) => {
                    let count = data.len();
                    gathered.push(exchange.take(count));
                    if gathered.len() >= SMALL {
                        break (false, None);
                    }
                }
                Poll::Ready(Ok(Fill::End(trailers))) => break (true, trailers.map(Fields::to_map)),
                // What came before goes out all the same; a break is told again.
                Poll::Pending | Poll::Ready(Err(_)) if gathered.len() > 0 => break (false, None),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        };
        Poll::Ready(Ok(Piece { data: gathered.into_bytes(), is_last, trailers }))
    }

    /// The answer is whole.
    pub(super) fn finish(&self) {
        if let Some(Passing { exchange, record, .. }) = self.passing.take() {
            let limit = exchange.route.spec.limits.stall_timeout;
            exchange.finish();
            drop(record);
            // The last piece may still wait for the app.
            self.watch.enter(Phase::Lingering, limit);
        }
    }

    /// The answer is broken off.
    pub(super) fn broken(&self) {
        if let Some(mut passing) = self.passing.take() {
            passing.record.broken();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.exit();
    }
}

/// hyper drops a request with its stream, so that nobody has to ask.
impl Caller for Received {
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
