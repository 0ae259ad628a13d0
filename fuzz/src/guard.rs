//! The guard: no value comes out, neither as it is nor in a form that a reader might decode, whatever stands
//! around it and however the text is cut; the length stays, and what came out has nothing more to mask.

use std::collections::BTreeSet;
use std::sync::Arc;

use bearerd::guard::{MASK, Patience, Patterns, SHORTEST, Screen, Shown};
use bearerd::secret::Secret;
use memchr::memmem;

use super::readings::{STANDARD, URL_SAFE, readings};

/// Longer texts are not read in all ways: that would take too long.
const LONGEST_READ: usize = 1024;

/// One or two values, the places of the cuts, which also say how the first value is disguised, and the text.
pub(crate) fn run(mut bytes: &[u8]) {
    let values = [super::piece(&mut bytes), super::piece(&mut bytes)];
    let cuts = super::piece(&mut bytes);
    let values: Vec<&[u8]> =
        values.into_iter().filter(|value| value.len() >= SHORTEST && !value.contains(&MASK)).collect();
    // Without a value there is nothing to find.
    let Some(first) = values.first() else { return };
    let patterns =
        Arc::new(Patterns::new(&values.iter().map(|value| Secret::new(*value)).collect::<Vec<_>>()));
    for text in [bytes, &values.concat(), &[bytes, first, bytes].concat()] {
        check(&patterns, &values, text, cuts);
    }
    check(&patterns, &values, &[bytes, &disguised(first, cuts), bytes].concat(), cuts);
}

fn check(patterns: &Arc<Patterns>, values: &[&[u8]], text: &[u8], cuts: &[u8]) {
    let whole = screened(patterns, text, &[], Patience::Whole);
    assert_eq!(whole.len(), text.len(), "the length stays");
    assert_eq!(screened(patterns, text, cuts, Patience::Whole), whole, "in pieces as at once");
    for value in values {
        assert!(memmem::find(&whole, value).is_none(), "a value came out");
    }
    if text.len() <= LONGEST_READ {
        // An escaped character beyond ASCII is several bytes: a value that is no text could begin in one.
        let texts: Vec<_> = values.iter().filter(|value| str::from_utf8(value).is_ok()).collect();
        let readings = if texts.is_empty() { BTreeSet::new() } else { readings(&whole) };
        for reading in readings {
            for value in &texts {
                let is_told = memmem::find(&reading, value).is_some();
                assert!(!is_told, "a value came out in disguise: {}", whole.escape_ascii());
            }
        }
    }
    for (at, byte) in whole.iter().enumerate() {
        assert!(*byte == text[at] || *byte == MASK, "nothing else is changed");
    }
    assert_eq!(screened(patterns, &whole, &[], Patience::Whole), whole, "nothing is left to mask");
    let lively = screened(patterns, text, cuts, Patience::Lively);
    assert_eq!(lively.len(), text.len());
    for value in values {
        assert!(memmem::find(&lively, value).is_none(), "a value came out bit by bit");
    }
}

/// What comes out of a text whose pieces have these lengths, the last being the rest.
fn screened(patterns: &Arc<Patterns>, text: &[u8], cuts: &[u8], patience: Patience) -> Vec<u8> {
    let mut screen = Screen::new(Arc::clone(patterns), patience);
    let (mut output, mut rest) = (Vec::new(), text);
    for length in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let (mut piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        let is_last = length == usize::MAX;
        while !piece.is_empty() || (is_last && screen.is_holding()) {
            match screen.show(piece, is_last) {
                Shown::Bytes(shown) => {
                    let count = shown.len();
                    output.extend_from_slice(shown);
                    piece = &piece[screen.take(count, piece)..];
                }
                Shown::Wait => {
                    screen.hold(piece);
                    piece = b"";
                }
            }
        }
    }
    output
}

/// The value as somebody might write it: each byte in the way of the next of `ways`, or all of it in base64.
fn disguised(value: &[u8], ways: &[u8]) -> Vec<u8> {
    let (first, ways) = ways.split_first().unwrap_or((&0, b"\x01"));
    let encoded = match first % 8 {
        0 => encode(value, STANDARD),
        1 => encode(value, URL_SAFE),
        2 => encode(&[b"x", value, b"y"].concat(), STANDARD),
        3 => encode(&[b"xy", value].concat(), URL_SAFE),
        _ => value.to_vec(),
    };
    let ways = ways.iter().copied().cycle().chain(std::iter::repeat(0));
    let mut written = Vec::new();
    for (byte, way) in encoded.iter().copied().zip(ways) {
        written.extend_from_slice(&match way % 13 {
            1 => format!("%{byte:02x}").into_bytes(),
            2 => format!("%{byte:02X}").into_bytes(),
            3 => format!("%25{byte:02X}").into_bytes(),
            4 if byte.is_ascii() => format!("\\u00{byte:02x}").into_bytes(),
            5 if byte.is_ascii() => format!("\\\\u00{byte:02X}").into_bytes(),
            6 if byte == b'/' => b"\\/".to_vec(),
            7 if byte.is_ascii() => format!("%5Cu00{byte:02x}").into_bytes(),
            8 if byte.is_ascii() => format!("&#x{byte:X};").into_bytes(),
            9 if byte.is_ascii() => format!("&#{byte};").into_bytes(),
            10 if byte.is_ascii() => format!("\\x{byte:02x}").into_bytes(),
            11 if byte.is_ascii() => format!("&amp;#{byte:03};").into_bytes(),
            12 if byte == b'&' => b"&amp;".to_vec(),
            _ => vec![byte],
        });
    }
    written
}

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |bits: &[u8]| (0..6).fold(0, |digit, at| digit << 1 | bits.get(at).copied().unwrap_or(0));
    bits.chunks(6).map(|bits| alphabet[usize::from(digit(bits))]).collect()
}
