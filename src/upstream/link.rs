//! One request on its way to an upstream, and the answer on its way back, whatever the protocol.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::body::{BodyError, Fill, PassError, Source};
use crate::buffer::{Held, Input};
use crate::http1::{AnswerHead, Framing};
use crate::upstream::http1::{AnswerError, Asked, Http1Link};
use crate::upstream::http2::Http2Link;
use crate::upstream::stream::{Fate, Stream};

/// One request and its answer.
pub enum Link {
    /// A whole connection.
    Http1(Box<Http1Link>),
    /// A stream of a connection.
    Http2(Box<Http2Link>),
}

impl Link {
    /// Writes the request, with the body from `source`. Ready when its last byte was written.
    pub fn poll_send<S: Source>(
        &mut self,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        match self {
            Self::Http1(link) => link.poll_send(source, context),
            Self::Http2(link) => link.poll_send(source, context),
        }
    }

    /// Waits for the head of the answer.
    pub fn poll_head(
        &mut self,
        head: &mut AnswerHead,
        asked: Asked,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), AnswerError>> {
        match self {
            Self::Http1(link) => link.poll_head(head, asked, context),
            Self::Http2(link) => link.poll_head(head, asked, context),
        }
    }

    /// What became of a request that has no answer, since its connection has ended.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Http1(link) => link.fate(),
            Self::Http2(_) => Fate::Unknown,
        }
    }

    /// How the answer's body is delimited, once its head is there.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Http1(link) => link.framing(),
            Self::Http2(link) => link.framing(),
        }
    }

    /// The bare connection after a 101, with what was read behind the head; HTTP/2 has no 101.
    pub fn into_tunnel(self) -> Option<(Stream, Input)> {
        match self {
            Self::Http1(link) => Some(link.into_tunnel()),
            Self::Http2(_) => None,
        }
    }
}

impl Source for Link {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        match self {
            Self::Http1(link) => link.poll_fill(context),
            Self::Http2(link) => link.poll_fill(context),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Http1(link) => link.consume(count),
            Self::Http2(link) => link.consume(count),
        }
    }

    fn keep(&mut self, count: usize) -> Held {
        match self {
            Self::Http1(link) => link.keep(count),
            Self::Http2(link) => link.keep(count),
        }
    }

    fn take(&mut self, count: usize) -> Bytes {
        match self {
            Self::Http1(link) => link.take(count),
            Self::Http2(link) => link.take(count),
        }
    }

    fn is_spent(&self) -> bool {
        match self {
            Self::Http1(link) => link.is_spent(),
            Self::Http2(link) => link.is_spent(),
        }
    }
}
