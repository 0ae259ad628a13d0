//! How much more of request bodies an upstream takes on a connection, for all streams together (RFC 9113, section
//! 6.9): hyper knows, and does not tell.
//!
//! An upstream that takes nothing of one body may use that window up, and holds up all other uploads of the
//! connection with it. What needs no window passes on.

use tokio::time::Instant;

use crate::clock::Clock;
use crate::http2::frame::{HEADER, Header, Kind, USUAL_WINDOW};

/// What a connection begins with: `PREFACE`, in bytes.
const PREFACE: usize = 24;

/// A window of less is as good as none: streams that wait for their app hold a byte each.
const LOW: i64 = 1024;

/// The headers of frames, in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// The beginning of a header, and how much of it is there.
    header: [u8; HEADER],
    known: usize,
    /// What is still to come of a frame's payload.
    payload: usize,
}

impl Headers {
    /// Those of what begins with so many bytes that are no frame.
    fn behind(preface: usize) -> Self {
        Self { payload: preface, ..Self::default() }
    }

    /// What of `bytes` belongs to the payload of the frame before.
    pub(super) fn payload_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..self.payload.min(bytes.len())]
    }

    /// The next header in `bytes`, which is left with what follows; none if that is not whole.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        let of_payload = self.payload.min(bytes.len());
        self.payload -= of_payload;
        *bytes = &bytes[of_payload..];
        let of_header = (HEADER - self.known).min(bytes.len());
        self.header[self.known..self.known + of_header].copy_from_slice(&bytes[..of_header]);
        self.known += of_header;
        *bytes = &bytes[of_header..];
        if self.known < HEADER {
            return None;
        }
        let header = Header::parse(&self.header)?;
        (self.known, self.payload) = (0, header.length);
        Some(header)
    }
}

/// The window of all streams together.
#[derive(Debug)]
pub(super) struct Room {
    written: Headers,
    window: i64,
    /// Since when there is next to none.
    low_since: Option<Instant>,
    /// What is still to come of the number in a `WINDOW_UPDATE`, and what has come of it.
    number: (usize, u32),
}

impl Room {
    /// A connection on which nothing was written.
    pub(super) fn new() -> Self {
        Self { written: Headers::behind(PREFACE), window: USUAL_WINDOW, low_since: None, number: (0, 0) }
    }

    /// Since when the upstream takes next to nothing, if it does.
    pub(super) fn low_since(&self) -> Option<Instant> {
        self.low_since
    }

    /// This was written.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) {
        while let Some(header) = self.written.next(&mut bytes) {
            if header.kind == Kind::Data {
                self.change(-i64::try_from(header.length).unwrap_or(i64::MAX));
            }
        }
    }

    /// A frame comes: what it says is read by [`Self::read`].
    pub(super) fn comes(&mut self, header: Header) {
        let is_ours = header.kind == Kind::Window && header.stream == 0;
        self.number = (if is_ours { header.length } else { 0 }, 0);
    }

    /// A part of the payload of the frame that came last.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(self.number.0) {
            self.number = (self.number.0 - 1, self.number.1 << 8 | u32::from(*byte));
            if self.number.0 == 0 {
                self.change(i64::from(self.number.1));
            }
        }
    }

    fn change(&mut self, more: i64) {
        self.window = self.window.saturating_add(more);
        if self.window >= LOW {
            self.low_since = None;
        } else if self.low_since.is_none() {
            self.low_since = Some(Clock::instant());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, Headers, LOW, PREFACE, Room, USUAL_WINDOW};

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a short one").to_be_bytes();
        [&[0, length[0], length[1], kind, 0, 0, 0, 0, stream], payload].concat()
    }

    /// Reads frames as they come.
    fn read(room: &mut Room, headers: &mut Headers, mut bytes: &[u8]) {
        loop {
            room.read(headers.payload_in(bytes));
            let Some(header) = headers.next(&mut bytes) else { return };
            room.comes(header);
        }
    }

    #[test]
    fn the_window_is_known_by_what_is_written_and_read_in_pieces_of_any_length() {
        let used = usize::try_from(USUAL_WINDOW - LOW).expect("a length") + 1;
        let written =
            [vec![0; PREFACE], frame(1, 1, b"head"), frame(0, 1, &vec![0; used]), frame(4, 0, b"")].concat();
        let other_stream = frame(8, 1, &[0, 0, 1, 0]);
        let little = frame(8, 0, &[0, 0, 0, 1]);
        for piece in [1, 3, HEADER, 100, written.len()] {
            let (mut room, mut headers) = (Room::new(), Headers::default());
            for bytes in written.chunks(piece) {
                room.wrote(bytes);
            }
            assert!(room.low_since().is_some(), "pieces of {piece}");
            for bytes in other_stream.chunks(piece) {
                read(&mut room, &mut headers, bytes);
            }
            assert!(room.low_since().is_some(), "pieces of {piece}");
            for bytes in little.chunks(piece) {
                read(&mut room, &mut headers, bytes);
            }
            assert_eq!(room.low_since(), None, "pieces of {piece}");
        }
    }
}
