//! Which answers can matter: those that are text, or may be.

/// What is done with a body of a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// It is passed on unseen, as long as it does not begin with text: it should have none.
    Unseen,
    /// It is scanned.
    Scanned,
    /// It is scanned, and may be the answer of a token endpoint.
    Json,
    /// It is scanned, and read as it comes: whoever reads it may wait for its last byte before he sends more.
    Lively,
}

/// Types of `application/` that have no text, or not as such.
const BINARY: [&[u8]; 14] = [
    b"octet-stream",
    b"pdf",
    b"zip",
    b"gzip",
    b"x-gzip",
    b"zstd",
    b"x-tar",
    b"x-bzip2",
    b"x-7z-compressed",
    b"x-xz",
    b"vnd.rar",
    b"java-archive",
    b"wasm",
    b"font-woff",
];

/// Types that have no text but for those with a suffix such as `+xml`.
const BINARY_TREES: [&[u8]; 4] = [b"image", b"audio", b"video", b"font"];

/// Beginnings of types of `application/` that are streams of messages in frames of their own: gRPC and Connect.
const MESSAGES: [&[u8]; 2] = [b"grpc", b"connect+"];

impl Handling {
    /// What is done with a body of the media type that `Content-Type` names (RFC 9110, section 8.3.1). One
    /// that is missing or unknown is scanned.
    pub fn of(content_type: Option<&[u8]>) -> Self {
        let whole = content_type.unwrap_or_default();
        if whole == b"application/json" {
            return Self::Json;
        }
        let essence = whole.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let (tree, kind) = match memchr::memchr(b'/', essence) {
            Some(slash) => (&essence[..slash], &essence[slash + 1..]),
            // That is no media type: nobody knows what is made of it.
            None => (&b""[..], &b""[..]),
        };
        let is = |name: &[u8], other: &[u8]| name.eq_ignore_ascii_case(other);
        let begins = |beginning: &[u8]| kind.get(..beginning.len()).is_some_and(|kind| is(kind, beginning));
        if is(tree, b"application") && MESSAGES.iter().any(|messages| begins(messages))
            || is(essence, b"text/event-stream")
        {
            Self::Lively
        } else if kind.windows(4).any(|part| is(part, b"json")) {
            Self::Json
        } else if kind.len() >= 3 && is(&kind[kind.len() - 3..], b"xml") {
            Self::Scanned
        } else if BINARY_TREES.iter().any(|binary| is(tree, binary))
            || (is(tree, b"application") && BINARY.iter().any(|binary| is(kind, binary)))
        {
            Self::Unseen
        } else {
            Self::Scanned
        }
    }
}

/// Whether what a body begins with is text, whatever its type says: none of its first bytes is a control
/// character that no text has (the "binary data bytes" of the MIME Sniffing Standard, section 3). Formats
/// without text have some.
pub(super) fn begins_with_text(beginning: &[u8]) -> bool {
    let is_binary =
        |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | 0x1b | 0x7f);
    !beginning[..beginning.len().min(LOOKED_AT)].iter().any(is_binary)
}

/// Bytes of the beginning.
const LOOKED_AT: usize = 1445;

#[cfg(test)]
mod tests {
    use super::{Handling, begins_with_text};

    #[test]
    fn what_has_no_text_begins_with_bytes_that_are_none() {
        for text in [&b"{\"a\": 1}\r\n"[..], b"\xef\xbb\xbf<html>\t", "k\u{e4}se\x1b[0m".as_bytes()] {
            assert!(begins_with_text(text), "{text:?}");
        }
        for binary in [&b"\x89PNG\r\n\x1a\n\0\0"[..], b"PK\x03\x04", b"\x1f\x8b\x08", b"wOFF\0", b"\0asm"] {
            assert!(!begins_with_text(binary), "{binary:?}");
        }
    }

    #[test]
    fn what_should_have_no_text_passes_unseen_and_all_else_is_scanned() {
        for (kind, handling) in [
            ("application/json", Handling::Json),
            ("Application/Problem+JSON; charset=utf-8", Handling::Json),
            ("application/x-ndjson", Handling::Json),
            ("text/event-stream;charset=utf-8", Handling::Lively),
            ("text/html", Handling::Scanned),
            ("application/xml", Handling::Scanned),
            ("image/svg+xml", Handling::Scanned),
            ("application/x-www-form-urlencoded", Handling::Scanned),
            ("application/grpc", Handling::Lively),
            ("application/GRPC+json; x=y", Handling::Lively),
            ("application/grpc-web+proto", Handling::Lively),
            ("application/connect+proto", Handling::Lively),
            ("application/connect", Handling::Scanned),
            ("text/grpc", Handling::Scanned),
            ("multipart/mixed; boundary=x", Handling::Scanned),
            ("nonsense", Handling::Scanned),
            ("", Handling::Scanned),
            ("image/png", Handling::Unseen),
            ("VIDEO/mp4", Handling::Unseen),
            ("font/woff2", Handling::Unseen),
            ("application/octet-stream", Handling::Unseen),
            ("application/pdf", Handling::Unseen),
            ("application/zip ; x=y", Handling::Unseen),
        ] {
            assert_eq!(Handling::of(Some(kind.as_bytes())), handling, "{kind}");
        }
        assert_eq!(Handling::of(None), Handling::Scanned);
    }
}
