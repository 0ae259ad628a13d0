use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use super::{BY_FAMILY, Diagnosis, HEADER, INODE, IS_ERROR, UID};

fn found(local: SocketAddr, peer: SocketAddr) -> (bool, u32, bool) {
    match Diagnosis::of(local, peer).expect("a diagnosis") {
        Diagnosis::Found { is_established, uid, inode } => (is_established, uid, inode != 0),
        Diagnosis::Gone => panic!("{local} to {peer} is gone"),
    }
}

#[test]
fn the_kernel_tells_whose_a_socket_is_and_whether_anybody_holds_it() {
    let own = rustix::process::geteuid().as_raw();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // A machine without IPv6 has one of them.
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let peer = listener.local_addr().expect("an address");
        let app = TcpStream::connect(peer).expect("a connection");
        let accepted = listener.accept().expect("a connection").0;
        let local = app.local_addr().expect("an address");
        assert_eq!(found(local, peer), (true, own, true));
        app.shutdown(Shutdown::Write).expect("a shut half");
        assert_eq!(found(local, peer), (false, own, true), "half of it is still open");
        drop(app);
        assert_eq!(found(local, peer), (false, 0, false), "a closed socket seems to be root's");
        drop((accepted, listener));
        assert_eq!(Diagnosis::of(peer, peer).expect("a diagnosis"), Diagnosis::Gone);
    }
}

#[test]
fn a_socket_of_ipv6_that_speaks_ipv4_is_found_by_its_ipv4_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let peer = listener.local_addr().expect("an address");
    let Ok(app) = Socket::new(Domain::IPV6, Type::STREAM, None) else { return };
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", peer.port()).parse().expect("an address");
    app.connect(&mapped.into()).expect("a connection");
    let local = app.local_addr().expect("an address").as_socket().expect("of TCP");
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    assert!(found(local, peer).0);
}

#[test]
fn a_listener_on_the_same_port_is_not_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let local = listener.local_addr().expect("an address");
    let nobody = "127.0.0.1:9".parse().expect("an address");
    assert_eq!(Diagnosis::of(local, nobody).expect("a diagnosis"), Diagnosis::Gone);
}

/// An answer of the kernel with these parts.
fn answer(kind: u16, family: u8, state: u8, ends: [(&[u8], u16); 2]) -> Vec<u8> {
    let mut bytes = vec![0; INODE + 4];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = state;
    for (at, (address, port)) in ends.into_iter().enumerate() {
        bytes[HEADER + 4 + 2 * at..][..2].copy_from_slice(&port.to_be_bytes());
        bytes[HEADER + 8 + 16 * at..][..address.len()].copy_from_slice(address);
    }
    bytes[UID..UID + 4].copy_from_slice(&1001_u32.to_ne_bytes());
    bytes[INODE..INODE + 4].copy_from_slice(&7_u32.to_ne_bytes());
    bytes
}

#[test]
fn an_answer_counts_for_exactly_the_connection_that_was_asked_for() {
    let asked = || ("127.0.0.1:40000".parse().expect("own"), "127.0.0.1:80".parse().expect("other"));
    let loopback: &[u8] = &[127, 0, 0, 1];
    let mapped: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
    let read = |bytes: &[u8]| Diagnosis::read(bytes, asked()).expect("readable").expect("a diagnosis");
    let is_ours = Diagnosis::Found { is_established: true, uid: 1001, inode: 7 };
    assert_eq!(read(&answer(BY_FAMILY, 2, 1, [(loopback, 40000), (loopback, 80)])), is_ours);
    assert_eq!(read(&answer(BY_FAMILY, 10, 1, [(mapped, 40000), (mapped, 80)])), is_ours);
    for ends in [
        [(loopback, 40000), (loopback, 81)],
        [(loopback, 40001), (loopback, 80)],
        [(loopback, 80), (loopback, 40000)],
        [(loopback, 40000), (&[127, 0, 0, 2], 80)],
        [(loopback, 40000), (&[0, 0, 0, 0], 0)],
    ] {
        assert_eq!(read(&answer(BY_FAMILY, 2, 1, ends)), Diagnosis::Gone, "{ends:?}");
    }
    let Diagnosis::Found { is_established: false, .. } =
        read(&answer(BY_FAMILY, 2, 4, [(loopback, 40000), (loopback, 80)]))
    else {
        panic!("it was half closed")
    };
}

#[test]
fn errors_and_noise_are_no_diagnosis() {
    let asked = || ("127.0.0.1:1".parse().expect("own"), "127.0.0.1:2".parse().expect("other"));
    let error = |number: i32| {
        let mut bytes = vec![0; HEADER + 4];
        bytes[4..6].copy_from_slice(&IS_ERROR.to_ne_bytes());
        bytes[HEADER..].copy_from_slice(&(-number).to_ne_bytes());
        Diagnosis::read(&bytes, asked()).expect("readable")
    };
    assert_eq!(error(2).expect("a diagnosis"), Diagnosis::Gone);
    assert_eq!(error(1).expect_err("an error").kind(), io::ErrorKind::PermissionDenied);
    let whole = answer(BY_FAMILY, 2, 1, [(&[127, 0, 0, 1], 1), (&[127, 0, 0, 1], 2)]);
    for length in [0, 5, HEADER, HEADER + 1, UID, INODE, INODE + 3] {
        assert!(Diagnosis::read(&whole[..length], asked()).is_none(), "{length} bytes");
    }
    assert!(Diagnosis::read(&answer(3, 2, 1, [(&[], 1), (&[], 2)]), asked()).is_none());
}
