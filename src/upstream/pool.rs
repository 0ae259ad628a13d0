//! Connections to one destination, of one worker.
//!
//! ```text
//! take ─▶ an idle connection, or none: then connect
//!   │ request, answer, the answer's last byte
//!   └──▶ put back, if request and answer are whole and nothing else came
//! ```
//!
//! Connections of HTTP/2 stay here and are shared. Where all are full, requests wait in a queue for which others
//! are opened (`pool/queue.rs`).

mod opening;
mod queue;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::memory::ahead;
use crate::telemetry::{Counter, Gauge};
use crate::upstream::connect::{Connector, Identity, Protocol};
use crate::upstream::http1::Http1Link;
use crate::upstream::http2::{ArrivalLimits, Flood, Http2Connection, Place};
use crate::upstream::pool::queue::Queue;
use crate::upstream::{Destination, Origin, Scheme};

pub use opening::{OpenError, left};

/// How connections are kept; a zero duration switches a time limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolLimits {
    /// How long a connection may lie idle before it is closed rather than used: by default shorter than
    /// servers commonly wait, so that both ends seldom act at once.
    pub idle_timeout: Duration,
    /// How long a connection may be used: then the name is looked up and the certificate judged again.
    pub max_age: Duration,
    /// Idle connections that each worker keeps.
    pub max_idle: usize,
    /// What of an upstream's is a flood (HTTP/2).
    pub arrivals: ArrivalLimits,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(60),
            max_age: Duration::from_secs(15 * 60),
            max_idle: 1024,
            arrivals: ArrivalLimits::default(),
        }
    }
}

/// How often the limits of pools bit: connections that were closed for it, over all pools of a process.
#[derive(Debug, Default)]
pub struct Bites {
    /// By [`PoolLimits::idle_timeout`].
    pub idle_timeout: Counter,
    /// By [`PoolLimits::max_age`].
    pub max_age: Counter,
    /// By [`PoolLimits::max_idle`].
    pub max_idle: Counter,
}

/// Connections to one destination.
pub struct Pool {
    origin: Origin,
    connector: Connector,
    limits: PoolLimits,
    bites: Arc<Bites>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Http2Connection>>>,
    /// What the destination speaks, or spoke last.
    protocol: Cell<Option<Protocol>>,
    queue: Queue,
}

/// A connection that a request may be sent on.
pub enum Ready {
    /// It belongs to the request.
    Http1(Box<Http1Link>),
    /// It is shared: a stream of it belongs to the request.
    Http2(Place),
}

/// Whoever uses connections, and has a number of those that it used last.
pub trait Uses: fmt::Debug + Send + Sync {
    /// The number.
    fn connections(&self) -> &Gauge;

    /// Counts a connection that was closed since its upstream flooded it.
    fn flooded(&self, flood: Flood);
}

/// A connection in the number of whoever used it last.
#[derive(Debug)]
pub struct Counted(Arc<dyn Uses>);

#[derive(Debug)]
struct Idle {
    link: Box<Http1Link>,
    since: Instant,
}

/// Why a connection takes no more requests, though it could.
#[derive(Clone, Copy)]
enum Spent {
    /// It was opened as something else than connections are opened as now.
    Replaced,
    Aged,
    Idled,
}

impl Pool {
    /// A pool without connections.
    pub fn new(destination: &Destination, bites: Arc<Bites>) -> Self {
        let protocol = match destination.origin.scheme {
            Scheme::Http | Scheme::Unix => Some(Protocol::Http1),
            Scheme::H2c => Some(Protocol::Http2),
            Scheme::Https => None,
        };
        Self {
            origin: destination.origin.clone(),
            connector: destination.connector.clone(),
            limits: destination.limits,
            bites,
            idle: RefCell::default(),
            shared: RefCell::default(),
            protocol: Cell::new(protocol),
            queue: Queue::default(),
        }
    }

    /// Takes a connection that the upstream has not ended, and that was opened as what connections are
    /// opened as now: one to share, or the one that was used last.
    pub fn take(&self, now: Instant) -> Option<Ready> {
        let shared = self.shared(now).map(|connection| Ready::Http2(Place::take(&connection)));
        shared.or_else(|| self.idle(now).map(Ready::Http1))
    }

    /// The same, only to share: one that takes another request.
    fn shared(&self, now: Instant) -> Option<Rc<Http2Connection>> {
        let (shared, identity) = (self.shared.borrow(), self.connector.identity());
        let takes = |connection: &&Rc<Http2Connection>| {
            let idle_since = connection.idle_since();
            self.spent(connection.identity(), connection.opened(), idle_since, now, identity).is_none()
                && connection.has_room(now)
                && connection.is_alive()
        };
        shared.iter().find(takes).cloned()
    }

    /// The same, only one that belongs to one request at a time.
    pub fn idle(&self, now: Instant) -> Option<Box<Http1Link>> {
        let (mut idle, identity) = (self.idle.borrow_mut(), self.connector.identity());
        while let Some(mut last) = idle.pop() {
            last.link.bring();
            if self.keeps(&mut last, now, identity) {
                return Some(last.link);
            }
        }
        None
    }

    /// Puts a connection back whose answer has ended, if it can be used again.
    pub fn put(&self, link: Box<Http1Link>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if !link.is_reusable() {
            return;
        }
        if idle.len() < self.limits.max_idle {
            idle.push(Idle { link, since: now });
        } else {
            self.bites.max_idle.increment();
        }
    }

    /// Shares a connection with those that wait, and with later requests. Those that take none any more make room for it at once: an
    /// upstream that ends one after the other costs no more than one.
    fn share(self: &Rc<Self>, connection: Rc<Http2Connection>) {
        let streams = connection.most_streams();
        let mut shared = self.shared.borrow_mut();
        shared.retain(|other| other.idle_since().is_none() || other.is_alive());
        shared.push(connection);
        drop(shared);
        self.widened(streams);
    }

    /// Closes what has lain idle or lived for too long, was opened as something else, or was ended by
    /// the upstream. Returns whether any connection is left.
    pub fn tidy(&self, now: Instant) -> bool {
        let identity = self.connector.identity();
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| self.keeps(idle, now, identity));
        let mut shared = self.shared.borrow_mut();
        let mut room = self.limits.max_idle;
        shared.retain(|connection| {
            let idle_since = connection.idle_since();
            let spent = self.spent(connection.identity(), connection.opened(), idle_since, now, identity);
            if spent.is_some() || !connection.is_alive() {
                self.count(spent);
                return false;
            }
            let has_room = idle_since.is_none() || room.checked_sub(1).map(|left| room = left).is_some();
            if !has_room {
                self.bites.max_idle.increment();
            }
            has_room
        });
        !idle.is_empty() || !shared.is_empty()
    }

    /// Whether an idle connection may be used; one that may not is to be dropped.
    fn keeps(&self, idle: &mut Idle, now: Instant, identity: Identity) -> bool {
        let link = &mut idle.link;
        let is_tired = link.patience().is_some_and(|most| now.saturating_duration_since(idle.since) > most);
        let spent = self.spent(link.identity(), link.opened(), Some(idle.since), now, identity);
        let spent = spent.or(is_tired.then_some(Spent::Idled));
        let keeps = spent.is_none() && link.is_alive();
        self.count(spent);
        keeps
    }

    /// Why a connection is not to take more requests, though it could.
    fn spent(
        &self,
        opened_as: Identity,
        opened: Instant,
        idle_since: Option<Instant>,
        now: Instant,
        identity: Identity,
    ) -> Option<Spent> {
        let is_over = |since: Instant, limit: Duration| {
            !limit.is_zero() && now.saturating_duration_since(since) > limit
        };
        if opened_as != identity {
            Some(Spent::Replaced)
        } else if idle_since.is_some_and(|since| is_over(since, self.limits.idle_timeout)) {
            Some(Spent::Idled)
        } else if is_over(opened, self.limits.max_age) {
            Some(Spent::Aged)
        } else {
            None
        }
    }

    fn count(&self, spent: Option<Spent>) {
        match spent {
            Some(Spent::Aged) => self.bites.max_age.increment(),
            Some(Spent::Idled) => self.bites.idle_timeout.increment(),
            Some(Spent::Replaced) | None => {}
        }
    }
}

impl Counted {
    /// A connection that is there from now on.
    pub fn new(user: &Arc<impl Uses + 'static>) -> Self {
        Self::of(Arc::clone(user) as _)
    }

    fn of(user: Arc<dyn Uses>) -> Self {
        user.connections().increment();
        Self(user)
    }

    /// See [`Uses::flooded`].
    pub(super) fn flooded(&self, flood: Flood) {
        self.0.flooded(flood);
    }

    /// Has the processor bring what [`Self::move_to`] reads.
    pub fn bring(&self) {
        ahead::bring(&*self.0);
    }

    /// It is used by another, or the same.
    pub fn move_to(&mut self, user: &Arc<impl Uses + 'static>) {
        if Arc::as_ptr(&self.0).addr() != Arc::as_ptr(user).addr() {
            *self = Self::new(user);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections().decrement();
    }
}
