//! The request body on its way to the upstream: counted, timed, and held for one replay.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::body::{BodyError, Fill, Source};
use crate::buffer::Held;
use crate::http1::Framing;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::watch::{Phase, Watch};
use crate::route::Route;
use crate::route::metrics::Limit;

/// How far a request body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Running,
    /// The last byte was handed over.
    Finished,
    /// It grew longer than the route takes.
    TooLarge,
    /// The app broke off, or framed it wrongly.
    Broken,
    /// The upstream takes no more.
    Stopped,
}

/// Limits on one request body.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// The longest body that the route takes.
    pub max_body: Option<u64>,
    /// The longest body that is held for a replay; zero holds none.
    pub replay_body: usize,
    /// Without progress of the app.
    pub body_timeout: Duration,
    /// Without progress of the upstream.
    pub stall_timeout: Duration,
    /// From the last byte to the head of the answer.
    pub answer_timeout: Duration,
}

/// What is known of a request body while it passes.
#[derive(Debug)]
pub struct Upload {
    limits: UploadLimits,
    progress: Progress,
    /// The app is waited for: further polls must not move the deadline.
    is_waiting: bool,
    length: u64,
    hold: Hold,
    /// What is held and sent before the rest: what was sent before, or a content that was made.
    ready: Bytes,
}

#[derive(Debug)]
enum Hold {
    Never,
    Whole(Held),
    Outgrown,
    /// Whoever made the content makes it again.
    Elsewhere,
}

impl Upload {
    /// A body of which nothing was sent yet.
    pub fn new(limits: UploadLimits, framing: Framing) -> Self {
        let longest = limits.replay_body as u64;
        let hold = match framing {
            Framing::NONE => Hold::Whole(Held::default()),
            _ if longest == 0 => Hold::Never,
            Framing::Length(length) if length > longest => Hold::Outgrown,
            _ => Hold::Whole(Held::default()),
        };
        Self { limits, progress: Progress::Running, is_waiting: false, length: 0, hold, ready: Bytes::new() }
    }

    /// A body that was made, and is made anew for each time that it is sent.
    pub fn of_content(limits: UploadLimits, content: Bytes) -> Self {
        Self { hold: Hold::Elsewhere, ready: content, ..Self::new(limits, Framing::NONE) }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether it grew too long to be held.
    pub fn outgrew(&self) -> bool {
        matches!(self.hold, Hold::Outgrown)
    }

    /// What was sent so far, and what was to be sent again, if all of it was held.
    pub fn take_sent(&mut self) -> Option<Held> {
        match std::mem::replace(&mut self.hold, Hold::Never) {
            Hold::Whole(mut held) => {
                if !self.ready.is_empty() {
                    held.push(&self.ready);
                }
                Some(held)
            }
            Hold::Elsewhere => Some(Held::default()),
            _ => (self.length == 0).then(Held::default),
        }
    }

    /// Sends this again before the rest.
    pub fn send_again(&mut self, sent: &Held) {
        if !sent.bytes().is_empty() {
            self.ready = Bytes::copy_from_slice(sent.bytes());
        }
    }

    /// Whether so many more bytes are to be held.
    fn holds(&mut self, count: usize) -> bool {
        let Hold::Whole(held) = &self.hold else { return false };
        let fits = held.bytes().len() + count <= self.limits.replay_body;
        if !fits {
            self.hold = Hold::Outgrown;
        }
        fits
    }

    /// Holds what was taken.
    fn hold(&mut self, kept: Held) {
        match &mut self.hold {
            Hold::Whole(held) if held.bytes().is_empty() => *held = kept,
            Hold::Whole(held) => held.push(kept.bytes()),
            Hold::Never | Hold::Outgrown | Hold::Elsewhere => {}
        }
    }

    /// Nothing is kept any longer: the answer needs no second try.
    pub fn release(&mut self) {
        self.hold = Hold::Never;
    }

    /// It was sent to its end.
    pub fn finish(&mut self, watch: &Watch) {
        self.progress = Progress::Finished;
        if is_before_answer(watch) {
            watch.enter(Phase::Answer, self.limits.answer_timeout);
        }
    }

    /// It goes no further.
    pub fn stop(&mut self, progress: Progress) {
        if self.progress == Progress::Running {
            self.progress = progress;
        }
    }

    /// The app is waited for.
    fn wait(&mut self, watch: &Watch) {
        if !std::mem::replace(&mut self.is_waiting, true) && is_before_answer(watch) {
            watch.enter(Phase::RequestBody, self.limits.body_timeout);
        }
    }

    /// Something came, and the upstream is to take it.
    fn proceed(&mut self, watch: &Watch) {
        if std::mem::take(&mut self.is_waiting) && is_before_answer(watch) {
            watch.enter(Phase::Upload, self.limits.stall_timeout);
        }
    }

    /// So many bytes were taken.
    fn count(&mut self, count: usize, watch: &Watch) {
        self.length += count as u64;
        let phase = watch.phase();
        if matches!(phase, Phase::Upload | Phase::Streaming) {
            watch.enter(phase, self.limits.stall_timeout);
        }
    }

    fn is_too_long(&self, more: usize) -> bool {
        self.limits.max_body.is_some_and(|longest| self.length + more as u64 > longest)
    }
}

/// Whether the answer's head is still awaited.
fn is_before_answer(watch: &Watch) -> bool {
    matches!(watch.phase(), Phase::RequestBody | Phase::Upload)
}

/// Reads a request body to its end; `keep` takes each piece, or refuses it.
pub(super) async fn collect<S: Source>(
    caller: &mut S,
    (watch, timeout): (&Watch, Duration),
    mut keep: impl FnMut(&[u8]) -> Result<(), ProxyError>,
) -> Result<(), ProxyError> {
    watch.enter(Phase::RequestBody, timeout);
    poll_fn(|context| {
        loop {
            let count = match caller.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) => {
                    keep(data)?;
                    data.len()
                }
                // Request trailers are dropped: nobody looked at their fields.
                Poll::Ready(Ok(Fill::End(_trailers))) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(broken())),
                Poll::Pending => return watch.poll_passed(context).map(|_elapsed| Err(too_slow())),
            };
            caller.consume(count);
            watch.enter(Phase::RequestBody, timeout);
        }
    })
    .await
}

/// A request body that is longer than the route's `max_body`.
pub(super) fn too_long(route: &Route) -> ProxyError {
    route.metrics.limited(Limit::MaxBody);
    ProxyError::new(Code::TooLarge, "the request body is longer than the route takes").and_close()
}

/// A request body that is not what its framing says.
pub(super) fn broken() -> ProxyError {
    ProxyError::new(Code::BadRequest, "the request body is malformed or ended early").and_close()
}

/// A request body for which the time is over.
pub(super) fn too_slow() -> ProxyError {
    ProxyError::new(Code::RequestTimeout, "the request body made no progress").and_close()
}

/// Who sends a request, and waits for its answer.
pub trait Caller: Source {
    /// Ready when it is known that nobody waits any more. Asked only when the body has ended.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// A source whose bytes are counted, timed and held.
pub struct Metered<'a, S> {
    source: &'a mut S,
    upload: &'a mut Upload,
    watch: &'a Watch,
}

impl<'a, S: Source> Metered<'a, S> {
    /// The body that `source` sends.
    pub fn new(source: &'a mut S, upload: &'a mut Upload, watch: &'a Watch) -> Self {
        Self { source, upload, watch }
    }
}

impl<S: Source> Metered<'_, S> {
    /// Takes what is shown away, and keeps it.
    fn remove(&mut self, count: usize) -> Held {
        match &mut self.upload.ready {
            ready if ready.is_empty() => self.source.keep(count),
            ready => ready.split_to(count).to_vec().into(),
        }
    }
}

impl<S: Source> Source for Metered<'_, S> {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        if !self.upload.ready.is_empty() {
            self.upload.proceed(self.watch);
            return Poll::Ready(Ok(Fill::Data(&self.upload.ready)));
        }
        match self.source.poll_fill(context) {
            Poll::Pending => {
                self.upload.wait(self.watch);
                Poll::Pending
            }
            Poll::Ready(Ok(Fill::Data(data))) => {
                self.upload.proceed(self.watch);
                if self.upload.is_too_long(data.len()) {
                    self.upload.stop(Progress::TooLarge);
                    return Poll::Ready(Err(BodyError::Malformed));
                }
                Poll::Ready(Ok(Fill::Data(data)))
            }
            // Request trailers are dropped: nobody looked at their fields.
            Poll::Ready(Ok(Fill::End(_trailers))) => Poll::Ready(Ok(Fill::End(None))),
            Poll::Ready(Err(error)) => {
                self.upload.stop(Progress::Broken);
                Poll::Ready(Err(error))
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.upload.count(count, self.watch);
        if self.upload.holds(count) {
            let kept = self.remove(count);
            self.upload.hold(kept);
        } else if self.upload.ready.is_empty() {
            self.source.consume(count);
        } else {
            self.upload.ready.advance(count);
        }
    }

    fn keep(&mut self, count: usize) -> Held {
        self.upload.count(count, self.watch);
        self.remove(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.upload.count(count, self.watch);
        let piece = match &mut self.upload.ready {
            ready if ready.is_empty() => self.source.take(count),
            ready => ready.split_to(count),
        };
        if self.upload.holds(count) {
            let mut kept = Held::default();
            kept.push(&piece);
            self.upload.hold(kept);
        }
        piece
    }
}
