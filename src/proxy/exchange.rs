//! One request at the upstream: its body going up, its answer coming down, both at once.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::body::{BodyError, Fill, PassError, Source};
use crate::buffer::{Held, Input};
use crate::http1::{AnswerHead, Framing};
use crate::inject::Verifier;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::guarded::{BodyGuard, TunnelGuard};
use crate::proxy::incoming::Incoming;
use crate::proxy::upload::{self, Caller, Metered, Progress, Upload};
use crate::proxy::verified::AnswerCheck;
use crate::proxy::watch::{Phase, Watch};
use crate::route::Route;
use crate::route::metrics::Limit;
use crate::upstream::http1::{AnswerError, Asked};
use crate::upstream::link::Link;
use crate::upstream::pool::Pool;
use crate::upstream::stream::{Fate, Stream};

/// How long to look again and again, about a second in all, whether a request came too late on a connection that the
/// upstream has ended: its system answers as fast as the way is long.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What came of waiting for the head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// It is there.
    Answer,
    /// Nobody waits for it any more.
    Gone,
    /// The request is known not to have been processed: it may be sent on another connection.
    Unprocessed,
}

/// One request at the upstream. Dropped before its end, it closes the connection, or resets
/// the stream, that it has.
pub struct Exchange {
    /// The route that it goes by.
    pub route: Arc<Route>,
    pool: Rc<Pool>,
    watch: Rc<Watch>,
    incoming: Incoming,
    asked: Asked,
    /// The request's body.
    pub upload: Upload,
    /// What the answer has to fit, if anything.
    pub(super) verifier: Option<Arc<Verifier>>,
    /// What stands between the answer's body and the app.
    pub(super) body_guard: Option<BodyGuard>,
    /// The same for what follows a 101.
    pub(super) tunnel_guard: Option<Box<TunnelGuard>>,
}

impl Exchange {
    /// A request whose head is in the link.
    pub fn new(
        route: Arc<Route>,
        pool: Rc<Pool>,
        watch: Rc<Watch>,
        link: Link,
        asked: Asked,
        upload: Upload,
        verifier: Option<Arc<Verifier>>,
    ) -> Self {
        let incoming = Incoming { link: Some(link), peeked: Input::default(), check: None };
        let (body_guard, tunnel_guard) = (None, None);
        Self { route, pool, watch, incoming, asked, upload, verifier, body_guard, tunnel_guard }
    }

    /// Sends the request on until the head of the answer is there.
    pub async fn answer_head<S: Caller>(
        &mut self,
        caller: &mut S,
        head: &mut AnswerHead,
    ) -> Result<Awaited, ProxyError> {
        self.watch.enter(Phase::Upload, self.route.limits.stall_timeout);
        let awaited = poll_fn(|context| {
            let _ = self.poll_upload(caller, context);
            let is_hopeless = matches!(self.upload.progress(), Progress::TooLarge | Progress::Broken);
            if !is_hopeless && let Some(link) = &mut self.incoming.link {
                match link.poll_head(head, self.asked, context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(Some(Awaited::Answer))),
                    Poll::Ready(Err(AnswerError::Unprocessed)) => {
                        return Poll::Ready(Ok(Some(Awaited::Unprocessed)));
                    }
                    Poll::Ready(Err(AnswerError::Closed)) => return Poll::Ready(self.closed()),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.unanswered(&error))),
                    Poll::Pending => {}
                }
            }
            if let Some(error) = self.upload_error() {
                return Poll::Ready(Err(error));
            }
            if self.is_sent() && caller.poll_gone(context).is_ready() {
                return Poll::Ready(Ok(Some(Awaited::Gone)));
            }
            self.watch.poll_passed(context).map(|elapsed| Err(too_slow(elapsed.0, &self.route)))
        })
        .await?;
        match awaited {
            Some(awaited) => Ok(awaited),
            None => Box::pin(self.look_after_close()).await,
        }
    }

    /// What the end of a connection without a byte of an answer means for the request, if that is known: it may go to
    /// another if nobody has seen any of it.
    fn closed(&self) -> Result<Option<Awaited>, ProxyError> {
        match self.incoming.link.as_ref().map(Link::fate) {
            Some(Fate::Unseen) => Ok(Some(Awaited::Unprocessed)),
            Some(Fate::Undecided) => Ok(None),
            Some(Fate::Unknown) | None => Err(self.unanswered(&AnswerError::Closed)),
        }
    }

    /// Waits until that is known: what tells may be on its way.
    async fn look_after_close(&self) -> Result<Awaited, ProxyError> {
        let mut pause = SHORTEST_LOOK;
        while pause < LONGEST_LOOK {
            tokio::time::sleep(pause).await;
            if let Some(known) = self.closed()? {
                return Ok(known);
            }
            pause *= 2;
        }
        Err(self.unanswered(&AnswerError::Closed))
    }

    /// Sends on as much of the request as goes without waiting. Ready when nothing is left to be done
    /// for it, be it that it was sent or that it goes no further.
    pub fn poll_upload<S: Source>(&mut self, source: &mut S, context: &mut Context<'_>) -> Poll<()> {
        let (Progress::Running, Some(link)) = (self.upload.progress(), &mut self.incoming.link) else {
            return Poll::Ready(());
        };
        let mut metered = Metered::new(source, &mut self.upload, &self.watch);
        match std::task::ready!(link.poll_send(&mut metered, context)) {
            Ok(()) => self.upload.finish(&self.watch),
            Err(PassError::Source(_) | PassError::TooShort) => self.upload.stop(Progress::Broken),
            // It may have answered before it stopped reading: the answer decides.
            Err(PassError::Sink(_)) => self.upload.stop(Progress::Stopped),
        }
        Poll::Ready(())
    }

    fn upload_error(&self) -> Option<ProxyError> {
        match self.upload.progress() {
            Progress::TooLarge => Some(upload::too_long(&self.route)),
            Progress::Broken => Some(upload::broken()),
            Progress::Running | Progress::Finished | Progress::Stopped => None,
        }
    }

    /// Why a request that was sent, at least in part, has no answer.
    fn unanswered(&self, error: &AnswerError) -> ProxyError {
        self.upload_error().unwrap_or_else(|| match error {
            AnswerError::Closed | AnswerError::BrokenOff | AnswerError::Reset => {
                protocol("the upstream broke off before it answered").because(error)
            }
            AnswerError::Tls(_) => {
                let detail = "the upstream does not take the client certificate, or misses one";
                ProxyError::new(Code::UpstreamTls, detail).because(error)
            }
            AnswerError::Unprocessed => unprocessed().because(error),
            AnswerError::NotHttp(_) => protocol("the upstream's answer is not HTTP").because(error),
            AnswerError::Endless => {
                self.route.metrics.limited(Limit::MaxInterimAnswers);
                protocol("the upstream does not come to its answer")
            }
            // The connection has counted it.
            AnswerError::Flood(_) => {
                protocol("the upstream keeps the connection busy and does not answer").because(error)
            }
            AnswerError::Switched => protocol("the upstream switched protocols without being asked"),
        })
    }

    /// The answer streams from now on.
    pub fn begin_answer(&self) {
        self.watch.enter(Phase::Streaming, self.route.limits.stall_timeout);
    }

    /// Has the content of the answer verified.
    pub(super) fn verify(&mut self, check: AnswerCheck) {
        self.incoming.check = Some(Box::new(check));
    }

    /// The head of the answer goes to the app.
    pub(super) fn commit(&mut self) {
        if let Some(check) = &mut self.incoming.check {
            check.begun();
        }
    }

    /// How the answer's body is delimited.
    pub fn framing(&self) -> Framing {
        self.incoming.link.as_ref().map_or(Framing::NONE, Link::framing)
    }

    /// Whether nothing follows the body: over HTTP/1.1 only one in chunks has trailers.
    pub(super) fn has_no_trailers(&self) -> bool {
        matches!(&self.incoming.link, Some(Link::Http1(_))) && matches!(self.framing(), Framing::Length(_))
    }

    /// Looks into the beginning of the answer: `judge` is shown what has come so far, and whether that
    /// is all, until it knows. What is left of the request is sent meanwhile: the upstream may wait for it. An error
    /// says that the answer made no progress.
    pub async fn peek<S: Source>(
        &mut self,
        caller: &mut S,
        mut judge: impl FnMut(&[u8], bool) -> Option<bool>,
    ) -> Result<bool, ProxyError> {
        if !self.incoming.peeked.is_empty()
            && let Some(verdict) = judge(self.incoming.peeked.bytes(), false)
        {
            return Ok(verdict);
        }
        poll_fn(|context| {
            // How it ends is seen when the answer has ended.
            let _ = self.poll_upload(caller, context);
            loop {
                let Some(link) = &mut self.incoming.link else { return Poll::Ready(Ok(false)) };
                let is_last = match link.poll_fill(context) {
                    Poll::Ready(Ok(Fill::Data(data))) => {
                        let count = data.len();
                        self.incoming.peeked.put(data);
                        link.consume(count);
                        self.begin_answer();
                        false
                    }
                    // A break is told again when the rest is passed on.
                    Poll::Ready(_) => true,
                    Poll::Pending => return self.poll_stalled(context).map(Err),
                };
                if let Some(verdict) = judge(self.incoming.peeked.bytes(), is_last) {
                    return Poll::Ready(Ok(verdict));
                }
            }
        })
        .await
    }

    /// Whether the rest of the answer may take a way of its own: nothing is between the upstream's
    /// connection and its data.
    pub fn may_be_bypassed(&self) -> bool {
        self.body_guard.is_none()
            && self.incoming.check.is_none()
            && matches!(&self.incoming.link, Some(Link::Http1(link)) if link.is_plain())
            && self.incoming.peeked.is_empty()
    }

    /// What is not read yet of the answer takes a way of its own.
    pub fn begin_bypass(&mut self) {
        if let Some(Link::Http1(link)) = &mut self.incoming.link {
            link.begin_bypass();
        }
    }

    /// Whether the answer was passed on to its end.
    pub fn is_answered(&self) -> bool {
        matches!(&self.incoming.link, Some(Link::Http1(link)) if link.is_answered())
    }

    /// The upstream's bare connection and how much of the answer is still to come on it, where it may
    /// take a way of its own.
    pub fn bare_rest(&self) -> Option<(&TcpStream, u64)> {
        match &self.incoming.link {
            Some(Link::Http1(link)) if self.incoming.peeked.is_empty() => link.bare_rest(),
            _ => None,
        }
    }

    /// So many bytes of the answer went another way.
    pub fn bypassed(&mut self, count: usize) {
        self.begin_answer();
        if let Some(Link::Http1(link)) = &mut self.incoming.link {
            link.bypassed(count);
        }
    }

    /// Request and answer are over: the connection serves the next.
    pub fn finish(&mut self) {
        // A stream that has ended is nothing to keep.
        if let Some(Link::Http1(link)) = self.incoming.link.take()
            && self.upload.progress() == Progress::Finished
        {
            self.pool.put(link, self.watch.sweeper().now());
        }
    }

    /// Whether the request was sent to its end.
    pub fn is_sent(&self) -> bool {
        self.upload.progress() == Progress::Finished
    }

    /// The bare connection after a 101, with what was read behind the head and what guards it.
    pub fn take_tunnel(&mut self) -> Option<(Stream, Input, Option<Box<TunnelGuard>>)> {
        let (stream, input) = self.incoming.link.take().and_then(Link::into_tunnel)?;
        Some((stream, input, self.tunnel_guard.take()))
    }

    /// Ready, with what is said of it, when the answer has made no progress for too long.
    pub(super) fn poll_stalled(&self, context: &mut Context<'_>) -> Poll<ProxyError> {
        self.watch.poll_passed(context).map(|_| {
            self.route.metrics.limited(Limit::StallTimeout);
            ProxyError::new(Code::UpstreamTimeout, "the upstream's answer made no progress")
        })
    }

    /// Ready when it is known how the answer's body goes on, and that the guard lets that pass.
    pub(super) fn poll_known(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match &mut self.body_guard {
            Some(guard) => guard.poll_known(&mut self.incoming, context),
            None => self.incoming.poll_fill(context).map_ok(|_| ()),
        }
    }

    /// A copy of the first `count` bytes of what is shown, which are taken.
    fn copy(&mut self, count: usize) -> Vec<u8> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let copy = match self.poll_fill(&mut context) {
            Poll::Ready(Ok(Fill::Data(data))) => data[..count].to_vec(),
            _ => Vec::new(),
        };
        self.consume(copy.len());
        copy
    }
}

impl Source for Exchange {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        match &mut self.body_guard {
            Some(guard) => guard.poll_fill(&mut self.incoming, context),
            None => self.incoming.poll_fill(context),
        }
    }

    fn consume(&mut self, count: usize) {
        self.begin_answer();
        match &mut self.body_guard {
            Some(guard) => guard.consume(&mut self.incoming, count),
            None => self.incoming.consume(count),
        }
    }

    fn keep(&mut self, count: usize) -> Held {
        if self.body_guard.is_some() {
            return self.copy(count).into();
        }
        self.begin_answer();
        self.incoming.keep(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        if self.body_guard.is_some() {
            return self.copy(count).into();
        }
        self.begin_answer();
        self.incoming.take(count)
    }

    /// What the guard holds back is still to be written, so that more is promised than was taken.
    fn is_spent(&self) -> bool {
        self.incoming.is_spent()
    }
}

/// What is said of a request that is sent no third time.
pub fn unprocessed() -> ProxyError {
    protocol("the upstream refused the request before it looked at it")
}

fn protocol(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::UpstreamProtocol, detail)
}

fn too_slow(phase: Phase, route: &Route) -> ProxyError {
    match phase {
        Phase::RequestBody => upload::too_slow(),
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
