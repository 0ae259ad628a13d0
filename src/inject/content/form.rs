//! Fields of a form (WHATWG URL, section 5), and parameters of a query: what stands between two `&`.

use percent_encoding::percent_decode;

use crate::inject::content::folded;

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

/// Whether a piece between two `&` goes by one of these names. Some servers take `;` for `&`.
pub(in crate::inject) fn goes_by_any<T>(piece: &[u8], names: &[(String, T)]) -> bool {
    piece.split(|byte| *byte == b';').filter(|field| !field.is_empty()).any(|field| {
        let name = decoded(split(field).0);
        let name = String::from_utf8_lossy(&name);
        names.iter().any(|(own, _)| is_same(own, &name))
    })
}

/// Whether a server might take two names for one: beside what does not count in members ([`super::is_same`]), servers
/// that make variables of fields see no spaces in front and nothing from a bracket on, and take `.` or ` ` for `_`.
fn is_same(one: &str, other: &str) -> bool {
    variable(one).eq(variable(other))
}

fn variable(name: &str) -> impl Iterator<Item = char> {
    let name = name.trim_start_matches(' ').split('[').next().unwrap_or_default();
    folded(name).map(|letter| if matches!(letter, '.' | ' ') { '-' } else { letter })
}

/// The body without the fields whose piece `is_taken` says.
pub(super) fn without(body: &[u8], is_taken: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let kept: Vec<&[u8]> = body.split(|byte| *byte == b'&').filter(|piece| !is_taken(piece)).collect();
    kept.join(&b'&')
}
