//! Idle connections to one upstream, of one worker.
//!
//! ```text
//! take ─▶ an idle connection, or none: then connect
//!   │ request, answer, the answer's last byte
//!   └──▶ put back, if request and answer are whole and nothing else came
//! ```

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::connect::Identity;
use crate::upstream::http1::Http1Link;

/// How long a connection may lie idle before it is closed rather than used: shorter than servers
/// commonly wait, so that both ends seldom act at once.
pub const MAXIMUM_IDLE: Duration = Duration::from_secs(60);

/// How long a connection may be used: names are looked up again and certificates judged again.
pub const MAXIMUM_AGE: Duration = Duration::from_secs(15 * 60);

/// Idle connections that one worker keeps for one route.
pub const MAXIMUM_KEPT: usize = 256;

/// Idle connections to one upstream.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    link: Box<Http1Link>,
    since: Instant,
}

impl Pool {
    /// Takes the connection that was used last of those that the upstream has not ended, and that were
    /// opened as what connections are opened as now.
    pub fn take(&self, now: Instant, identity: Identity) -> Option<Box<Http1Link>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut last) = idle.pop() {
            if !last.is_spent(now, identity) && last.link.is_alive() {
                return Some(last.link);
            }
        }
        None
    }

    /// Puts a connection back whose answer has ended, if it can be used again.
    pub fn put(&self, link: Box<Http1Link>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if link.is_reusable() && idle.len() < MAXIMUM_KEPT {
            idle.push(Idle { link, since: now });
        }
    }

    /// Closes what has lain idle or lived for too long, was opened as something else, or was ended by
    /// the upstream. Returns whether any connection is left.
    pub fn tidy(&self, now: Instant, identity: Identity) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| !idle.is_spent(now, identity) && idle.link.is_alive());
        !idle.is_empty()
    }
}

impl Idle {
    fn is_spent(&self, now: Instant, identity: Identity) -> bool {
        self.link.identity() != identity
            || now.saturating_duration_since(self.since) > MAXIMUM_IDLE
            || now.saturating_duration_since(self.link.opened()) > MAXIMUM_AGE
    }
}
