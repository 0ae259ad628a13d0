//! An allocator that wipes what is given back.
//!
//! A secret that is dropped is wiped by [`crate::secret::Secret`]. But before it was one it lay in other
//! buffers, many of them in libraries: an answer of an issuer, a piece of JSON, a line of the
//! configuration, a buffer that grew. Here is where all of them end, whoever made them.

#![expect(unsafe_code, reason = "an allocator is unsafe to implement: `std::alloc::GlobalAlloc`")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator, but for that.
#[derive(Debug, Clone, Copy)]
pub struct Wiping;

// SAFETY: every call is handed to `System` with the arguments that it came with, and what `System` gives is
// handed out unchanged; so its guarantees are ours. What is added: `dealloc` writes to the block while it
// is still allocated. `realloc` is the trait's own: a new block, a copy, and `dealloc` of the old one, so
// that a block that moves leaves nothing behind.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: by the contract of `dealloc`, `block` was allocated here with this layout and nobody uses
        // it any more: `layout.size()` bytes from it on are valid to write, and it may be given back.
        unsafe {
            block.write_bytes(0, layout.size());
            // A compiler that knows what giving back means could leave the writing out.
            System.dealloc(black_box(block), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::Wiping;

    #[test]
    fn a_block_that_grows_keeps_its_content() {
        let layout = Layout::array::<u8>(100).expect("a layout");
        // SAFETY: the layouts are not of size zero, each block is used within its size, and given back
        // once with the layout that it has.
        let content = unsafe {
            let block = Wiping.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(7, 100);
            let larger = Wiping.realloc(block, layout, 1000);
            assert!(!larger.is_null());
            let content = std::slice::from_raw_parts(larger, 100).to_vec();
            Wiping.dealloc(larger, Layout::array::<u8>(1000).expect("a layout"));
            content
        };
        assert_eq!(content, [7; 100]);
    }
}
