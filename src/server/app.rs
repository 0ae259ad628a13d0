//! One HTTP/1.1 connection from an app: reading heads and bodies, writing answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::AsyncWrite;

use crate::body::splice::{self, Pipe, Side};
use crate::body::{BodyError, Fill, PassError, Passage, Source};
use crate::buffer::{Held, Input};
use crate::http1::body::{self, Decoder, put_field};
use crate::http1::head::{HeadError, Progress};
use crate::http1::{AnswerHead, Framing, HeadLimits, Kind, RequestHead};
use crate::proxy::admit::SkipLimits;
use crate::proxy::exchange::Exchange;
use crate::proxy::upload::Caller;
use crate::proxy::watch::{Elapsed, Phase, Watch};
use crate::proxy::{Code, ProxyError};
use crate::route::metrics::Limit;
use crate::server::date::Date;
use crate::server::http2::PREFACE;
use crate::server::socket::AppStream;

/// An HTTP/1.1 connection from an app.
#[derive(Debug)]
pub struct App {
    stream: AppStream,
    watch: Rc<Watch>,
    limits: HeadLimits,
    head_timeout: Duration,
    input: Input,
    /// Up to where no end of a head was found.
    searched: usize,
    request: Decoder,
    /// The app waits for a 100 before it sends the body (RFC 9110, section 10.1.1).
    expects_continue: bool,
    /// A 100 is in the output, and nobody waits for anything behind it.
    owes_continue: bool,
    /// The app sends nothing more.
    has_ended: bool,
    /// The connection ends, unless something is asked on it soon.
    is_leaving: bool,
    answer: Passage,
}

/// What became of waiting for a head.
#[derive(Debug)]
pub enum Next {
    /// It is whole.
    Request,
    /// The connection is over.
    End,
    /// It cannot be served: the limit that bit, and the answer if one is possible.
    Refused(Option<Limit>, Option<ProxyError>),
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was written to its last byte.
    Whole,
    /// The upstream broke off, or made no progress.
    BrokenByUpstream,
    /// The app takes no more.
    BrokenByApp,
}

/// How an answer is delimited for the app, and whether another may follow.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The request was HEAD.
    pub is_head: bool,
    /// The app speaks HTTP/1.0, which knows no chunks.
    pub is_http10: bool,
    /// The connection ends with this answer.
    pub closes: bool,
}

impl App {
    /// A connection of which nothing was read but what is in `input`.
    pub fn new(
        stream: AppStream,
        input: Input,
        watch: Rc<Watch>,
        limits: HeadLimits,
        head_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            watch,
            limits,
            head_timeout,
            input,
            searched: 0,
            request: Decoder::new(Framing::NONE),
            expects_continue: false,
            owes_continue: false,
            has_ended: false,
            is_leaving: false,
            answer: Passage::to_app(),
        }
    }

    /// Whether the connection speaks HTTP/2: it was agreed on in the handshake, or a connection without
    /// TLS begins with the preface (RFC 9113, section 3.3), of which as much is read as it takes to know.
    pub async fn speaks_http2(&mut self) -> bool {
        poll_fn(|context| {
            loop {
                let bytes = self.input.bytes();
                let seen = bytes.len().min(PREFACE.len());
                let is_preface = bytes[..seen] == PREFACE[..seen];
                if !is_preface || seen == PREFACE.len() {
                    return Poll::Ready(self.stream.allows_http2(is_preface));
                }
                if self.input.is_empty() && self.is_to_end() {
                    return Poll::Ready(false);
                }
                match self.input.poll_read(&mut self.stream, context) {
                    Poll::Ready(Ok(1..)) => {}
                    // What this means is seen when the rest of a head is read.
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return self.watch.poll_passed(context).map(|_| false),
                }
            }
        })
        .await
    }

    /// Waits until there is something to read. False at the end of the connection.
    pub async fn wait(&mut self) -> Next {
        poll_fn(|context| {
            if !self.input.is_empty() {
                return Poll::Ready(Next::Request);
            }
            if self.is_to_end() {
                return Poll::Ready(Next::End);
            }
            match self.input.poll_read(&mut self.stream, context) {
                Poll::Ready(Ok(1..)) => Poll::Ready(Next::Request),
                Poll::Ready(_) => Poll::Ready(Next::End),
                Poll::Pending => self.watch.poll_passed(context).map(|Elapsed(phase)| match phase {
                    _ if self.is_leaving => Next::End,
                    Phase::Idle => Next::Refused(Some(Limit::IdleTimeout), None),
                    _ => Next::Refused(Some(Limit::HeadTimeout), None),
                }),
            }
        })
        .await
    }

    /// Whether a connection of which nothing is read is to end now. Of a listener that is gone nothing can be
    /// asked. When the process ends, a request may be on its way, and a connection that is closed meanwhile would
    /// cost it: it waits a little longer, and the answer says that the connection ends.
    fn is_to_end(&mut self) -> bool {
        if !self.watch.is_draining() || !self.watch.sweeper().is_draining() {
            return self.watch.is_draining();
        }
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.watch.enter(Phase::Idle, LAST_CALL);
        }
        false
    }

    /// Reads a head, of which something is there.
    pub async fn read_head(&mut self, head: &mut RequestHead) -> Next {
        poll_fn(|context| {
            loop {
                if self.may_be_whole() {
                    match head.parse(self.input.bytes(), self.limits) {
                        Ok(Progress::Whole(length)) => {
                            self.input.consume(length);
                            self.searched = 0;
                            return Poll::Ready(Next::Request);
                        }
                        Ok(Progress::Partial) => self.searched = self.input.bytes().len(),
                        Err(error) => {
                            let (limit, error) = refused(error);
                            return Poll::Ready(Next::Refused(limit, Some(error)));
                        }
                    }
                }
                if self.watch.phase() == Phase::Idle {
                    self.watch.enter(Phase::Head, self.head_timeout);
                }
                match self.input.poll_read(&mut self.stream, context) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Next::End),
                    Poll::Pending => {
                        return self.watch.poll_passed(context).map(|_| {
                            let detail = "the request head was not whole in time";
                            let error = ProxyError::new(Code::RequestTimeout, detail).and_close();
                            Next::Refused(Some(Limit::HeadTimeout), Some(error))
                        });
                    }
                }
            }
        })
        .await
    }

    /// Whether it is worth while to look: a head that drips is not read anew with each byte.
    fn may_be_whole(&self) -> bool {
        let bytes = self.input.bytes();
        if self.searched == 0 || bytes.len() > self.limits.bytes {
            return true;
        }
        let fresh = &bytes[self.searched.saturating_sub(2).min(bytes.len())..];
        // An empty line ends a head; a line's end may be a limit's, too.
        let is_over = |at: usize| matches!(fresh[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
        memchr::memchr_iter(b'\n', fresh).any(is_over) || bytes.len() - self.searched > self.limits.target
    }

    /// The request that was read has a body of this framing.
    pub fn begin_request(&mut self, framing: Framing, expects_continue: bool) {
        self.request = Decoder::new(framing);
        self.expects_continue = expects_continue && framing != Framing::NONE;
    }

    /// Whether the request was read to its end.
    pub fn has_whole_request(&self) -> bool {
        self.request.is_ended()
    }

    /// Whether the app may still wait for a 100, and send no body without.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Puts the head of an upstream's answer into the output.
    pub fn begin_answer(&mut self, head: &AnswerHead, framing: Framing, manner: Manner, date: &Date) {
        // A 100 that was not wanted so far is not wanted any more.
        self.expects_continue = false;
        self.owes_continue = false;
        let output = &mut self.answer.output;
        output.put(b"HTTP/1.1 ");
        output.put(head.status.as_str().as_bytes());
        output.put(b" ");
        output.put(head.reason());
        output.put(b"\r\n");
        let tells_length = manner.is_head || head.status == StatusCode::NOT_MODIFIED;
        let mut has_date = false;
        for field in head.fields.iter() {
            has_date |= field.kind == Kind::Date;
            if field.kind != Kind::ContentLength || tells_length {
                put_field(output, field.name, field.value);
            }
        }
        if !has_date {
            put_field(output, b"Date", &date.now());
        }
        let framing = match framing {
            Framing::Chunked | Framing::Close if manner.is_http10 => Framing::Close,
            Framing::Chunked | Framing::Close if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                Framing::Close
            }
            Framing::Chunked | Framing::Close => {
                output.put(b"Transfer-Encoding: chunked\r\n");
                Framing::Chunked
            }
            Framing::Length(length) => {
                if !tells_length && head.status != StatusCode::NO_CONTENT {
                    put_field(output, b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
                }
                Framing::Length(length)
            }
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            output.put(b"Connection: upgrade\r\n");
        } else if manner.closes {
            output.put(b"Connection: close\r\n");
        }
        output.put(b"\r\n");
        self.answer.begin(framing);
    }

    /// Writes the answer's body, and what is left of the request's to the upstream.
    pub async fn pass_answer(&mut self, exchange: &mut Exchange) -> Ending {
        let mut pipe = self.pipe(exchange);
        let ending = poll_fn(|context| {
            if !exchange.is_sent() {
                // How it ends is seen when the answer has ended.
                let _ = exchange.poll_upload(self, context);
            }
            match self.poll_answer(exchange, pipe.as_mut(), context) {
                Poll::Ready(Ok(())) => Poll::Ready(Ending::Whole),
                Poll::Ready(Err(PassError::Sink(_))) => Poll::Ready(Ending::BrokenByApp),
                Poll::Ready(Err(PassError::Source(_) | PassError::TooShort)) => {
                    Poll::Ready(Ending::BrokenByUpstream)
                }
                Poll::Pending if exchange.is_sent() && self.poll_gone(context).is_ready() => {
                    Poll::Ready(Ending::BrokenByApp)
                }
                Poll::Pending => self.watch.poll_passed(context).map(|_| {
                    exchange.route.metrics.limited(Limit::StallTimeout);
                    Ending::BrokenByUpstream
                }),
            }
        })
        .await;
        if ending == Ending::BrokenByUpstream && self.answer.is_delimited_by_end() {
            self.stream.reset();
        }
        ending
    }

    /// A way past this process's memory for a long answer between two plain connections.
    fn pipe(&self, exchange: &mut Exchange) -> Option<Pipe> {
        let is_worth_while = |left| left >= splice::WORTH_WHILE;
        let AppStream::Tcp(_) = &self.stream else { return None };
        if !matches!(exchange.framing(), Framing::Length(length) if is_worth_while(length)) {
            return None;
        }
        if exchange.may_be_bypassed() { Pipe::new().inspect(|_| exchange.begin_bypass()) } else { None }
    }

    /// Passes on as much of the answer as goes without waiting: what is in memory first, and then the
    /// rest through the pipe, if there is one.
    fn poll_answer(
        &mut self,
        exchange: &mut Exchange,
        mut pipe: Option<&mut Pipe>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        loop {
            let passed = self.answer.poll(exchange, &mut self.stream, context);
            let (Poll::Pending, Some(pipe)) = (&passed, &mut pipe) else { return passed };
            // Pending with something in memory: the app takes no more for now.
            while let Some((from, left)) = exchange.bare_rest()
                && self.answer.is_bare()
                && let AppStream::Tcp(to) = &self.stream
            {
                let moved = ready!(pipe.poll_move(from, to, left, context)).map_err(|side| match side {
                    Side::Source => PassError::Source(BodyError::BrokenOff),
                    Side::Sink => PassError::Sink(io::ErrorKind::BrokenPipe.into()),
                })?;
                exchange.bypassed(moved);
                self.answer.bypassed(moved);
            }
            if !exchange.is_answered() {
                return Poll::Pending;
            }
        }
    }

    /// Writes an answer that bearerd makes.
    pub async fn answer(&mut self, response: &Response<Bytes>, manner: Manner, date: &Date) -> Ending {
        self.expects_continue = false;
        self.owes_continue = false;
        let output = &mut self.answer.output;
        output.put(b"HTTP/1.1 ");
        output.put(response.status().as_str().as_bytes());
        output.put(b" ");
        output.put(response.status().canonical_reason().unwrap_or_default().as_bytes());
        output.put(b"\r\n");
        for (name, value) in response.headers() {
            put_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
        put_field(output, b"date", &date.now());
        if response.status() != StatusCode::NO_CONTENT {
            let length = response.body().len();
            put_field(output, b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        if manner.closes && !response.headers().contains_key(http::header::CONNECTION) {
            output.put(b"connection: close\r\n");
        }
        output.put(b"\r\n");
        if !manner.is_head {
            output.put(response.body());
        }
        self.answer.begin(Framing::NONE);
        let flushed = poll_fn(|context| match self.answer.poll_flush(&mut self.stream, context) {
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
            Poll::Pending => self.watch.poll_passed(context).map(|_| false),
        });
        if flushed.await { Ending::Whole } else { Ending::BrokenByApp }
    }

    /// Reads the rest of a request that was answered before its end, if it is short. Otherwise the connection cannot
    /// be used any more: an error names the limit that bit, if it was one.
    pub async fn skip_request(&mut self, limits: SkipLimits) -> Result<(), Option<Limit>> {
        self.watch.enter(Phase::Lingering, limits.time);
        let mut left = limits.bytes;
        poll_fn(|context| {
            loop {
                let count = match self.poll_fill(context) {
                    Poll::Ready(Ok(Fill::Data(data))) => data.len(),
                    Poll::Ready(Ok(Fill::End(_))) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(None)),
                    Poll::Pending if left > 0 => {
                        return self.watch.poll_passed(context).map(|_| Err(Some(Limit::SkipTimeout)));
                    }
                    Poll::Pending => return Poll::Ready(Err(Some(Limit::MaxSkipped))),
                };
                if count > left {
                    return Poll::Ready(Err(Some(Limit::MaxSkipped)));
                }
                self.consume(count);
                left -= count;
            }
        })
        .await
    }

    /// Ends the connection. A socket that is closed with unread bytes is reset, and the app might lose
    /// the answer: what it still sends is read and dropped for a moment.
    pub async fn close(mut self) {
        self.watch.enter(Phase::Lingering, LINGER);
        let mut is_told = false;
        poll_fn(|context| {
            let mut end = || -> Poll<()> {
                let _ = ready!(self.answer.poll_flush(&mut self.stream, context));
                let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
                is_told = true;
                loop {
                    self.input.consume(self.input.bytes().len());
                    match ready!(self.input.poll_read(&mut self.stream, context)) {
                        Ok(1..) => {}
                        _ => return Poll::Ready(()),
                    }
                }
            };
            match end() {
                Poll::Ready(()) => Poll::Ready(()),
                // A drain does not wait for an app that has sent all, and only keeps its end open.
                Poll::Pending if is_told && self.watch.is_draining() && self.request.is_ended() => {
                    Poll::Ready(())
                }
                Poll::Pending => self.watch.poll_passed(context).map(drop),
            }
        })
        .await;
    }

    /// Leaves a connection that is at rest. Over TLS the end is announced, so that it is not taken for
    /// one that somebody on the way has made (RFC 8446, section 6.1).
    pub async fn part(mut self) {
        if let AppStream::Tls(stream) = &mut self.stream {
            // A notice that cannot be sent at once is not worth waiting for.
            let mut stream = Pin::new(stream);
            poll_fn(|context| Poll::Ready(stream.as_mut().poll_shutdown(context).is_ready())).await;
        }
    }

    /// Whether something was read that belongs to no request yet.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// What was read first.
    pub fn input(&self) -> &[u8] {
        self.input.bytes()
    }

    /// The bare connection, of which what was read is not understood yet.
    pub fn into_unspoken(self) -> (AppStream, Input) {
        (self.stream, self.input)
    }

    /// The bare connection, with what was read and what is to be written.
    pub fn into_parts(self) -> (AppStream, Input, Passage) {
        (self.stream, self.input, self.answer)
    }
}

/// How long an idle connection waits for another request when the process ends.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long what the app still sends is read and dropped when the connection ends early.
const LINGER: Duration = Duration::from_secs(2);

/// What is answered to a head that cannot be read.
pub(super) fn refused(error: HeadError) -> (Option<Limit>, ProxyError) {
    let (limit, code, detail) = match error {
        HeadError::TooLong => {
            (Some(Limit::MaxHead), Code::HeadTooLarge, "the request head is longer than `max_head`")
        }
        HeadError::TooManyFields => {
            (Some(Limit::MaxFields), Code::HeadTooLarge, "the request head has more than `max_fields` fields")
        }
        HeadError::TargetTooLong => {
            (Some(Limit::MaxTarget), Code::TargetTooLong, "the request target is longer than `max_target`")
        }
        HeadError::UnknownVersion => (None, Code::BadRequest, "the request is of an unknown version of HTTP"),
        HeadError::Malformed => (None, Code::BadRequest, "the request head is not HTTP"),
    };
    (limit, ProxyError::new(code, detail).and_close())
}

impl Source for App {
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>> {
        loop {
            match self.request.step(&mut self.input) {
                Ok(body::Step::Data(count)) => {
                    return Poll::Ready(Ok(Fill::Data(&self.input.bytes()[..count])));
                }
                Ok(body::Step::End) => return Poll::Ready(Ok(Fill::End(self.request.trailers()))),
                Ok(body::Step::Read) => {}
                Err(body::Malformed) => return Poll::Ready(Err(BodyError::Malformed)),
            }
            if std::mem::take(&mut self.expects_continue) {
                self.answer.output.put(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.owes_continue = true;
            }
            // An app that still reads the answer before takes it later. One that is gone is noticed by what is
            // read, or when it is answered.
            if self.owes_continue && self.answer.poll_flush(&mut self.stream, context).is_ready() {
                self.owes_continue = false;
            }
            match ready!(self.input.poll_read(&mut self.stream, context)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(BodyError::BrokenOff)),
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.request.took(count);
    }

    fn keep(&mut self, count: usize) -> Held {
        self.request.took(count);
        self.input.detach(count)
    }

    fn take(&mut self, count: usize) -> Bytes {
        let piece = Bytes::copy_from_slice(&self.input.bytes()[..count]);
        self.consume(count);
        piece
    }
}

impl Caller for App {
    /// An app that has only shut its sending half still waits (RFC 9112, section 9.6).
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_ended || !self.input.is_empty() {
            return Poll::Pending;
        }
        // Nearly always there is nothing: no memory is taken to find that out.
        ready!(self.stream.poll_readable(context));
        match ready!(self.input.poll_read(&mut self.stream, context)) {
            // The next request is read when this one is answered.
            Ok(1..) => Poll::Pending,
            Ok(0) => {
                self.has_ended = true;
                if self.stream.is_abandoned() { Poll::Ready(()) } else { Poll::Pending }
            }
            Err(_) => Poll::Ready(()),
        }
    }
}
