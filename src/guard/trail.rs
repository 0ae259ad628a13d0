//! The last bytes of a text as they are read, where an escape is what it stands for.

use crate::guard::escape::PERCENT;
use crate::guard::patterns::GRAM;

/// What was read last of a text with escapes in it.
pub(super) struct Trail {
    /// The next place to be read.
    pub(super) at: usize,
    /// The last bytes, as an entry of an index.
    pub(super) entry: u32,
    /// Where in the text each of them begins.
    begins: [usize; GRAM],
    /// Bytes from the beginning of the last escape on.
    since_escape: usize,
}

impl Trail {
    /// Nothing was read before this place.
    pub(super) fn new(at: usize) -> Self {
        Self { at, entry: 0, begins: [at; GRAM], since_escape: GRAM }
    }

    /// Whether an escape is among the last bytes.
    pub(super) fn has_escape(&self) -> bool {
        self.since_escape < GRAM
    }

    /// Nothing of what was read matters any more, and what follows is read from this place on.
    pub(super) fn skip_to(&mut self, at: usize) {
        (self.at, self.begins, self.since_escape) = (at, [at; GRAM], GRAM);
    }

    /// What follows was escaped.
    pub(super) fn begin_escape(&mut self) {
        self.since_escape = 0;
    }

    /// Notes a byte that begins at the place that is read.
    pub(super) fn note(&mut self, byte: u8) {
        self.entry = self.entry >> 8 | u32::from(byte) << 24;
        let [_, second, third, fourth] = self.begins;
        self.begins = [second, third, fourth, self.at];
        self.since_escape += 1;
    }

    /// Notes percent escapes up to a place, and what the last bytes are then.
    pub(super) fn read_percents(&mut self, until: usize, entry: u32) {
        let count = (until - self.at) / PERCENT;
        for number in (0..count.min(GRAM)).rev() {
            self.at = until - PERCENT * (number + 1);
            self.begin_escape();
            self.note(0);
        }
        (self.at, self.entry) = (until, entry);
    }

    /// Where the first of the last bytes begins.
    pub(super) fn start(&self) -> usize {
        self.begins[0]
    }

    /// The same once one more is noted.
    pub(super) fn next_start(&self) -> usize {
        self.begins[1]
    }
}
