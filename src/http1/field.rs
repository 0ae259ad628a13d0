//! The fields of a message, in the order in which they came.

use std::cmp::Ordering;

use http::HeaderMap;

/// A part of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The part from `start` to `end`. Texts of heads are far shorter than 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: bound(start), end: bound(end) }
    }

    /// The part of this text.
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One field line.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The name in the spelling in which it came.
    pub name: &'a [u8],
    /// The value, without white space around it.
    pub value: &'a [u8],
    /// What it means to an intermediary.
    pub kind: Kind,
}

/// All field lines of a head or of trailers.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Kinds that may be among the lines, a bit for each: most are asked for in vain.
    kinds: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    value: Span,
    kind: Kind,
}

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
    /// It gets this value.
    Replace(Vec<u8>),
}

impl Line {
    fn of(self, text: &[u8]) -> Field<'_> {
        Field { name: self.name.of(text), value: self.value.of(text), kind: self.kind }
    }
}

impl Fields {
    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.kinds = 0;
    }

    /// The number of field lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of the text: more than those of the lines by the target, less by colons and line ends.
    pub fn size(&self) -> usize {
        self.text.len() + 4 * self.lines.len()
    }

    /// The field lines in their order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| line.of(&self.text))
    }

    /// Goes through all fields, and does with each what `judge` says.
    pub fn revise(&mut self, mut judge: impl FnMut(Field<'_>) -> Revision) {
        let mut revised: Option<Vec<u8>> = None;
        self.lines.retain_mut(|line| match judge(line.of(&self.text)) {
            Revision::Keep => true,
            Revision::Drop => false,
            Revision::Replace(value) => {
                let revised = revised.get_or_insert_default();
                let start = self.text.len() + revised.len();
                line.value = Span::new(start, start + value.len());
                revised.extend_from_slice(&value);
                true
            }
        });
        if let Some(text) = revised {
            self.text.extend_from_slice(&text);
        }
    }

    /// The values of the fields of this kind, in their order.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        let lines = if self.kinds & kind.bit() == 0 { &[] } else { &*self.lines };
        lines.iter().filter(move |line| line.kind == kind).map(|line| line.value.of(&self.text))
    }

    /// The value of the first field of this kind.
    pub fn get(&self, kind: Kind) -> Option<&[u8]> {
        self.all(kind).next()
    }

    /// Adds a field line behind the others.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = self.keep(name);
        let value = self.keep(value);
        let kind = Kind::of(name.of(&self.text));
        self.kinds |= kind.bit();
        self.lines.push(Line { name, value, kind });
    }

    /// Takes over the fields of an answer of HTTP/2.
    pub fn extend(&mut self, map: &HeaderMap) {
        for (name, value) in map {
            self.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    /// The text that all names and values are parts of, and more.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same, to be written over.
    pub fn text_mut(&mut self) -> &mut [u8] {
        &mut self.text
    }

    /// Keeps the text of a head, of which [`Self::note`] tells the lines.
    pub(super) fn set_text(&mut self, text: &[u8]) {
        self.clear();
        self.text.extend_from_slice(text);
    }

    /// Notes field lines that `httparse` found in `text`, whose copy is kept here.
    pub(super) fn note(&mut self, text: &[u8], parsed: &[httparse::Header<'_>]) {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
            Span::new(start, start + part.len())
        };
        let kinds = &mut self.kinds;
        self.lines.extend(parsed.iter().map(|header| {
            let kind = Kind::of(header.name.as_bytes());
            *kinds |= kind.bit();
            // The parser has left out the white space around the value.
            Line { name: place(header.name.as_bytes()), value: place(header.value), kind }
        }));
    }

    /// A part of the text.
    pub(super) fn part(&self, span: Span) -> &[u8] {
        span.of(&self.text)
    }

    /// Keeps a text that is no field.
    pub(super) fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span::new(start, self.text.len())
    }
}

/// What a field means to an intermediary; letter case does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing special.
    Other,
    /// Nothing special, but `_` in its name: a server that makes variables of fields (RFC 3875,
    /// section 4.1.18) reads it as `-`.
    Underscore,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `TE`.
    Te,
    /// `Trailer`.
    Trailer,
    /// `Keep-Alive` or `Proxy-Connection`: relics of HTTP/1.0 that end at this hop.
    KeepAlive,
    /// `HTTP2-Settings`, which belongs to an upgrade that nobody offers (RFC 9113, section 3.1).
    Http2Settings,
    /// `Proxy-Authorization`, for this hop.
    ProxyAuthorization,
    /// `Proxy-Authenticate` or `Proxy-Authentication-Info`, of that hop.
    ProxyAuthenticate,
    /// `Authorization`.
    Authorization,
    /// `Via`.
    Via,
    /// `Forwarded`, a name that begins with `X-Forwarded-`, or one by which a proxy before some servers tells
    /// which target it was asked for, and which those serve in place of the request's own: `X-Original-URL`.
    Forwarded,
    /// `X-HTTP-Method-Override` and its kind: some servers take its value for the method.
    MethodOverride,
    /// `Origin`.
    Origin,
    /// `Sec-Fetch-Site`.
    SecFetchSite,
    /// `Max-Forwards`.
    MaxForwards,
    /// `Cookie`.
    Cookie,
    /// `Set-Cookie`.
    SetCookie,
    /// `Accept-Encoding`.
    AcceptEncoding,
    /// `Content-Type`.
    ContentType,
    /// `Content-Encoding`.
    ContentEncoding,
    /// `Location`.
    Location,
    /// `Alt-Svc`, which would lead past the proxy.
    AltSvc,
    /// `Date`.
    Date,
}

impl Kind {
    /// The kind of a name that begins with `X-`; those have no registered meaning, but one that servers agree
    /// on. `-` and `_` are one.
    fn of_experimental(name: &[u8]) -> Option<Self> {
        if !matches!(name, [b'x' | b'X', b'-' | b'_', ..]) {
            return None;
        }
        let is_one = |known: &[&[u8]]| known.iter().any(|known| is_same_name(known, name));
        if begins_with_x_forwarded(name) || is_one(&ORIGINAL_TARGETS) {
            Some(Self::Forwarded)
        } else if is_one(&METHOD_OVERRIDES) {
            Some(Self::MethodOverride)
        } else {
            None
        }
    }

    /// Whether such a field may stand behind a body: not one that frames or routes the message, proves
    /// who sends it, says how its content is to be read, or ends at this hop (RFC 9110, section 6.5.1).
    pub fn may_trail(self) -> bool {
        matches!(self, Self::Other | Self::Underscore | Self::Date)
    }

    /// A bit of its own.
    fn bit(self) -> u32 {
        1 << (self as u32)
    }

    /// The kind of a field of this name.
    pub fn of(name: &[u8]) -> Self {
        let (known, kind): (&[u8], Self) = match name.len() {
            2 => (b"te", Self::Te),
            3 => (b"via", Self::Via),
            4 => match name[0] | 0x20 {
                b'h' => (b"host", Self::Host),
                _ => (b"date", Self::Date),
            },
            6 => match name[0] | 0x20 {
                b'c' => (b"cookie", Self::Cookie),
                b'e' => (b"expect", Self::Expect),
                _ => (b"origin", Self::Origin),
            },
            7 => match name[0] | 0x20 {
                b'u' => (b"upgrade", Self::Upgrade),
                b't' => (b"trailer", Self::Trailer),
                _ => (b"alt-svc", Self::AltSvc),
            },
            8 => (b"location", Self::Location),
            9 => (b"forwarded", Self::Forwarded),
            10 => match name[0] | 0x20 {
                b'c' => (b"connection", Self::Connection),
                b's' => (b"set-cookie", Self::SetCookie),
                _ => (b"keep-alive", Self::KeepAlive),
            },
            12 => match name[0] | 0x20 {
                b'm' => (b"max-forwards", Self::MaxForwards),
                _ => (b"content-type", Self::ContentType),
            },
            13 => (b"authorization", Self::Authorization),
            14 => match name[0] | 0x20 {
                b's' => (b"sec-fetch-site", Self::SecFetchSite),
                b'h' => (b"http2-settings", Self::Http2Settings),
                _ => (b"content-length", Self::ContentLength),
            },
            15 => (b"accept-encoding", Self::AcceptEncoding),
            16 => match name[0] | 0x20 {
                b'c' => (b"content-encoding", Self::ContentEncoding),
                _ => (b"proxy-connection", Self::KeepAlive),
            },
            17 => (b"transfer-encoding", Self::TransferEncoding),
            18 => (b"proxy-authenticate", Self::ProxyAuthenticate),
            19 => (b"proxy-authorization", Self::ProxyAuthorization),
            25 => (b"proxy-authentication-info", Self::ProxyAuthenticate),
            _ => (b"", Self::Other),
        };
        if is_letters_of(name, known) {
            kind
        } else if let Some(kind) = Self::of_experimental(name) {
            kind
        } else if name.contains(&b'_') {
            Self::Underscore
        } else {
            Self::Other
        }
    }
}

/// Names of the target that a proxy before a server was asked for.
const ORIGINAL_TARGETS: [&[u8]; 5] =
    [b"x-original-url", b"x-original-uri", b"x-original-host", b"x-rewrite-url", b"x-rewrite-uri"];

/// Names of the method that is meant.
const METHOD_OVERRIDES: [&[u8]; 3] = [b"x-http-method-override", b"x-http-method", b"x-method-override"];

fn begins_with_x_forwarded(name: &[u8]) -> bool {
    name.get(..X_FORWARDED.len()).is_some_and(|start| is_same_name(start, X_FORWARDED))
}

/// Whether a name is `known`, which is in lower case and made of letters, digits and `-` only: of the
/// bytes that a name can have, setting one bit makes these and no others of them.
fn is_letters_of(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    // By words of which the last may cover a part of the one before.
    let (start, end) = (name.first_chunk::<8>(), name.last_chunk::<8>());
    match (start, end, known.first_chunk::<8>(), known.last_chunk::<8>()) {
        (Some(start), Some(end), Some(known_start), Some(known_end)) if name.len() <= 16 => {
            (u64::from_ne_bytes(*start) | SMALL) == u64::from_ne_bytes(*known_start)
                && (u64::from_ne_bytes(*end) | SMALL) == u64::from_ne_bytes(*known_end)
        }
        _ => name.iter().zip(known).all(|(one, other)| one | 0x20 == *other),
    }
}

/// The bit that makes small letters of capitals, of eight of them.
const SMALL: u64 = u64::from_ne_bytes([0x20; 8]);

const X_FORWARDED: &[u8] = b"x-forwarded-";

/// Whether two names are one to a server that makes variables of fields: letter case, and `-` or `_`,
/// do not count.
pub fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| fold(*one) == fold(*other))
}

/// The order of names whose letter case does not count.
pub fn by_letters(one: &[u8], other: &[u8]) -> Ordering {
    one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
}

/// The members of a list (RFC 9110, section 5.6.1), without white space and empty ones.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let whole = rest.take()?;
            // Most are shorter than what a faster search begins with.
            let end = whole.iter().position(|byte| *byte == b',');
            rest = end.map(|end| &whole[end + 1..]);
            let member = whole[..end.unwrap_or(whole.len())].trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}
