//! A text in two parts: what was held back of it, and what has come since.

/// Bytes that follow each other, though they lie in two places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// What was held back.
    pub(super) held: &'a [u8],
    /// What has come since.
    pub(super) fresh: &'a [u8],
    /// Nothing follows.
    pub(super) is_last: bool,
}

impl Text<'_> {
    /// Length in bytes.
    pub(super) fn len(self) -> usize {
        self.held.len() + self.fresh.len()
    }

    /// The byte at a place; `None` behind the end.
    pub(super) fn get(self, at: usize) -> Option<u8> {
        match at.checked_sub(self.held.len()) {
            None => Some(self.held[at]),
            Some(at) => self.fresh.get(at).copied(),
        }
    }
}
