//! Answers as hyper takes them: heads as maps, bodies that pass as they come.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;

use crate::http1::{AnswerHead, Framing, Kind};
use crate::server::date::Date;
use crate::server::http2::stream::Stream;

/// The head of an upstream's answer.
pub(super) fn head(answer: &AnswerHead, framing: Framing, is_head: bool, date: &Date) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = answer.status;
    let tells_length = is_head || answer.status == StatusCode::NOT_MODIFIED;
    let fields = response.headers_mut();
    fields.reserve(answer.fields.len() + 2);
    for field in answer.fields.iter() {
        if field.kind == Kind::ContentLength && !tells_length {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value))
        {
            fields.append(name, value);
        }
    }
    put_date(fields, date);
    if let Framing::Length(length) = framing
        && !tells_length
        && answer.status != StatusCode::NO_CONTENT
    {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An answer that bearerd makes.
pub(super) fn made_here(mut response: Response<Bytes>, is_head: bool, date: &Date) -> Response<Body> {
    let length = response.body().len();
    let has_length = response.status() != StatusCode::NO_CONTENT;
    let fields = response.headers_mut();
    // A stream ends without its connection.
    fields.remove(CONNECTION);
    put_date(fields, date);
    if has_length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|body| Body::of(if is_head { Bytes::new() } else { body }))
}

fn put_date(fields: &mut HeaderMap, date: &Date) {
    if !fields.contains_key(DATE)
        && let Ok(value) = HeaderValue::from_bytes(&date.now())
    {
        fields.insert(DATE, value);
    }
}

/// The body of an answer. Its error resets the stream: a broken answer never looks whole.
pub(super) enum Body {
    /// All of it, until it is taken.
    Whole(Bytes),
    /// What comes from the upstream.
    Passing {
        /// The stream that it passes on.
        stream: Rc<Stream>,
        /// What is still to come, if the length was said.
        left: Option<u64>,
    },
    /// The trailers are still to be taken.
    Trailers(HeaderMap),
}

/// The upstream broke off.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the upstream broke off in the middle of its answer")
    }
}

impl std::error::Error for Broken {}

/// What comes next of an answer.
pub(super) struct Piece {
    /// Data; may be none at the end.
    pub(super) data: Bytes,
    /// That was all.
    pub(super) is_last: bool,
    /// What stands behind it.
    pub(super) trailers: Option<HeaderMap>,
}

impl Body {
    /// All of a body.
    pub(super) fn of(body: Bytes) -> Self {
        Self::Whole(body)
    }

    /// What the stream passes from the upstream.
    pub(super) fn passing(stream: Rc<Stream>, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { Some(length) } else { None };
        Self::Passing { stream, left }
    }

    /// Takes what comes next out of the stream.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Self::Passing { stream, left } = self else { return Poll::Ready(None) };
        let Ok(Piece { data, is_last, trailers }) = ready!(stream.poll_answer(context)) else {
            return Poll::Ready(Some(Err(self.broken())));
        };
        if let Some(left) = left {
            match left.checked_sub(data.len() as u64) {
                Some(rest) if rest == 0 || !is_last => *left = rest,
                _ => return Poll::Ready(Some(Err(self.broken()))),
            }
        }
        if is_last || *left == Some(0) {
            stream.finish();
            *self = trailers.map_or(Self::Whole(Bytes::new()), Self::Trailers);
        }
        Poll::Ready((!data.is_empty()).then_some(Ok(data)))
    }

    fn broken(&mut self) -> Broken {
        if let Self::Passing { stream, .. } = self {
            stream.broken();
        }
        *self = Self::Whole(Bytes::new());
        Broken
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(piece) = ready!(self.poll_piece(context)) {
            return Poll::Ready(Some(piece.map(Frame::data)));
        }
        Poll::Ready(match std::mem::replace(&mut *self, Self::Whole(Bytes::new())) {
            Self::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Self::Whole(body) if !body.is_empty() => Some(Ok(Frame::data(body))),
            Self::Whole(_) | Self::Passing { .. } => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_empty())
    }
}

/// Pieces that are gathered to one.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&piece);
    }

    /// All of them as one piece; a single one is not copied.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
