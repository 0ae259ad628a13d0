//! The connection's own task: bytes in, bytes out.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use tokio::io::AsyncWrite;
use tokio::time::Interval;

use crate::buffer::{BLOCK, Input};
use crate::http2::frame::{HEADER, Header, LONGEST};
use crate::proxy::watch::Phase;
use crate::server::http2::connection::Connection;
use crate::server::http2::reader::Reader;
use crate::server::http2::{MOMENT, PREFACE};

/// What reads and writes a connection.
pub(super) struct Driver {
    connection: Rc<Connection>,
    input: Input,
    reader: Reader,
    has_preface: bool,
    /// When to look whether an app is still there that has ended its half.
    patrol: Option<Interval>,
}

/// How often that is.
const PATROL: Duration = Duration::from_secs(1);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides are done with it.
    Done,
    /// The app is gone, or has to go.
    Lost,
    /// The app broke a rule.
    Fault(Reason),
}

impl Driver {
    /// Serves a connection, of which `input` was read.
    pub(super) fn new(connection: &Rc<Connection>, input: Input) -> Self {
        let reader = Reader::new(connection.clone());
        Self { connection: connection.clone(), input, reader, has_preface: false, patrol: None }
    }

    /// Reads and writes what goes without waiting. Ready when the connection is to end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.connection.sender.borrow_mut().begin_turn(context);
        loop {
            if let Poll::Ready(Err(end)) = self.poll_read(context) {
                return Poll::Ready(end);
            }
            let was_full = self.connection.sender.borrow().is_full();
            let written = self.connection.sender.borrow_mut().poll_flush();
            match written {
                Poll::Ready(true) if was_full => {}
                Poll::Ready(true) | Poll::Pending if self.connection.is_done() => {
                    return Poll::Ready(End::Done);
                }
                Poll::Ready(true) | Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(End::Lost),
            }
        }
    }

    /// Reads frames, as long as the app takes what is answered. Ready without an error when it does not.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.connection.has_ended() {
            return self.poll_gone(context).map(|()| Err(End::Lost));
        }
        let mut left = BLOCK;
        loop {
            self.read_frames().map_err(End::Fault)?;
            if self.connection.sender.borrow().is_full() {
                return Poll::Ready(Ok(()));
            }
            if left == 0 || self.connection.has_too_many_ending() {
                // The streams, and the other connections, have their turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let stream = &mut self.connection.sender.borrow_mut().stream;
            match ready!(self.input.poll_read(stream, context)) {
                Ok(count @ 1..) => left = left.saturating_sub(count),
                Ok(0) => break,
                Err(_) => return Poll::Ready(Err(End::Lost)),
            }
        }
        self.end_half(context).map(|()| Err(End::Lost))
    }

    /// The app has ended its half. One that is still there is answered what it has asked for, as over HTTP/1.1
    /// (RFC 9112, section 9.6). Ready if it is gone.
    fn end_half(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.connection.streams().is_empty() || self.connection.sender.borrow().stream.is_abandoned() {
            return Poll::Ready(());
        }
        self.connection.app_ends();
        self.patrol = Some(tokio::time::interval(PATROL));
        self.poll_gone(context)
    }

    /// Whether an app that had ended its half is gone: nothing that is read would tell.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(patrol) = &mut self.patrol else { return Poll::Pending };
        loop {
            ready!(patrol.poll_tick(context));
            if !self.connection.is_anybody_there() {
                return Poll::Ready(());
            }
        }
    }

    /// Reads the frames that are there whole.
    fn read_frames(&mut self) -> Result<(), Reason> {
        if !self.has_preface {
            let bytes = self.input.bytes();
            let seen = bytes.len().min(PREFACE.len());
            if bytes[..seen] != PREFACE[..seen] {
                return Err(Reason::PROTOCOL_ERROR);
            }
            if seen < PREFACE.len() {
                return Ok(());
            }
            self.input.consume(PREFACE.len());
            self.has_preface = true;
        }
        while let Some(header) = Header::parse(self.input.bytes()) {
            if header.length > LONGEST {
                return Err(Reason::FRAME_SIZE_ERROR);
            }
            let Some(payload) = self.input.bytes().get(HEADER..HEADER + header.length) else { break };
            self.reader.read(header, payload)?;
            self.input.consume(HEADER + header.length);
            if self.connection.sender.borrow().is_full() || self.connection.has_too_many_ending() {
                break;
            }
        }
        Ok(())
    }

    /// Ends the connection; the app hears why. A socket that is closed with unread bytes is reset, and
    /// the app might lose what was said last: what it still sends is read and dropped for a moment.
    pub(super) async fn close(mut self, end: End) {
        match end {
            End::Lost => return,
            End::Done => {}
            End::Fault(reason) => self.connection.say_fault(reason),
        }
        let connection = self.connection.clone();
        connection.watch.enter(Phase::Lingering, MOMENT);
        poll_fn(|context| match self.poll_close(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => connection.watch.poll_passed(context).map(drop),
        })
        .await;
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sender = &mut *self.connection.sender.borrow_mut();
        sender.begin_turn(context);
        if ready!(sender.poll_flush()) {
            let _ = ready!(Pin::new(&mut sender.stream).poll_shutdown(context));
            while let Ok(1..) = ready!(self.input.poll_read(&mut sender.stream, context)) {
                self.input.consume(self.input.bytes().len());
            }
        }
        Poll::Ready(())
    }
}
