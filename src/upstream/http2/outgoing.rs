//! The body of a request on its way to hyper: one piece at a time, and only when it is wanted.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame};

/// What the two ends share.
#[derive(Debug)]
struct Slot {
    piece: RefCell<Option<Bytes>>,
    state: Cell<State>,
    /// The reader has asked for a piece that is not there.
    is_wanted: Cell<bool>,
    writer: RefCell<Option<Waker>>,
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The last piece is there, or was taken.
    Ended,
    /// The writer is gone before the end.
    Broken,
    /// The reader is gone.
    Refused,
}

/// Where the pieces come from.
#[derive(Debug)]
pub(super) struct Writer(Rc<Slot>);

/// The body as hyper has it. A writer that goes before the end makes it fail, which resets the stream:
/// it never looks whole.
#[derive(Debug)]
pub(super) struct Outgoing(Rc<Slot>);

/// The reader takes no more.
pub(super) struct Refused;

/// A body and its writer; one that is empty has ended.
pub(super) fn body(is_empty: bool) -> (Writer, Outgoing) {
    let slot = Rc::new(Slot {
        piece: RefCell::new(None),
        state: Cell::new(if is_empty { State::Ended } else { State::Open }),
        is_wanted: Cell::new(false),
        writer: RefCell::new(None),
        reader: RefCell::new(None),
    });
    (Writer(slot.clone()), Outgoing(slot))
}

impl Slot {
    fn has_piece(&self) -> bool {
        self.piece.borrow().is_some()
    }
}

/// Remembers who waits.
fn remember(place: &RefCell<Option<Waker>>, context: &Context<'_>) {
    let mut place = place.borrow_mut();
    match place.as_mut() {
        Some(known) => known.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

impl Writer {
    /// Ready when a piece is wanted, or the last one was taken.
    pub(super) fn poll_wanted(&self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let slot = &self.0;
        match slot.state.get() {
            State::Ended if !slot.has_piece() => Poll::Ready(Ok(())),
            State::Refused | State::Broken => Poll::Ready(Err(Refused)),
            State::Open if slot.is_wanted.get() => Poll::Ready(Ok(())),
            State::Open | State::Ended => {
                remember(&slot.writer, context);
                Poll::Pending
            }
        }
    }

    /// Whether the end was said.
    pub(super) fn is_ended(&self) -> bool {
        self.0.state.get() == State::Ended
    }

    /// Gives a piece that is wanted.
    pub(super) fn put(&self, piece: Bytes) {
        *self.0.piece.borrow_mut() = Some(piece);
        self.0.is_wanted.set(false);
        wake(&self.0.reader);
    }

    /// Nothing follows.
    pub(super) fn end(&self) {
        self.leave(State::Ended);
    }

    fn leave(&self, state: State) {
        if self.0.state.get() == State::Open {
            self.0.state.set(state);
            wake(&self.0.reader);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.leave(State::Broken);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let slot = &self.0;
        if let Some(piece) = slot.piece.borrow_mut().take() {
            if slot.state.get() == State::Ended {
                wake(&slot.writer);
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match slot.state.get() {
            State::Ended => Poll::Ready(None),
            State::Broken | State::Refused => Poll::Ready(Some(Err(Reason::CANCEL.into()))),
            State::Open => {
                remember(&slot.reader, context);
                slot.is_wanted.set(true);
                wake(&slot.writer);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.state.get() == State::Ended && !self.0.has_piece()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.0.state.get() == State::Open {
            self.0.state.set(State::Refused);
        }
        wake(&self.0.writer);
    }
}
