//! How much trouble a connection may make (RFC 9113, section 10.5).

use std::time::Duration;

use tokio::time::Instant;

use crate::route::Rate;
use crate::route::metrics::Limit;

/// How much trouble is an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalmLimits {
    /// Frames in a time that bring nothing, and follow each other.
    pub frames: Rate,
    /// CONTINUATION frames of one head: enough for the longest, in pieces of a kilobyte (CVE-2024-27316).
    pub continuations: u32,
    /// Streams that came to nothing, beyond those that the app may have open and those that were answered
    /// meanwhile: it reset them before, or had them reset (CVE-2023-44487, CVE-2025-8671).
    pub streams: u32,
}

impl Default for CalmLimits {
    fn default() -> Self {
        let frames = Rate { count: 2000, per: Duration::from_secs(1) };
        Self { frames, continuations: 64, streams: 100 }
    }
}

/// What is counted of a connection.
#[derive(Debug)]
pub(super) struct Calm {
    limits: CalmLimits,
    since: Instant,
    fruitless: u32,
    continuations: u32,
}

impl Calm {
    /// Nothing has happened yet.
    pub(super) fn new(limits: CalmLimits, now: Instant) -> Self {
        Self { limits, since: now, fruitless: 0, continuations: 0 }
    }

    /// A frame brought nothing. An error names the limit that it bites.
    pub(super) fn fruitless(&mut self, now: Instant) -> Result<(), Limit> {
        if now.saturating_duration_since(self.since) > self.limits.frames.per {
            (self.since, self.fruitless) = (now, 0);
        }
        count(&mut self.fruitless, self.limits.frames.count, Limit::MaxFruitlessFrames)
    }

    /// A frame brought something.
    pub(super) fn fruitful(&mut self) {
        self.fruitless = 0;
        self.continuations = 0;
    }

    /// Something was answered: what the app says to it is no trouble.
    pub(super) fn answered(&mut self) {
        self.fruitless = 0;
    }

    /// A head goes on.
    pub(super) fn continued(&mut self) -> Result<(), Limit> {
        count(&mut self.continuations, self.limits.continuations, Limit::MaxContinuations)
    }
}

fn count(number: &mut u32, most: u32, limit: Limit) -> Result<(), Limit> {
    *number += 1;
    if *number > most { Err(limit) } else { Ok(()) }
}
