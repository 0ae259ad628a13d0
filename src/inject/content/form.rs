//! Fields of a form (WHATWG URL, section 5): what stands between two `&`.

use percent_encoding::percent_decode;

/// A name or a value without its encoding.
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// Name and value of one field.
pub(super) fn split(field: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'=', field).unwrap_or(field.len());
    (&field[..at], field.get(at + 1..).unwrap_or_default())
}

/// The body without the fields whose piece `is_taken` says.
pub(super) fn without(body: &[u8], is_taken: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let kept: Vec<&[u8]> = body.split(|byte| *byte == b'&').filter(|piece| !is_taken(piece)).collect();
    kept.join(&b'&')
}
