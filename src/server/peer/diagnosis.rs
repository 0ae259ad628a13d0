//! Socket diagnosis: what the kernel says of one connection of this host (sock_diag(7)).

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel says of one socket. It looks for the one in its table, where a list of all, as in
/// `/proc/net/tcp`, takes the longer the more connections the host has had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// It is there.
    Found {
        /// Neither side has closed it, nor half of it.
        is_established: bool,
        /// Who made it; 0 of one that was closed.
        uid: u32,
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
/// Where `struct inet_diag_sockid` stands in the answer: ports, and an address of 16 bytes each.
const IDENTITY: usize = HEADER + 4;
/// The last two words of `struct inet_diag_msg`.
const UID: usize = HEADER + 64;
const INODE: usize = HEADER + 68;
/// `TCP_ESTABLISHED`, from `net/tcp_states.h`.
const ESTABLISHED: u8 = 1;

impl Diagnosis {
    /// Asks for the socket on this host that is bound to `local` and connected to `peer`; addresses of
    /// IPv4 in their own form.
    pub(super) fn of(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let mut socket = Socket::new(FAMILY.into(), Type::DGRAM, Some(SOCKET_DIAGNOSIS.into()))?;
        // The kernel answers while it is asked: there is nothing to wait for.
        socket.set_nonblocking(true)?;
        socket.send(&request(local, peer))?;
        let mut answer = [0; 512];
        let length = socket.read(&mut answer)?;
        Self::read(&answer[..length], (local, peer)).unwrap_or_else(|| Err(io::ErrorKind::InvalidData.into()))
    }

    /// Reads an answer. If there is no such connection the kernel tells of a socket that listens on the
    /// port of `local`, which may be anybody's: that is not the one.
    fn read(answer: &[u8], asked: (SocketAddr, SocketAddr)) -> Option<io::Result<Self>> {
        let kind = answer.get(4..6)?.try_into().map(u16::from_ne_bytes).ok()?;
        let word = |at: usize| answer.get(at..at + 4)?.try_into().map(u32::from_ne_bytes).ok();
        match kind {
            BY_FAMILY => {
                let (uid, inode) = (word(UID)?, word(INODE)?);
                let is_established = answer[HEADER + 1] == ESTABLISHED;
                let found = Self::Found { is_established, uid, inode };
                Some(Ok(if identity(answer)? == asked { found } else { Self::Gone }))
            }
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

/// The addresses of both ends that an answer names, its own first.
fn identity(answer: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let is_v4 = i32::from(*answer.get(HEADER)?) == i32::from(Domain::IPV4);
    let port = |at: usize| answer.get(at..at + 2)?.try_into().map(u16::from_be_bytes).ok();
    let address = |at: usize| {
        let words: [u8; 16] = answer.get(at..at + 16)?.try_into().ok()?;
        let [a, b, c, d, ..] = words;
        let address =
            if is_v4 { IpAddr::V4(Ipv4Addr::new(a, b, c, d)) } else { Ipv6Addr::from(words).to_canonical() };
        Some(address)
    };
    let own = SocketAddr::new(address(IDENTITY + 4)?, port(IDENTITY)?);
    let other = SocketAddr::new(address(IDENTITY + 20)?, port(IDENTITY + 2)?);
    Some((own, other))
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

#[cfg(all(test, target_os = "linux"))]
mod tests;
