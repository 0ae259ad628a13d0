//! Accepting connections, and handing them out.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::route::metrics::{Limit, ListenerMetrics};
use crate::server::Listener;
use crate::server::listener::{Bind, Socket, SocketFile};
use crate::server::places;
use crate::server::socket::AppStream;
use crate::server::visitor::Visitor;

/// How long accepting pauses when the process has no more file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that was accepted.
pub struct Accepted<S = AppStream> {
    /// The connection.
    pub stream: S,
    /// The listener that it came through.
    pub listener: Arc<Listener>,
    /// Who is at its other end.
    pub visitor: Visitor,
    /// Its place among the listener's connections.
    pub place: Place,
}

impl<S> Accepted<S> {
    /// Makes another kind of stream of the stream.
    pub fn map<T>(self, convert: impl FnOnce(S) -> io::Result<T>) -> io::Result<Accepted<T>> {
        let Self { stream, listener, visitor, place } = self;
        Ok(Accepted { stream: convert(stream)?, listener, visitor, place })
    }
}

/// One of the connections that a listener may have.
#[derive(Debug)]
pub struct Place {
    metrics: Arc<ListenerMetrics>,
    _place: places::Place,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.decrement();
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removed when it is dropped")] Option<SocketFile>),
}

impl Acceptor {
    /// Takes a socket into this thread's runtime.
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener, file) => Self::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    /// A connection, and from where it came over TCP.
    async fn accept(&self) -> io::Result<(AppStream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Without it an answer in two pieces waits for an acknowledgement between them.
                stream.set_nodelay(true)?;
                Ok((AppStream::Tcp(stream), Some(from.ip())))
            }
            Self::Unix(listener, _) => Ok((AppStream::Unix(listener.accept().await?.0), None)),
        }
    }

    /// The connections that wait in the socket when it is closed, which would reset them.
    fn rest(self) -> Vec<(AppStream, Option<IpAddr>)> {
        let mut rest = Vec::new();
        let mut take = |accepted: io::Result<(AppStream, Option<IpAddr>)>| {
            rest.extend(accepted.ok());
            rest.len() < MOST_WAITING
        };
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return rest };
                while let Ok((stream, from)) = listener.accept() {
                    let adopt = || {
                        stream.set_nonblocking(true)?;
                        stream.set_nodelay(true)?;
                        Ok((AppStream::Tcp(TcpStream::from_std(stream)?), Some(from.ip())))
                    };
                    if !take(adopt()) {
                        break;
                    }
                }
            }
            Self::Unix(listener, _) => {
                let Ok(listener) = listener.into_std() else { return rest };
                while let Ok((stream, _)) = listener.accept() {
                    let adopt = || {
                        stream.set_nonblocking(true)?;
                        Ok((AppStream::Unix(UnixStream::from_std(stream)?), None))
                    };
                    if !take(adopt()) {
                        break;
                    }
                }
            }
        }
        rest
    }
}

/// The most connections that are taken from a socket when it is closed: as many as may wait in it.
const MOST_WAITING: usize = 1024;

/// Accepts from one listener until it is closed.
pub async fn run(socket: Socket, listener: Arc<Listener>, deliver: impl Fn(Accepted)) {
    let acceptor = match Acceptor::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(listener = listener.name(), %error, "the listener cannot be accepted from");
            return;
        }
    };
    let mut closed = listener.closed.subscribe();
    let admit = |(stream, from): (AppStream, Option<IpAddr>), place: places::Place| {
        let visitor = Visitor::meet(&stream, from, &listener);
        listener.metrics.accepted.increment();
        listener.metrics.connections.increment();
        let place = Place { metrics: listener.metrics.clone(), _place: place };
        deliver(Accepted { stream, listener: listener.clone(), visitor, place });
    };
    let accepting = async {
        loop {
            let place = place(&listener).await;
            admit(next(&acceptor, &listener).await, place);
        }
    };
    tokio::select! {
        // First, so that nothing is taken that came after the listener was closed.
        biased;
        _ = closed.wait_for(|closed| *closed) => {}
        () = accepting => {}
    }
    if matches!(listener.bind, Bind::Inherited(_)) {
        // What waits in it is for whoever takes it over.
        return;
    }
    for accepted in acceptor.rest() {
        let Some(place) = listener.places.try_take() else { break };
        admit(accepted, place);
    }
}

/// Waits for a free place: with as many connections as there may be, accepting pauses.
async fn place(listener: &Listener) -> places::Place {
    if let Some(place) = listener.places.try_take() {
        return place;
    }
    listener.metrics.unrouted.limited(Limit::MaxConnections);
    if let Some(untold) = listener.metrics.pauses_told.tell() {
        tracing::warn!(listener = listener.name(), untold, "accepting pauses: `max_connections` are open");
    }
    listener.places.take().await
}

/// The next connection; a process without file descriptors pauses and tries again.
async fn next(acceptor: &Acceptor, listener: &Listener) -> (AppStream, Option<IpAddr>) {
    let mut is_told = false;
    loop {
        match acceptor.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_exhaustion(&error) => {
                if !is_told {
                    tracing::error!(listener = listener.name(), %error, "accepting pauses");
                    is_told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            // A connection that went away before it was accepted.
            Err(error) => tracing::debug!(listener = listener.name(), %error, "a connection was lost"),
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}
