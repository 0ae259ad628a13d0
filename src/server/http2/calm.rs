//! How much trouble a connection may make (RFC 9113, section 10.5).

use std::time::Duration;

use h2::Reason;
use tokio::time::Instant;

/// Frames in a second that bring nothing, and follow each other; more are an attack.
const FRUITLESS: u32 = 2000;

/// CONTINUATION frames of one head: enough for the longest, in pieces of a kilobyte; more are an attack
/// (CVE-2024-27316).
const CONTINUATIONS: u32 = 64;

/// What is counted of a connection.
#[derive(Debug)]
pub(super) struct Calm {
    since: Instant,
    fruitless: u32,
    continuations: u32,
}

impl Calm {
    /// Nothing has happened yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, fruitless: 0, continuations: 0 }
    }

    /// A frame brought nothing.
    pub(super) fn fruitless(&mut self, now: Instant) -> Result<(), Reason> {
        if now.saturating_duration_since(self.since) > Duration::from_secs(1) {
            (self.since, self.fruitless) = (now, 0);
        }
        count(&mut self.fruitless, FRUITLESS)
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
    pub(super) fn continued(&mut self) -> Result<(), Reason> {
        count(&mut self.continuations, CONTINUATIONS)
    }
}

fn count(number: &mut u32, most: u32) -> Result<(), Reason> {
    *number += 1;
    if *number > most { Err(Reason::ENHANCE_YOUR_CALM) } else { Ok(()) }
}
