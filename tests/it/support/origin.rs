//! An upstream whose connections a test takes and drives one by one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::wire::{End, Wire};
use super::{PATIENCE, Sidecar, configuration};

/// An upstream in a test's hands.
pub struct Origin {
    address: SocketAddr,
    connections: Receiver<Wire>,
}

impl Origin {
    /// Listens on loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, connections) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(Wire::new(stream, End::Upstream)).is_err() {
                    return;
                }
            }
        });
        Self { address, connections }
    }

    /// An origin, and a bearerd with a fixed token and a route `/api` before it.
    #[track_caller]
    pub fn behind_bearerd() -> (Sidecar, Self) {
        Self::behind("", "")
    }

    /// The same, with further lines for the listener and for the route.
    #[track_caller]
    pub fn behind(listener: &str, route: &str) -> (Sidecar, Self) {
        let origin = Self::start();
        let bearerd = Sidecar::ready(&format!("{listener}\n{}{route}", configuration::to(&origin.url())));
        (bearerd, origin)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Wire {
        self.connections.recv_timeout(PATIENCE).expect("a connection to the origin")
    }

    /// Fails if there is a connection that was not taken yet.
    #[track_caller]
    pub fn assert_no_other_connection(&self) {
        assert!(self.connections.try_recv().is_err(), "there is another connection");
    }
}
