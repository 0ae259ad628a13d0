//! Answers of token endpoints (RFC 6749, section 5.1): an app that gets one has a token that nobody
//! counts on.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

/// How much of an answer is looked at, in bytes.
const LOOKED_AT: usize = 64 * 1024;

/// Bytes of what [`may_be`] looks for, but one: so much of it may stand at the end of a piece.
const SEAM: usize = MEMBERS[0].len() - 1;

/// Longer names are none of those that count, however they are escaped.
const LONGEST_NAME: usize = 128;

/// The members that make a token answer, if both are strings.
const MEMBERS: [&[u8]; 2] = [b"access_token", b"token_type"];

/// Reads a body, in pieces, until it is known whether it is a token answer: a JSON object (RFC 8259) that
/// has both members itself, and not in an object inside.
#[derive(Debug, Default)]
pub(super) struct TokenAnswer {
    place: Place,
    /// Objects and arrays that are open.
    depth: usize,
    /// The name of the member at hand, as it is written.
    name: Vec<u8>,
    is_escaped: bool,
    found: [bool; MEMBERS.len()],
    read: usize,
}

/// Where in the document the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    BeforeName,
    InName,
    BehindName,
    BeforeValue,
    InText,
    InValue,
}

impl TokenAnswer {
    /// Reads on. Nothing if it depends on what follows, and something does.
    pub(super) fn read(&mut self, piece: &[u8], is_last: bool) -> Option<bool> {
        let is_over = is_last || self.read + piece.len() >= LOOKED_AT;
        if self.read == 0 && is_over && !may_be(piece) {
            return Some(false);
        }
        let piece = &piece[..piece.len().min(LOOKED_AT - self.read)];
        self.read += piece.len();
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            if matches!(self.place, Place::InName | Place::InText) && !self.is_escaped {
                let length = memchr::memchr2(b'"', b'\\', &piece[at..]).unwrap_or(piece.len() - at);
                if length > 0 {
                    self.keep(&piece[at..at + length]);
                    at += length;
                    continue;
                }
            }
            if let Some(known) = self.step(*byte) {
                return Some(known);
            }
            at += 1;
        }
        is_over.then_some(false)
    }

    /// The same for a text of which all that came before is kept: it is only read where the name can be in it.
    pub(super) fn look(&mut self, kept: &[u8], piece: &[u8], is_last: bool) -> Option<bool> {
        if self.read > 0 {
            return self.read(piece, is_last);
        }
        if !begins_object(kept, piece) {
            return Some(false);
        }
        let seam = [&kept[kept.len().saturating_sub(SEAM)..], &piece[..piece.len().min(SEAM)]];
        if may_be(piece) || (!kept.is_empty() && may_be(&seam.concat())) {
            return self.read(kept, false).or_else(|| self.read(piece, is_last));
        }
        let is_over = is_last || kept.len() + piece.len() >= LOOKED_AT;
        is_over.then_some(false)
    }

    /// What is known when nothing follows for now what is kept: an object that has ended waits for nothing.
    pub(super) fn pause(&mut self, kept: &[u8]) -> Option<bool> {
        let is_unread = self.read == 0 && kept.trim_ascii_end().ends_with(b"}");
        if is_unread { self.read(kept, false) } else { None }
    }

    fn step(&mut self, byte: u8) -> Option<bool> {
        match (self.place, byte) {
            (Place::InName | Place::InText, _) if self.is_escaped || byte == b'\\' => {
                self.is_escaped = !self.is_escaped;
                self.keep(&[byte]);
            }
            (Place::InName, _) => self.place = Place::BehindName,
            (Place::InText, _) => self.place = Place::InValue,
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Place::Start, _) if is_blank(byte) => {}
            (Place::Start, b'{') => (self.place, self.depth) = (Place::BeforeName, 1),
            (Place::BeforeName, b'"') => {
                self.name.clear();
                self.place = Place::InName;
            }
            (Place::BehindName, b':') => self.place = Place::BeforeValue,
            (Place::BeforeValue, b'"') => {
                self.place = Place::InText;
                self.note_member();
                if self.found == [true; MEMBERS.len()] {
                    return Some(true);
                }
            }
            (Place::BeforeValue | Place::InValue, _) => {
                self.place = Place::InValue;
                match byte {
                    b'"' => self.place = Place::InText,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth == 1 => return Some(false),
                    b'}' | b']' => self.depth -= 1,
                    b',' if self.depth == 1 => self.place = Place::BeforeName,
                    _ => {}
                }
            }
            // Empty, or no object.
            (Place::Start | Place::BeforeName | Place::BehindName, _) => return Some(false),
        }
        None
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.place == Place::InName {
            self.name.extend_from_slice(&bytes[..bytes.len().min(LONGEST_NAME - self.name.len())]);
        }
    }

    fn note_member(&mut self) {
        let quoted = [b"\"", &*self.name, b"\""].concat();
        let name: String = serde_json::from_slice(&quoted).unwrap_or_default();
        for (member, found) in MEMBERS.iter().zip(&mut self.found) {
            *found |= *member == name.as_bytes();
        }
    }
}

/// Whether what is not white space, nor the mark of the byte order, begins with an object.
fn begins_object(kept: &[u8], piece: &[u8]) -> bool {
    let mut bytes = kept.iter().chain(piece);
    bytes.find(|byte| !is_blank(**byte)).is_none_or(|byte| *byte == b'{')
}

/// White space, or of the mark of the byte order, before a document.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf)
}

/// Whether the name can stand in a text at all: as it is, or with a letter that is escaped, which can be in one way
/// only. Many texts have nothing in them that could be the `_` of it.
fn may_be(text: &[u8]) -> bool {
    static MEMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MEMBERS[0]));
    let Some(first) = memchr::memchr2(b'_', b'\\', text) else { return false };
    let rest = &text[first.saturating_sub(MEMBERS[0].len())..];
    // All letters of the name are from 0x50 to 0x7f.
    let is_letter = |at: usize| matches!(rest.get(at + 4), Some(b'5'..=b'7'));
    MEMBER.find(rest).is_some() || memmem::find_iter(rest, b"\\u00").any(is_letter)
}

#[cfg(test)]
mod tests {
    use super::TokenAnswer;

    fn is_token_answer(document: &str) -> bool {
        let whole = TokenAnswer::default().read(document.as_bytes(), true);
        let mut answer = TokenAnswer::default();
        let mut pieces = document.as_bytes().chunks(1);
        let in_pieces = pieces.find_map(|piece| answer.read(piece, false)).unwrap_or(false);
        assert_eq!(whole, Some(in_pieces), "{document}");
        for size in 1..40 {
            assert_eq!(looked_at(document, size), Some(in_pieces), "{size}: {document}");
        }
        in_pieces
    }

    /// What is known of a document that comes in pieces of this size, each kept until it is known.
    fn looked_at(document: &str, size: usize) -> Option<bool> {
        let (mut answer, bytes) = (TokenAnswer::default(), document.as_bytes());
        let ends = (1..=bytes.len().div_ceil(size).max(1)).map(|number| (number * size).min(bytes.len()));
        ends.scan(0, |start, end| Some((std::mem::replace(start, end), end)))
            .find_map(|(start, end)| answer.look(&bytes[..start], &bytes[start..end], end == bytes.len()))
    }

    #[test]
    fn an_object_that_has_ended_waits_for_nothing() {
        let mut answer = TokenAnswer::default();
        assert_eq!(answer.look(b"", b"{\"a\":{}", false), None);
        assert_eq!(answer.pause(b"{\"a\":{}"), None);
        assert_eq!(answer.look(b"{\"a\":{}", b"}\r\n", false), Some(false));
        let mut answer = TokenAnswer::default();
        assert_eq!(answer.look(b"", b"{\"a\":{}}\n", false), None);
        assert_eq!(answer.pause(b"{\"a\":{}}\n"), Some(false));
        let mut answer = TokenAnswer::default();
        assert_eq!(answer.look(b"", b" [{", false), Some(false), "no object");
    }

    #[test]
    fn an_object_with_both_strings_is_a_token_answer_and_nothing_else_is() {
        for document in [
            r#"{"access_token":"x","token_type":"Bearer"}"#,
            "\u{feff} {\n \"token_type\" : \"bearer\" , \"n\" : [1,{\"a\":\"}\\\"\"}], \"access_token\" : \"\" ",
            r#"{"access\u005ftoken":"x","token_\u0074ype":"y"}"#,
        ] {
            assert!(is_token_answer(document), "{document}");
        }
        for document in [
            "",
            "{}",
            "[]",
            r#"{"access_token":"x"}"#,
            r#"{"access_token":"x","token_type":null}"#,
            r#"{"access_token":1,"token_type":"x"}"#,
            r#"[{"access_token":"x","token_type":"x"}]"#,
            r#"{"a":{"access_token":"x","token_type":"x"}}"#,
            r#"{"a":"\"access_token\":\"x\",\"token_type\":\"x\""}"#,
            r#"{"access_token":["x"],"token_type":"x"}"#,
            r#"{"a":1}{"access_token":"x","token_type":"x"}"#,
            "access_token=x&token_type=y",
        ] {
            assert!(!is_token_answer(document), "{document}");
        }
    }

    #[test]
    fn only_the_first_64_kib_are_looked_at() {
        let document = |length: usize| {
            let rest = r#","access_token":"x","token_type":""#;
            format!(r#"{{"a":"{}"{rest}"#, "x".repeat(length - 7 - rest.len()))
        };
        assert!(is_token_answer(&document(64 * 1024)));
        assert!(!is_token_answer(&document(64 * 1024 + 1)));
    }
}
