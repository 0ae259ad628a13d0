//! The app's end of a connection, between the socket and hyper.
//!
//! ```text
//! socket ─▶ scanner ─▶ whole heads and bodies ─▶ hyper
//!              └─▶ a refusal: written when hyper has ended, then the rest is read and dropped
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::ProxyError;
use crate::proxy::watch::{Phase, Watch};
use crate::route::metrics::Limit;
use crate::server::head::{HeadLimits, Scanner};

/// How long what the app still sends is read and dropped when the connection ends early: a socket
/// that is closed with unread bytes is reset, and the app might lose the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A connection from an app.
#[derive(Debug)]
pub enum AppStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A connection that belongs to no runtime: on its way from one thread to another.
#[derive(Debug)]
pub enum RawStream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl AppStream {
    /// Takes the stream out of this thread's runtime.
    pub fn into_raw(self) -> io::Result<RawStream> {
        Ok(match self {
            Self::Tcp(stream) => RawStream::Tcp(stream.into_std()?),
            Self::Unix(stream) => RawStream::Unix(stream.into_std()?),
        })
    }

    /// Takes a stream into this thread's runtime.
    pub fn from_raw(stream: RawStream) -> io::Result<Self> {
        Ok(match stream {
            RawStream::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            RawStream::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// What the socket and the connection's task tell each other.
#[derive(Debug)]
pub struct Link {
    /// The connection's time limit.
    pub watch: Rc<Watch>,
    /// Heads that were passed on to hyper.
    heads: Cell<u64>,
    /// Heads that hyper served.
    served: Cell<u64>,
    /// A head has begun and is not whole yet.
    has_part_of_head: Cell<bool>,
    refusal: RefCell<Option<ProxyError>>,
    limit: Cell<Option<Limit>>,
}

impl Link {
    /// The link of a new connection.
    pub fn new(watch: Rc<Watch>) -> Rc<Self> {
        Rc::new(Self {
            watch,
            heads: Cell::new(0),
            served: Cell::new(0),
            has_part_of_head: Cell::new(false),
            refusal: RefCell::new(None),
            limit: Cell::new(None),
        })
    }

    /// Counts a request that hyper serves; false if its head was not looked at.
    pub fn serve(&self) -> bool {
        self.served.set(self.served.get() + 1);
        self.served.get() <= self.heads.get()
    }

    /// Whether a head has begun and is not whole yet.
    pub fn has_part_of_head(&self) -> bool {
        self.has_part_of_head.get()
    }

    /// Whether the connection gets no further.
    pub fn is_refused(&self) -> bool {
        self.refusal.borrow().is_some()
    }

    /// Lets the connection get no further: the error is answered when all before it is.
    pub fn refuse(&self, error: ProxyError, limit: Option<Limit>) {
        self.refusal.borrow_mut().get_or_insert(error);
        self.limit.set(limit);
    }

    /// The limit that bit, told once.
    pub fn take_limit(&self) -> Option<Limit> {
        self.limit.take()
    }

    /// The error that is to be answered.
    pub fn refusal(&self) -> Option<ProxyError> {
        self.refusal.borrow().clone()
    }
}

/// The socket as hyper sees it.
#[derive(Debug)]
pub struct AppSocket {
    stream: AppStream,
    link: Rc<Link>,
    scanner: Scanner,
    head_timeout: Duration,
    /// The part of a head that is not whole yet.
    pending: BytesMut,
    /// Whole heads that came in parts, and what came with their end.
    ready: Bytes,
    closing: Closing,
}

/// How far the end of a connection is.
#[derive(Debug)]
enum Closing {
    Open,
    Answering(Bytes),
    Flushing,
    Lingering,
}

impl AppSocket {
    /// A socket whose heads have the given limits.
    pub fn new(stream: AppStream, link: Rc<Link>, limits: HeadLimits, head_timeout: Duration) -> Self {
        Self {
            stream,
            link,
            scanner: Scanner::new(limits),
            head_timeout,
            pending: BytesMut::new(),
            ready: Bytes::new(),
            closing: Closing::Open,
        }
    }

    /// Takes in what was read behind `before`, and leaves what may be passed on.
    fn take_in(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let piece = &buffer.filled()[before..];
        if self.pending.is_empty() {
            let passed = self.scanner.scan(piece);
            self.pending.extend_from_slice(&piece[passed..]);
            buffer.set_filled(before + passed);
        } else {
            self.pending.extend_from_slice(piece);
            let passed = self.scanner.scan(&self.pending);
            self.ready = self.pending.split_to(passed).freeze();
            buffer.set_filled(before);
        }
        self.link.heads.set(self.scanner.heads());
        if let Some(violation) = self.scanner.violation() {
            self.pending.clear();
            self.link.refuse(violation.error(), violation.limit());
        }
        self.link.has_part_of_head.set(!self.pending.is_empty());
        if !self.pending.is_empty() && self.link.watch.phase() == Phase::Idle {
            self.link.watch.enter(Phase::Head, self.head_timeout);
        }
    }

    fn write_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.closing {
                Closing::Open => {
                    let answer = self.link.refusal().map(|error| in_bytes(&error));
                    self.closing = answer.map_or(Closing::Flushing, Closing::Answering);
                }
                Closing::Answering(answer) => {
                    let written = ready!(Pin::new(&mut self.stream).poll_write(context, answer))?;
                    answer.advance(written);
                    if answer.is_empty() || written == 0 {
                        self.closing = Closing::Flushing;
                    }
                }
                Closing::Flushing => {
                    ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
                    self.link.watch.enter(Phase::Lingering, LINGER);
                    self.closing = Closing::Lingering;
                }
                Closing::Lingering => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads and drops what the app still sends, up to its end.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut dropped = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// An answer outside of hyper.
fn in_bytes(error: &ProxyError) -> Bytes {
    let response = error.response(None);
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(response.status().to_string().as_bytes());
    for (name, value) in response.headers() {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(format!("\r\ncontent-length: {}\r\n\r\n", response.body().len()).as_bytes());
    bytes.extend_from_slice(response.body());
    bytes.into()
}

impl AsyncRead for AppSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let length = this.ready.len().min(buffer.remaining());
                buffer.put_slice(&this.ready.split_to(length));
                return Poll::Ready(Ok(()));
            }
            if this.link.is_refused() {
                // The connection's task ends it as soon as all before is answered.
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.take_in(buffer, before);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for AppSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_refusal(context))?;
        if self.scanner.is_between_messages() { Poll::Ready(Ok(())) } else { self.linger(context) }
    }
}

impl AsyncRead for AppStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
