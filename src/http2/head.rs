//! Heads (RFC 9113, section 8.3), field by field out of their blocks.

use http::Method;

use crate::http1::head::HeadError;
use crate::http1::{HeadLimits, Kind, RequestHead};

/// What a field counts beside its bytes (RFC 9113, section 6.5.2).
pub const FIELD_OVERHEAD: usize = 32;

/// The message breaks a rule of HTTP/2, and goes nowhere (section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Fills a head with what comes of a request.
#[derive(Debug)]
pub struct RequestReader<'a> {
    head: &'a mut RequestHead,
    /// Bytes of the list of fields that may still come; beyond, they are dropped.
    left: usize,
    is_too_long: bool,
    is_malformed: bool,
    has: Pseudo,
    /// There was an authority, and a `Host` may still say the same.
    may_repeat_host: bool,
    content_length: Option<u64>,
    /// The crumbs of a cookie become one field again (section 8.2.3).
    cookie: Vec<u8>,
}

/// Which pseudo-fields were there.
#[derive(Debug, Default)]
struct Pseudo {
    method: bool,
    scheme: bool,
    path: bool,
    authority: bool,
    /// None may follow.
    is_over: bool,
}

/// What was read of a head beside the head.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// The length of the content, if it is said.
    pub content_length: Option<u64>,
    /// Whether the head keeps its limits; it is there also if it is longer than may be.
    pub fits: Result<(), HeadError>,
}

impl<'a> RequestReader<'a> {
    /// Begins a head, whose list of fields has at most so many bytes.
    pub fn new(head: &'a mut RequestHead, longest: usize) -> Self {
        head.begin_http2();
        Self {
            head,
            left: longest,
            is_too_long: false,
            is_malformed: false,
            has: Pseudo::default(),
            may_repeat_host: false,
            content_length: None,
            cookie: Vec::new(),
        }
    }

    /// Takes the next field.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        match self.left.checked_sub(name.len() + value.len() + FIELD_OVERHEAD) {
            Some(left) if !self.is_too_long => self.left = left,
            _ => {
                self.is_too_long = true;
                return;
            }
        }
        if !is_value(value) || self.put(name, value).is_err() {
            self.is_malformed = true;
        }
    }

    fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let once = |has: &mut bool| if std::mem::replace(has, true) { Err(Malformed) } else { Ok(()) };
        if name.first() != Some(&b':') {
            self.has.is_over = true;
            return self.put_field(name, value);
        }
        if self.has.is_over {
            return Err(Malformed);
        }
        match name {
            b":method" => {
                once(&mut self.has.method)?;
                self.head.method = Method::from_bytes(value).map_err(|_| Malformed)?;
            }
            b":scheme" => {
                once(&mut self.has.scheme)?;
                // What is behind TLS is not for the app to say: it only has to be a scheme.
                let is_scheme =
                    |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                let is_named = value.first().is_some_and(u8::is_ascii_alphabetic);
                return if is_named && value.iter().all(is_scheme) { Ok(()) } else { Err(Malformed) };
            }
            b":path" => {
                once(&mut self.has.path)?;
                self.head.set_target(value);
            }
            b":authority" => {
                once(&mut self.has.authority)?;
                self.head.fields.push(b"host", value);
                self.may_repeat_host = !value.is_empty();
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn put_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if !is_name(name) {
            return Err(Malformed);
        }
        match Kind::of(name) {
            // Two hosts are as malformed here as in HTTP/1.1, but for one that says the same.
            Kind::Host if self.may_repeat_host && self.head.fields.get(Kind::Host) == Some(value) => {
                self.may_repeat_host = false;
            }
            Kind::Cookie => {
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
            }
            // Of the connection (section 8.2.2).
            Kind::Connection | Kind::KeepAlive | Kind::TransferEncoding | Kind::Upgrade => {
                return Err(Malformed);
            }
            Kind::Te if !value.eq_ignore_ascii_case(b"trailers") => return Err(Malformed),
            Kind::ContentLength => {
                let length = digits(value).ok_or(Malformed)?;
                if self.content_length.replace(length).is_some_and(|before| before != length) {
                    return Err(Malformed);
                }
                self.head.fields.push(name, value);
            }
            _ => self.head.fields.push(name, value),
        }
        Ok(())
    }

    /// The head is whole, and nothing follows it if `is_over`.
    pub fn finish(mut self, is_over: bool, limits: HeadLimits) -> Result<Read, Malformed> {
        let content_length = self.content_length;
        if self.is_too_long {
            return Ok(Read { content_length, fits: Err(HeadError::TooLong) });
        }
        if is_over && content_length.is_some_and(|length| length > 0) {
            self.is_malformed = true;
        }
        let target = self.head.target();
        let is_target = match target.first() {
            Some(b'/') => true,
            _ => target == b"*" && self.head.method == Method::OPTIONS,
        };
        // A request whose authority stood in `Host` alone would be one of a client that this side cannot have
        // (RFC 9113, section 8.3.1): whatever speaks for others has to tell it here.
        let Pseudo { method, scheme, path, authority, .. } = self.has;
        let is_whole = if self.head.method == Method::CONNECT {
            authority && !scheme && !path
        } else {
            authority && method && scheme && path && is_target
        };
        if self.is_malformed || !is_whole {
            return Err(Malformed);
        }
        if !self.cookie.is_empty() {
            self.head.fields.push(b"cookie", &self.cookie);
        }
        Ok(Read { content_length, fits: self.head.check(limits) })
    }
}

/// Whether a field may stand behind a body, as far as HTTP/2 has rules for it.
pub fn is_trailer(name: &[u8], value: &[u8]) -> bool {
    is_name(name) && is_value(value)
}

/// Bytes of a name: those of a token, without capital letters (RFC 9113, section 8.2.1).
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        table[byte as usize] = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+')
            || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| NAME[usize::from(*byte)])
}

/// No control character, and no white space around it (RFC 9113, section 8.2.1).
fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    // Without an early end, so that many bytes are looked at at once.
    let has_control = value.iter().fold(false, |has, byte| has | is_control(byte));
    !is_space(value.first()) && !is_space(value.last()) && !has_control
}

/// A length: digits only (RFC 9110, section 8.6).
fn digits(value: &[u8]) -> Option<u64> {
    let add = |length: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    if value.is_empty() { None } else { value.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Read, RequestReader};
    use crate::http1::head::HeadError;
    use crate::http1::{HeadLimits, RequestHead};

    const LIMITS: HeadLimits = HeadLimits { bytes: 200, fields: 5, target: 40 };

    const USUAL: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/a?b")];

    fn read(fields: &[(&str, &str)]) -> (Result<Read, Malformed>, RequestHead) {
        let mut head = RequestHead::default();
        let mut reader = RequestReader::new(&mut head, 1000);
        for (name, value) in fields {
            reader.take(name.as_bytes(), value.as_bytes());
        }
        let read = reader.finish(true, LIMITS);
        (read, head)
    }

    #[test]
    fn a_request_becomes_the_head_that_http_1_has() {
        let fields = [("x", "1"), ("cookie", "a=1"), ("host", "localhost"), ("cookie", "b=2"), ("x", "2")];
        let (read, head) = read(&[&USUAL[..], &fields].concat());
        assert!(read.is_ok_and(|read| read.fits.is_ok()));
        let seen: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"host", b"localhost"), (b"x", b"1"), (b"x", b"2"), (b"cookie", b"a=1; b=2")];
        assert_eq!(seen, expected);
        assert_eq!((head.method.as_str(), head.target(), head.is_http2), ("GET", b"/a?b".as_slice(), true));
    }

    #[test]
    fn a_second_host_stays_a_second_host() {
        for hosts in [&["localhost", "localhost"][..], &["evil"], &["localhost", "evil"]] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let (read, head) = read(&[&USUAL[..], &fields].concat());
            assert!(read.is_ok());
            assert_eq!(head.fields.iter().filter(|field| field.name == b"host").count(), 2, "{hosts:?}");
        }
    }

    #[test]
    fn what_is_longer_than_the_list_may_be_is_dropped_and_told() {
        let long = "y".repeat(400);
        let (read, head) =
            read(&[&USUAL[..], &[("x", &*long), ("x", &long), ("x", &long), ("x", "1")]].concat());
        assert_eq!(read.map(|read| read.fits), Ok(Err(HeadError::TooLong)));
        assert!(head.fields.size() < 1000);
        let (read, _) = self::read(&[&USUAL[..], &[("x", "1"); 5]].concat());
        assert_eq!(read.map(|read| read.fits), Ok(Err(HeadError::TooManyFields)));
    }

    #[test]
    fn what_breaks_a_rule_is_malformed() {
        for fields in [
            [&USUAL[..], &[("content-length", "1")]].concat(),
            [&USUAL[..], &[("x", " padded")]].concat(),
            [&USUAL[..], &[("x", "padded\t")]].concat(),
            [&USUAL[..], &[("x", "\u{7f}")]].concat(),
            [&USUAL[..], &[(":path", "/")]].concat(),
            [&[("x", "1")], &USUAL[..]].concat(),
            USUAL[..3].to_vec(),
            [&USUAL[..2], &USUAL[3..], &[("host", "localhost")]].concat(),
            vec![(":method", "CONNECT"), (":scheme", "http"), (":path", "/")],
        ] {
            assert_eq!(read(&fields).0.map(drop), Err(Malformed), "{fields:?}");
        }
        assert!(read(&[(":method", "CONNECT"), (":authority", "a:1")]).0.is_ok());
        assert!(read(&[&[(":method", "OPTIONS"), (":path", "*")], &USUAL[1..3]].concat()).0.is_ok());
    }
}
