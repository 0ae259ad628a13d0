//! The guard: no value comes out, neither as it is nor in a form that a reader might decode, whatever stands
//! around it and however the text is cut; the length stays, and what came out has nothing more to mask.

use std::collections::BTreeSet;
use std::sync::Arc;

use bearerd::guard::{MASK, Patience, Patterns, SHORTEST, Screen, Shown};
use bearerd::secret::Secret;

/// Longer texts are not read in all ways: that would take too long.
const LONGEST_READ: usize = 1024;

/// One or two values, the places of the cuts, which also say how the first value is disguised, and the text.
pub(crate) fn run(mut bytes: &[u8]) {
    let values = [super::piece(&mut bytes), super::piece(&mut bytes)];
    let cuts = super::piece(&mut bytes);
    let values: Vec<&[u8]> =
        values.into_iter().filter(|value| value.len() >= SHORTEST && !value.contains(&MASK)).collect();
    let patterns =
        Arc::new(Patterns::new(&values.iter().map(|value| Secret::new(*value)).collect::<Vec<_>>()));
    let first = values.first().copied().unwrap_or_default();
    let disguised = [bytes, &disguised(first, cuts), bytes].concat();
    for text in [bytes, &values.concat(), &[bytes, first, bytes].concat(), &disguised] {
        let whole = screened(&patterns, text, &[], Patience::Whole);
        assert_eq!(whole.len(), text.len(), "the length stays");
        assert_eq!(screened(&patterns, text, cuts, Patience::Whole), whole, "in pieces as at once");
        for value in &values {
            assert!(!whole.windows(value.len()).any(|window| window == *value), "a value came out");
        }
        if text.len() <= LONGEST_READ {
            // An escaped character beyond ASCII is several bytes: a value that is no text could begin in one.
            let texts: Vec<_> = values.iter().filter(|value| str::from_utf8(value).is_ok()).collect();
            for reading in readings(&whole) {
                for value in &texts {
                    let is_told = reading.windows(value.len()).any(|window| window == **value);
                    assert!(!is_told, "a value came out in disguise: {}", whole.escape_ascii());
                }
            }
        }
        for (at, byte) in whole.iter().enumerate() {
            assert!(*byte == text[at] || *byte == MASK, "nothing else is changed");
        }
        assert_eq!(screened(&patterns, &whole, &[], Patience::Whole), whole, "nothing is left to mask");
        let lively = screened(&patterns, text, cuts, Patience::Lively);
        assert_eq!(lively.len(), text.len());
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
        written.extend_from_slice(&match way % 8 {
            1 => format!("%{byte:02x}").into_bytes(),
            2 => format!("%{byte:02X}").into_bytes(),
            3 => format!("%25{byte:02X}").into_bytes(),
            4 if byte.is_ascii() => format!("\\u00{byte:02x}").into_bytes(),
            5 if byte.is_ascii() => format!("\\\\u00{byte:02X}").into_bytes(),
            6 if byte == b'/' => b"\\/".to_vec(),
            7 if byte.is_ascii() => format!("%5Cu00{byte:02x}").into_bytes(),
            _ => vec![byte],
        });
    }
    written
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |bits: &[u8]| (0..6).fold(0, |digit, at| digit << 1 | bits.get(at).copied().unwrap_or(0));
    bits.chunks(6).map(|bits| alphabet[usize::from(digit(bits))]).collect()
}

/// What readers make of a text who decode all of it, once or twice, and then each run of base64 in it.
fn readings(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut decoded = BTreeSet::from([text.to_vec()]);
    for _ in 0..2 {
        let more: Vec<_> = decoded.iter().flat_map(|text| [percent_decoded(text), unescaped(text)]).collect();
        decoded.extend(more);
    }
    let in_base64 =
        |text: &Vec<u8>| [STANDARD, URL_SAFE].map(|alphabet| from_base64(text, alphabet)).concat();
    let more: Vec<_> = decoded.iter().flat_map(in_base64).collect();
    decoded.extend(more);
    decoded
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::new(), text);
    while let [byte, behind @ ..] = rest {
        let escaped = behind.get(..2).filter(|_| *byte == b'%').and_then(number);
        decoded.push(escaped.and_then(|number| u8::try_from(number).ok()).unwrap_or(*byte));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

/// JSON's escapes; what is none stays.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::new(), text);
    while let [first, behind @ ..] = rest {
        let unit = behind.strip_prefix(b"u").and_then(|digits| digits.get(..4)).and_then(number);
        rest = match (first, behind) {
            (b'\\', [sign @ (b'"' | b'\\' | b'/'), behind @ ..]) => {
                decoded.push(*sign);
                behind
            }
            _ => {
                if let Some(character) = unit.and_then(char::from_u32).filter(|_| *first == b'\\') {
                    decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    &behind[5..]
                } else {
                    decoded.push(*first);
                    behind
                }
            }
        };
    }
    decoded
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())?
}

/// What the runs of an alphabet hold, beginning at any of four characters.
fn from_base64(text: &[u8], alphabet: &[u8; 64]) -> Vec<Vec<u8>> {
    let mut values = [None; 256];
    for (value, byte) in alphabet.iter().enumerate() {
        values[usize::from(*byte)] = Some(value);
    }
    let digit = |byte: &u8| values[usize::from(*byte)];
    let runs = text.split(|byte| digit(byte).is_none()).filter(|run| run.len() * 3 / 4 >= SHORTEST);
    let decoded = |digits: &[usize]| -> Vec<u8> {
        let bits: Vec<_> =
            digits.iter().flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1)).collect();
        bits.chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit == 1)))
            .collect()
    };
    runs.flat_map(|run| {
        let digits: Vec<_> = run.iter().filter_map(digit).collect();
        (0..4).map(|from| decoded(&digits[from..])).collect::<Vec<_>>()
    })
    .collect()
}
