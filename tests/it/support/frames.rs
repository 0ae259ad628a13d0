//! HTTP/2 frame by frame, as no library would write them (RFC 9113, section 4).

use super::wire::Wire;
use super::{Origin, Sidecar};

/// The octets that begin a connection (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const NONE: u8 = 0;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One end of an HTTP/2 connection in a test's hands.
pub struct Frames {
    wire: Wire,
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// What it says besides.
    pub flags: u8,
    /// Which stream it belongs to; 0 is the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload
            .get(at..at + 4)
            .map_or(u32::MAX, |bytes| bytes.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
    }
}

impl Frames {
    /// An app's connection to bearerd: the preface and empty settings are sent.
    #[track_caller]
    pub fn app(bearerd: &Sidecar) -> Self {
        let mut wire = bearerd.app().connect();
        wire.send(PREFACE);
        let mut frames = Self { wire };
        frames.send(SETTINGS, NONE, 0, b"");
        frames
    }

    /// An upstream's next connection: its preface is read, and settings are sent.
    #[track_caller]
    pub fn upstream(origin: &Origin, settings: &[u8]) -> Self {
        let mut wire = origin.accept();
        wire.expect(PREFACE);
        let mut frames = Self { wire };
        frames.send(SETTINGS, NONE, 0, settings);
        frames
    }

    /// A connection on which the preface was read and settings were sent.
    pub fn of(wire: Wire) -> Self {
        Self { wire }
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.send(frame(kind, flags, stream, payload));
    }

    /// Sends bytes to a side that may have seen enough; says whether it took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.wire.try_send(bytes)
    }

    /// Sends a head in one frame.
    #[track_caller]
    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { NONE };
        self.send(HEADERS, flags, stream, &block(fields));
    }

    /// Sends a request: its pseudo-fields, then `fields`.
    #[track_caller]
    pub fn request(&mut self, stream: u32, method: &str, path: &str, fields: &[(&str, &str)], ends: bool) {
        let mut all =
            vec![(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
        all.extend_from_slice(fields);
        self.headers(stream, &all, ends);
    }

    /// Reads the next frame; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.wire.try_bytes(9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let length = usize::try_from(number(&head[..3])).expect("a length");
        let payload = self.wire.try_bytes(length)?;
        Some(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]) & 0x7fff_ffff, payload })
    }

    /// Reads frames until one is wanted, and answers settings and pings meanwhile. `None` if the
    /// connection ends before.
    pub fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        while let Some(frame) = self.next() {
            if wanted(&frame) {
                return Some(frame);
            }
            if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                let _ = self.try_send(&self::frame(frame.kind, ACK, 0, &payload));
            }
        }
        None
    }

    /// Waits for a head on a stream.
    #[track_caller]
    pub fn head(&mut self, stream: u32) -> Frame {
        let found = self.find(|frame| frame.kind == HEADERS && frame.stream == stream);
        found.expect("a head")
    }

    /// Waits for the answer to a ping, which says that all before it has been read.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(PING, NONE, 0, b"12345678");
        let pong =
            |frame: &Frame| frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"12345678";
        assert!(self.find(pong).is_some(), "the connection ended");
    }

    /// The bare connection.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// The connection below.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// The status in the head of an answer, if it stands there without the Huffman code: one of the seven
/// that are in the static table.
pub fn status(head: &Frame) -> Option<u16> {
    match head.payload.first()? {
        0x88 => Some(200),
        0x89 => Some(204),
        0x8a => Some(206),
        0x8b => Some(304),
        0x8c => Some(400),
        0x8d => Some(404),
        0x8e => Some(500),
        _ => None,
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without an index (RFC 7541, section 6.2.2), whatever is in them.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541, section 5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(length.to_le_bytes()[0]);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    block.push(rest.to_le_bytes()[0]);
}
