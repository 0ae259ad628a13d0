//! One stream of an app's connection: a request, its answer, and the task that brings it there.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::Reason;
use http::{Method, Response};

use crate::body::{BodyError, Fill, Source};
use crate::buffer::Output;
use crate::http1::head::HeadError;
use crate::http1::{Framing, Kind};
use crate::http2::frame::{Data, LARGEST_WINDOW};
use crate::http2::head::Read;
use crate::proxy::exchange::Exchange;
use crate::proxy::record::Record;
use crate::proxy::watch::{Phase, Watch};
use crate::proxy::{Answer, Asking};
use crate::route::metrics::Limit;
use crate::server::app::refused;
use crate::server::connection::{Heads, LentHeads, give_heads};
use crate::server::http2::connection::{Connection, STREAM_WINDOW};
use crate::server::http2::content::Content;
use crate::server::http2::window::Window;
use crate::server::http2::{MOMENT, answer};

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    connection: Rc<Connection>,
    watch: Rc<Watch>,
    task: RefCell<Waker>,
    /// It is known what is answered.
    is_answered: Cell<bool>,
    /// Nothing more is to be done: its task ends.
    is_cut: Cell<bool>,
    /// What came of the body and was not taken.
    received: RefCell<Vec<u8>>,
    /// The app has sent all.
    is_over: Cell<bool>,
    /// What is still to come of a body whose length was said.
    announced: Cell<Option<u64>>,
    /// What the app may send.
    window: Window,
    /// What the app takes.
    send_window: Cell<i64>,
    /// See [`crate::server::http2::sender::Sender::wake_waiting`].
    pub(super) is_waiting: Cell<bool>,
}

/// A stream that is to be served.
pub(super) struct Job {
    stream: Rc<Stream>,
    heads: LentHeads,
    /// Whether its head keeps the limits.
    fits: Result<(), HeadError>,
    content: Content,
}

impl Job {
    /// Serves it to its end.
    pub(super) async fn run(self) {
        let Self { stream, mut heads, fits, content } = self;
        let ended = {
            let mut answer = pin!(stream.answer(&mut heads, fits, content));
            poll_fn(|context| {
                if stream.is_cut.get() {
                    return Poll::Ready(None);
                }
                stream.task.borrow_mut().clone_from(context.waker());
                answer.as_mut().poll(context).map(Some)
            })
            .await
        };
        give_heads(heads);
        match ended {
            Some(ended) => stream.connection.ended(&stream, ended.err()),
            None => stream.connection.cut_ended(),
        }
    }
}

/// How a stream ended: with its whole answer, or for a reason.
type Ended = Result<(), Reason>;

impl Stream {
    /// Begins a stream with the head of its request, which is all of it if `is_over`.
    pub(super) fn begin(connection: &Rc<Connection>, id: u32, is_over: bool, heads: LentHeads, read: Read) {
        let seat = connection.service.seats.take(connection.watch.sweeper());
        let stream = Rc::new(Self {
            id,
            connection: connection.clone(),
            watch: seat.watch.clone(),
            task: RefCell::new(Waker::noop().clone()),
            is_answered: Cell::new(false),
            is_cut: Cell::new(false),
            received: RefCell::default(),
            is_over: Cell::new(is_over),
            announced: Cell::new(read.content_length),
            window: Window::new(STREAM_WINDOW),
            send_window: Cell::new(connection.sender.borrow().initial_window()),
            is_waiting: Cell::new(false),
        });
        connection.enter(stream.clone());
        // What comes of the body before the task has its first turn is given back by this, too.
        let content = Content::new(stream.clone(), heads.request.fields.get(Kind::Expect).is_some());
        seat.serve(Job { stream, heads, fits: read.fits, content });
    }

    /// Answers the request.
    async fn answer(
        self: &Rc<Self>,
        heads: &mut Heads,
        fits: Result<(), HeadError>,
        mut content: Content,
    ) -> Ended {
        let Connection { service, settings, visitor, .. } = &*self.connection;
        let request = &heads.request;
        let is_head = request.method == Method::HEAD;
        let mut record = service.proxy.record(&self.watch, &settings.door, request);
        let answered = match (fits, &visitor.refusal) {
            (Err(error), _) => {
                let (limit, error) = refused(error);
                settings.door.metrics.unrouted.limited_by(limit);
                Err(error)
            }
            (Ok(()), Some(refusal)) => Err((**refusal).clone()),
            (Ok(()), None) => {
                let (is_over, peer) = (self.has_no_content(), visitor.peer.as_deref());
                let asking = Asking { head: request, is_over, peer };
                service.proxy.serve(&mut record, asking, &mut content, &mut heads.answer).await
            }
        };
        content.answered();
        self.is_answered.set(true);
        self.connection.answered();
        let ended = match answered {
            Ok(Answer::Upstream(mut exchange)) => {
                record.status = Some(heads.answer.status);
                let framing = exchange.framing();
                let passed = self.watch.guard(async {
                    poll_fn(|_| self.connection.sender.borrow_mut().poll_room(self)).await;
                    self.put_headers(framing == Framing::NONE, |output| {
                        answer::put_head(output, &heads.answer, framing, is_head, &service.date);
                    });
                    if framing == Framing::NONE {
                        Ok(())
                    } else {
                        self.pass(&mut exchange, &mut content).await
                    }
                });
                let passed = passed.await.unwrap_or_else(|_elapsed| {
                    exchange.route.metrics.limited(Limit::StallTimeout);
                    Err(BodyError::BrokenOff)
                });
                if passed.is_ok() {
                    exchange.finish();
                } else {
                    record.broken();
                }
                // Whoever has read the answer finds it in the numbers.
                drop(record);
                passed.map_err(|_broken| Reason::INTERNAL_ERROR)
            }
            Ok(Answer::Gone) => Err(Reason::CANCEL),
            Ok(Answer::Own(response)) => self.answer_here(&response, is_head, record).await,
            Err(error) => {
                let response = service.proxy.refuse(&error, &mut record);
                self.answer_here(&response, is_head, record).await
            }
        };
        if ended.is_ok() {
            self.skip(&mut content).await;
        }
        ended
    }

    /// Takes what the app still sends of a request that was answered, and drops it, up to as much as over
    /// HTTP/1.1. The reset that follows otherwise (RFC 9113, section 8.1) costs some apps the answer where both
    /// come together; an app that was given room to send after the answer has read it.
    async fn skip(&self, content: &mut Content) {
        let limits = self.connection.settings.door.skipped;
        self.watch.enter(Phase::Lingering, limits.time);
        let mut left = limits.bytes;
        let skipped = self.watch.guard(poll_fn(|context| {
            while !self.has_all_that_was_announced() {
                let count = match content.poll_fill(context) {
                    Poll::Ready(Ok(Fill::Data(data))) => data.len(),
                    // However that ends, the answer is whole.
                    Poll::Ready(_) => break,
                    Poll::Pending if left > 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Err(Limit::MaxSkipped)),
                };
                if count > left {
                    return Poll::Ready(Err(Limit::MaxSkipped));
                }
                content.consume(count);
                left -= count;
            }
            Poll::Ready(Ok(()))
        }));
        if let Err(limit) = skipped.await.unwrap_or(Err(Limit::SkipTimeout)) {
            self.connection.limited(limit);
        }
    }

    /// Passes the body of an answer on, and what is left of the request's to the upstream.
    async fn pass(self: &Rc<Self>, exchange: &mut Exchange, content: &mut Content) -> Result<(), BodyError> {
        let mut left = if let Framing::Length(length) = exchange.framing() { Some(length) } else { None };
        poll_fn(|context| {
            if !exchange.is_sent() {
                // How it ends is seen when the answer has ended.
                let _ = exchange.poll_upload(content, context);
            }
            self.poll_pass(exchange, &mut left, context)
        })
        .await
    }

    /// Passes on as much as goes without waiting: what is there becomes as few frames as hold it. `left`
    /// is what is still to come, if the length was said.
    fn poll_pass(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        left: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        loop {
            match ready!(exchange.poll_fill(context))? {
                Fill::Data(_) => {}
                Fill::End(_) if left.is_some_and(|left| left > 0) => {
                    return Poll::Ready(Err(BodyError::BrokenOff));
                }
                Fill::End(Some(trailers)) => {
                    self.put_headers(true, |output| answer::put_trailers(output, trailers));
                    return Poll::Ready(Ok(()));
                }
                Fill::End(None) => {
                    self.put_data(b"", true);
                    return Poll::Ready(Ok(()));
                }
            }
            let sender = &mut *self.connection.sender.borrow_mut();
            let room = ready!(sender.poll_data_room(self));
            if room == 0 {
                return Poll::Ready(Err(BodyError::BrokenOff));
            }
            let mut frame = sender.data(self, room);
            let passed = fill(&mut frame, exchange, left, context);
            let count = frame.end(passed == Ok(true));
            sender.sent(self, count);
            if passed? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// An answer that bearerd makes.
    async fn answer_here(
        self: &Rc<Self>,
        response: &Response<Bytes>,
        is_head: bool,
        mut record: Record,
    ) -> Ended {
        record.status = Some(response.status());
        // Whoever has read the answer finds it in the numbers.
        drop(record);
        self.watch.enter(Phase::Lingering, MOMENT);
        let mut body: &[u8] = if is_head { b"" } else { response.body() };
        let room = self.watch.guard(poll_fn(|_| self.connection.sender.borrow_mut().poll_room(self)));
        room.await.map_err(|_elapsed| Reason::CANCEL)?;
        self.put_headers(body.is_empty(), |output| {
            answer::put_own_head(output, response, &self.connection.service.date);
        });
        while !body.is_empty() {
            let room =
                self.watch.guard(poll_fn(|_| self.connection.sender.borrow_mut().poll_data_room(self)));
            let count = room.await.map_err(|_elapsed| Reason::CANCEL)?.min(body.len());
            if count == 0 {
                return Err(Reason::CANCEL);
            }
            let (piece, rest) = body.split_at(count);
            self.put_data(piece, rest.is_empty());
            body = rest;
        }
        Ok(())
    }

    /// Puts a head, or trailers.
    pub(super) fn put_headers(&self, is_last: bool, fields: impl FnOnce(&mut Output)) {
        self.connection.sender.borrow_mut().put_headers(self, is_last, fields);
    }

    /// Puts data, for which there is room.
    fn put_data(&self, data: &[u8], is_last: bool) {
        let sender = &mut *self.connection.sender.borrow_mut();
        let mut frame = sender.data(self, data.len());
        frame.put(data);
        let count = frame.end(is_last);
        sender.sent(self, count);
    }

    /// Has the task look again.
    pub(super) fn wake(&self) {
        self.task.borrow().wake_by_ref();
    }

    /// Ends the task when it has its turn.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.wake();
    }

    /// Whether it is known what is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.get()
    }

    /// Whether the app has sent all.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Whether the app has ended before it had sent all.
    pub(super) fn is_broken_off(&self) -> bool {
        !self.is_over() && self.connection.has_ended()
    }

    /// Whether the app has sent as much as it said that it would.
    pub(super) fn has_all_that_was_announced(&self) -> bool {
        self.announced.get() == Some(0)
    }

    /// Whether the app has sent all, and that was nothing.
    fn has_no_content(&self) -> bool {
        self.is_over() && self.received.borrow().is_empty()
    }

    /// What the app takes now; less than nothing where it changed its mind.
    pub(super) fn window(&self) -> i64 {
        self.send_window.get()
    }

    /// The app takes so much more, or less. False if that is more than may be.
    pub(super) fn widen(&self, more: i64) -> bool {
        self.send_window.set(self.send_window.get() + more);
        self.wake();
        self.send_window.get() <= LARGEST_WINDOW
    }

    /// So much was sent.
    pub(super) fn narrow(&self, count: i64) {
        self.send_window.set(self.send_window.get() - count);
    }

    /// A part of the body came, in a frame of `length` bytes.
    pub(super) fn receive(&self, length: usize, data: &[u8], is_last: bool) -> Result<(), Reason> {
        if !self.window.receive(length) {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        if let Some(announced) = self.announced.get() {
            let left = announced.checked_sub(data.len() as u64).ok_or(Reason::PROTOCOL_ERROR)?;
            if is_last && left > 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            self.announced.set(Some(left));
        }
        self.received.borrow_mut().extend_from_slice(data);
        self.is_over.set(is_last);
        // Padding waits for nobody.
        self.took(length - data.len());
        self.wake();
        Ok(())
    }

    /// Exchanges an empty piece for what was received.
    pub(super) fn swap_received(&self, piece: &mut Vec<u8>) {
        std::mem::swap(&mut *self.received.borrow_mut(), piece);
    }

    /// So many bytes of the body were taken: the app may send as many more.
    pub(super) fn took(&self, count: usize) {
        if count == 0 {
            return;
        }
        self.connection.took(count);
        if let Some(more) = self.window.take(count)
            && !self.is_over()
        {
            self.connection.sender.borrow_mut().put_window(self.id, more);
        }
    }

    /// Nobody takes what was received, nor `shown` bytes of what was shown.
    pub(super) fn drop_received(&self, shown: usize) {
        let received = std::mem::take(&mut *self.received.borrow_mut());
        self.connection.took(shown + received.len());
    }
}

/// Fills a frame with what there is of the answer. True if that is the last of it, and nothing stands
/// behind it.
fn fill(
    frame: &mut Data<'_>,
    exchange: &mut Exchange,
    left: &mut Option<u64>,
    context: &mut Context<'_>,
) -> Result<bool, BodyError> {
    loop {
        match exchange.poll_fill(context) {
            Poll::Ready(Ok(Fill::Data(data))) => {
                let count = data.len().min(frame.room());
                if count == 0 {
                    return Ok(false);
                }
                if let Some(left) = left {
                    *left = left.checked_sub(count as u64).ok_or(BodyError::Malformed)?;
                }
                frame.put(&data[..count]);
                exchange.consume(count);
                if *left == Some(0) && exchange.is_spent() {
                    return Ok(true);
                }
            }
            Poll::Ready(Ok(Fill::End(None))) if left.is_none_or(|left| left == 0) => return Ok(true),
            // What came before goes out all the same; the rest is told again.
            Poll::Ready(_) | Poll::Pending => return Ok(false),
        }
    }
}
