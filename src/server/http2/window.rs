//! What the app may send before something of it was taken (RFC 9113, section 5.2).

use std::cell::Cell;

/// The most that is taken before the app is told of it: of a large window as of a small one, so that what it does
/// not know of is never what it waits for.
const UNTOLD: u32 = 512 * 1024;

/// The window of a stream, or of the connection.
#[derive(Debug)]
pub(super) struct Window {
    size: u32,
    /// What may still come.
    left: Cell<u32>,
    /// What was taken, and the app does not know of yet.
    taken: Cell<u32>,
}

impl Window {
    /// A window of so many bytes.
    pub(super) fn new(size: u32) -> Self {
        Self { size, left: Cell::new(size), taken: Cell::new(0) }
    }

    /// So many bytes came. False if they were more than may come.
    pub(super) fn receive(&self, count: usize) -> bool {
        let left = u32::try_from(count).ok().and_then(|count| self.left.get().checked_sub(count));
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// So many bytes were taken. Says by how much the app's view of the window is to grow now, if it is
    /// worth while.
    pub(super) fn take(&self, count: usize) -> Option<u32> {
        let taken = self.taken.get().saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if taken < (self.size / 2).min(UNTOLD) {
            self.taken.set(taken);
            return None;
        }
        self.taken.set(0);
        self.left.set(self.left.get().saturating_add(taken));
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn a_window_grows_again_when_half_of_it_or_half_a_mebibyte_was_taken() {
        let window = Window::new(10);
        assert!(window.receive(10));
        assert!(!window.receive(1));
        let window = Window::new(10);
        assert!(window.receive(8));
        assert_eq!((window.take(4), window.take(2)), (None, Some(6)));
        assert!(window.receive(8));
        assert!(!window.receive(1));
        let window = Window::new(u32::MAX);
        assert_eq!((window.take(500_000), window.take(50_000)), (None, Some(550_000)));
    }
}
