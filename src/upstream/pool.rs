//! Connections to one upstream, of one worker.
//!
//! ```text
//! take ─▶ an idle connection, or none: then connect
//!   │ request, answer, the answer's last byte
//!   └──▶ put back, if request and answer are whole and nothing else came
//! ```
//!
//! Connections of HTTP/2 stay here and are shared; one opens another where all are full, and the
//! others wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::upstream::connect::{Identity, Protocol};
use crate::upstream::http1::Http1Link;
use crate::upstream::http2::Http2Connection;

/// How long a connection may lie idle before it is closed rather than used: shorter than servers
/// commonly wait, so that both ends seldom act at once.
pub const MAXIMUM_IDLE: Duration = Duration::from_secs(60);

/// How long a connection may be used: names are looked up again and certificates judged again.
pub const MAXIMUM_AGE: Duration = Duration::from_secs(15 * 60);

/// Idle connections that one worker keeps for one route.
pub const MAXIMUM_KEPT: usize = 256;

/// Connections to one upstream.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Http2Connection>>>,
    /// What the upstream spoke last.
    protocol: Cell<Option<Protocol>>,
    /// Somebody opens a connection that others may share.
    is_opening: Cell<bool>,
    opened: Notify,
}

/// A connection that a request may be sent on.
pub enum Ready {
    /// It belongs to the request.
    Http1(Box<Http1Link>),
    /// It is shared.
    Http2(Rc<Http2Connection>),
}

/// The right to open a connection that others wait for.
pub struct Opening<'a>(&'a Pool);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}

#[derive(Debug)]
struct Idle {
    link: Box<Http1Link>,
    since: Instant,
}

impl Pool {
    /// Takes a connection that the upstream has not ended, and that was opened as what connections are
    /// opened as now: one to share, or the one that was used last.
    pub fn take(&self, now: Instant, identity: Identity) -> Option<Ready> {
        self.shared(now, identity).map(Ready::Http2).or_else(|| self.idle(now, identity).map(Ready::Http1))
    }

    /// The same, only to share: one that takes another request.
    pub fn shared(&self, now: Instant, identity: Identity) -> Option<Rc<Http2Connection>> {
        let shared = self.shared.borrow();
        let takes = |connection: &&Rc<Http2Connection>| {
            !is_spent(connection, now, identity) && connection.has_room() && connection.is_alive()
        };
        shared.iter().find(takes).cloned()
    }

    /// The same, only one that belongs to one request at a time.
    pub fn idle(&self, now: Instant, identity: Identity) -> Option<Box<Http1Link>> {
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

    /// Shares a connection with later requests.
    pub fn share(&self, connection: Rc<Http2Connection>) {
        self.shared.borrow_mut().push(connection);
    }

    /// Notes what the upstream speaks.
    pub fn note(&self, protocol: Protocol) {
        self.protocol.set(Some(protocol));
    }

    /// The right to open a connection that others wait for. Where somebody has it, waits until that
    /// connection is there, or is not to come: then everybody may open one, and nobody waits again.
    pub async fn opening(&self) -> Option<Opening<'_>> {
        if self.protocol.get() == Some(Protocol::Http1) {
            return None;
        }
        if self.is_opening.get() {
            self.opened.notified().await;
            return None;
        }
        self.is_opening.set(true);
        Some(Opening(self))
    }

    /// Closes what has lain idle or lived for too long, was opened as something else, or was ended by
    /// the upstream. Returns whether any connection is left.
    pub fn tidy(&self, now: Instant, identity: Identity) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| !idle.is_spent(now, identity) && idle.link.is_alive());
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| {
            let is_idle = connection.idle_since().is_some_and(|since| is_over(since, now, MAXIMUM_IDLE));
            !is_idle && !is_spent(connection, now, identity) && connection.is_alive()
        });
        !idle.is_empty() || !shared.is_empty() || self.is_opening.get()
    }
}

impl Idle {
    fn is_spent(&self, now: Instant, identity: Identity) -> bool {
        self.link.identity() != identity
            || is_over(self.since, now, MAXIMUM_IDLE)
            || is_over(self.link.opened(), now, MAXIMUM_AGE)
    }
}

/// Whether a connection is not to take more requests, though it could.
fn is_spent(connection: &Http2Connection, now: Instant, identity: Identity) -> bool {
    connection.identity() != identity || is_over(connection.opened(), now, MAXIMUM_AGE)
}

fn is_over(since: Instant, now: Instant, limit: Duration) -> bool {
    now.saturating_duration_since(since) > limit
}
