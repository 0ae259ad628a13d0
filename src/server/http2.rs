//! One HTTP/2 connection from an app (RFC 9113): hyper speaks it, each stream is a request.
//!
//! ```text
//! connection::serve ─ preface ─▶ hyper's connection ─▶ a task for each stream ─▶ Proxy::serve
//! ```

mod answer;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use crate::buffer::Input;
use crate::proxy::ProxyError;
use crate::proxy::watch::{Elapsed, Phase, Watch};
use crate::route::metrics::Limit;
use crate::server::Settings;
use crate::server::connection::Service;
use crate::server::http2::stream::Stream;
use crate::server::socket::AppStream;

/// What every connection of HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What an app may send on a stream before the upstream takes it, in bytes. Apps are near: more would
/// not be faster.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What one stream may have waiting to be written, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset by the app before they were looked at; more are an attack
/// (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// Streams that had to be reset for what the app sent on them; more are an attack (CVE-2025-8671).
const PROVOKED_RESETS: usize = 256;

/// How long the app may take to hear that the connection ends.
const MOMENT: Duration = Duration::from_secs(2);

/// What the streams of a connection share.
struct Connection {
    service: Rc<Service>,
    settings: Arc<Settings>,
    /// The answer to all requests, if there is one.
    refusal: Option<ProxyError>,
    watch: Rc<Watch>,
    /// Streams that are open.
    streams: Cell<usize>,
    /// No new streams are wanted.
    is_leaving: Cell<bool>,
    /// The stream whose task hyper starts next.
    next: RefCell<Option<Rc<Stream>>>,
}

/// Serves a connection until either side ends it; `input` is what was read of it. All its requests are
/// answered with `refusal`, if there is one.
pub(super) async fn serve(
    service: &Rc<Service>,
    settings: &Arc<Settings>,
    watch: Rc<Watch>,
    (stream, input): (AppStream, Input),
    refusal: Option<ProxyError>,
) {
    let connection = Rc::new(Connection {
        service: service.clone(),
        settings: settings.clone(),
        refusal,
        watch,
        streams: Cell::new(0),
        is_leaving: Cell::new(false),
        next: RefCell::new(None),
    });
    connection.rest();
    let answer = service_fn(|request| Stream::begin(&connection, request));
    let io = TokioIo::new(Preceded { input, stream });
    let mut protocol = pin!(builder(&connection).serve_connection(io, answer));
    poll_fn(|context| {
        loop {
            if protocol.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if connection.is_leaving.get() || !connection.watch.is_draining() {
                match connection.watch.poll_passed(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Elapsed(Phase::Idle)) => {
                        connection.settings.door.metrics.unrouted.limited(Limit::IdleTimeout);
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
            // GOAWAY; streams in flight finish.
            protocol.as_mut().graceful_shutdown();
            connection.leave();
        }
    })
    .await;
}

/// Everything that an app could make grow has a limit.
fn builder(connection: &Rc<Connection>) -> Builder<Tasks> {
    let limits = &connection.settings.head_limits;
    // A field counts 32 bytes more than it has (RFC 9113, section 6.5.2). A head that is too long by less
    // than as much again is answered with a document, any other by h2, without one.
    let list = (2 * limits.bytes).saturating_add(limits.fields.saturating_mul(32));
    let mut builder = Builder::new(Tasks(connection.clone()));
    builder
        .max_concurrent_streams(connection.settings.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(PROVOKED_RESETS)
        .auto_date_header(false);
    builder
}

impl Connection {
    /// One more stream is open.
    fn enter(&self) {
        self.streams.set(self.streams.get() + 1);
        self.watch.enter(Phase::Busy, Duration::ZERO);
    }

    /// One stream less is open.
    fn exit(&self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.rest();
        }
    }

    /// No new streams are taken.
    fn leave(&self) {
        self.is_leaving.set(true);
        if self.streams.get() == 0 {
            self.rest();
        }
    }

    /// No stream is open.
    fn rest(&self) {
        if self.is_leaving.get() {
            self.watch.enter(Phase::Lingering, MOMENT);
        } else {
            self.watch.enter(Phase::Idle, self.settings.door.idle_timeout);
        }
    }
}

/// Where the tasks of a connection's streams run: with what is ours of them.
#[derive(Clone)]
struct Tasks(Rc<Connection>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        match self.0.next.take() {
            Some(stream) => spawn_local(stream.run(future)),
            None => spawn_local(future),
        };
    }
}

/// A stream of which something was read before.
struct Preceded {
    input: Input,
    stream: AppStream,
}

impl AsyncRead for Preceded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.input.bytes().len().min(buffer.remaining());
        buffer.put_slice(&self.input.bytes()[..count]);
        self.input.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Preceded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
