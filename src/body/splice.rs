//! Long bodies from one plain connection to another without passing through this process's memory
//! (`splice(2)`, Linux): the kernel moves its own pages through a pipe.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bodies with less than this left are copied: a pipe costs some system calls of its own.
pub const WORTH_WHILE: u64 = 256 * 1024;

/// What one pipe is asked to hold, in bytes; a kernel that refuses gives less.
const CAPACITY: usize = 1024 * 1024;

/// Empty pipes that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe that a body goes through.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// An empty pipe; none if the process has no more descriptors.
    pub fn new() -> Option<Self> {
        let ends = FREE.with_borrow_mut(Vec::pop).or_else(|| {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // Beyond a user's share of memory for pipes it stays as small as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(&writer, CAPACITY);
            Some(Ends { reader, writer })
        })?;
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Moves some of the next `left` bytes that come from `from` to `to`, and says how many. The end of
    /// `from` is an error, since `left` is more than nothing.
    pub fn poll_move(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        left: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, Side>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Err(Side::Source)) };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CAPACITY);
        // Only an empty pipe is filled, so that what cannot be moved waits for the socket alone.
        while self.held == 0 {
            ready!(from.poll_read_ready(context)).map_err(|_| Side::Source)?;
            match from.try_io(Interest::READABLE, || splice(from, &ends.writer, most)) {
                Ok(0) => return Poll::Ready(Err(Side::Source)),
                Ok(count) => self.held = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(Side::Source)),
            }
        }
        loop {
            ready!(to.poll_write_ready(context)).map_err(|_| Side::Sink)?;
            match to.try_io(Interest::WRITABLE, || splice(&ends.reader, to, self.held)) {
                Ok(count) => {
                    self.held -= count.min(self.held);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(Side::Sink)),
            }
        }
    }
}

/// Which side of a pipe broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that sends.
    Source,
    /// The one that takes.
    Sink,
}

fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    Ok(rustix::pipe::splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take()
            && self.held == 0
        {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(ends);
                }
            });
        }
    }
}
