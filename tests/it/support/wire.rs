//! One TCP connection that a test drives by hand, from either end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::message::{Message, read_chunk};
use super::{PATIENCE, canary};

/// A connection in a test's hands. What arrives is searched for canaries.
pub struct Wire {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    end: End,
}

/// Which end of the connection the test plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The app, which must see no token and no secret.
    App,
    /// An upstream, which must see no secret.
    Upstream,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// In order: the other side has sent all that it wanted.
    Finished,
    /// Broken off.
    Reset,
}

impl Wire {
    /// Takes a connection over.
    #[track_caller]
    pub fn new(stream: TcpStream, end: End) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, reader, end }
    }

    /// Connects as an app.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE).expect("a connection"), End::App)
    }

    /// Sends raw bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the other side takes bytes");
    }

    /// Sends raw bytes to a side that may have seen enough; says whether it took them all.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends one chunk.
    #[track_caller]
    pub fn send_chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
    }

    /// Sends a piece again and again, until the other side has taken nothing for a while or `most` bytes;
    /// says how many it took.
    #[track_caller]
    pub fn send_until_it_blocks(&mut self, piece: &[u8], most: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let mut sent = 0;
        while sent < most {
            match self.stream.write(&piece[sent % piece.len()..]) {
                Ok(length) => sent += length,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => break,
                Err(error) => panic!("the other side takes no more after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        sent
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Hangs up, in both directions at once; says what had arrived by then and was not read.
    pub fn hang_up(mut self) -> String {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.rest()
    }

    /// Breaks the connection off: a socket closed with lingering zero sends RST in place of FIN.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Closes the connection, or breaks it off, and waits until the other side's kernel knows: a busy machine
    /// delivers a moment later.
    #[track_caller]
    pub fn leave(self, resets: bool) {
        let (ours, theirs) = (self.stream.local_addr(), self.stream.peer_addr());
        let (ours, theirs) = (ours.expect("an address"), theirs.expect("an address"));
        if resets {
            self.reset();
        } else {
            drop(self);
        }
        for _ in 0..PATIENCE.as_millis() {
            if !is_established(theirs, ours) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the other side does not learn of the end");
    }

    /// Another handle to send on, for a thread of its own.
    #[track_caller]
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Reads one whole request.
    #[track_caller]
    pub fn request(&mut self) -> Message {
        self.message(false)
    }

    /// Reads one whole answer.
    #[track_caller]
    pub fn answer(&mut self) -> Message {
        self.message(true)
    }

    #[track_caller]
    fn message(&mut self, is_answer: bool) -> Message {
        let message =
            Message::read(&mut self.reader, is_answer).expect("a whole message").expect("a message");
        self.check(&[message.head.as_slice(), &message.body, message.trailers.as_bytes()].concat());
        message
    }

    /// Reads one head; the body, if there is one, is left to be read.
    #[track_caller]
    pub fn head(&mut self) -> Message {
        let message = Message::read_head(&mut self.reader).expect("a whole head").expect("a head");
        self.check(&message.head);
        message
    }

    /// Reads the data of one chunk; the last one has none, and its trailers are left to be read.
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let data = read_chunk(&mut self.reader).expect("a chunk");
        self.check(&data);
        data
    }

    /// Reads chunks until they hold so many bytes.
    #[track_caller]
    pub fn chunks(&mut self, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            let chunk = self.chunk();
            assert!(!chunk.is_empty(), "the body ended after {} of {length} bytes", data.len());
            data.extend(chunk);
        }
        data
    }

    /// Reads so many bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).expect("as many bytes");
        self.check(&bytes);
        bytes
    }

    /// Reads so many bytes; `None` if the connection ends before.
    #[track_caller]
    pub fn try_bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing comes, nor an end"),
            Err(_) => return None,
        }
        self.check(&bytes);
        Some(bytes)
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let got = self.bytes(bytes.as_ref().len());
        let (got, wanted) = (String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes.as_ref()));
        assert_eq!(got, wanted);
    }

    /// Reads all that is left until the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_in_bytes().0).into_owned()
    }

    /// Reads all that is left until the end of the connection, and says what that was.
    #[track_caller]
    pub fn rest_in_bytes(&mut self) -> (Vec<u8>, Farewell) {
        let mut bytes = Vec::new();
        let farewell = match self.reader.read_to_end(&mut bytes) {
            Ok(_) => Farewell::Finished,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("the connection did not end; it said: {}", String::from_utf8_lossy(&bytes))
            }
            Err(_) => Farewell::Reset,
        };
        self.check(&bytes);
        (bytes, farewell)
    }

    /// Waits for the end of a connection on which nothing more may come.
    #[track_caller]
    pub fn assert_ends(&mut self) {
        assert_eq!(self.rest(), "", "something came before the end");
    }

    /// Fails if anything waits to be read, or if the connection has ended.
    #[track_caller]
    pub fn assert_quiet(&mut self) {
        let waiting = self.reader.buffer();
        assert!(waiting.is_empty(), "{}", String::from_utf8_lossy(waiting));
        self.stream.set_nonblocking(true).expect("an option");
        let mut bytes = [0; 512];
        let peeked =
            self.stream.peek(&mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned());
        self.stream.set_nonblocking(false).expect("an option");
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("the connection is not quiet: {other:?}"),
        }
    }

    /// Whether the other side has sent anything, or ended, within the time.
    pub fn stirs_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        let stirred = self.reader.fill_buf().is_ok();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stirred
    }

    #[track_caller]
    fn check(&self, bytes: &[u8]) {
        match self.end {
            End::App => canary::assert_unseen(bytes, "what the app received"),
            End::Upstream => canary::look_for_secrets(bytes),
        }
    }
}

/// Whether the end of a connection that has this address believes that both ends are open (proc_net_tcp(5)).
fn is_established(end: SocketAddr, other: SocketAddr) -> bool {
    let shown = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
        format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port())
    };
    let line = format!(": {} {} 01 ", shown(end), shown(other));
    std::fs::read_to_string("/proc/net/tcp").expect("the kernel's connections").contains(&line)
}
