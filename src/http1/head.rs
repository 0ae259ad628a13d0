//! Reading the heads of requests and answers.
//!
//! The parser is `httparse`, which is hyper's own. Around it stand the limits, and the checks of what
//! it leaves to its user.

use std::mem::MaybeUninit;

use http::{Method, StatusCode};

use crate::http1::field::{Fields, Kind, Span, members};

/// Limits of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes (`max_head`).
    pub bytes: usize,
    /// Fields, Host counted (`max_fields`).
    pub fields: usize,
    /// Bytes of a request's target (`max_target`).
    pub target: usize,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// More bytes than may be.
    TooLong,
    /// More fields than may be.
    TooManyFields,
    /// A target that is longer than may be.
    TargetTooLong,
    /// A version that is not HTTP/1.0 or HTTP/1.1.
    UnknownVersion,
    /// This is not HTTP.
    Malformed,
}

/// How much of a head there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are a whole head.
    Whole(usize),
    /// It goes on.
    Partial,
}

/// The head of a request.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The method; letter case counts.
    pub method: Method,
    /// Whether it is of HTTP/1.0.
    pub is_http10: bool,
    /// Whether it came over HTTP/2, where the framing is not in the fields.
    pub is_http2: bool,
    /// All fields.
    pub fields: Fields,
    target: Span,
}

/// The head of an answer.
#[derive(Debug, Default)]
pub struct AnswerHead {
    /// The status, from 100 to 999.
    pub status: StatusCode,
    /// Whether it is of HTTP/1.0.
    pub is_http10: bool,
    /// All fields.
    pub fields: Fields,
    reason: Span,
}

/// Fields that are read without asking for memory.
const USUAL_FIELDS: usize = 64;

type Parsed<'a> = [MaybeUninit<httparse::Header<'a>>; USUAL_FIELDS];

impl RequestHead {
    /// The target as it was sent.
    pub fn target(&self) -> &[u8] {
        self.fields.part(self.target)
    }

    /// Whether the app wants to send another request on the connection (RFC 9112, section 9.3; of a
    /// proxy none to HTTP/1.0).
    pub fn is_persistent(&self) -> bool {
        !self.is_http10 && !lists(&self.fields, b"close")
    }

    /// Begins a head that comes over HTTP/2, field by field; the authority becomes a `Host`.
    pub(crate) fn begin_http2(&mut self) {
        self.method = Method::default();
        (self.is_http10, self.is_http2) = (false, true);
        self.fields.clear();
        self.target = Span::default();
    }

    /// Sets the target.
    pub(crate) fn set_target(&mut self, target: &[u8]) {
        self.target = self.fields.keep(target);
    }

    /// Whether a head that came over HTTP/2 keeps its limits.
    pub(crate) fn check(&self, limits: HeadLimits) -> Result<(), HeadError> {
        if self.target().len() > limits.target {
            Err(HeadError::TargetTooLong)
        } else if self.fields.len() > limits.fields {
            Err(HeadError::TooManyFields)
        } else if self.fields.size() > limits.bytes {
            Err(HeadError::TooLong)
        } else {
            Ok(())
        }
    }

    /// A head for a look at what would become of it, without any connection.
    pub fn new(method: Method, target: &[u8], fields: &[(&[u8], &[u8])]) -> Self {
        let mut head = Self { method, ..Self::default() };
        head.target = head.fields.keep(target);
        for (name, value) in fields {
            head.fields.push(name, value);
        }
        head
    }

    /// Reads a head from the beginning of `bytes`.
    pub fn parse(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Progress, HeadError> {
        let mut usual: Parsed<'_> = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let length = match request.parse_with_uninit_headers(bytes, &mut usual) {
            Err(httparse::Error::TooManyHeaders) if limits.fields > USUAL_FIELDS => {
                return self.parse_many(bytes, limits);
            }
            other => other,
        };
        self.take(bytes, &request, length, limits)
    }

    #[cold]
    fn parse_many(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Progress, HeadError> {
        let mut parsed = vec![MaybeUninit::uninit(); limits.fields];
        let mut request = httparse::Request::new(&mut []);
        let length = request.parse_with_uninit_headers(bytes, &mut parsed);
        self.take(bytes, &request, length, limits)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        request: &httparse::Request<'_, '_>,
        length: httparse::Result<usize>,
        limits: HeadLimits,
    ) -> Result<Progress, HeadError> {
        let target = request.path.unwrap_or_default();
        if target.len() > limits.target {
            return Err(HeadError::TargetTooLong);
        }
        let length = match length.map_err(of_parser)? {
            httparse::Status::Partial => return check_partial(bytes, request.path, limits),
            httparse::Status::Complete(length) => length,
        };
        if length > limits.bytes {
            return Err(HeadError::TooLong);
        }
        if request.headers.len() > limits.fields {
            return Err(HeadError::TooManyFields);
        }
        self.method = request
            .method
            .and_then(|method| Method::from_bytes(method.as_bytes()).ok())
            .ok_or(HeadError::Malformed)?;
        self.is_http10 = request.version == Some(0);
        self.is_http2 = false;
        self.fields.set_text(&bytes[..length]);
        self.fields.note(bytes, request.headers);
        let start = target.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        self.target = Span::new(start, start + target.len());
        Ok(Progress::Whole(length))
    }
}

/// Room for a method and the spaces around a target.
const LONGEST_METHOD: usize = 64;

fn check_partial(bytes: &[u8], target: Option<&str>, limits: HeadLimits) -> Result<Progress, HeadError> {
    let line = bytes.trim_ascii_start();
    if target.is_none() && line.len() > limits.target + LONGEST_METHOD {
        Err(HeadError::TargetTooLong)
    } else if bytes.len() > limits.bytes {
        Err(HeadError::TooLong)
    } else {
        Ok(Progress::Partial)
    }
}

fn of_parser(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::UnknownVersion,
        _ => HeadError::Malformed,
    }
}

impl AnswerHead {
    /// The reason phrase, which says nothing to a program.
    pub fn reason(&self) -> &[u8] {
        self.fields.part(self.reason)
    }

    /// Fields that `Connection` lists, in lower case and sorted, but for the length, which frames the
    /// body: a sender must not list it. Nearly every answer lists options of the connection itself at most.
    pub fn listed(&self) -> Vec<Vec<u8>> {
        let is_field = |name: &&[u8]| {
            let options: [&[u8]; 4] = [b"keep-alive", b"close", b"content-length", b"upgrade"];
            !options.iter().any(|option| name.eq_ignore_ascii_case(option))
        };
        let is_usual = |list: &&[u8]| matches!(*list, b"keep-alive" | b"close");
        let lists = self.fields.all(Kind::Connection).filter(|list| !is_usual(list));
        let names = lists.flat_map(members).filter(is_field);
        let mut listed: Vec<Vec<u8>> = names.map(<[u8]>::to_ascii_lowercase).collect();
        listed.sort_unstable();
        listed
    }

    /// Reads a head that came over HTTP/2.
    pub fn read_http2(&mut self, parts: &http::response::Parts) {
        self.status = parts.status;
        self.is_http10 = false;
        self.fields.clear();
        self.reason = self.fields.keep(parts.status.canonical_reason().unwrap_or_default().as_bytes());
        self.fields.extend(&parts.headers);
    }

    /// Reads a head from the beginning of `bytes`.
    pub fn parse(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Progress, HeadError> {
        let mut usual: Parsed<'_> = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
        let mut answer = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let length = match parser.parse_response_with_uninit_headers(&mut answer, bytes, &mut usual) {
            Err(httparse::Error::TooManyHeaders) => return self.parse_many(bytes, limits),
            other => other,
        };
        self.take(bytes, &answer, length, limits)
    }

    #[cold]
    fn parse_many(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Progress, HeadError> {
        let mut parsed = vec![MaybeUninit::uninit(); limits.fields];
        let mut answer = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let length = parser.parse_response_with_uninit_headers(&mut answer, bytes, &mut parsed);
        self.take(bytes, &answer, length, limits)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        answer: &httparse::Response<'_, '_>,
        length: httparse::Result<usize>,
        limits: HeadLimits,
    ) -> Result<Progress, HeadError> {
        let length = match length.map_err(of_parser)? {
            httparse::Status::Partial if bytes.len() > limits.bytes => return Err(HeadError::TooLong),
            httparse::Status::Partial => return Ok(Progress::Partial),
            // Much may have come at once.
            httparse::Status::Complete(length) if length > limits.bytes => return Err(HeadError::TooLong),
            httparse::Status::Complete(length) => length,
        };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
        self.status = status.ok_or(HeadError::Malformed)?;
        self.is_http10 = answer.version == Some(0);
        self.fields.set_text(&bytes[..length]);
        self.fields.note(bytes, answer.headers);
        let reason = answer.reason.unwrap_or_default();
        self.reason = self.fields.keep(reason.as_bytes());
        Ok(Progress::Whole(length))
    }

    /// Whether the connection may be used for another request (RFC 9112, section 9.3).
    pub fn is_persistent(&self) -> bool {
        if self.is_http10 { lists(&self.fields, b"keep-alive") } else { !lists(&self.fields, b"close") }
    }
}

/// Whether `Connection` lists an option.
fn lists(fields: &Fields, option: &[u8]) -> bool {
    let has_option = |list| members(list).any(|name| name.eq_ignore_ascii_case(option));
    fields.all(Kind::Connection).any(has_option)
}
