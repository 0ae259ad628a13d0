//! Whether anybody still holds the other end of a connection.
//!
//! A peer that has shut its sending half and one that has closed its socket look alike on the wire:
//! both sent a FIN. On one host the kernel knows the difference.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// Whether the other end of a TCP connection was closed rather than shut. Only known on one host, from
/// the kernel's own table; of a peer elsewhere, and where the kernel does not tell, it is not said.
pub(super) fn is_abandoned(stream: &TcpStream) -> bool {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return true };
    if !peer.ip().is_loopback() {
        return false;
    }
    match Diagnosis::of(peer, local) {
        // A socket that nobody holds has no inode; once it is gone altogether there is no entry.
        Ok(Diagnosis::Found { inode }) => inode == 0,
        Ok(Diagnosis::Gone) => true,
        Err(_) => false,
    }
}

/// What the kernel says of one socket (sock_diag(7)). It looks for the one in its table, where a list of
/// all, as in `/proc/net/tcp`, takes the longer the more connections the host has had.
#[derive(Debug, PartialEq, Eq)]
enum Diagnosis {
    /// It is there, and has this inode.
    Found {
        /// Zero if no process holds it.
        inode: u32,
    },
    /// It is not there.
    Gone,
}

/// Netlink's family and the protocol of socket diagnosis, from `linux/socket.h` and `linux/netlink.h`.
const FAMILY: i32 = 16;
const SOCKET_DIAGNOSIS: i32 = 4;
/// The request for one socket by its family, from `linux/sock_diag.h`, and flags of `linux/netlink.h`.
const BY_FAMILY: u16 = 20;
const IS_REQUEST: u16 = 1;
const IS_ERROR: u16 = 2;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// Where the inode stands in `struct inet_diag_msg`: its last word.
const INODE: usize = HEADER + 68;

impl Diagnosis {
    /// Asks for the socket on this host that is bound to `local` and connected to `peer`.
    fn of(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let mut socket = Socket::new(FAMILY.into(), Type::DGRAM, Some(SOCKET_DIAGNOSIS.into()))?;
        socket.send(&request(local, peer))?;
        let mut answer = [0; 512];
        let length = socket.read(&mut answer)?;
        Self::read(&answer[..length]).unwrap_or_else(|| Err(io::ErrorKind::InvalidData.into()))
    }

    fn read(answer: &[u8]) -> Option<io::Result<Self>> {
        let kind = answer.get(4..6)?.try_into().map(u16::from_ne_bytes).ok()?;
        let word = |at: usize| answer.get(at..at + 4)?.try_into().map(u32::from_ne_bytes).ok();
        match kind {
            BY_FAMILY => Some(Ok(Self::Found { inode: word(INODE)? })),
            IS_ERROR => {
                // The number of the error, negative.
                let error = io::Error::from_raw_os_error(word(HEADER)?.cast_signed().wrapping_neg());
                let is_gone = error.kind() == io::ErrorKind::NotFound;
                Some(if is_gone { Ok(Self::Gone) } else { Err(error) })
            }
            _ => None,
        }
    }
}

/// A `struct nlmsghdr` and a `struct inet_diag_req_v2` for exactly one socket.
fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    // Both numbers fit a byte.
    let family = u8::try_from(i32::from(Domain::for_address(local))).unwrap_or_default();
    let protocol = u8::try_from(i32::from(Protocol::TCP)).unwrap_or_default();
    let mut text = Vec::with_capacity(72);
    text.extend_from_slice(&72_u32.to_ne_bytes());
    text.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    text.extend_from_slice(&IS_REQUEST.to_ne_bytes());
    // Sequence and sender do not matter: there is one request on this socket.
    text.extend_from_slice(&[0; 8]);
    text.extend_from_slice(&[family, protocol, 0, 0]);
    // In whatever state it is.
    text.extend_from_slice(&u32::MAX.to_ne_bytes());
    text.extend_from_slice(&local.port().to_be_bytes());
    text.extend_from_slice(&peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let mut words = [0; 16];
        match address {
            IpAddr::V4(address) => words[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => words = address.octets(),
        }
        text.extend_from_slice(&words);
    }
    // Any interface, and no cookie.
    text.extend_from_slice(&0_u32.to_ne_bytes());
    text.extend_from_slice(&[0xff; 8]);
    text
}

/// Whether the other end of a Unix socket was closed rather than shut.
pub(super) fn has_hung_up(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec::try_from(Duration::ZERO).ok();
    let polled = rustix::event::poll(&mut watched, at_once.as_ref());
    polled.is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::Diagnosis;

    #[test]
    fn the_kernel_tells_a_socket_that_is_held_from_one_that_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has one of them.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let peer = listener.local_addr().expect("an address");
            let app = TcpStream::connect(peer).expect("a connection");
            let accepted = listener.accept().expect("a connection").0;
            let local = app.local_addr().expect("an address");
            let is_held = || match Diagnosis::of(local, peer).expect("a diagnosis") {
                Diagnosis::Found { inode } => inode != 0,
                Diagnosis::Gone => false,
            };
            assert!(is_held());
            app.shutdown(Shutdown::Write).expect("a shut half");
            assert!(is_held(), "half of it is still open");
            drop(app);
            assert!(!is_held());
            drop((accepted, listener));
            assert_eq!(Diagnosis::of(peer, peer).expect("a diagnosis"), Diagnosis::Gone);
        }
    }
}
