//! Bodies that are held while they pass, so that a request can be sent once more.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// The pieces of a body, kept without copying up to a limit.
#[derive(Debug, Default)]
pub struct Held {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Held {
    /// Keeps a piece as well, or says that the body is longer than `limit`.
    pub fn keep(&mut self, piece: &Bytes, limit: usize) -> Result<(), TooLong> {
        self.length += piece.remaining();
        if self.length > limit {
            return Err(TooLong);
        }
        self.pieces.push_back(piece.clone());
        Ok(())
    }

    /// The next piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// A body was longer than what may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Held, TooLong};

    #[test]
    fn a_body_is_held_up_to_its_limit_and_no_further() {
        let mut held = Held::default();
        assert_eq!(held.keep(&Bytes::from_static(b"abc"), 5), Ok(()));
        assert_eq!(held.keep(&Bytes::from_static(b"de"), 5), Ok(()));
        assert_eq!(held.keep(&Bytes::from_static(b"f"), 5), Err(TooLong));
    }

    #[test]
    fn held_pieces_come_back_in_order() {
        let mut held = Held::default();
        for piece in ["one", "two"] {
            held.keep(&Bytes::from_static(piece.as_bytes()), 100).expect("short");
        }
        assert_eq!(held.len(), 6);
        assert_eq!(held.pop().as_deref(), Some(b"one".as_slice()));
        assert_eq!(held.pop().as_deref(), Some(b"two".as_slice()));
        assert!(held.pop().is_none() && held.is_empty());
    }
}
