//! What goes to the app: frames of all streams, in one output.
//!
//! It is written by the connection's task, when all streams had their turn; and by a stream that finds it
//! full, so that one waits only for an app that takes no more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use h2::Reason;
use tokio::io::AsyncWrite;

use crate::buffer::{BLOCK, Output};
use crate::http2::frame::{self, Data, HEADER, Kind, LARGEST_WINDOW, LONGEST, USUAL_WINDOW};
use crate::http2::{Fault, hpack};
use crate::server::http2::stream::Stream;
use crate::server::socket::AppStream;

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    /// The connection itself.
    pub(super) stream: AppStream,
    /// It takes nothing any more.
    is_broken: bool,
    /// The app says nothing more: no window grows.
    is_final: bool,
    /// Nothing that was written lies in it (TLS).
    is_flushed: bool,
    /// What is to be written next.
    pub(super) output: Output,
    /// What the app takes on all streams together.
    window: i64,
    /// What it takes on a new stream.
    initial_window: i64,
    /// The app wants a smaller table for fields than it had.
    wants_smaller_table: bool,
    /// Streams that wait for room in the output, or in the connection's window.
    waiting: VecDeque<Rc<Stream>>,
    /// The connection's task, and whether it knows that there is something to write.
    task: Waker,
    is_woken: bool,
    /// A head or data were put since somebody asked.
    has_answered: bool,
}

impl Sender {
    /// Nothing was sent to the app yet.
    pub(super) fn new(stream: AppStream) -> Self {
        Self {
            stream,
            is_broken: false,
            is_final: false,
            is_flushed: true,
            output: Output::to_app(),
            window: USUAL_WINDOW,
            initial_window: USUAL_WINDOW,
            wants_smaller_table: false,
            waiting: VecDeque::new(),
            task: Waker::noop().clone(),
            is_woken: false,
            has_answered: false,
        }
    }

    /// The connection's task has its turn.
    pub(super) fn begin_turn(&mut self, context: &Context<'_>) {
        self.task.clone_from(context.waker());
        self.is_woken = false;
    }

    /// Has the connection's task write, when the streams had their turns.
    pub(super) fn wake(&mut self) {
        if !std::mem::replace(&mut self.is_woken, true) {
            self.task.wake_by_ref();
        }
    }

    /// Whether something was answered since this was asked last.
    pub(super) fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.has_answered)
    }

    /// Whether the app has to take something before more is answered: a usual head still fits.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() >= BLOCK - LONGEST
    }

    /// Writes what is there. Ready when all of it was written, or with false if the app is gone. Whoever
    /// asks, it is the connection's task that hears when the app takes more.
    pub(super) fn poll_flush(&mut self) -> Poll<bool> {
        let task = self.task.clone();
        let context = &mut Context::from_waker(&task);
        if !self.output.is_empty() {
            self.is_flushed = false;
            self.is_broken |= ready!(self.output.poll_write(&mut self.stream, context, &[])).is_err();
            self.wake_waiting();
        }
        if !self.is_flushed {
            self.is_broken |= ready!(Pin::new(&mut self.stream).poll_flush(context)).is_err();
            self.is_flushed = true;
        }
        Poll::Ready(!self.is_broken)
    }

    /// Has the streams that wait look again.
    pub(super) fn wake_waiting(&mut self) {
        for stream in self.waiting.drain(..) {
            stream.is_waiting.set(false);
            stream.wake();
        }
    }

    /// The window that a new stream has.
    pub(super) fn initial_window(&self) -> i64 {
        self.initial_window
    }

    /// The window of a new stream changes, and that of all others by as much (RFC 9113, section 6.9.2).
    pub(super) fn set_initial_window(&mut self, size: u32, streams: &[Rc<Stream>]) -> Result<(), Fault> {
        let more = i64::from(size) - self.initial_window;
        self.initial_window = i64::from(size);
        for stream in streams {
            stream.widen(more).then_some(()).ok_or(Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
        }
        Ok(())
    }

    /// The app takes more on all streams together.
    pub(super) fn widen(&mut self, more: u32) -> Result<(), Fault> {
        self.window += i64::from(more);
        if self.window > LARGEST_WINDOW {
            return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
        }
        self.wake_waiting();
        Ok(())
    }

    /// The app has another table for fields.
    pub(super) fn set_table(&mut self, size: u32) {
        self.wants_smaller_table |= i64::from(size) < 4096;
    }

    /// Waits until the output takes another head.
    pub(super) fn poll_room(&mut self, stream: &Rc<Stream>) -> Poll<()> {
        if self.is_full() && self.poll_flush() != Poll::Ready(true) {
            self.wake();
            return self.wait(stream);
        }
        Poll::Ready(())
    }

    /// No window grows any more.
    pub(super) fn finish_windows(&mut self) {
        self.is_final = true;
    }

    /// Waits until data may be put, and says how much; nothing, if none ever may.
    pub(super) fn poll_data_room(&mut self, stream: &Rc<Stream>) -> Poll<usize> {
        ready!(self.poll_room(stream));
        let room = BLOCK.saturating_sub(self.output.len() + HEADER);
        match usize::try_from(self.window.min(stream.window())) {
            Ok(most @ 1..) => Poll::Ready(room.min(most)),
            _ if self.is_final => Poll::Ready(0),
            _ if self.window <= 0 => self.wait(stream).map(|()| 0),
            // Whoever widens the stream's window wakes it.
            _ => Poll::Pending,
        }
    }

    fn wait(&mut self, stream: &Rc<Stream>) -> Poll<()> {
        if !stream.is_waiting.replace(true) {
            self.waiting.push_back(stream.clone());
        }
        Poll::Pending
    }

    /// Begins a frame of data on a stream; [`Self::sent`] tells how much it became.
    pub(super) fn data(&mut self, stream: &Stream, room: usize) -> Data<'_> {
        Data::begin(&mut self.output, stream.id, room)
    }

    /// So many bytes of data were put.
    pub(super) fn sent(&mut self, stream: &Stream, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.window -= count;
        stream.narrow(count);
        self.has_answered = true;
        self.wake();
    }

    /// Puts a head, or trailers.
    pub(super) fn put_headers(&mut self, stream: &Stream, is_last: bool, fields: impl FnOnce(&mut Output)) {
        self.has_answered = true;
        let is_smaller = std::mem::take(&mut self.wants_smaller_table);
        frame::put_headers(&mut self.output, stream.id, is_last, |output| {
            if is_smaller {
                hpack::put_table_size(output);
            }
            fields(output);
        });
        self.wake();
    }

    /// Puts a `WINDOW_UPDATE`.
    pub(super) fn put_window(&mut self, stream: u32, more: u32) {
        frame::put_window(&mut self.output, stream, more);
        self.wake();
    }

    /// Puts a `RST_STREAM`.
    pub(super) fn put_reset(&mut self, stream: u32, reason: Reason) {
        frame::put_reset(&mut self.output, stream, reason);
        self.wake();
    }

    /// Puts the answer to SETTINGS or PING.
    pub(super) fn acknowledge(&mut self, kind: Kind, payload: &[u8]) {
        frame::put(&mut self.output, kind, frame::Flags::ACK, 0, payload);
        self.wake();
    }
}
