//! Sockets: TCP to the first address that answers, and Unix.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::upstream::connect::error::Shortage;

/// How long an address has for itself before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Between two tries to get into the full queue of a Unix socket, which the system does not do for us.
const FULL_QUEUE: Duration = Duration::from_millis(10);

/// A connection that says nothing for so long is asked whether its other end is still there: tunnels
/// have no time limit of their own.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Between two of those questions; after [`KEEPALIVE_TRIES`] without an answer it is broken.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How often it is asked.
const KEEPALIVE_TRIES: u32 = 4;

/// Why an address did not take the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DialError {
    /// It is not the other side's fault.
    Exhausted(Shortage),
    /// What happened, in words that follow `cannot be reached:`.
    Refused(String),
}

/// Dials the addresses, each a little after the one before or as soon as one failed, and takes the
/// first that answers (RFC 8305, section 5). The others are given up.
pub(super) async fn tcp(addresses: Vec<SocketAddr>, source: Option<IpAddr>) -> Result<TcpStream, DialError> {
    if let [only] = addresses.as_slice() {
        return attempt(*only, source).await;
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = DialError::Refused("it has no address".to_owned());
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(attempt(address, source));
        }
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(DialError::Exhausted(shortage)))) => return Err(DialError::Exhausted(shortage)),
                Some(Ok(Err(refused))) => last = refused,
                Some(Err(_)) => {}
                None => return Err(last),
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// One address, from `source` if there is one.
async fn attempt(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, DialError> {
    let failed = |error: io::Error| match Shortage::of_sockets(&error) {
        Some(shortage) => DialError::Exhausted(shortage),
        None => DialError::Refused(format!("{address}: {}", error.kind())),
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => DialError::Exhausted(Shortage::Ports),
            kind => DialError::Refused(format!("the source address {source} cannot be used: {kind}")),
        })?;
    }
    let stream = socket.connect(address).await.map_err(|error| match error.kind() {
        // Over IPv6 it rather means that this machine has none.
        io::ErrorKind::AddrNotAvailable if address.is_ipv4() => DialError::Exhausted(Shortage::Ports),
        _ => failed(error),
    })?;
    stream.set_nodelay(true).map_err(failed)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_TRIES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(failed)?;
    Ok(stream)
}

/// Connects to a Unix socket, and waits as long as its queue is full.
pub(super) async fn unix(path: &str) -> Result<UnixStream, DialError> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(FULL_QUEUE).await;
            }
            Err(error) => {
                return Err(match Shortage::of_sockets(&error) {
                    Some(shortage) => DialError::Exhausted(shortage),
                    None => DialError::Refused(match error.kind() {
                        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
                        kind => kind.to_string(),
                    }),
                });
            }
            Ok(stream) => return Ok(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

    use super::{DialError, STAGGER, tcp, unix};
    use crate::clock::Clock;

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_when_one_refuses() {
        // Only the IPv4 side of localhost listens; its IPv6 side refuses or is not there.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let addresses: [SocketAddr; 2] =
            ["[::1]", "127.0.0.1"].map(|host| format!("{host}:{port}").parse().expect("an address"));
        tcp(addresses.to_vec(), None).await.expect("the second address");
        drop(listener);
        let refused = tcp(addresses.to_vec(), None).await.expect_err("nobody listens");
        assert!(matches!(&refused, DialError::Refused(reason) if reason.contains(&port.to_string())));
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_has_a_quarter_of_a_second_for_itself() {
        // A listener whose queue is full drops what knocks.
        let silent = TcpSocket::new_v4().expect("a socket");
        silent.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let silent = silent.listen(0).expect("a listener");
        let silent_address = silent.local_addr().expect("an address");
        let mut queued = Vec::new();
        let full = Duration::from_millis(100);
        while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(silent_address)).await {
            queued.push(stream.expect("a place in the queue"));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let begun = Clock::instant();
        let stream = tcp(vec![silent_address, address], None).await.expect("the second address");
        assert_eq!(stream.peer_addr().expect("an address"), address);
        assert!((STAGGER..STAGGER * 3).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let path = path.to_str().expect("a path in UTF-8");
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&socket2::SockAddr::unix(path).expect("an address")).expect("a bound socket");
        socket.listen(0).expect("a listener");
        socket.set_nonblocking(true).expect("an option");
        let listener = UnixListener::from_std(socket.into()).expect("a listener");
        let mut queued = Vec::new();
        while let Ok(stream) = UnixStream::connect(path).await {
            queued.push(stream);
        }
        let (connected, accepted) = tokio::join!(unix(path), listener.accept());
        connected.expect("a connection");
        accepted.expect("the first of the queue");
    }

    #[tokio::test]
    async fn a_unix_socket_that_is_not_there_is_refused_in_words() {
        let refused = unix("/nonexistent/api.sock").await.expect_err("no such socket");
        assert_eq!(refused, DialError::Refused("there is no such socket".to_owned()));
    }
}
