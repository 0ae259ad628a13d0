//! Memory for bytes on their way, lent by a free list of the thread.
//!
//! A connection holds memory only while bytes wait in it: an idle one holds none. What was lent goes
//! back when the last byte was taken, and the next to need it finds it warm in the cache.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes in one block: the most that is read at once, as long as less than that comes. It has room for a body of 64 KiB
/// with its head: that much is held for a replay, and of a JSON object looked into before anything of it is shown.
pub const BLOCK: usize = 68 * 1024;

/// Bytes in a large block, for what comes in floods. Memory that grew, by doubling, never has this size.
const LARGE: usize = 3 * BLOCK;

/// The most that is copied out of a block when nothing follows for now.
const SHELVED: usize = 4 * 1024;

/// Blocks that a thread keeps for later.
const KEPT: usize = 32;

/// Large blocks that a thread has at all: whoever finds none does with a usual one.
const MOST_LARGE: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static FREE_LARGE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static MADE_LARGE: Cell<usize> = const { Cell::new(0) };
}

/// Memory of at least [`BLOCK`] bytes, all of which may be written.
fn take_block() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BLOCK])
}

/// The same for a flood.
#[cold]
fn take_large_block() -> Vec<u8> {
    if let Some(block) = FREE_LARGE.with_borrow_mut(Vec::pop) {
        return block;
    }
    let made = MADE_LARGE.get();
    if made == MOST_LARGE {
        return take_block();
    }
    MADE_LARGE.set(made + 1);
    vec![0; LARGE]
}

/// Gives memory back, if it was lent.
fn give_block(block: Vec<u8>) {
    match block.len() {
        BLOCK => FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(block);
            }
        }),
        LARGE => FREE_LARGE.with_borrow_mut(|free| free.push(block)),
        _ => {}
    }
}

/// Bytes that were read and not yet taken.
#[derive(Debug, Default)]
pub struct Input {
    block: Vec<u8>,
    start: usize,
    end: usize,
    /// What was read last filled all the room that there was.
    is_flooded: bool,
}

impl Input {
    /// What was read and not yet taken.
    pub fn bytes(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Whether all that was read was taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `count` bytes away.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "no more than there is");
        self.start += count;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
            give_block(std::mem::take(&mut self.block));
        }
    }

    /// Reads once behind what is there. `Ok(0)` is the end of the stream. There is always room for
    /// more; whoever reads sets the limit.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.block[self.end..]);
        let read = Pin::new(stream).poll_read(context, &mut room).map_ok(|()| room.filled().len());
        if let Poll::Ready(Ok(count)) = &read {
            self.end += count;
            self.is_flooded = self.end == self.block.len();
        }
        if self.is_empty() {
            self.consume(0);
        } else if read.is_pending() {
            self.shelve();
        }
        read
    }

    /// Keeps what waits for more in no more memory than it takes: whoever sends the beginning of a head and then
    /// nothing holds no block.
    fn shelve(&mut self) {
        let waiting = self.end - self.start;
        if waiting <= SHELVED && self.block.len() >= BLOCK {
            let shelved = self.bytes().to_vec();
            give_block(std::mem::replace(&mut self.block, shelved));
            (self.start, self.end) = (0, waiting);
        }
    }

    /// Adds bytes that were read elsewhere.
    pub fn put(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.make_room();
            let count = rest.len().min(self.block.len() - self.end);
            self.block[self.end..self.end + count].copy_from_slice(&rest[..count]);
            self.end += count;
            rest = &rest[count..];
        }
    }

    /// Takes the first `count` bytes away and keeps them: without a copy if they are all there is.
    pub fn detach(&mut self, count: usize) -> Held {
        if count == self.end - self.start {
            let (start, end) = (self.start, self.end);
            (self.start, self.end) = (0, 0);
            return Held { block: std::mem::take(&mut self.block), start, end };
        }
        let block = self.bytes()[..count].to_vec();
        self.consume(count);
        Held { start: 0, end: block.len(), block }
    }

    fn make_room(&mut self) {
        if self.block.is_empty() {
            self.block = if self.is_flooded { take_large_block() } else { take_block() };
        } else if self.end == self.block.len() {
            if self.block.len() < BLOCK {
                let (mut block, count) = (take_block(), self.end - self.start);
                block[..count].copy_from_slice(self.bytes());
                (self.block, self.start, self.end) = (block, 0, count);
            } else if self.start > 0 {
                self.block.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                let mut larger = vec![0; 2 * self.end];
                larger[..self.end].copy_from_slice(&self.block);
                give_block(std::mem::replace(&mut self.block, larger));
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        give_block(std::mem::take(&mut self.block));
    }
}

/// Bytes that are kept to be sent once more.
#[derive(Debug, Default)]
pub struct Held {
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl Held {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Keeps a copy of more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.block.len(), BLOCK | LARGE) || self.start > 0 {
            // A lent block goes back before it is full of small pieces.
            let copy = self.bytes().to_vec();
            give_block(std::mem::replace(&mut self.block, copy));
            (self.start, self.end) = (0, self.block.len());
        }
        self.block.truncate(self.end);
        self.block.extend_from_slice(bytes);
        self.end = self.block.len();
    }
}

impl From<Vec<u8>> for Held {
    fn from(block: Vec<u8>) -> Self {
        Self { start: 0, end: block.len(), block }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give_block(std::mem::take(&mut self.block));
    }
}

/// Bytes that are to be written. What was written is wiped: it may hold a token.
#[derive(Debug, Default)]
pub struct Output {
    block: Vec<u8>,
    start: usize,
    end: usize,
    /// What was written needs no wiping.
    is_harmless: bool,
    /// How many bytes were written in all.
    total: u64,
}

impl Output {
    /// For what goes to an app: no secret may be in it, so that nothing is wiped.
    pub fn to_app() -> Self {
        let mut output = Self::default();
        output.is_harmless = true;
        output
    }

    /// Whether all was written.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that are still to be written.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The bytes that are still to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// Adds bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Adds so many bytes, which are to be written at once.
    #[inline]
    pub fn room(&mut self, count: usize) -> &mut [u8] {
        let (start, end) = (self.end, self.end + count);
        if end > self.block.len() {
            self.grow(end);
        }
        self.end = end;
        &mut self.block[start..end]
    }

    /// How many bytes were written so far, of these and of those that were written behind them.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is still to be written, from the byte `from` on: to say there what was not known before.
    pub fn behind(&mut self, from: usize) -> &mut [u8] {
        &mut self.block[self.start + from..self.end]
    }

    /// Drops what was put behind the first `length` bytes that are still to be written.
    pub fn truncate(&mut self, length: usize) {
        let end = self.start + length;
        if end < self.end {
            self.block[end..self.end].fill(0);
            self.end = end;
        }
    }

    /// Writes all that is there, and behind it as much of `more` as the stream takes at once. Returns
    /// how many bytes of `more` were written, which may be none.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        more: &[u8],
    ) -> Poll<io::Result<usize>> {
        while !self.is_empty() {
            let own = &self.block[self.start..self.end];
            let written = if more.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(context, own))?
            } else {
                let pieces = [IoSlice::new(own), IoSlice::new(more)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(context, &pieces))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.total += written as u64;
            let of_own = written.min(self.len());
            self.written(of_own);
            if written > of_own {
                return Poll::Ready(Ok(written - of_own));
            }
        }
        if more.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(Pin::new(stream).poll_write(context, more)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                self.total += written as u64;
                Poll::Ready(Ok(written))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn written(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            self.clear();
        }
    }

    /// Drops what is left.
    pub fn clear(&mut self) {
        let used = self.end;
        (self.start, self.end) = (0, 0);
        let mut block = std::mem::take(&mut self.block);
        if !self.is_harmless
            && let Some(used) = block.get_mut(..used)
        {
            used.fill(0);
        }
        give_block(block);
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        if self.block.is_empty() && end <= BLOCK {
            self.block = take_block();
        } else {
            let mut larger = vec![0; end.next_power_of_two()];
            larger[..self.end].copy_from_slice(&self.block[..self.end]);
            let mut block = std::mem::replace(&mut self.block, larger);
            block.fill(0);
            give_block(block);
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use tokio::io::AsyncWriteExt;

    use super::{BLOCK, Input, LARGE, MOST_LARGE, SHELVED};

    fn read(input: &mut Input, source: &mut &[u8]) -> usize {
        match input.poll_read(source, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    /// How much the second read takes of a source that never ends.
    fn flood(input: &mut Input) -> usize {
        let bytes = vec![7; BLOCK + LARGE + 1];
        let mut source = &*bytes;
        assert_eq!(read(input, &mut source), BLOCK);
        input.consume(BLOCK);
        read(input, &mut source)
    }

    #[tokio::test]
    async fn a_beginning_that_waits_for_more_holds_no_block() {
        let (mut near, mut far) = tokio::io::duplex(2 * BLOCK);
        let mut input = Input::default();
        let mut sent = Vec::new();
        for (count, held) in [(10, 10), (1, 11), (SHELVED - 11, SHELVED), (1, BLOCK)] {
            far.write_all(&vec![7; count]).await.expect("room");
            sent.extend(vec![7; count]);
            let mut context = Context::from_waker(Waker::noop());
            assert!(
                matches!(input.poll_read(&mut near, &mut context), Poll::Ready(Ok(read)) if read == count)
            );
            assert!(input.poll_read(&mut near, &mut context).is_pending());
            assert_eq!((input.bytes(), input.block.len()), (&*sent, held));
        }
        input.consume(10);
        assert_eq!(input.bytes(), &sent[10..]);
    }

    #[test]
    fn a_flood_is_read_in_large_blocks_as_long_as_there_are_some() {
        let mut inputs: Vec<Input> = (0..=MOST_LARGE).map(|_| Input::default()).collect();
        let sizes: Vec<usize> = inputs.iter_mut().map(flood).collect();
        assert_eq!(sizes, [[LARGE; MOST_LARGE].as_slice(), &[BLOCK]].concat());
        drop(inputs);
        assert_eq!(flood(&mut Input::default()), LARGE, "what was given back is lent again");
        let (mut input, mut little) = (Input::default(), &[7; 100][..]);
        assert_eq!(read(&mut input, &mut little), 100);
    }
}
