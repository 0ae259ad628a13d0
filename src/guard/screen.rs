//! A text on its way, of which values are covered.
//!
//! What has come is shown as it lies where it came, as long as nothing is in question. Only what may be
//! the beginning of a value is kept here until more has come, and what is covered is shown from here.

use std::sync::Arc;

use crate::guard::patterns::{Patterns, SHORTEST};
use crate::guard::scanner::{Scanner, Verdict};
use crate::guard::text::Text;

/// Stands in place of each byte of a value.
pub const MASK: u8 = b'*';

/// How long what may be the beginning of a value is kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// From its first byte on.
    Whole,
    /// From as many bytes on as a value has at least: for what is read as it comes, such as events.
    Lively,
}

/// Covers the values in a text that comes in pieces.
#[derive(Debug)]
pub struct Screen {
    scanner: Scanner,
    /// What was kept back, behind what was passed on last.
    held: Vec<u8>,
    /// Where what was not passed on begins.
    start: usize,
    /// What is known of the next bytes.
    verdict: Verdict,
    found: u64,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// These bytes; never none.
    Bytes(&'a [u8]),
    /// It depends on what follows.
    Wait,
}

impl Screen {
    /// A screen for the beginning of a text.
    pub fn new(patterns: Arc<Patterns>, patience: Patience) -> Self {
        let least = if patience == Patience::Lively { SHORTEST } else { 1 };
        let scanner = Scanner::new(patterns, least);
        Self { scanner, held: Vec::new(), start: 0, verdict: Verdict::Wait, found: 0 }
    }

    /// How many values were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Whether something is kept back.
    pub fn is_holding(&self) -> bool {
        self.start < self.held.len()
    }

    /// What is kept back.
    pub(super) fn kept(&self) -> &[u8] {
        &self.held[self.start..]
    }

    /// How many bytes are kept back.
    pub fn held(&self) -> usize {
        self.held.len() - self.start
    }

    /// Looks for other values from here on, if this is no place in the middle of one.
    pub fn renew(&mut self, patterns: &Arc<Patterns>) {
        if self.scanner.is_between() && !self.is_holding() && !Arc::ptr_eq(&self.scanner.patterns, patterns) {
            self.scanner = Scanner::new(Arc::clone(patterns), self.scanner.least);
        }
    }

    /// Whether a whole value stands in what is kept back and `fresh`, where that is not judged yet, nor waited
    /// for. Nothing follows `fresh` if `is_last`.
    pub fn sees_value(&mut self, fresh: &[u8], is_last: bool) -> bool {
        let kept = &self.held[self.start.saturating_sub(self.scanner.least - 1)..];
        let text = Text { held: kept, fresh, is_last };
        self.verdict == Verdict::Wait
            && !self.scanner.still_waits(text)
            && self.scanner.patterns.first(Text { is_last: true, ..text }, 0, 1).is_some()
    }

    /// What comes next, where `fresh` follows what is kept back, and nothing follows `fresh` if `is_last`.
    /// It stays the same until some of it is taken.
    pub fn show<'a>(&'a mut self, fresh: &'a [u8], is_last: bool) -> Shown<'a> {
        if self.verdict == Verdict::Wait {
            let known = self.start.saturating_sub(self.scanner.least - 1);
            let kept = &self.held[known..];
            let text = if fresh.is_empty() {
                Text { held: b"", fresh: kept, is_last }
            } else {
                Text { held: kept, fresh, is_last }
            };
            if text.len() > self.start - known {
                self.verdict = self.scanner.judge(text, self.start - known);
                self.found += u64::from(matches!(self.verdict, Verdict::Cover(_)));
            }
        }
        match self.verdict {
            Verdict::Wait => Shown::Wait,
            Verdict::Cover(count) => Shown::Bytes(&MASKS[..count.min(MASKS.len())]),
            Verdict::Pass(count) => {
                let place = if self.is_holding() { &self.held[self.start..] } else { fresh };
                Shown::Bytes(&place[..count.min(place.len())])
            }
        }
    }

    /// How many fresh bytes are known to be no part of a value, where nothing is kept back.
    pub fn passing(&self) -> Option<usize> {
        match self.verdict {
            Verdict::Pass(count) if !self.is_holding() => Some(count),
            _ => None,
        }
    }

    /// Whether what was passed on needs not be remembered: [`Self::take`] does not look at it.
    pub fn forgets(&self) -> bool {
        self.scanner.least == 1
    }

    /// Takes the first `count` bytes of what was shown, and says how many of them were fresh.
    pub fn take(&mut self, count: usize, fresh: &[u8]) -> usize {
        let rest = |whole: usize| whole.saturating_sub(count);
        self.verdict = match self.verdict {
            Verdict::Pass(whole) if rest(whole) > 0 => Verdict::Pass(rest(whole)),
            Verdict::Cover(whole) if rest(whole) > 0 => Verdict::Cover(rest(whole)),
            _ => Verdict::Wait,
        };
        let of_held = count.min(self.held());
        let of_fresh = count - of_held;
        self.start += of_held;
        if !self.is_holding() {
            if self.forgets() {
                self.held.clear();
            } else {
                // A value may begin in the last that was passed on.
                let known = self.scanner.least - 1;
                self.held.extend_from_slice(&fresh[of_fresh.saturating_sub(known)..of_fresh]);
                self.held.drain(..self.held.len().saturating_sub(known));
            }
            self.start = self.held.len();
        }
        of_fresh
    }

    /// Keeps what depends on what follows.
    pub fn hold(&mut self, fresh: &[u8]) {
        self.held.extend_from_slice(fresh);
    }
}

static MASKS: [u8; 4096] = [MASK; 4096];
