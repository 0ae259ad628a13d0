//! Whether anybody still holds the other end of a connection.
//!
//! A peer that has shut its sending half and one that has closed its socket look alike on the wire:
//! both sent a FIN. On one host the kernel knows the difference.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::net::TcpStream;

/// Whether the other end of a TCP connection was closed rather than shut. Only known on one host, from
/// the kernel's table; of a peer elsewhere, and where there is no such table, it is not said.
pub(super) fn is_abandoned(stream: &TcpStream) -> bool {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return true };
    if !peer.ip().is_loopback() {
        return false;
    }
    let table = if peer.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let Ok(table) = fs::read_to_string(table) else { return false };
    let (peer, local) = (in_hexadecimal(peer), in_hexadecimal(local));
    let entry = table.lines().map(str::split_ascii_whitespace).find_map(|mut columns| {
        let is_it = columns.nth(1) == Some(&peer) && columns.next() == Some(&local);
        // State, queues, timer, retransmissions, uid and timeout stand before the inode.
        is_it.then(|| columns.nth(6).map(str::to_owned)).flatten()
    });
    // A socket that nobody holds has no inode; once it is gone altogether there is no entry.
    entry.is_none_or(|inode| inode == "0")
}

/// An address as the kernel's table has it: words of the machine's byte order.
fn in_hexadecimal(address: SocketAddr) -> String {
    let words: Vec<u32> = match address.ip() {
        IpAddr::V4(ip) => vec![u32::from_ne_bytes(ip.octets())],
        IpAddr::V6(ip) => ip.octets().as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect(),
    };
    let mut text = String::new();
    for word in words {
        // Writing to a text does not fail.
        let _ = write!(text, "{word:08X}");
    }
    let _ = write!(text, ":{:04X}", address.port());
    text
}

/// Whether the other end of a Unix socket was closed rather than shut.
pub(super) fn has_hung_up(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec::try_from(Duration::ZERO).ok();
    let polled = rustix::event::poll(&mut watched, at_once.as_ref());
    polled.is_ok() && watched[0].revents().contains(PollFlags::HUP)
}
