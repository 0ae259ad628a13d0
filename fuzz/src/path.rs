//! A path: whoever reads it in one of the ways in which servers read paths finds no token endpoint behind one
//! that may pass.

use std::collections::BTreeSet;

use bearerd::route::path::{canonical, check};

/// As many times as a server might decode.
const DECODINGS: usize = 3;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A query begins where a path ends, and is no part of it.
    let path = format!("/{}", text.split('?').next().unwrap_or_default());
    let stable = canonical(&path);
    assert_eq!(canonical(&stable), stable, "the canonical form is its own");
    if check(&path).is_err() {
        return;
    }
    for reading in readings(&path) {
        assert!(!reading.split(|byte| *byte == b'/').any(|segment| segment == b".."), "{path} leads upwards");
        // Decoding less than until nothing is left may leave escapes; decoded to the end all are one.
        if let Ok(reading) = str::from_utf8(&reading) {
            assert_eq!(canonical(reading), stable, "{path} is compared as what {reading} is");
        }
    }
}

/// What servers make of a path: decoded so many times, with and without parameters, slashes merged or not.
pub(crate) fn readings(path: &str) -> BTreeSet<Vec<u8>> {
    let mut readings = BTreeSet::new();
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..=DECODINGS {
        let lower = |byte: &u8| if *byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() };
        let text: Vec<u8> = decoded.iter().map(lower).collect();
        let segments = |cuts_parameters: bool| {
            let mut path = Vec::new();
            for segment in text.split(|byte| *byte == b'/') {
                let name = segment.split(|byte| *byte == b';' && cuts_parameters).next().unwrap_or_default();
                if !matches!(name, b"" | b".") {
                    path.extend_from_slice(&[b"/", name].concat());
                }
            }
            path
        };
        readings.extend([segments(false), segments(true)]);
        decoded = decode(&decoded);
    }
    readings
}

/// Decodes once; what is no escape stays.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = escape.filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(digits) = digits {
            decoded.push(u8::from_str_radix(digits, 16).expect("two digits"));
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}
