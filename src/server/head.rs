//! Request heads, looked at before hyper sees them.
//!
//! hyper hides some of what it read: it drops a raw `#` with all behind it, and a `Content-Length`
//! beside a `Transfer-Encoding`. It answers heads over its limits without a word why, and gives no
//! time to a head alone. So the bytes of an app go through a [`Scanner`], which follows the messages
//! (RFC 9112, section 2.1) and passes a head on only when it is whole and within its limits.
//!
//! The scanner only refuses. What is forwarded is hyper's reading alone; where the two would differ
//! the scanner counts fewer heads than hyper served, and the connection is closed.

use memchr::{memchr, memrchr};

use crate::proxy::{Code, ProxyError};
use crate::route::metrics::Limit;
use crate::server::chunks::{Chunks, NotChunked};

/// Limits of a request head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes (`max_head`).
    pub bytes: usize,
    /// Fields, Host counted (`max_fields`).
    pub fields: usize,
    /// Bytes of the target (`max_target`).
    pub target: usize,
}

/// Why a head is refused before hyper sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// More bytes than `max_head`.
    HeadTooLarge,
    /// More fields than `max_fields`.
    TooManyFields,
    /// A target over `max_target`.
    TargetTooLong,
    /// A raw `#` in the target.
    Fragment,
    /// A version that is not HTTP/1.0 or HTTP/1.1.
    UnknownVersion,
    /// `Content-Length` and `Transfer-Encoding` in one head (RFC 9112, section 6.1).
    TwoFramings,
}

impl Violation {
    /// The error that is answered.
    pub fn error(self) -> ProxyError {
        let (code, detail) = match self {
            Self::HeadTooLarge => (Code::HeadTooLarge, "the request head is longer than `max_head`"),
            Self::TooManyFields => (Code::HeadTooLarge, "the request head has more than `max_fields` fields"),
            Self::TargetTooLong => (Code::TargetTooLong, "the request target is longer than `max_target`"),
            Self::Fragment => (Code::PathAmbiguous, "the target has a `#`"),
            Self::UnknownVersion => (Code::BadRequest, "this listener speaks HTTP/1.1"),
            Self::TwoFramings => {
                (Code::BadRequest, "`Content-Length` and `Transfer-Encoding` stand in one request")
            }
        };
        ProxyError::new(code, detail).and_close()
    }

    /// The limit that bit, if it is one.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::HeadTooLarge => Some(Limit::MaxHead),
            Self::TooManyFields => Some(Limit::MaxFields),
            Self::TargetTooLong => Some(Limit::MaxTarget),
            Self::Fragment | Self::UnknownVersion | Self::TwoFramings => None,
        }
    }
}

/// Follows the messages of one connection.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    state: State,
    head: Head,
    /// Whole heads passed on so far.
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    Chunked(Chunks),
    /// This is not HTTP/1.1: hyper refuses it.
    Lost,
    Refused(Violation),
}

/// What was read of the head at hand.
#[derive(Debug, Default)]
struct Head {
    /// Where its next line begins.
    line: usize,
    /// Up to where there is no line end.
    searched: usize,
    has_request_line: bool,
    fields: usize,
    length: Option<u64>,
    is_chunked: bool,
}

enum Scan {
    Whole { end: usize },
    Partial,
    Malformed,
    Refused(Violation),
}

impl Scanner {
    /// A scanner at the beginning of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head, head: Head::default(), heads: 0 }
    }

    /// Reads on. `bytes` begin where the part that was passed on last time ended; returns how many
    /// of them may be passed on. What is left begins a head that is not whole yet.
    pub fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head => match self.head.scan(rest, self.limits) {
                    Scan::Whole { end } => {
                        at += end;
                        self.heads += 1;
                        let head = std::mem::take(&mut self.head);
                        self.state = match head.length {
                            _ if head.is_chunked => State::Chunked(Chunks::default()),
                            Some(length) if length > 0 => State::Body(length),
                            _ => State::Head,
                        };
                    }
                    Scan::Partial => return at,
                    Scan::Malformed => self.state = State::Lost,
                    Scan::Refused(violation) => self.state = State::Refused(violation),
                },
                State::Body(left) => {
                    let taken = (*left).min(rest.len() as u64);
                    *left -= taken;
                    at += usize::try_from(taken).unwrap_or(rest.len());
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunked(chunks) => match chunks.scan(rest) {
                    Ok((taken, is_over)) => {
                        at += taken;
                        if is_over {
                            self.state = State::Head;
                        }
                    }
                    Err(NotChunked) => self.state = State::Lost,
                },
                State::Lost => return bytes.len(),
                State::Refused(_) => return at,
            }
            if at == bytes.len() {
                return at;
            }
        }
    }

    /// Why the connection gets no further, if it does not.
    pub fn violation(&self) -> Option<Violation> {
        match self.state {
            State::Refused(violation) => Some(violation),
            _ => None,
        }
    }

    /// Whole heads passed on so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the last message ended and no other began.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head) && self.head.searched == 0
    }
}

impl Head {
    fn scan(&mut self, bytes: &[u8], limits: HeadLimits) -> Scan {
        while let Some(offset) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + offset;
            let line = &bytes[self.line..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (self.line, self.searched) = (end + 1, end + 1);
            if self.line > limits.bytes {
                return Scan::Refused(Violation::HeadTooLarge);
            }
            if !self.has_request_line {
                // Empty lines before a request are skipped (RFC 9112, section 2.2).
                if !line.is_empty() {
                    self.has_request_line = true;
                    if let Err(scan) = request_line(line, limits) {
                        return scan;
                    }
                }
            } else if line.is_empty() {
                let has_two = self.is_chunked && self.length.is_some();
                return if has_two {
                    Scan::Refused(Violation::TwoFramings)
                } else {
                    Scan::Whole { end: self.line }
                };
            } else {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Scan::Refused(Violation::TooManyFields);
                }
                if self.field(line).is_none() {
                    return Scan::Malformed;
                }
            }
        }
        self.searched = bytes.len();
        if !self.has_request_line {
            let line = &bytes[self.line..];
            if line.first().is_some_and(|byte| !is_token(*byte) && *byte != b'\r') {
                return Scan::Malformed;
            }
            if line.len() > limits.target + LONGEST_METHOD {
                return Scan::Refused(Violation::TargetTooLong);
            }
        }
        if bytes.len() > limits.bytes { Scan::Refused(Violation::HeadTooLarge) } else { Scan::Partial }
    }

    /// Notes what frames the body; `None` if nobody can know its length.
    fn field(&mut self, line: &[u8]) -> Option<()> {
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return Some(());
        }
        let colon = memchr(b':', line)?;
        let name = &line[..colon];
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(line[colon + 1..].trim_ascii()).ok()?.parse().ok()?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = true;
        }
        Some(())
    }
}

/// Room for a method and the spaces around a target.
const LONGEST_METHOD: usize = 64;

fn request_line(line: &[u8], limits: HeadLimits) -> Result<(), Scan> {
    let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
        return Err(Scan::Malformed);
    };
    if first == last || !line.first().copied().is_some_and(is_token) {
        return Err(Scan::Malformed);
    }
    match &line[last + 1..] {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        other if other.starts_with(b"HTTP/") => return Err(Scan::Refused(Violation::UnknownVersion)),
        _ => return Err(Scan::Malformed),
    }
    let target = &line[first + 1..last];
    if target.len() > limits.target {
        Err(Scan::Refused(Violation::TargetTooLong))
    } else if memchr(b'#', target).is_some() {
        Err(Scan::Refused(Violation::Fragment))
    } else {
        Ok(())
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{HeadLimits, Scanner, Violation};

    const LIMITS: HeadLimits = HeadLimits { bytes: 200, fields: 4, target: 50 };

    /// What passes of `bytes` that arrive in pieces of `size`, and why it stops.
    fn pass(bytes: &[u8], size: usize) -> (Vec<u8>, Option<Violation>, u64) {
        let mut scanner = Scanner::new(LIMITS);
        let (mut passed, mut pending) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            pending.extend_from_slice(piece);
            let taken = scanner.scan(&pending);
            passed.extend(pending.drain(..taken));
        }
        (passed, scanner.violation(), scanner.heads())
    }

    fn check(bytes: &[u8], passed: &[u8], violation: Option<Violation>, heads: u64) {
        for size in [1, 2, 3, 7, 1000] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(pass(bytes, size), (passed.to_vec(), violation, heads), "{text} in pieces of {size}");
        }
    }

    #[test]
    fn whole_messages_pass_and_are_counted() {
        let messages = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            \r\nPOST /b#no HTTP/1.1\r\nContent-Length: 5\r\n\r\n"
            .as_slice();
        let first = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        check(messages, first, Some(Violation::Fragment), 1);
        let messages = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na#\n\nbGET / HTTP/1.0\n\n";
        check(messages, messages, None, 2);
        let messages = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
            4;x=#\r\n\r\n#b\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n"
            .as_slice();
        check(messages, messages, None, 2);
    }

    #[test]
    fn a_head_that_is_not_whole_is_held_back() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n", b"", None, 0);
    }

    #[test]
    fn what_hyper_would_hide_is_refused() {
        check(b"GET /a#b HTTP/1.1\r\n\r\n", b"", Some(Violation::Fragment), 0);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", Some(Violation::UnknownVersion), 0);
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\ncontent-length: 3",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            check(head.as_bytes(), b"", Some(Violation::TwoFramings), 0);
        }
    }

    #[test]
    fn each_limit_of_a_head_bites() {
        let long = "x".repeat(60);
        check(format!("GET /{long} HTTP/1.1\r\n\r\n").as_bytes(), b"", Some(Violation::TargetTooLong), 0);
        let endless = format!("GET /{}", "x".repeat(150));
        check(endless.as_bytes(), b"", Some(Violation::TargetTooLong), 0);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5));
        check(many.as_bytes(), b"", Some(Violation::TooManyFields), 0);
        let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(200));
        check(large.as_bytes(), b"", Some(Violation::HeadTooLarge), 0);
    }

    #[test]
    fn what_is_not_http_is_left_to_hyper() {
        for bytes in [b"\x16\x03\x01\x02".as_slice(), b"GET /\r\n", b"GET / http/1.1\r\n", b"garbage\n"] {
            check(bytes, bytes, None, 0);
        }
    }
}
