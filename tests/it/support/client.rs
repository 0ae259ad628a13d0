//! The app: raw bytes in, a whole answer out. No answer may show a canary.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::message::Message;
use super::{PATIENCE, canary};

/// Where an app calls.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// One connection of an app.
pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
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
        connection.send(&self.head(method, target, fields, body.len()));
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
    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        Connection { stream, reader }
    }

    /// Sends raw bytes and returns all that comes back until the end of the connection.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut connection = self.connect();
        // A server that has seen enough may close before all is sent.
        let _ = connection.stream.write_all(bytes);
        connection.rest()
    }
}

impl Connection {
    /// Sends raw bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads one whole answer.
    #[track_caller]
    pub fn answer(&mut self) -> Message {
        let answer = Message::read(&mut self.reader, true).expect("a whole answer").expect("an answer");
        canary::assert_unseen(&[answer.head.as_slice(), &answer.body].concat(), "an answer to the app");
        answer
    }

    /// Reads all that is left until the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset ends the connection as well.
        let _ = self.reader.read_to_end(&mut bytes);
        canary::assert_unseen(&bytes, "an answer to the app");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
