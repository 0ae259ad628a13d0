//! Frames (RFC 9113, sections 4 and 6).

use h2::Reason;

use crate::buffer::Output;
use crate::http2::Fault;

/// Bytes in front of a frame's payload.
pub const HEADER: usize = 9;

/// The longest payload: what every side takes without being asked (`SETTINGS_MAX_FRAME_SIZE`).
pub const LONGEST: usize = 16 * 1024;

/// The most that a window may be (section 6.9.1).
pub const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// A window of which nobody has said anything (section 6.9.2).
pub const USUAL_WINDOW: i64 = 65_535;

/// The highest identifier of a stream.
pub const LAST_STREAM: u32 = (1 << 31) - 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DATA.
    Data,
    /// HEADERS.
    Headers,
    /// PRIORITY, which means nothing any more.
    Priority,
    /// `RST_STREAM`.
    Reset,
    /// SETTINGS.
    Settings,
    /// `PUSH_PROMISE`, which no app may send.
    Promise,
    /// PING.
    Ping,
    /// GOAWAY.
    GoAway,
    /// `WINDOW_UPDATE`.
    Window,
    /// CONTINUATION.
    Continuation,
    /// One of an extension: passed over (section 5.5).
    Unknown,
}

const KINDS: [Kind; 10] = [
    Kind::Data,
    Kind::Headers,
    Kind::Priority,
    Kind::Reset,
    Kind::Settings,
    Kind::Promise,
    Kind::Ping,
    Kind::GoAway,
    Kind::Window,
    Kind::Continuation,
];

/// The flags of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Nothing is said.
    pub const NONE: Self = Self(0);
    /// The stream's sender has ended.
    pub const END_STREAM: Self = Self(1);
    /// SETTINGS or PING of the other side were heard.
    pub const ACK: Self = Self(1);
    /// The block of fields is whole.
    pub const END_HEADERS: Self = Self(4);
    const PADDED: Self = Self(8);
    const PRIORITY: Self = Self(32);

    /// Whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// [`Self::END_STREAM`], or nothing.
    pub fn end_stream(is_end: bool) -> Self {
        if is_end { Self::END_STREAM } else { Self::NONE }
    }
}

/// What stands in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    /// What it is.
    pub kind: Kind,
    /// What is said besides.
    pub flags: Flags,
    /// Which stream it belongs to; 0 is the connection.
    pub stream: u32,
}

impl Header {
    /// Reads the header at the beginning of `bytes`, if it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<3>()?;
        let ([kind, flags], rest) = rest.split_first_chunk::<2>()?;
        let kind = KINDS.get(usize::from(*kind)).copied().unwrap_or(Kind::Unknown);
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        Some(Self { length, kind, flags: Flags(*flags), stream: number(rest)? & LAST_STREAM })
    }

    fn write(self, to: &mut [u8]) {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        to[..3].copy_from_slice(&length[1..]);
        to[3] = KINDS.iter().position(|kind| *kind == self.kind).map_or(u8::MAX, |at| at.to_le_bytes()[0]);
        to[4] = self.flags.0;
        to[5..HEADER].copy_from_slice(&self.stream.to_be_bytes());
    }
}

/// The number at the beginning of `bytes`.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The payload without its padding, and of HEADERS without a priority (sections 6.1 and 6.2).
pub fn content(header: Header, payload: &[u8]) -> Result<&[u8], Fault> {
    const TOO_SHORT: Fault = Fault::Connection(Reason::PROTOCOL_ERROR);
    let mut content = payload;
    if header.flags.has(Flags::PADDED) {
        let (padding, rest) = content.split_first().ok_or(TOO_SHORT)?;
        content = rest.len().checked_sub(usize::from(*padding)).map(|end| &rest[..end]).ok_or(TOO_SHORT)?;
    }
    if header.kind == Kind::Headers && header.flags.has(Flags::PRIORITY) {
        let (depends_on, rest) = content.split_first_chunk::<5>().ok_or(TOO_SHORT)?;
        if number(depends_on).is_some_and(|on| on & LAST_STREAM == header.stream) {
            return Err(TOO_SHORT);
        }
        content = rest;
    }
    Ok(content)
}

/// The one number that makes up a `RST_STREAM` or a `WINDOW_UPDATE`.
pub fn only_number(payload: &[u8]) -> Result<u32, Fault> {
    match number(payload) {
        Some(number) if payload.len() == 4 => Ok(number),
        _ => Err(Fault::Connection(Reason::FRAME_SIZE_ERROR)),
    }
}

/// Something that one side says of itself (section 6.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The largest table for decompressing fields.
    HeaderTableSize(u32),
    /// The streams that the other side may have open.
    MaxConcurrentStreams(u32),
    /// The window of a new stream.
    InitialWindowSize(u32),
    /// The largest list of fields.
    MaxHeaderListSize(u32),
}

/// The settings in a frame that matter here, checked.
pub fn settings(payload: &[u8]) -> Result<impl Iterator<Item = Setting>, Fault> {
    let (pairs, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Fault::Connection(Reason::FRAME_SIZE_ERROR));
    }
    let parsed = |pair: &[u8; 6]| {
        (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    };
    for pair in pairs {
        match parsed(pair) {
            (4, window) if i64::from(window) > LARGEST_WINDOW => {
                return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
            }
            (2, 2..) | (5, ..0x4000 | 0x100_0000..) => {
                return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
            }
            _ => {}
        }
    }
    Ok(pairs.iter().filter_map(move |pair| match parsed(pair) {
        (1, size) => Some(Setting::HeaderTableSize(size)),
        (4, window) => Some(Setting::InitialWindowSize(window)),
        _ => None,
    }))
}

/// Writes a frame whose payload is there.
pub fn put(output: &mut Output, kind: Kind, flags: Flags, stream: u32, payload: &[u8]) {
    let room = output.room(HEADER + payload.len());
    Header { length: payload.len(), kind, flags, stream }.write(room);
    room[HEADER..].copy_from_slice(payload);
}

/// Writes SETTINGS.
pub fn put_settings(output: &mut Output, settings: &[Setting]) {
    let mut payload = Vec::with_capacity(6 * settings.len());
    for setting in settings {
        let (identifier, value) = match setting {
            Setting::HeaderTableSize(value) => (1_u16, value),
            Setting::MaxConcurrentStreams(value) => (3, value),
            Setting::InitialWindowSize(value) => (4, value),
            Setting::MaxHeaderListSize(value) => (6, value),
        };
        payload.extend_from_slice(&identifier.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(output, Kind::Settings, Flags::NONE, 0, &payload);
}

/// Writes `WINDOW_UPDATE`.
pub fn put_window(output: &mut Output, stream: u32, more: u32) {
    put(output, Kind::Window, Flags::NONE, stream, &more.to_be_bytes());
}

/// Writes `RST_STREAM`.
pub fn put_reset(output: &mut Output, stream: u32, reason: Reason) {
    put(output, Kind::Reset, Flags::NONE, stream, &u32::from(reason).to_be_bytes());
}

/// Writes GOAWAY: streams behind `last` were not looked at.
pub fn put_go_away(output: &mut Output, last: u32, reason: Reason) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&u32::from(reason).to_be_bytes());
    put(output, Kind::GoAway, Flags::NONE, 0, &payload);
}

/// A DATA frame that is being written: nothing else may be put into the output meanwhile.
pub struct Data<'a> {
    output: &'a mut Output,
    stream: u32,
    start: usize,
    room: usize,
}

impl<'a> Data<'a> {
    /// Begins a frame of at most `room` bytes.
    pub fn begin(output: &'a mut Output, stream: u32, room: usize) -> Self {
        let start = output.len();
        output.room(HEADER);
        Self { output, stream, start, room: room.min(LONGEST) }
    }

    /// How many more bytes it takes.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Adds data, for which there is room.
    pub fn put(&mut self, data: &[u8]) {
        self.output.put(data);
        self.room -= data.len();
    }

    /// Ends the frame, and says how many bytes are in it; one with nothing to say is left out.
    pub fn end(self, is_last: bool) -> usize {
        let length = self.output.len() - self.start - HEADER;
        if length == 0 && !is_last {
            self.output.truncate(self.start);
        } else {
            let flags = Flags::end_stream(is_last);
            let header = Header { length, kind: Kind::Data, flags, stream: self.stream };
            header.write(self.output.behind(self.start));
        }
        length
    }
}

/// Writes HEADERS, and CONTINUATION where they are long; `fields` puts the compressed fields.
pub fn put_headers(output: &mut Output, stream: u32, is_last: bool, fields: impl FnOnce(&mut Output)) {
    let start = output.len();
    output.room(HEADER);
    fields(output);
    let length = output.len() - start - HEADER;
    let flags = Flags::end_stream(is_last);
    if length <= LONGEST {
        let flags = flags.with(Flags::END_HEADERS);
        Header { length, kind: Kind::Headers, flags, stream }.write(output.behind(start));
        return;
    }
    let block = output.behind(start + HEADER).to_vec();
    output.truncate(start);
    let mut pieces = block.chunks(LONGEST).peekable();
    let (mut kind, mut flags) = (Kind::Headers, flags);
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags = flags.with(Flags::END_HEADERS);
        }
        put(output, kind, flags, stream, piece);
        (kind, flags) = (Kind::Continuation, Flags::NONE);
    }
}

#[cfg(test)]
mod tests {
    use h2::Reason;

    use super::{Data, Flags, HEADER, Header, Kind, LONGEST, content, put_headers, settings};
    use crate::buffer::Output;
    use crate::http2::Fault;

    fn frames(output: &Output) -> Vec<(Header, Vec<u8>)> {
        let (mut bytes, mut frames) = (output.bytes(), Vec::new());
        while let Some(header) = Header::parse(bytes) {
            let (frame, rest) = bytes.split_at(HEADER + header.length);
            frames.push((header, frame[HEADER..].to_vec()));
            bytes = rest;
        }
        assert!(bytes.is_empty());
        frames
    }

    #[test]
    fn a_long_block_of_fields_is_cut_into_continuations() {
        let mut output = Output::default();
        output.put(b"");
        put_headers(&mut output, 5, true, |output| output.put(&vec![7; 2 * LONGEST + 1]));
        let frames = frames(&output);
        let seen: Vec<_> =
            frames.iter().map(|(header, _)| (header.kind, header.flags.0, header.length)).collect();
        assert_eq!(
            seen,
            [(Kind::Headers, 1, LONGEST), (Kind::Continuation, 0, LONGEST), (Kind::Continuation, 4, 1)]
        );
    }

    #[test]
    fn pieces_are_gathered_to_one_frame_and_an_empty_one_is_left_out() {
        let mut output = Output::default();
        let mut data = Data::begin(&mut output, 3, 10);
        data.put(b"ab");
        data.put(b"c");
        assert_eq!((data.room(), data.end(true)), (7, 3));
        assert_eq!(Data::begin(&mut output, 3, 10).end(false), 0);
        let frames = frames(&output);
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].0.flags, frames[0].1.as_slice()), (Flags::END_STREAM, b"abc".as_slice()));
    }

    #[test]
    fn padding_and_priorities_are_taken_off_and_have_to_fit() {
        let of = |flags: u8, payload: &'static [u8]| {
            let header =
                Header { length: payload.len(), kind: Kind::Headers, flags: Flags(flags), stream: 1 };
            content(header, payload)
        };
        assert_eq!(of(0, b"abc"), Ok(b"abc".as_slice()));
        assert_eq!(of(8, b"\x02abc\0\0"), Ok(b"abc".as_slice()));
        assert_eq!(of(8 | 32, b"\x01\0\0\0\x03\x05abc\0"), Ok(b"abc".as_slice()));
        let fault = Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        assert_eq!(of(8, b""), fault);
        assert_eq!(of(8, b"\x04abc"), fault);
        assert_eq!(of(32, b"\0\0\0\x03"), fault);
        assert_eq!(of(32, b"\0\0\0\x01\0abc"), fault);
    }

    #[test]
    fn settings_that_nobody_may_have_are_refused() {
        for (payload, reason) in [
            (&b"\0\x04\x80\0\0\0"[..], Reason::FLOW_CONTROL_ERROR),
            (b"\0\x02\0\0\0\x02", Reason::PROTOCOL_ERROR),
            (b"\0\x05\0\0\x3f\xff", Reason::PROTOCOL_ERROR),
            (b"\0\x05\x01\0\0\0", Reason::PROTOCOL_ERROR),
            (b"\0\x05\x01", Reason::FRAME_SIZE_ERROR),
        ] {
            assert_eq!(settings(payload).err(), Some(Fault::Connection(reason)), "{payload:?}");
        }
        assert!(settings(b"\xff\x05\x01\0\0\0\0\x05\0\0\x40\0").is_ok_and(|settings| settings.count() == 0));
    }
}
