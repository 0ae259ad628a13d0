//! Members of a JSON object: where they stand in its text, which is changed nowhere else.

use std::ops::Range;

use serde::de::IgnoredAny;

/// One member of the object at the top.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name, without escapes.
    pub(super) name: String,
    /// Where its name begins, with the quote.
    start: usize,
    /// Where its value stands.
    pub(super) value: Range<usize>,
}

/// An object, as it is written.
#[derive(Debug)]
pub(super) struct Object<'a> {
    text: &'a [u8],
    /// Behind the opening brace.
    inside: usize,
    /// In their order, with repetitions.
    pub(super) members: Vec<Member>,
}

/// Why a text is no object (RFC 8259): anything that one parser might read and another not.
const MALFORMED: &str = "the request body is not a JSON object";

impl<'a> Object<'a> {
    /// Reads a text strictly: all of it is one object.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, &'static str> {
        std::str::from_utf8(text).map_err(|_| "the request body is not UTF-8, as JSON is")?;
        serde_json::from_slice::<IgnoredAny>(text).map_err(|_| MALFORMED)?;
        let inside = skip_space(text, 0) + 1;
        if text.get(inside - 1) != Some(&b'{') {
            return Err(MALFORMED);
        }
        let mut object = Self { text, inside, members: Vec::new() };
        let mut at = skip_space(text, inside);
        while text.get(at) == Some(&b'"') {
            let start = at;
            at = end_of_string(text, at).ok_or(MALFORMED)?;
            let name = serde_json::from_slice(&text[start..at]);
            let name = name.map_err(|_| "the request body has a member whose name is no text")?;
            // A colon, which the parser has seen.
            let value = skip_space(text, skip_space(text, at) + 1);
            at = end_of_value(text, value).ok_or(MALFORMED)?;
            object.members.push(Member { name, start, value: value..at });
            at = skip_space(text, at);
            if text.get(at) == Some(&b',') {
                at = skip_space(text, at + 1);
            }
        }
        Ok(object)
    }

    /// The text without the members that `is_taken` says, each with one comma; where others can be put
    /// in; and whether any member is left.
    pub(super) fn without(&self, is_taken: impl Fn(&Member) -> bool) -> (Vec<u8>, usize, bool) {
        let mut kept = self.text[..self.inside].to_vec();
        let (mut end, mut is_first) = (self.inside, true);
        for member in &self.members {
            if !is_taken(member) {
                let before = &self.text[end..member.start];
                // White space and a comma, which the first that is left does not need.
                kept.extend(before.iter().filter(|byte| !is_first || **byte != b','));
                kept.extend_from_slice(&self.text[member.start..member.value.end]);
                is_first = false;
            }
            end = member.value.end;
        }
        kept.extend_from_slice(&self.text[end..]);
        (kept, self.inside, !is_first)
    }
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    at + text.get(at..).unwrap_or_default().iter().take_while(is_space).count()
}

/// Behind the closing quote of the string that begins at `at`.
fn end_of_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Behind the value that begins at `at`, which a parser has found to be one.
fn end_of_value(text: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = end_of_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            byte if depth == 0 && !byte.is_ascii_whitespace() && *byte != b',' => {
                let is_part = |byte: &&u8| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                return Some(at + text[at..].iter().take_while(is_part).count());
            }
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
