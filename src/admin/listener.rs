//! Accepting and serving connections of the admin listener, on the control thread.

mod seats;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::admin::guard::{Caller, may_call};
use crate::admin::listener::seats::{Seat, Seats};
use crate::admin::{Admin, dispatch};
use crate::server::guesser;
use crate::server::listener::{Socket, SocketFile};

/// For a whole head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a head.
const MAX_HEAD: usize = 32 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 100;
/// After accepting failed, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener's socket, ready to be served.
pub struct AdminListener(Listening);

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removed when it is dropped")] Option<SocketFile>),
}

impl AdminListener {
    /// Takes a bound socket into the runtime in which it is called.
    pub fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self(match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Listening::Tcp(TcpListener::from_std(socket)?)
            }
            Socket::Unix(socket, file) => {
                socket.set_nonblocking(true)?;
                Listening::Unix(UnixListener::from_std(socket)?, file)
            }
        }))
    }

    /// Serves until the task is ended.
    pub async fn serve(self, admin: Arc<Admin>) {
        let seats = Seats::new();
        loop {
            if let Err(error) = accept(&self.0, &admin, &seats).await {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(listener: &Listening, admin: &Arc<Admin>, seats: &Arc<Seats>) -> io::Result<()> {
    let seat = || seats.take(admin.spec.load().max_connections.into(), &admin.metrics.evicted);
    match listener {
        Listening::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            let caller = Caller::Tcp { to: stream.local_addr()?, who: guesser(&stream) };
            tokio::spawn(connection(stream, caller, Arc::clone(admin), seat()));
        }
        Listening::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if may_call(uid) {
                tokio::spawn(connection(stream, Caller::Unix(uid), Arc::clone(admin), seat()));
            } else {
                tracing::warn!(uid, "a user that may not has called the admin listener");
            }
        }
    }
    Ok(())
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    admin: Arc<Admin>,
    seat: Seat,
) {
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        let busy = seat.serve();
        async move {
            let answer = dispatch::answer(&admin, caller, request).await;
            drop(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "an admin connection broke off");
        },
        () = seat.evicted() => tracing::debug!("an admin connection made room for another"),
    }
}
