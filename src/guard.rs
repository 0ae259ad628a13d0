//! Looking for secrets in what goes to the app, and covering them.
//!
//! A value is found as it is, in base64 (both alphabets, whatever stands before it), and with percent and
//! JSON escapes in any mixture, however the text is cut into pieces. Each byte that belongs to it becomes a
//! `*`, so that lengths stay. What is found, and what cannot be, is told in docs/guard.md.

mod escape;
mod form;
mod patterns;
mod scanner;
mod screen;
mod text;

pub use patterns::{Patterns, SHORTEST};
pub use screen::{MASK, Patience, Screen, Shown};

#[cfg(test)]
mod tests;
