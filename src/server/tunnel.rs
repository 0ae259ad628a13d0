//! What follows a 101: bytes in both directions, of which nothing is understood.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Passage;
use crate::buffer::Input;
use crate::guard::Shown;
use crate::proxy::guarded::TunnelGuard;
use crate::proxy::watch::Watch;
use crate::server::socket::AppStream;
use crate::upstream::stream::Stream;

/// Passes bytes until both sides have ended, either breaks off, or the connection is asked to end and
/// its time is over. `greeting` holds the head of the 101, which goes out first.
/// What comes from the upstream passes the guard, if there is one.
pub(super) async fn run(
    app: (AppStream, Input, Passage),
    upstream: (Stream, Input),
    guard: Option<Box<TunnelGuard>>,
    watch: &Watch,
) {
    let (mut app, from_app, greeting) = app;
    let (mut upstream, from_upstream) = upstream;
    let mut up = Direction::new(from_app, Passage::default(), None);
    let mut down = Direction::new(from_upstream, greeting, guard);
    poll_fn(|context| {
        let up = up.poll(&mut app, &mut upstream, context);
        let down = down.poll(&mut upstream, &mut app, context);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(())))
            | (Poll::Ready(Err(())), _)
            | (_, Poll::Ready(Err(()))) => Poll::Ready(()),
            _ => watch.poll_passed(context).map(drop),
        }
    })
    .await;
}

/// One direction of a tunnel.
struct Direction {
    input: Input,
    /// What is to be written before anything else.
    first: Passage,
    guard: Option<Box<TunnelGuard>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    Ending,
    Ended,
}

impl Direction {
    fn new(input: Input, first: Passage, guard: Option<Box<TunnelGuard>>) -> Self {
        Self { input, first, guard, state: State::Passing }
    }

    /// Writes some of what is there and may pass; nothing if all of it has to wait for more.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        is_last: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ()>> {
        let fresh = self.input.bytes();
        let shown = match &mut self.guard {
            Some(guard) => guard.show(fresh, is_last).map_err(drop)?,
            None => Shown::Bytes(fresh),
        };
        let count = if let Shown::Bytes(bytes) = shown {
            match ready!(Pin::new(to).poll_write(context, bytes)).map_err(drop)? {
                0 => return Poll::Ready(Err(())),
                written => self.guard.as_mut().map_or(written, |guard| guard.take(written, fresh)),
            }
        } else {
            if let Some(guard) = &mut self.guard {
                guard.hold(fresh);
            }
            fresh.len()
        };
        if count > 0 {
            self.input.consume(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether something that came was not passed on.
    fn is_holding(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.is_holding())
    }

    /// Ready when the sender has ended and the receiver was told so; an error breaks the tunnel off.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ()>> {
        ready!(self.first.poll_flush(to, context)).map_err(drop)?;
        while self.state == State::Passing {
            if self.input.is_empty() {
                match self.input.poll_read(from, context) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) => self.state = State::Ending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                    Poll::Pending => {
                        ready!(Pin::new(&mut *to).poll_flush(context)).map_err(drop)?;
                        return Poll::Pending;
                    }
                }
            } else {
                ready!(self.poll_write(to, false, context))?;
            }
        }
        if self.state == State::Ending {
            while self.is_holding() {
                ready!(self.poll_write(to, true, context))?;
            }
            // The other side may still have something to say.
            ready!(Pin::new(to).poll_shutdown(context)).map_err(drop)?;
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }
}
