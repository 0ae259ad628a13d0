//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;

use crate::body::{BodyError, Fill, Source};
use crate::buffer::Held;
use crate::http1::{Fields, Kind};

/// A body that arrives on a stream.
#[derive(Debug)]
pub(super) struct Received {
    body: Incoming,
    /// What was read and not yet taken.
    piece: Bytes,
    is_ended: bool,
    trailers: Option<Box<Fields>>,
}

impl Received {
    /// A body of which nothing was read.
    pub(super) fn new(body: Incoming) -> Self {
        let is_ended = body.is_end_stream();
        Self { body, piece: Bytes::new(), is_ended, trailers: None }
    }

    /// Whether it is known that nothing follows.
    pub(super) fn is_over(&self) -> bool {
        self.piece.is_empty() && (self.is_ended || self.body.is_end_stream())
    }

    /// Reads the next piece; the one before is taken.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => self.piece = piece,
                Err(frame) => {
                    if let Ok(map) = frame.into_trailers() {
                        self.trailers = Some(Box::new(trailers(&map)));
                    }
                    self.is_ended = true;
                }
            },
            // hyper takes a reset without an error for the end; only END_STREAM is one (RFC 9113,
            // section 8.1).
            None if self.body.is_end_stream() => self.is_ended = true,
            None | Some(Err(_)) => return Poll::Ready(Err(BodyError::BrokenOff)),
        }
        Poll::Ready(Ok(()))
    }
}

/// What may stand behind a body.
fn trailers(map: &HeaderMap) -> Fields {
    let mut trailers = Fields::default();
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        if Kind::of(name).may_trail() {
            trailers.push(name, value.as_bytes());
        }
    }
    trailers
}

impl Source for Received {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        while self.piece.is_empty() && !self.is_ended {
            ready!(self.poll_read(context))?;
        }
        Poll::Ready(Ok(if self.piece.is_empty() {
            Fill::End(self.trailers.as_deref())
        } else {
            Fill::Data(&self.piece)
        }))
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }

    fn keep(&mut self, count: usize) -> Held {
        let mut held = Held::default();
        held.push(&self.piece[..count]);
        self.consume(count);
        held
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.piece.split_to(count)
    }
}
