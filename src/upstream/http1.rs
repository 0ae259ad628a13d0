//! One HTTP/1.1 connection to an upstream, and the request that is on it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::body::{BodyError, Fill, PassError, Passage, Source};
use crate::buffer::{Held, Input, Output};
use crate::clock::Clock;
use crate::http1::field::members;
use crate::http1::head::{HeadError, Progress};
use crate::http1::{AnswerHead, Decoder, Framing, HeadLimits, Kind, body};
use crate::upstream::connect::{Identity, tls_reason};
use crate::upstream::http2::Flood;
use crate::upstream::pool::{Counted, Uses};
use crate::upstream::stream::{Fate, Stream};

/// Limits of an answer's head: generous, since an upstream is chosen by the configuration.
pub const ANSWER_LIMITS: HeadLimits = HeadLimits { bytes: 256 * 1024, fields: 256, target: 0 };

/// A connection that sends one request after the other.
#[derive(Debug)]
pub struct Http1Link {
    stream: Stream,
    identity: Identity,
    opened: Instant,
    /// Whether a request was sent on it before.
    is_reused: bool,
    /// How long it may lie idle, by what the upstream says.
    patience: Option<Duration>,
    request: Passage,
    /// What was written before the request.
    before: u64,
    /// The request has a body.
    has_body: bool,
    /// The request was written to its end.
    is_sent: bool,
    /// Why the upstream took no more of the request, if so: the system tells it once.
    cut_off: Option<io::ErrorKind>,
    input: Input,
    answer: Decoder,
    framing: Framing,
    /// See [`Self::begin_bypass`].
    is_bypassed: bool,
    /// How much of the input was searched for the end of a head, and how much of it was read as one.
    searched: usize,
    parsed: usize,
    /// Informational answers to the request.
    interim: u32,
    /// Nothing else may be sent when the answer has ended.
    is_last: bool,
    counted: Counted,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum AnswerError {
    /// The upstream ended the connection without a byte of an answer.
    Closed,
    /// It broke off in the middle of the head.
    BrokenOff,
    /// It refused to speak TLS on, as a server does that misses a client certificate (RFC 8446, section
    /// 4.4.2.4): what it said.
    Tls(String),
    /// What it sent is not HTTP.
    NotHttp(&'static str),
    /// It announces its answer again and again.
    Endless,
    /// It keeps the connection busy and does not come to its answer (HTTP/2).
    Flood(Flood),
    /// It switched protocols without being asked.
    Switched,
    /// It reset the stream (HTTP/2).
    Reset,
    /// It is known that the request was not processed, and had no effect: the upstream, or its
    /// connection, took no more of them (HTTP/2).
    Unprocessed,
}

impl std::fmt::Display for AnswerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "the upstream closed the connection before it answered",
            Self::BrokenOff => "the upstream broke off in the middle of the answer's head",
            Self::Tls(reason) => return write!(formatter, "the upstream ended TLS: {reason}"),
            Self::NotHttp(what) => what,
            Self::Endless | Self::Flood(Flood::Interim) => "the upstream does not come to its answer",
            Self::Flood(Flood::Fruitless) => {
                "the upstream floods the connection with frames that bring nothing"
            }
            Self::Switched => "the upstream switched protocols without being asked",
            Self::Reset => "the upstream reset the stream",
            Self::Unprocessed => "the upstream took no more requests on this connection",
        })
    }
}

impl Http1Link {
    /// A fresh connection.
    pub fn new(stream: Stream, identity: Identity, counted: Counted) -> Self {
        Self {
            stream,
            identity,
            opened: Clock::instant(),
            is_reused: false,
            patience: None,
            request: Passage::default(),
            before: 0,
            has_body: false,
            is_sent: false,
            cut_off: None,
            input: Input::default(),
            answer: Decoder::new(Framing::NONE),
            framing: Framing::NONE,
            is_bypassed: false,
            searched: 0,
            parsed: 0,
            interim: 0,
            is_last: false,
            counted,
        }
    }

    /// As what it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether a request was sent on it before.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// How long it may lie idle and then still be used, by what the upstream said last.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Has the processor bring what [`Self::count_for`] reads.
    pub fn bring(&self) {
        self.counted.bring();
    }

    /// From now on the connection is counted for this one.
    pub fn count_for(&mut self, user: &Arc<impl Uses + 'static>) {
        self.counted.move_to(user);
    }

    /// Where the head of a request is put.
    pub fn output(&mut self) -> &mut Output {
        &mut self.request.output
    }

    /// The head is in the output; its body has this framing.
    pub fn begin(&mut self, framing: Framing) {
        self.request.begin(framing);
        self.before = self.request.output.total();
        (self.has_body, self.is_sent, self.cut_off) = (framing != Framing::NONE, false, None);
        (self.interim, self.searched, self.parsed) = (0, 0, 0);
        self.is_last = true;
        self.is_bypassed = false;
    }

    /// Writes the request, with the body from `source`. Ready when its last byte was written.
    pub fn poll_send<S: Source>(
        &mut self,
        source: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        let sent = ready!(self.request.poll(source, &mut self.stream, context));
        self.is_sent = sent.is_ok();
        if let Err(PassError::Sink(error)) = &sent {
            self.cut_off = Some(error.kind());
        }
        Poll::Ready(sent)
    }

    /// Waits for the head of the answer. Informational answers are dropped (RFC 9110, section 15.2),
    /// but a 101 if another protocol was asked for: then the connection belongs to that.
    pub fn poll_head(
        &mut self,
        head: &mut AnswerHead,
        asked: Asked,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), AnswerError>> {
        loop {
            if self.may_be_whole()
                && let Progress::Whole(length) =
                    head.parse(self.input.bytes(), ANSWER_LIMITS).map_err(not_http)?
            {
                (self.searched, self.parsed) = (0, 0);
                self.input.consume(length);
                match head.status.as_u16() {
                    101 if asked.upgrade => {
                        self.framing = Framing::Close;
                        self.answer = Decoder::new(Framing::Close);
                        return Poll::Ready(Ok(()));
                    }
                    101 => return Poll::Ready(Err(AnswerError::Switched)),
                    100..=199 if self.interim >= asked.max_interim => {
                        return Poll::Ready(Err(AnswerError::Endless));
                    }
                    100..=199 => {
                        self.interim += 1;
                        continue;
                    }
                    _ => {}
                }
                let framing = framing(head, asked)?;
                self.is_last = !head.is_persistent() || framing == Framing::Close || says_both(head);
                self.framing = framing;
                self.patience = patience(head);
                let answer = Decoder::new(framing);
                // Only chunks are followed by trailers.
                self.answer =
                    if framing == Framing::Chunked { answer.without(head.listed()) } else { answer };
                return Poll::Ready(Ok(()));
            }
            let read = ready!(self.input.poll_read(&mut self.stream, context));
            if let Some(reason) = read.as_ref().err().and_then(tls_reason) {
                return Poll::Ready(Err(AnswerError::Tls(reason)));
            }
            if !matches!(read, Ok(1..)) {
                let nothing_came = self.input.is_empty() && self.interim == 0;
                return Poll::Ready(Err(if nothing_came {
                    AnswerError::Closed
                } else {
                    AnswerError::BrokenOff
                }));
            }
        }
    }

    /// What became of a request after whose beginning the connection ended without a byte of an answer: an upstream may
    /// end an idle connection while a request is on its way to it.
    pub fn fate(&self) -> Fate {
        match self.request.output.total() - self.before {
            _ if !self.is_reused => Fate::Unknown,
            0 => Fate::Unseen,
            // Each piece grows by some bytes that are not counted here: those of many pieces could hide that the first
            // one was seen.
            _ if self.has_body && self.stream.is_tls() => Fate::Unknown,
            written => self.stream.fate(written, self.cut_off),
        }
    }

    /// Whether it is worth while to read a head: its empty line is there; or so much more of it has come that
    /// what is no head is known soon, while one that drips is not read anew with each byte.
    fn may_be_whole(&mut self) -> bool {
        let bytes = self.input.bytes();
        let fresh = &bytes[self.searched.saturating_sub(2).min(bytes.len())..];
        let is_over = |at: usize| matches!(fresh[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
        let may_be = bytes.len() > 2 * self.parsed || memchr::memchr_iter(b'\n', fresh).any(is_over);
        self.searched = bytes.len();
        if may_be {
            self.parsed = bytes.len();
        }
        may_be
    }

    /// How the answer's body is delimited, once its head is there.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether it is TCP without encryption.
    pub fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// The bare connection and how much of the answer is still to come on it, where neither framing nor
    /// encryption is between.
    pub fn bare_rest(&self) -> Option<(&TcpStream, u64)> {
        match (&self.stream, self.answer.bare_rest()) {
            (Stream::Plain(stream), Some(left)) if self.input.is_empty() => Some((stream, left)),
            _ => None,
        }
    }

    /// What is not read yet of the answer goes another way: it is left on the connection.
    pub fn begin_bypass(&mut self) {
        self.is_bypassed = true;
    }

    /// Whether the answer was passed on to its end.
    pub fn is_answered(&self) -> bool {
        self.answer.is_ended()
    }

    /// So many bytes of the answer went another way.
    pub fn bypassed(&mut self, count: usize) {
        self.answer.took(count);
    }

    /// Whether another request may be sent: this one and its answer are over, and nothing else came.
    pub fn is_reusable(&self) -> bool {
        self.is_sent && self.answer.is_ended() && !self.is_last && self.input.is_empty()
    }

    /// Between two requests: whether the upstream still listens. Whatever comes unasked, be it the
    /// end of the stream, makes the connection worthless (RFC 9112, section 9.5 and 11.2).
    pub fn is_alive(&mut self) -> bool {
        self.is_reused = true;
        self.stream.is_quiet()
    }

    /// The bare connection after a 101, with what was read behind the head.
    pub fn into_tunnel(self) -> (Stream, Input) {
        (self.stream, self.input)
    }
}

/// What of a request decides about its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// The method was HEAD: there is no body, whatever the fields say.
    pub head: bool,
    /// Another protocol was asked for.
    pub upgrade: bool,
    /// Informational answers that are waited through.
    pub max_interim: u32,
}

fn not_http(error: HeadError) -> AnswerError {
    AnswerError::NotHttp(match error {
        HeadError::TooLong | HeadError::TooManyFields => "the answer's head is too long",
        HeadError::UnknownVersion => "the upstream answered in another version of HTTP",
        HeadError::Malformed | HeadError::TargetTooLong => "the upstream's answer is not HTTP",
    })
}

/// How long an upstream that says how long it waits for the next request (`Keep-Alive: timeout=5`, as Apache
/// and Node do) may be kept waiting. A fifth of that is left for the way: what is sent to one that closes at
/// the same moment may have been received, and is not sent again.
fn patience(head: &AnswerHead) -> Option<Duration> {
    let said = head.fields.all(Kind::KeepAlive).flat_map(members).find_map(|member| {
        let (name, value) = member.split_at_checked("timeout=".len())?;
        if name.eq_ignore_ascii_case(b"timeout=") { content_length(value) } else { None }
    });
    said.map(|seconds| Duration::from_millis(seconds.saturating_mul(800)))
}

/// Both a length and a transfer coding: the coding counts, but nobody knows what follows.
fn says_both(head: &AnswerHead) -> bool {
    head.fields.get(Kind::TransferEncoding).is_some() && head.fields.get(Kind::ContentLength).is_some()
}

/// Where the answer's body ends (RFC 9112, section 6.3).
pub(super) fn framing(head: &AnswerHead, asked: Asked) -> Result<Framing, AnswerError> {
    if asked.head || matches!(head.status.as_u16(), 204 | 304) {
        return Ok(Framing::NONE);
    }
    let (mut codings, mut length) = (0_usize, None);
    for coding in head.fields.all(Kind::TransferEncoding) {
        codings += 1;
        if !coding.eq_ignore_ascii_case(b"chunked") || head.is_http10 {
            return Err(AnswerError::NotHttp("the answer's transfer coding is not exactly `chunked`"));
        }
    }
    for list in head.fields.all(Kind::ContentLength) {
        // An empty one says that there is a length, and not which: the body has no end that is known.
        let no_member = list.trim_ascii().is_empty().then_some(list);
        for member in members(list).chain(no_member) {
            let value = content_length(member).ok_or(BAD_LENGTH)?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(BAD_LENGTH);
            }
        }
    }
    match (codings, length) {
        (0, Some(length)) => Ok(Framing::Length(length)),
        (0, None) => Ok(Framing::Close),
        (1, _) => Ok(Framing::Chunked),
        _ => Err(AnswerError::NotHttp("the answer's transfer coding is said twice")),
    }
}

const BAD_LENGTH: AnswerError = AnswerError::NotHttp("the answer's length is not one number");

/// A length (RFC 9110, section 8.6): digits only.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let add = |length: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    if value.is_empty() { None } else { value.iter().try_fold(0, add) }
}

impl Source for Http1Link {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        loop {
            match self.answer.step(&mut self.input) {
                Ok(body::Step::Data(count)) => {
                    return Poll::Ready(Ok(Fill::Data(&self.input.bytes()[..count])));
                }
                Ok(body::Step::End) => return Poll::Ready(Ok(Fill::End(self.answer.trailers()))),
                Ok(body::Step::Read) => {}
                Err(body::Malformed) => return Poll::Ready(Err(BodyError::Malformed)),
            }
            if self.is_bypassed {
                return Poll::Pending;
            }
            match ready!(self.input.poll_read(&mut self.stream, context)) {
                Ok(1..) => {}
                Ok(0) => self.answer.end().map_err(|body::Malformed| BodyError::BrokenOff)?,
                Err(_) => return Poll::Ready(Err(BodyError::BrokenOff)),
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.answer.took(count);
    }

    fn keep(&mut self, count: usize) -> Held {
        self.answer.took(count);
        self.input.detach(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        let piece = Bytes::copy_from_slice(&self.input.bytes()[..count]);
        self.consume(count);
        piece
    }

    fn is_spent(&self) -> bool {
        self.answer.is_ended() && self.answer.trailers().is_none()
    }
}
