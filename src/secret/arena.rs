//! Memory that is neither written to swap nor to dumps, for the secrets that tokens are made with.
//!
//! ```text
//! block (64 KiB, locked) ─┬─ page ─┬─ cell of 64 bytes ◀── one secret
//!                         │        └─ cell of 64 bytes
//!                         └─ 4 KiB: cells of one size, by need
//! ```
//!
//! Blocks are made when they are needed and stay; a cell is wiped and used again. Where the limit of locked
//! memory (`RLIMIT_MEMLOCK`) leaves no room for a whole block, as much of it is locked as fits; what is used
//! beyond that is not locked: that is told once, and counted.

use std::ffi::c_void;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, madvise, mlock};
use zeroize::Zeroize;

/// The sizes of cells, in bytes.
const SIZES: [usize; 6] = [32, 64, 256, 1024, 4096, LONGEST];

/// The longest secret that finds a place, in bytes.
const LONGEST: usize = 16 * 1024;

/// The size of a block in bytes: what a process may lock nearly everywhere.
const BLOCK: usize = 64 * 1024;

/// What cells of small sizes are cut from, in bytes.
const PAGE: usize = 4096;

static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

/// One secret in the arena. Its bytes are wiped when it goes.
pub(super) struct Cell {
    /// The whole cell; `length` of it are the secret.
    bytes: &'static mut [u8],
    length: usize,
}

/// How many bytes of it are locked, and how many are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// They never reach the swap.
    pub locked: usize,
    /// They may.
    pub unlocked: usize,
}

/// Locks the first block, or as much of it as may be, unless there is one already. The error says why
/// memory cannot be locked, or not as much as is used.
pub fn prepare() -> Result<(), String> {
    let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    if arena.held == Held::default() {
        arena.grow(PAGE);
    }
    arena.refusal.map_or(Ok(()), |error| Err(format!("memory cannot be locked: {error}")))
}

/// How much is held.
pub fn held() -> Held {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner).held
}

struct Arena {
    /// Cells that nobody uses, by their size.
    free: [Vec<&'static mut [u8]>; SIZES.len()],
    /// What was not cut yet.
    uncut: &'static mut [u8],
    /// What of the last block could not be locked with it, and is not used yet.
    beyond: &'static mut [u8],
    held: Held,
    /// Why a block could not be locked, if one could not.
    refusal: Option<rustix::io::Errno>,
}

impl Arena {
    const fn new() -> Self {
        let free = [const { Vec::new() }; SIZES.len()];
        Self { free, uncut: &mut [], beyond: &mut [], held: Held { locked: 0, unlocked: 0 }, refusal: None }
    }

    /// A cell of one of the sizes.
    fn take(&mut self, class: usize) -> &'static mut [u8] {
        if let Some(cell) = self.free[class].pop() {
            return cell;
        }
        let size = SIZES[class];
        let piece = self.cut(size.max(PAGE));
        let mut cells = piece.chunks_exact_mut(size);
        let cell = cells.next().unwrap_or_default();
        self.free[class].extend(cells);
        cell
    }

    fn cut(&mut self, length: usize) -> &'static mut [u8] {
        if self.uncut.len() < length {
            self.grow(length);
        }
        let (piece, rest) = std::mem::take(&mut self.uncut).split_at_mut(length);
        self.uncut = rest;
        piece
    }

    /// Makes room for a cell of `length`. What is left of the last one is used for smaller cells.
    fn grow(&mut self, length: usize) {
        for rest in std::mem::take(&mut self.uncut).chunks_exact_mut(PAGE) {
            self.free[0].extend(rest.chunks_exact_mut(SIZES[0]));
        }
        let mut block = std::mem::take(&mut self.beyond);
        if block.len() < length {
            self.held.unlocked += block.len();
            for rest in std::mem::replace(&mut block, new_block()).chunks_exact_mut(PAGE) {
                self.free[0].extend(rest.chunks_exact_mut(SIZES[0]));
            }
        }
        match lock_beginning(block, length) {
            Ok(size) => {
                self.held.locked += size;
                (self.uncut, self.beyond) = block.split_at_mut(size);
            }
            Err(error) => {
                self.held.unlocked += block.len();
                if self.refusal.replace(error).is_none() {
                    tracing::warn!(
                        error = io::Error::from(error).to_string(),
                        locked = self.held.locked,
                        "memory cannot be locked: secrets may be written to swap; raise LimitMEMLOCK"
                    );
                }
                self.uncut = block;
            }
        }
    }
}

/// A block that begins with a page, and stays. Whole pages only: what else lies on a page would be locked
/// with it.
fn new_block() -> &'static mut [u8] {
    let page = rustix::param::page_size();
    let memory = vec![0; BLOCK + page].leak();
    let start = memory.as_ptr().align_offset(page);
    &mut memory[start..start + BLOCK]
}

/// Keeps a block out of dumps, and out of the swap so much of it as the system still lets be locked: all, half,
/// a quarter, down to `least` bytes. How much that is; the error says why not even so little.
fn lock_beginning(block: &mut [u8], least: usize) -> rustix::io::Result<usize> {
    let least = least.next_multiple_of(rustix::param::page_size()).min(block.len());
    let mut size = block.len();
    loop {
        match keep_in_memory(block, size) {
            Ok(()) => return Ok(size),
            Err(error) if size == least => return Err(error),
            // Halves of whole pages, and of `least` bytes in the end.
            Err(_) => size = (size / 2).next_multiple_of(rustix::param::page_size()).max(least),
        }
    }
}

/// Keeps a block out of dumps, and its first `size` bytes, which are all at most, out of the swap. The error
/// says why they may be swapped.
#[expect(unsafe_code, reason = "the system is told about memory by its address")]
fn keep_in_memory(block: &mut [u8], size: usize) -> rustix::io::Result<()> {
    let (start, length) = (block.as_mut_ptr().cast::<c_void>(), block.len());
    let size = size.min(length);
    // SAFETY: the block is memory of this process for the whole call. Neither call changes what is in it, who
    // may use it or where it lies: `mlock` keeps its pages in memory, and this advice leaves them out of dumps
    // (mlock(2), madvise(2)).
    unsafe {
        #[cfg(target_os = "linux")]
        // A kernel without dumps has no such advice.
        let _ = madvise(start, length, Advice::LinuxDontDump);
        mlock(start, size)
    }
}

impl Cell {
    /// A copy of `bytes` in the arena; `None` if they are too long for it.
    pub(super) fn holding(bytes: &[u8]) -> Option<Self> {
        let class = SIZES.iter().position(|size| bytes.len() <= *size)?;
        let cell = ARENA.lock().unwrap_or_else(PoisonError::into_inner).take(class);
        cell[..bytes.len()].copy_from_slice(bytes);
        Some(Self { bytes: cell, length: bytes.len() })
    }

    /// The secret.
    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.bytes.zeroize();
        let cell = std::mem::take(&mut self.bytes);
        if let Some(class) = SIZES.iter().position(|size| *size == cell.len()) {
            ARENA.lock().unwrap_or_else(PoisonError::into_inner).free[class].push(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Cell, LONGEST, held, prepare};

    #[test]
    fn secrets_of_every_length_are_held_and_cells_are_used_again() {
        prepare().expect("this machine lets a process lock 64 KiB");
        let cells: Vec<_> = (0..=LONGEST)
            .step_by(777)
            .map(|length| {
                let bytes = vec![u8::try_from(length % 251).expect("a byte"); length];
                (Cell::holding(&bytes).expect("it fits"), bytes)
            })
            .collect();
        assert!(cells.iter().all(|(cell, bytes)| cell.expose() == bytes));
        assert!(Cell::holding(&vec![0; LONGEST + 1]).is_none());
        drop(cells);
        let before = held();
        for _ in 0..10 * BLOCK / LONGEST {
            drop(Cell::holding(&vec![1; LONGEST]));
        }
        assert_eq!(held(), before);
    }

    #[test]
    fn a_cell_that_is_used_again_holds_nothing_of_before() {
        let bytes: Vec<_> =
            (0..1000).map(|_| Cell::holding(b"a secret that was").expect("it fits")).collect();
        drop(bytes);
        for _ in 0..1000 {
            let cell = Cell::holding(b"").expect("it fits");
            assert!(cell.bytes.iter().all(|byte| *byte == 0));
            std::mem::forget(cell);
        }
    }
}
