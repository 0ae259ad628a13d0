//! A connection that many requests share, and the task that drives it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::upstream::connect::{Identity, Opened, tls_reason};
use crate::upstream::http1::ANSWER_LIMITS;
use crate::upstream::http2::arrivals::{ArrivalLimits, Arrivals, Flood};
use crate::upstream::http2::outgoing::Outgoing;
use crate::upstream::http2::room::Room;
use crate::upstream::pool::{Counted, Pool, Uses};
use crate::upstream::stream::Stream;

/// What an upstream may send on a stream before the app takes it, in bytes: enough for 5 MB/s over a
/// way of 50 ms. It is held for apps that do not read.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams together, as much as can be said (RFC 9113, section 6.9.1): however many there
/// are that nobody reads, they must not hold up the others. What is held has its limit in that of each stream.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What one stream may have waiting to be written, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How many streams are remembered that were left by their apps, and for how long. What the upstream sent
/// before it knew is ignored; on a stream that was forgotten it counts as a fault of the upstream's, and
/// after 1,024 faults the connection is given up, with all that runs on it.
const REMEMBERED: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// An upstream that takes nothing of any request body for so long, which is longer than any way there and back, gets
/// no more requests on that connection until it does: some upload that it does not take stops them all.
const STUFFED: Duration = Duration::from_millis(500);

/// Why there is no HTTP/2 on a connection.
#[derive(Debug)]
pub enum NotBegun {
    /// The upstream broke TLS off after the handshake: why, in words that follow its name.
    Tls(String),
    /// It broke off.
    BrokeOff(io::Error),
}

fn error_of<T>(outcome: &Poll<io::Result<T>>) -> Option<&io::Error> {
    match outcome {
        Poll::Ready(Err(error)) => Some(error),
        _ => None,
    }
}

/// A connection that many requests share.
pub struct Http2Connection {
    sender: RefCell<SendRequest<Outgoing>>,
    driver: Rc<RefCell<Driver>>,
    opened: Instant,
    /// When the last stream ended.
    idle_since: Cell<Instant>,
    identity: Identity,
    streams: Cell<usize>,
    /// It refused a stream, and none has ended since: it has no room for another, whatever it says.
    is_full: Cell<bool>,
    /// It takes no more requests.
    is_retired: Cell<bool>,
    heard: Rc<News>,
    /// Until it is closed.
    counted: Shared,
    /// Where requests wait for room on it.
    pool: Weak<Pool>,
}

/// Whose connection it is, until it is closed.
type Shared = Rc<RefCell<Option<Counted>>>;

/// What is known of what the upstream said.
#[derive(Debug, Default)]
struct News {
    /// How often something was read.
    reads: Cell<u64>,
    /// How many frames brought something.
    fruitful: Cell<u64>,
    /// Why nothing more is read.
    flood: Cell<Option<Flood>>,
    /// Since when it takes next to nothing of all request bodies together.
    low_since: Cell<Option<Instant>>,
}

/// What reads and writes; ready when the connection is closed.
type Wire = Pin<Box<dyn Future<Output = ()>>>;

/// The halves of hyper's connection: the one that takes requests, and the one that reads and writes.
struct Driver {
    requests: Option<Connection<TokioIo<Heard>, Outgoing, Tasks>>,
    wire: Option<Wire>,
    /// The task that both wake.
    task: Waker,
    /// Streams that the upstream takes at once.
    most_streams: usize,
    /// These are others than before, which those that wait do not know yet.
    has_changed: bool,
    heard: Rc<News>,
}

impl Http2Connection {
    /// Begins HTTP/2 on a connection that was opened for it, and waits until the upstream has said how many
    /// streams it takes: one too many would be refused. Fails if it broke off before.
    pub async fn begin(
        opened: Opened,
        counted: Counted,
        limits: ArrivalLimits,
        pool: Weak<Pool>,
    ) -> Result<Rc<Self>, NotBegun> {
        let (tasks, heard) = (Tasks::default(), Rc::<News>::default());
        let counted: Shared = Rc::new(RefCell::new(Some(counted)));
        let refusal = Rc::<RefCell<Option<String>>>::default();
        let not_begun = |error| refusal.take().map_or(NotBegun::BrokeOff(error), NotBegun::Tls);
        let (sender, requests) = Builder::new(tasks.clone())
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED)
            .reset_stream_duration(REMEMBERED_FOR)
            .max_header_list_size(u32::try_from(ANSWER_LIMITS.bytes).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(Heard {
                stream: opened.stream,
                arrivals: Arrivals::new(limits),
                room: Room::new(),
                news: heard.clone(),
                counted: counted.clone(),
                refusal: Some(refusal.clone()),
            }))
            .await
            .map_err(|error| not_begun(io::Error::other(error)))?;
        let driver = Rc::new(RefCell::new(Driver {
            most_streams: requests.current_max_send_streams(),
            has_changed: false,
            requests: Some(requests),
            wire: tasks.wire.take(),
            task: Waker::noop().clone(),
            heard: heard.clone(),
        }));
        let has_begun = poll_fn(|context| driver.borrow_mut().poll_settings(context)).await;
        if !has_begun {
            return Err(not_begun(io::ErrorKind::UnexpectedEof.into()));
        }
        let now = Clock::instant();
        let (shared, until_closed, waiting) = (driver.clone(), counted.clone(), pool.clone());
        driver.borrow_mut().has_changed = false;
        spawn_local(async move {
            poll_fn(|context| {
                let outcome = shared.borrow_mut().poll(context);
                let news = shared.borrow_mut().take_news();
                if let (Some(streams), Some(pool)) = (news, waiting.upgrade()) {
                    pool.widened(streams);
                }
                outcome
            })
            .await;
            until_closed.take();
        });
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            driver,
            opened: now,
            idle_since: Cell::new(now),
            identity: opened.identity,
            streams: Cell::new(0),
            is_full: Cell::new(false),
            is_retired: Cell::new(false),
            heard,
            counted,
            pool,
        }))
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// As what it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// From now on the connection is counted for this one.
    pub fn count_for(&self, user: &Arc<impl Uses + 'static>) {
        if let Some(counted) = self.counted.borrow_mut().as_mut() {
            counted.move_to(user);
        }
    }

    /// What the upstream flooded it with, if it was ended for that.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.heard.flood.get()
    }

    /// Since when no stream is open, if none is.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }

    /// How many streams the upstream takes at once.
    pub fn most_streams(&self) -> usize {
        self.driver.borrow().most_streams
    }

    /// Whether the upstream takes another stream now, and what is sent on it.
    pub fn has_room(&self, now: Instant) -> bool {
        let is_stuffed = |since: Instant| now.saturating_duration_since(since) >= STUFFED;
        !self.is_full.get()
            && self.streams.get() < self.most_streams()
            && !self.heard.low_since.get().is_some_and(is_stuffed)
    }

    /// Whether new requests may be sent: the upstream has not said goodbye. Where nothing runs, what
    /// has arrived is read first.
    pub fn is_alive(&self) -> bool {
        if self.is_retired.get() {
            return false;
        }
        if self.streams.get() == 0 {
            self.driver.borrow_mut().look();
        }
        !self.sender.borrow().is_closed()
    }

    /// Sends no more requests: the upstream takes none, or seems to be gone.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
    }

    /// Hands a request over.
    pub(super) fn send(
        &self,
        request: Request<Outgoing>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>> + use<> {
        self.sender.borrow_mut().try_send_request(request)
    }
}

impl Driver {
    /// Ready when the connection is closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.task.clone_from(context.waker());
        self.drive(context)
    }

    /// Ready when the upstream takes streams, or with false when the connection is closed.
    fn poll_settings(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.poll(context).is_ready() {
            return Poll::Ready(false);
        }
        if self.most_streams > 0 { Poll::Ready(true) } else { Poll::Pending }
    }

    /// Does what can be done without waiting; the task hears of the rest.
    fn look(&mut self) {
        let task = self.task.clone();
        let _ = self.drive(&mut Context::from_waker(&task));
        if self.has_changed {
            task.wake();
        }
    }

    /// How many streams the upstream takes at once, where that is news.
    fn take_news(&mut self) -> Option<usize> {
        std::mem::take(&mut self.has_changed).then_some(self.most_streams)
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.take_requests(context);
        let reads = self.heard.reads.get();
        if let Some(wire) = &mut self.wire
            && wire.as_mut().poll(context).is_ready()
        {
            self.wire = None;
            self.requests = None;
        }
        if self.heard.reads.get() != reads {
            // It may have been a goodbye, after which no request is to be taken.
            self.take_requests(context);
        }
        if let Some(requests) = &self.requests {
            let most_streams = requests.current_max_send_streams();
            self.has_changed |= most_streams != self.most_streams;
            self.most_streams = most_streams;
        }
        if self.wire.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take_requests(&mut self, context: &mut Context<'_>) {
        // An error ends the streams, too, which tell it.
        if let Some(requests) = &mut self.requests
            && Pin::new(requests).poll(context).is_ready()
        {
            self.requests = None;
        }
    }
}

/// Where hyper's futures run. The first reads and writes: the driver keeps it.
#[derive(Clone, Default)]
struct Tasks {
    wire: Rc<Cell<Option<Wire>>>,
    has_wire: Rc<Cell<bool>>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        if self.has_wire.replace(true) {
            spawn_local(future);
        } else {
            self.wire.set(Some(Box::pin(future)));
        }
    }
}

/// One stream of a connection, until it is dropped: then there is room for another.
pub struct Place {
    connection: Rc<Http2Connection>,
    since: Instant,
    fruitful: u64,
    is_refused: bool,
}

/// A request that is given up after so long, and nothing of any answer came on the whole connection
/// meanwhile: nobody may be there any more, which TCP tells only after a quarter of an hour, or somebody who only
/// keeps it busy.
const SUSPICIOUS: Duration = Duration::from_secs(1);

impl Place {
    /// Takes one; whoever must not exceed the limit asks [`Http2Connection::has_room`] before.
    pub fn take(connection: &Rc<Http2Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let (since, fruitful) = (Clock::instant(), connection.heard.fruitful.get());
        Self { connection: connection.clone(), since, fruitful, is_refused: false }
    }

    /// The upstream has refused the stream: it takes no other until one that it took has ended.
    pub(super) fn refused(&mut self) {
        self.is_refused = true;
        self.connection.is_full.set(true);
    }

    /// The connection that it is on.
    pub fn connection(&self) -> &Http2Connection {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (connection, now) = (&self.connection, Clock::instant());
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(now);
        if !self.is_refused {
            connection.is_full.set(false);
        } else if connection.streams.get() == 0 {
            // Nothing runs that could make room.
            connection.retire();
        }
        let is_silent = connection.heard.fruitful.get() == self.fruitful;
        if is_silent && now.saturating_duration_since(self.since) >= SUSPICIOUS {
            connection.retire();
        }
        if let Some(pool) = connection.pool.upgrade() {
            pool.serve();
        }
    }
}

/// A connection on which it is noted what the upstream says.
struct Heard {
    stream: Stream,
    arrivals: Arrivals,
    room: Room,
    news: Rc<News>,
    counted: Shared,
    /// Where it is noted that TLS was broken off, until something has come: by TLS 1.3 a server refuses a
    /// certificate when the client takes the handshake for done.
    refusal: Option<Rc<RefCell<Option<String>>>>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.news.reads.set(self.news.reads.get() + 1);
            self.look_at(&buffer.filled()[before..])?;
            if let Some(refusal) = self.refusal.take() {
                *refusal.borrow_mut() = error_of(&read).and_then(tls_reason);
            }
        }
        read
    }
}

impl Heard {
    /// Notes what has come. Nothing more is read of a flood.
    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let read = self.arrivals.read(bytes, &mut self.room);
        self.news.low_since.set(self.room.low_since());
        self.news.fruitful.set(self.arrivals.fruitful());
        let Err(flood) = read else { return Ok(()) };
        self.news.flood.set(Some(flood));
        if let Some(counted) = &*self.counted.borrow() {
            counted.flooded(flood);
        }
        Err(io::Error::other("the upstream floods the connection"))
    }

    /// Notes what was sent of these pieces.
    fn note<'a>(&mut self, written: &Poll<io::Result<usize>>, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let Poll::Ready(Ok(count)) = *written else { return };
        self.arrivals.sent(count);
        let mut left = count;
        for piece in pieces {
            let count = left.min(piece.len());
            self.room.wrote(&piece[..count]);
            left -= count;
        }
        self.news.low_since.set(self.room.low_since());
    }

    /// Whoever breaks off with something unread answers a write by a reset: what it said before is still there
    /// to be read, as soon as this task hears of it. Until then the write is not over.
    fn ask_why<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if error_of(&written).is_none() || self.refusal.is_none() {
            return written;
        }
        let mut nothing = [0; 64];
        let read = Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut nothing));
        if read.is_pending() {
            return Poll::Pending;
        }
        if let Some(refusal) = self.refusal.take() {
            *refusal.borrow_mut() = error_of(&read).and_then(tls_reason);
        }
        written
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written, [bytes]);
        self.ask_why(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(&written, pieces.iter().map(|piece| &**piece));
        self.ask_why(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.ask_why(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
