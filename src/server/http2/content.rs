//! The body of a request, as the request path takes it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;

use crate::body::{BodyError, Fill, Source};
use crate::buffer::Held;
use crate::http2::hpack;
use crate::proxy::upload::Caller;
use crate::server::http2::stream::Stream;

/// The body of a stream's request.
pub(super) struct Content {
    stream: Rc<Stream>,
    /// What was shown, and where what was not taken of it begins.
    piece: Vec<u8>,
    start: usize,
    /// The app waits for a 100 before it sends the body (RFC 9110, section 10.1.1).
    expects_continue: bool,
}

impl Content {
    /// The body of `stream`, of which nothing was taken.
    pub(super) fn new(stream: Rc<Stream>, expects_continue: bool) -> Self {
        Self { stream, piece: Vec::new(), start: 0, expects_continue }
    }

    /// An answer begins: a 100 that was not wanted so far is not wanted any more.
    pub(super) fn answered(&mut self) {
        self.expects_continue = false;
    }

    fn rest(&self) -> &[u8] {
        &self.piece[self.start..]
    }

    /// The first `count` bytes as memory of their own; all there is, is not copied.
    fn detach(&mut self, count: usize) -> Vec<u8> {
        self.stream.took(count);
        if self.start == 0 && count == self.piece.len() {
            return std::mem::take(&mut self.piece);
        }
        let detached = self.rest()[..count].to_vec();
        self.start += count;
        detached
    }
}

impl Source for Content {
    fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        if self.start == self.piece.len() {
            self.piece.clear();
            self.start = 0;
            self.stream.swap_received(&mut self.piece);
        }
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(Fill::Data(self.rest())));
        }
        if self.stream.is_over() {
            return Poll::Ready(Ok(Fill::End(None)));
        }
        if self.stream.is_broken_off() {
            return Poll::Ready(Err(BodyError::BrokenOff));
        }
        if std::mem::take(&mut self.expects_continue) {
            self.stream.put_headers(false, |output| hpack::put_status(output, StatusCode::CONTINUE));
        }
        // The stream's task is woken by whatever comes.
        Poll::Pending
    }

    fn consume(&mut self, count: usize) {
        self.stream.took(count);
        self.start += count;
    }

    fn keep(&mut self, count: usize) -> Held {
        self.detach(count).into()
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.detach(count).into()
    }
}

impl Caller for Content {
    /// The task of a stream that the app resets ends, so that nobody has to ask.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.stream.drop_received(self.rest().len());
    }
}
