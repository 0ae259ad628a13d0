//! One HTTP/2 connection to an upstream, and the requests that share it.
//!
//! ```text
//! Http2Link ── request, pieces of its body ──▶ hyper's task ──▶ the connection's task ──▶ upstream
//! ```
//!
//! A request takes a piece of its body from the source only when the stream wants one: there is no
//! queue between the app and the upstream but their flow control.

mod arrivals;
mod connection;
mod outgoing;
mod received;
mod room;

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::body::{BodyError, Fill, PassError, Source};
use crate::buffer::Held;
use crate::http1::{AnswerHead, Framing};
use crate::upstream::http1::{self, AnswerError, Asked};
use crate::upstream::http2::outgoing::{Outgoing, Writer};
use crate::upstream::http2::received::Received;

pub use arrivals::{ArrivalLimits, Flood};
pub use connection::{Http2Connection, NotBegun, Place};

/// One request and its answer: a stream. Dropped before its end, it resets the stream.
pub struct Http2Link {
    place: Place,
    /// Until it is handed over.
    request: Option<Request<Outgoing>>,
    /// The request's body, until it has ended.
    writer: Writer,
    /// What is still to come of a body whose length was said.
    left: Option<u64>,
    answer: Answer,
    framing: Framing,
}

type Awaited = dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>>;

enum Answer {
    None,
    Awaited(Pin<Box<Awaited>>),
    Streaming(Received),
}

/// The most that is taken of a body at once, in bytes.
const LARGEST_PIECE: usize = 64 * 1024;

impl Http2Link {
    /// A request on this stream, whose body has this framing.
    pub fn new(place: Place, head: Request<()>, framing: Framing) -> Self {
        let (writer, body) = outgoing::body(framing == Framing::NONE);
        Self {
            place,
            request: Some(head.map(|()| body)),
            writer,
            left: if let Framing::Length(length) = framing { Some(length) } else { None },
            answer: Answer::None,
            framing: Framing::NONE,
        }
    }

    /// Hands the request over, with the body from `source`. Ready when its last piece was taken.
    pub fn poll_send<S: Source>(
        &mut self,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        if let Some(request) = self.request.take() {
            self.answer = Answer::Awaited(Box::pin(self.place.connection().send(request)));
        }
        loop {
            ready!(self.writer.poll_wanted(context)).map_err(|_| refused())?;
            if self.writer.is_ended() {
                return Poll::Ready(Ok(()));
            }
            match ready!(source.poll_fill(context)).map_err(PassError::Source)? {
                Fill::Data(data) => {
                    let count = data.len().min(LARGEST_PIECE).min(self.most());
                    if count == 0 {
                        return Poll::Ready(Err(PassError::Source(BodyError::Malformed)));
                    }
                    self.writer.put(source.take(count));
                    self.left = self.left.map(|left| left - count as u64);
                    if self.left == Some(0) {
                        self.writer.end();
                    }
                }
                Fill::End(_) if self.left.is_some_and(|left| left > 0) => {
                    return Poll::Ready(Err(PassError::TooShort));
                }
                Fill::End(_) => self.writer.end(),
            }
        }
    }

    /// The most bytes that may still follow.
    fn most(&self) -> usize {
        self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Waits for the head of the answer; informational ones are dropped.
    pub fn poll_head(
        &mut self,
        head: &mut AnswerHead,
        asked: Asked,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), AnswerError>> {
        let Answer::Awaited(answer) = &mut self.answer else { return Poll::Pending };
        let answer = ready!(answer.as_mut().poll(context));
        self.answer = Answer::None;
        let (parts, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                if let Some(flood) = self.place.connection().flood() {
                    return Poll::Ready(Err(AnswerError::Flood(flood)));
                }
                if is_refused(&error) {
                    self.place.refused();
                } else if matches!(unanswered(&error), AnswerError::Unprocessed) {
                    self.place.connection().retire();
                }
                return Poll::Ready(Err(unanswered(&error)));
            }
        };
        head.read_http2(&parts);
        let body = Received::new(body);
        self.framing = match http1::framing(head, asked)? {
            Framing::Close if body.is_over() => Framing::NONE,
            framing => framing,
        };
        self.answer = Answer::Streaming(body);
        Poll::Ready(Ok(()))
    }

    /// How the answer's body is delimited, once its head is there.
    pub fn framing(&self) -> Framing {
        self.framing
    }
}

impl Source for Http2Link {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        match &mut self.answer {
            Answer::Streaming(body) => body.poll_fill(context),
            _ => Poll::Ready(Err(BodyError::BrokenOff)),
        }
    }

    fn consume(&mut self, count: usize) {
        if let Answer::Streaming(body) = &mut self.answer {
            body.consume(count);
        }
    }

    fn keep(&mut self, count: usize) -> Held {
        match &mut self.answer {
            Answer::Streaming(body) => body.keep(count),
            _ => Held::default(),
        }
    }

    fn take(&mut self, count: usize) -> Bytes {
        match &mut self.answer {
            Answer::Streaming(body) => body.take(count),
            _ => Bytes::new(),
        }
    }
}

/// The upstream takes no more of the request.
fn refused() -> PassError {
    PassError::Sink(io::ErrorKind::BrokenPipe.into())
}

/// What an error says of the request. Unprocessed is one that was never written, one whose stream was
/// refused (RFC 9113, section 8.7), and one behind the last stream of a GOAWAY (section 6.8): these
/// alone are known not to have had any effect.
fn unanswered(error: &TrySendError<Request<Outgoing>>) -> AnswerError {
    if error.message().is_some() {
        return AnswerError::Unprocessed;
    }
    let Some(cause) = of_http2(error) else { return AnswerError::BrokenOff };
    match cause.reason() {
        _ if is_refused(error) || cause.is_remote() && cause.is_go_away() => AnswerError::Unprocessed,
        Some(_) if cause.is_remote() => AnswerError::Reset,
        Some(_) => AnswerError::NotHttp("the upstream broke a rule of HTTP/2"),
        None => AnswerError::BrokenOff,
    }
}

/// Whether the upstream refused this one stream.
fn is_refused(error: &TrySendError<Request<Outgoing>>) -> bool {
    of_http2(error).is_some_and(|cause| {
        cause.is_remote() && cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM)
    })
}

fn of_http2(error: &TrySendError<Request<Outgoing>>) -> Option<&h2::Error> {
    let mut causes = std::iter::successors(error.error().source(), |cause| (**cause).source());
    causes.find_map(|cause| cause.downcast_ref())
}
