//! What the kernel knows of the other end of a connection: whose it is, and whether anybody still holds it.

mod diagnosis;
mod options;
mod process;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::net::TcpStream;

use crate::caller::{Known, Needs, Peer};
use crate::route::Guesser;
use crate::server::peer::diagnosis::Diagnosis;
use crate::server::socket::AppStream;

/// Whether the other end of a TCP connection was closed rather than shut. On the wire both look alike:
/// both sent a FIN. Only known on one host, from the kernel's own table; of a peer elsewhere, and where
/// the kernel does not tell, it is not said.
pub(super) fn is_abandoned(stream: &TcpStream) -> bool {
    let Ok((local, peer)) = ends(stream) else { return true };
    if !peer.ip().is_loopback() {
        return false;
    }
    match Diagnosis::of(peer, local) {
        // A socket that nobody holds has no inode; once it is gone altogether there is no entry.
        Ok(Diagnosis::Found { inode, .. }) => inode == 0,
        Ok(Diagnosis::Gone) => true,
        Err(_) => false,
    }
}

/// Whether the other end of a Unix socket was closed rather than shut; over TCP, whether a reset has come.
pub(super) fn has_hung_up(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec::try_from(Duration::ZERO).ok();
    let polled = rustix::event::poll(&mut watched, at_once.as_ref());
    polled.is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

/// Looks at the other end of a connection that has just come, as far as it is needed.
pub(super) fn look(stream: &AppStream, needs: Needs) -> Peer {
    let mut peer = Peer::default();
    match stream {
        AppStream::Unix(stream) => process::look(stream, needs, &mut peer),
        // Whoever shows wrong tokens is known by his user.
        AppStream::Tcp(stream) if needs.uid || needs.tokens => peer.uid = user_of(stream),
        AppStream::Tcp(_) | AppStream::Tls(_) => {}
    }
    peer
}

/// Whoever has made the other end of a TCP connection, should he guess.
pub fn guesser(stream: &TcpStream) -> Guesser {
    Guesser::of(user_of(stream).ok(), stream.peer_addr().ok().map(|from| from.ip()))
}

/// The user who has made the other end of a TCP connection: of an established one only, since the kernel
/// says 0 of a socket that was closed.
fn user_of(stream: &TcpStream) -> Known<u32> {
    let unknown = |why: std::io::Error| Cow::Owned(format!("the kernel does not tell: {why}"));
    let (local, peer) = ends(stream).map_err(unknown)?;
    if !peer.ip().is_loopback() {
        return Err("it is not on this machine".into());
    }
    match Diagnosis::of(peer, local).map_err(unknown)? {
        Diagnosis::Found { is_established: true, inode: 1.., uid } => process::known_user(uid),
        Diagnosis::Found { .. } | Diagnosis::Gone => Err("it has closed the connection already".into()),
    }
}

/// Both addresses of a connection, this end's first, each of IPv4 in its own form.
fn ends(stream: &TcpStream) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Ok((canonical(stream.local_addr()?), canonical(stream.peer_addr()?)))
}
