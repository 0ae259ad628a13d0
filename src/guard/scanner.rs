//! What of a text may go on, what is to be covered, and what has to wait for more.

use std::sync::Arc;

use crate::guard::follow::Match;
use crate::guard::patterns::{Patterns, Ways};
use crate::guard::text::Text;

/// What becomes of the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many bytes are no part of a value.
    Pass(usize),
    /// So many bytes are a value, or a part of one.
    Cover(usize),
    /// It depends on what follows.
    Wait,
}

/// Judges a text that comes in pieces.
#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) patterns: Arc<Patterns>,
    /// A beginning that is shorter is not waited for.
    pub(super) least: usize,
    /// So many of the next bytes are part of a value, whatever else they are.
    covered: usize,
    /// How far the forms were read that are waited for: a text that comes byte by byte is not read anew with
    /// each of them.
    waiting: Ways,
}

impl Scanner {
    /// A scanner for the beginning of a text.
    pub(super) fn new(patterns: Arc<Patterns>, least: usize) -> Self {
        Self { patterns, least, covered: 0, waiting: Ways::new() }
    }

    /// Whether it can go on with other patterns: no value is known to reach into what follows.
    pub(super) fn is_between(&self) -> bool {
        self.covered == 0
    }

    /// Whether what was waited for is still undecided, now that more of the same text has come.
    pub(super) fn still_waits(&mut self, text: Text<'_>) -> bool {
        if !self.waiting.is_empty() {
            self.waiting = self.patterns.ways_on(text, &self.waiting);
        }
        !self.waiting.is_empty()
    }

    fn wait(&mut self, text: Text<'_>, at: usize) -> Verdict {
        self.waiting = self.patterns.ways(text, at);
        Verdict::Wait
    }

    /// Judges what follows the first `gone` bytes of a text, which have been passed on: a value may begin
    /// in them. There must be something behind them.
    pub(super) fn judge(&mut self, text: Text<'_>, gone: usize) -> Verdict {
        if self.still_waits(text) {
            return Verdict::Wait;
        }
        let mut end = gone + std::mem::take(&mut self.covered);
        let mut at = 0;
        if end == gone {
            loop {
                match self.patterns.first(text, at, self.least) {
                    None => return Verdict::Pass(text.len() - gone),
                    Some((begin, _)) if begin > gone => return Verdict::Pass(begin - gone),
                    Some((_, Match::Whole(found))) if found > gone => {
                        end = found;
                        break;
                    }
                    Some((begin, Match::Whole(_))) => at = begin + 1,
                    Some((begin, _)) => return self.wait(text, begin),
                }
            }
        }
        // Other values may begin in this one and end behind it.
        while at < end {
            match self.patterns.at(text, at) {
                Match::Whole(other) => end = end.max(other),
                Match::Begun if text.len() - at >= self.least => {
                    let known = at.max(gone);
                    self.covered = end - known;
                    return if known > gone { Verdict::Cover(known - gone) } else { self.wait(text, at) };
                }
                Match::Begun | Match::None => {}
            }
            at += 1;
        }
        Verdict::Cover(end - gone)
    }
}
