//! The app's end of a connection, whatever it is made of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::server::peer;

/// A connection from an app.
#[derive(Debug)]
pub enum AppStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// TLS over TCP, after the handshake. What is written may lie in it until it is flushed.
    Tls(Box<TlsStream<TcpStream>>),
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
            Self::Tls(_) => return Err(io::Error::other("a handshake binds a connection to its thread")),
        })
    }

    /// Takes a stream into this thread's runtime.
    pub fn from_raw(stream: RawStream) -> io::Result<Self> {
        Ok(match stream {
            RawStream::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            RawStream::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// Whether HTTP/2 is to be spoken on a connection that begins with its preface, or does not. With
    /// TLS only the handshake decides (RFC 9113, section 3.2).
    pub fn allows_http2(&self, begins_with_preface: bool) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => begins_with_preface,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether the app, which sends nothing more, has closed its socket altogether, so that nobody
    /// would read an answer.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Tcp(stream) => peer::is_abandoned(stream),
            // The kernel tells a closed peer from one that has shut its sending half.
            Self::Unix(stream) => peer::has_hung_up(stream),
            Self::Tls(stream) => peer::is_abandoned(stream.get_ref().0),
        }
    }

    /// Whether the connection is over in both directions: the other end was closed, and its system has said so to what
    /// was sent since (RFC 9293, section 3.10.7.4).
    pub fn has_hung_up(&self) -> bool {
        match self {
            Self::Tcp(stream) => peer::has_hung_up(stream),
            Self::Unix(stream) => peer::has_hung_up(stream),
            Self::Tls(stream) => peer::has_hung_up(stream.get_ref().0),
        }
    }

    /// Lets the connection end with a reset when it is dropped: the app shall not take what it has for
    /// the whole of an answer that only the connection's end delimits.
    pub fn reset(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return,
        };
        // Without it the end looks whole to HTTP/1.0; nothing else can be done.
        let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AppStream {
    /// Pending if there is certainly nothing to read yet; the task is woken when there may be.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context).map(drop),
            Self::Unix(stream) => stream.poll_read_ready(context).map(drop),
            Self::Tls(_) => Poll::Ready(()),
        }
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
            // Nothing here is delimited by the app's end, so that one without a notice (RFC 8446, section 6.1) cuts
            // off no more than one with it.
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer).map(|read| match read {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                read => read,
            }),
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
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
