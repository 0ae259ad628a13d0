//! Idle connections to one upstream, of one worker.
//!
//! ```text
//! take ─▶ an idle connection, or none: then connect and `open`
//!   │ request, answer, the answer's last byte
//!   └──▶ put back; it is taken again once hyper says that it is ready
//! ```
//!
//! A connection that was used is put back when its answer ended, and taken again only once hyper is
//! ready for the next request: one whose body still streams never is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::upstream::connect::Stream;

/// How long a connection may lie idle before it is closed rather than used: shorter than servers
/// commonly wait, so that both ends seldom act at once.
pub const MAXIMUM_IDLE: Duration = Duration::from_secs(60);

/// How long a connection may be used: names are looked up again and certificates judged again.
pub const MAXIMUM_AGE: Duration = Duration::from_secs(15 * 60);

/// Idle connections that one worker keeps for one route.
pub const MAXIMUM_KEPT: usize = 256;

/// The longest head of an answer, in bytes, and the most that is read at once.
const READ_BUFFER: usize = 256 * 1024;

/// Idle connections to one upstream.
pub struct Pool<B> {
    idle: RefCell<Vec<Idle<B>>>,
}

struct Idle<B> {
    connection: Connection<B>,
    since: Instant,
}

/// A connection that can send one request after the other.
pub struct Connection<B> {
    sender: SendRequest<B>,
    task: AbortHandle,
    opened: Instant,
    /// Whether a request was sent on it before.
    pub reused: bool,
}

impl<B> Pool<B> {
    /// A pool without connections.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default() })
    }

    /// Takes the connection that was used last of those that can be used now.
    pub fn take(&self, now: Instant) -> Option<Connection<B>> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].is_spent(now) {
                idle.remove(at);
            } else if idle[at].connection.sender.is_ready() {
                return Some(idle.remove(at).connection);
            }
        }
        None
    }

    /// Puts a connection back whose answer has ended.
    pub fn put(&self, mut connection: Connection<B>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if connection.sender.is_closed() || idle.len() >= MAXIMUM_KEPT {
            return;
        }
        connection.reused = true;
        idle.push(Idle { connection, since: now });
    }

    /// Closes what has lain idle or lived for too long. Returns whether any connection is left.
    pub fn tidy(&self, now: Instant) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.is_spent(now));
        !idle.is_empty()
    }
}

impl<B> Idle<B> {
    fn is_spent(&self, now: Instant) -> bool {
        self.connection.sender.is_closed()
            || now.saturating_duration_since(self.since) > MAXIMUM_IDLE
            || now.saturating_duration_since(self.connection.opened) > MAXIMUM_AGE
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes an HTTP/1.1 connection of a fresh stream; its own task drives it, and `ended` is
    /// dropped with that task.
    pub async fn open(stream: Stream, ended: impl Sized + 'static) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        let task = tokio::task::spawn_local(async move {
            let _ended = ended;
            // How it ended is told by the request that was on it, if any was.
            let _ = connection.await;
        });
        Ok(Self { sender, task: task.abort_handle(), opened: Clock::instant(), reused: false })
    }

    /// The half that sends.
    pub fn sender(&mut self) -> &mut SendRequest<B> {
        &mut self.sender
    }
}

impl<B> Connection<B> {
    /// Closes the connection at once, in the middle of whatever is on it.
    pub fn close(self) {
        self.task.abort();
    }
}
