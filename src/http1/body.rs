//! Where a body ends (RFC 9112, section 6), and how one is written.

use crate::buffer::{Input, Output};
use crate::http1::field::{Fields, Kind, by_letters};

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; zero for no body.
    Length(u64),
    /// Chunks (RFC 9112, section 7.1).
    Chunked,
    /// Up to the end of the connection: answers of old servers, and tunnels.
    Close,
}

impl Framing {
    /// Nothing at all.
    pub const NONE: Self = Self::Length(0);
}

/// The bytes are no body of the kind that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What comes next of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many bytes at the beginning of the input are data; [`Decoder::took`] tells when they are taken.
    Data(usize),
    /// More must be read.
    Read,
    /// The body has ended.
    End,
}

/// Follows a body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions and of trailers so far.
    overhead: usize,
    /// Fields that end at this hop, by their names in the head.
    of_this_hop: Vec<Vec<u8>>,
    trailers: Option<Box<Fields>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length(u64),
    /// The line with a chunk's size is next.
    Size,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    Close,
    Ended,
}

/// Extensions and trailers that are read of one body, in bytes.
const MAXIMUM_OVERHEAD: usize = 16 * 1024;

/// Trailer fields of one body.
const MAXIMUM_TRAILERS: usize = 64;

impl Decoder {
    /// A body of this framing, of which nothing was read.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        };
        Self { state, overhead: 0, of_this_hop: Vec::new(), trailers: None }
    }

    /// The same, without trailer fields of these names, in lower case and sorted: those that
    /// the message's `Connection` lists (RFC 9110, section 7.6.1).
    #[must_use]
    pub fn without(self, names: Vec<Vec<u8>>) -> Self {
        Self { of_this_hop: names, ..self }
    }

    /// Whether the body has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// How many bytes are to come, where nothing but data is.
    pub fn bare_rest(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Whether the end of the connection is the body's end.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::Close)
    }

    /// Trailer fields, once the body has ended: those that may stand there.
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }

    /// What comes next; takes what only frames the data out of the input.
    pub fn step(&mut self, input: &mut Input) -> Result<Step, Malformed> {
        loop {
            let bytes = input.bytes();
            match self.state {
                State::Ended => return Ok(Step::End),
                _ if bytes.is_empty() => return Ok(Step::Read),
                State::Close => return Ok(Step::Data(bytes.len())),
                State::Length(left) | State::Chunk(left) => {
                    return Ok(Step::Data(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())));
                }
                State::Size => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.check_overhead(bytes.len())?;
                        return Ok(Step::Read);
                    };
                    let size = chunk_size(&bytes[..end])?;
                    self.overhead += end;
                    self.check_overhead(0)?;
                    self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                    input.consume(end + 1);
                }
                State::ChunkEnd => match bytes {
                    [b'\r', b'\n', ..] => {
                        // What only separates chunks is no overhead; their sizes have a bound of their own.
                        self.overhead = self.overhead.saturating_sub(SIZE_LINE);
                        self.state = State::Size;
                        input.consume(2);
                    }
                    [b'\r'] => return Ok(Step::Read),
                    _ => return Err(Malformed),
                },
                State::Trailers => match self.read_trailers(bytes)? {
                    Some(length) => {
                        self.state = State::Ended;
                        input.consume(length);
                    }
                    None => return Ok(Step::Read),
                },
            }
        }
    }

    /// So many bytes of the data were taken.
    pub fn took(&mut self, count: usize) {
        let count = count as u64;
        self.state = match self.state {
            State::Length(left) if left <= count => State::Ended,
            State::Length(left) => State::Length(left - count),
            State::Chunk(left) if left <= count => State::ChunkEnd,
            State::Chunk(left) => State::Chunk(left - count),
            other => other,
        };
    }

    /// The connection ended where data could follow. Fails if the body was not whole.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Close | State::Ended => {
                self.state = State::Ended;
                Ok(())
            }
            _ => Err(Malformed),
        }
    }

    fn check_overhead(&self, more: usize) -> Result<(), Malformed> {
        if self.overhead + more > MAXIMUM_OVERHEAD { Err(Malformed) } else { Ok(()) }
    }

    /// The length of the trailer section, if it is whole.
    fn read_trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut parsed = [httparse::EMPTY_HEADER; MAXIMUM_TRAILERS];
        match httparse::parse_headers(bytes, &mut parsed) {
            Ok(httparse::Status::Complete((length, lines))) => {
                self.check_overhead(length)?;
                let passes = |name: &[u8]| {
                    Kind::of(name).may_trail()
                        && self.of_this_hop.binary_search_by(|listed| by_letters(listed, name)).is_err()
                };
                let mut lines = lines.iter().filter(|line| passes(line.name.as_bytes())).peekable();
                if lines.peek().is_some() {
                    let mut fields = Fields::default();
                    for line in lines {
                        fields.push(line.name.as_bytes(), line.value.trim_ascii());
                    }
                    self.trailers = Some(Box::new(fields));
                }
                Ok(Some(length))
            }
            Ok(httparse::Status::Partial) => self.check_overhead(bytes.len()).map(|()| None),
            Err(_) => Err(Malformed),
        }
    }
}

/// The longest line of a size without extensions: sixteen digits and the line end.
const SIZE_LINE: usize = 18;

/// The size on the line of a chunk, without its `\n`. Extensions are dropped (RFC 9112, section
/// 7.1.1), but a bare CR or another control character in them is a mark of smuggling.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let line = line.strip_suffix(b"\r").ok_or(Malformed)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return Err(Malformed);
    }
    let rest = line[digits..].trim_ascii_start();
    let is_extension = rest.is_empty() || rest.starts_with(b";");
    if !is_extension || line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Malformed);
    }
    let size = |size: u64, digit: &u8| size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0));
    Ok(line[..digits].iter().fold(0, size))
}

/// Writes a body.
#[derive(Debug)]
pub struct Encoder {
    framing: Framing,
    /// Bytes of the chunk at hand that are still to be written.
    chunk: usize,
}

impl Encoder {
    /// A body of this framing, of which nothing was written.
    pub fn new(framing: Framing) -> Self {
        Self { framing, chunk: 0 }
    }

    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether as much was written as was promised.
    pub fn is_full(&self) -> bool {
        self.framing == Framing::NONE
    }

    /// Frames data that are to follow what is in `output`, and says how many of them may follow now.
    /// What does not fit the length is left out.
    pub fn frame(&mut self, data: &[u8], output: &mut Output) -> usize {
        match self.framing {
            Framing::Close => data.len(),
            Framing::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).min(data.len()),
            Framing::Chunked => {
                if self.chunk == 0 {
                    self.chunk = data.len();
                    put_size(data.len(), output);
                }
                self.chunk.min(data.len())
            }
        }
    }

    /// So many bytes of data were written, or put into the output.
    pub fn wrote(&mut self, count: usize, output: &mut Output) {
        match &mut self.framing {
            Framing::Length(left) => *left = left.saturating_sub(count as u64),
            Framing::Chunked => {
                self.chunk -= count.min(self.chunk);
                if self.chunk == 0 {
                    output.put(b"\r\n");
                }
            }
            Framing::Close => {}
        }
    }

    /// Ends the body. False if it is shorter than its length.
    pub fn finish(&mut self, trailers: Option<&Fields>, output: &mut Output) -> bool {
        match self.framing {
            Framing::Close => true,
            Framing::Length(left) => left == 0,
            Framing::Chunked => {
                output.put(b"0\r\n");
                for field in trailers.iter().flat_map(|fields| fields.iter()) {
                    put_field(output, field.name, field.value);
                }
                output.put(b"\r\n");
                true
            }
        }
    }
}

/// Writes a field line.
pub fn put_field(output: &mut Output, name: &[u8], value: &[u8]) {
    let line = output.room(name.len() + value.len() + 4);
    let (start, rest) = line.split_at_mut(name.len());
    start.copy_from_slice(name);
    let (colon, rest) = rest.split_at_mut(2);
    colon.copy_from_slice(b": ");
    let (middle, end) = rest.split_at_mut(value.len());
    middle.copy_from_slice(value);
    end.copy_from_slice(b"\r\n");
}

/// Writes the line of a chunk's size.
fn put_size(size: usize, output: &mut Output) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [b'0'; 20];
    line[18..].copy_from_slice(b"\r\n");
    let (mut at, mut rest) = (18, size);
    while rest > 0 || at == 18 {
        at -= 1;
        line[at] = DIGITS[rest & 0xf];
        rest >>= 4;
    }
    output.put(&line[at..]);
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Encoder, Framing, Malformed, Step};
    use crate::buffer::{Input, Output};

    /// The data of a body that arrives in pieces of `size`, and what was left behind it.
    fn decode(framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let mut decoder = Decoder::new(framing);
        let mut input = Input::default();
        let mut data = Vec::new();
        let mut pieces = bytes.chunks(size);
        loop {
            match decoder.step(&mut input)? {
                Step::Data(count) => {
                    data.extend_from_slice(&input.bytes()[..count]);
                    input.consume(count);
                    decoder.took(count);
                }
                Step::Read => match pieces.next() {
                    Some(piece) => input.put(piece),
                    None => decoder.end()?,
                },
                Step::End => {
                    let rest: Vec<u8> = pieces.flatten().copied().collect();
                    return Ok((data, [input.bytes(), &rest].concat()));
                }
            }
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_arrives() {
        for size in [1, 2, 3, 7, 1000] {
            let chunked = b"4;x=y\r\n\r\n#b\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET";
            let whole = Ok((b"\r\n#b0123456789".to_vec(), b"GET".to_vec()));
            assert_eq!(decode(Framing::Chunked, chunked, size), whole);
            assert_eq!(decode(Framing::Length(3), b"abcGET", size), Ok((b"abc".to_vec(), b"GET".to_vec())));
            assert_eq!(decode(Framing::Close, b"abc", size), Ok((b"abc".to_vec(), Vec::new())));
            assert_eq!(decode(Framing::NONE, b"abc", size), Ok((Vec::new(), b"abc".to_vec())));
        }
    }

    #[test]
    fn a_body_that_breaks_off_or_is_framed_wrongly_is_malformed() {
        for size in [1, 2, 1000] {
            for chunked in [
                "4\r\nabcd\r\n",
                "4\r\nabc",
                "4\r\nabcde\r\n0\r\n\r\n",
                "4\nabcd\r\n0\r\n\r\n",
                "\r\n",
                "x\r\n",
                "0x4\r\nabcd\r\n0\r\n\r\n",
                "-1\r\n",
                "4 5\r\nabcd\r\n0\r\n\r\n",
                "4;a\rb\r\nabcd\r\n0\r\n\r\n",
                "4;\0\r\nabcd\r\n0\r\n\r\n",
                "11111111111111111\r\n",
                "0\r\nno field\r\n\r\n",
                "0\r\n",
            ] {
                assert_eq!(decode(Framing::Chunked, chunked.as_bytes(), size), Err(Malformed), "{chunked:?}");
            }
            assert_eq!(decode(Framing::Length(4), b"abc", size), Err(Malformed));
        }
        let endless = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000));
        assert_eq!(decode(Framing::Chunked, endless.as_bytes(), 1000), Err(Malformed));
        let many = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(2000);
        assert_eq!(decode(Framing::Chunked, many.as_bytes(), 1000), Err(Malformed));
        let plain = "1\r\na\r\n".repeat(20_000) + "0\r\n\r\n";
        assert!(decode(Framing::Chunked, plain.as_bytes(), 1000).is_ok());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for pieces in [vec![], vec!["a"], vec!["abc", "", "defghijklmnopqrstuvw", "x"]] {
            let mut encoder = Encoder::new(Framing::Chunked);
            let mut output = Output::default();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                let count = encoder.frame(piece.as_bytes(), &mut output);
                assert_eq!(count, piece.len());
                output.put(piece.as_bytes());
                encoder.wrote(count, &mut output);
            }
            assert!(encoder.finish(None, &mut output));
            let data = decode(Framing::Chunked, output.bytes(), 5);
            assert_eq!(data, Ok((pieces.concat().into_bytes(), Vec::new())));
        }
    }

    #[test]
    fn a_length_is_never_exceeded_and_a_short_body_is_told() {
        let mut encoder = Encoder::new(Framing::Length(3));
        let mut output = Output::default();
        assert_eq!(encoder.frame(b"abcd", &mut output), 3);
        encoder.wrote(2, &mut output);
        assert!(!encoder.finish(None, &mut output));
        encoder.wrote(1, &mut output);
        assert!(encoder.finish(None, &mut output));
    }
}
