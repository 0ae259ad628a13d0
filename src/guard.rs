//! Looking for secrets in what goes to the app, and covering them.
//!
//! A value is found as it is, in base64 (both alphabets, whatever stands before it), and with percent and
//! JSON escapes in any mixture, however the text is cut into pieces. Each byte that belongs to it becomes a
//! `*`, so that lengths stay. What is found, and what cannot be, is told in docs/guard.md.

mod escape;
mod follow;
mod form;
mod inflater;
mod media;
mod patterns;
mod scanner;
mod screen;
mod sentry;
mod text;
mod token_answer;
mod trail;

use std::sync::Arc;

use crate::guard::scanner::{Scanner, Verdict};
use crate::guard::text::Text;
use crate::http1::Fields;

pub use inflater::Coding;
pub use media::Handling;
pub use patterns::{Patterns, SHORTEST};
pub use screen::{MASK, Patience, Screen, Shown};
pub use sentry::{Orders, Sentry};

/// What is done where a value is found (`guard` of a route).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is covered.
    #[default]
    Mask,
    /// The answer is blocked, or broken off.
    Block,
    /// Answers are not looked at.
    Off,
}

/// What comes of a body must not go to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withheld;

/// Masks what is in the fields of a head or of trailers, and says how many values that were.
pub fn mask_fields(patterns: &Arc<Patterns>, fields: &mut Fields) -> u64 {
    if !patterns.are_in(fields.text()) {
        return 0;
    }
    let mut scanner = Scanner::new(Arc::clone(patterns), 1);
    let mut spans = Vec::new();
    let (text, mut at) = (fields.text(), 0);
    while at < text.len() {
        match scanner.judge(Text { held: b"", fresh: &text[at..], is_last: true }, 0) {
            Verdict::Cover(count) => {
                spans.push(at..at + count);
                at += count;
            }
            Verdict::Pass(count) => at += count,
            Verdict::Wait => break,
        }
    }
    let found = spans.len() as u64;
    for span in spans {
        fields.text_mut()[span].fill(MASK);
    }
    found
}

#[cfg(test)]
mod tests;
