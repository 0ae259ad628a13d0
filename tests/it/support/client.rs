//! The app: raw bytes in, a whole answer out. No answer may show a canary.

use std::net::SocketAddr;

use super::message::Message;
use super::wire::Wire;

/// Where an app calls.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it calls.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, target: &str) -> Message {
        self.request("GET", target, "", b"")
    }

    /// GET with further fields, each ended by CRLF.
    #[track_caller]
    pub fn get_with(&self, target: &str, fields: &str) -> Message {
        self.request("GET", target, fields, b"")
    }

    /// POST with a JSON body.
    #[track_caller]
    pub fn post(&self, target: &str, body: &str) -> Message {
        self.request("POST", target, "Content-Type: application/json\r\n", body.as_bytes())
    }

    /// A request with further fields (each ended by CRLF) on a connection of its own.
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> Message {
        let mut connection = self.connect();
        connection.send(self.head(method, target, fields, body.len()));
        connection.send(body);
        connection.answer()
    }

    /// The head that [`Client::request`] sends.
    pub fn head(&self, method: &str, target: &str, fields: &str, length: usize) -> Vec<u8> {
        let address = self.address;
        let length = if length == 0 { String::new() } else { format!("Content-Length: {length}\r\n") };
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}{length}\r\n").into_bytes()
    }

    /// A connection to send raw bytes on.
    #[track_caller]
    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// A connection on which a request without a body was sent.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, fields: &str) -> Wire {
        let mut connection = self.connect();
        connection.send(self.head(method, target, fields, 0));
        connection
    }

    /// Sends raw bytes and returns all that comes back until the end of the connection.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut connection = self.connect();
        // A server that has seen enough may close before all is sent.
        let _ = connection.try_send(bytes);
        connection.rest()
    }
}
