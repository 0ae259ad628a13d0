//! Bodies on their way from one connection to another, in constant memory.
//!
//! What arrived stays in the memory of its [`Source`] until the other side took it: a slow reader
//! slows the sender, and nothing is queued between them.

#[cfg(target_os = "linux")]
pub mod splice;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::buffer::{Held, Output};
use crate::http1::{Encoder, Fields, Framing};

/// What comes next of a body.
#[derive(Debug)]
pub enum Fill<'a> {
    /// Data; at least one byte.
    Data(&'a [u8]),
    /// The end, with the trailer fields that came with it.
    End(Option<&'a Fields>),
}

impl Fill<'_> {
    /// The same, but of data the first `count` bytes only.
    #[must_use]
    pub fn up_to(self, count: usize) -> Self {
        match self {
            Self::Data(data) => Self::Data(&data[..count.min(data.len())]),
            end @ Self::End(_) => end,
        }
    }
}

/// Why a body ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The bytes are not framed as they should be.
    Malformed,
    /// The connection ended, or the stream was reset.
    BrokenOff,
    /// The guard keeps the rest back.
    Withheld,
    /// It does not fit what its sender says of it.
    Unverified,
}

/// Where a body comes from.
pub trait Source {
    /// What comes next, as long as it is not consumed.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Fill<'_>, BodyError>>;

    /// Takes the first `count` bytes of what [`Self::poll_fill`] showed.
    fn consume(&mut self, count: usize);

    /// Takes the same bytes and keeps them; without a copy where the source can part with its memory.
    fn keep(&mut self, count: usize) -> Held;

    /// Takes the same bytes as a piece of their own; without a copy where the source has such pieces.
    fn take(&mut self, count: usize) -> Bytes;

    /// Whether nothing follows what was taken, no trailers either, where that is known without asking: most
    /// bodies have a length, and come in one piece.
    fn is_spent(&self) -> bool {
        false
    }
}

/// Why a body did not come through.
#[derive(Debug)]
pub enum PassError {
    /// The side that sends it broke off.
    Source(BodyError),
    /// The side that takes it broke off.
    Sink(io::Error),
    /// It was shorter than the length that was promised.
    TooShort,
}

/// Pieces up to this length are gathered before they are written.
const SMALL: usize = 16 * 1024;

/// The writing half of a message: its head, and then its body as it comes.
#[derive(Debug)]
pub struct Passage {
    /// What is to be written next; the head is put here first.
    pub output: Output,
    encoder: Encoder,
    is_ended: bool,
}

impl Default for Passage {
    fn default() -> Self {
        Self { output: Output::default(), encoder: Encoder::new(Framing::NONE), is_ended: true }
    }
}

impl Passage {
    /// For what goes to an app, and holds no secret.
    pub fn to_app() -> Self {
        Self { output: Output::to_app(), ..Self::default() }
    }

    /// Begins a body of this framing, behind what is in the output.
    pub fn begin(&mut self, framing: Framing) {
        self.encoder = Encoder::new(framing);
        self.is_ended = framing == Framing::NONE;
    }

    /// Whether only the end of the connection tells the end of the body.
    pub fn is_delimited_by_end(&self) -> bool {
        self.encoder.framing() == Framing::Close
    }

    /// Whether nothing but data of a known length is to be written next.
    pub fn is_bare(&self) -> bool {
        matches!(self.encoder.framing(), Framing::Length(1..)) && self.output.is_empty()
    }

    /// So many bytes of the body went another way.
    pub fn bypassed(&mut self, count: usize) {
        self.encoder.wrote(count, &mut self.output);
    }

    /// Whether all was written.
    pub fn is_over(&self) -> bool {
        self.is_ended && self.output.is_empty()
    }

    /// Passes on as much as both sides can without waiting. Ready when the last byte was written;
    /// pending only when all that came before was written, or the sink takes no more.
    pub fn poll<S: Source, W: AsyncWrite + Unpin>(
        &mut self,
        source: &mut S,
        sink: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        while !self.is_ended {
            match source.poll_fill(context) {
                Poll::Ready(Ok(Fill::Data(data))) => {
                    let count = self.encoder.frame(data, &mut self.output);
                    if count == 0 {
                        return Poll::Ready(Err(PassError::Source(BodyError::Malformed)));
                    }
                    if count <= SMALL && self.output.len() <= SMALL {
                        self.output.put(&data[..count]);
                        self.encoder.wrote(count, &mut self.output);
                        source.consume(count);
                    } else {
                        let written = ready!(self.output.poll_write(sink, context, &data[..count]));
                        let written = written.map_err(PassError::Sink)?;
                        self.encoder.wrote(written, &mut self.output);
                        source.consume(written);
                    }
                    self.is_ended = self.encoder.is_full() && source.is_spent();
                }
                Poll::Ready(Ok(Fill::End(trailers))) => {
                    if !self.encoder.finish(trailers, &mut self.output) {
                        return Poll::Ready(Err(PassError::TooShort));
                    }
                    self.is_ended = true;
                }
                Poll::Ready(Err(error)) => {
                    // What came before the break goes out all the same.
                    let _ = self.poll_flush(sink, context);
                    return Poll::Ready(Err(PassError::Source(error)));
                }
                Poll::Pending => {
                    return match self.poll_flush(sink, context) {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
        self.poll_flush(sink, context)
    }

    /// Writes what is in the output.
    pub fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        sink: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        ready!(self.output.poll_write(sink, context, &[])).map_err(PassError::Sink)?;
        Pin::new(sink).poll_flush(context).map_err(PassError::Sink)
    }
}
