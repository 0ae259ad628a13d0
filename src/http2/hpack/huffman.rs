//! The Huffman code of strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, so that
//! the lengths alone say everything.

use crate::http2::hpack::Malformed;

/// How many bits the code of each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8,
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24,
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
];

/// All bytes, and the one that says the end, which is never written.
const SYMBOLS: usize = 257;
const END: u16 = 256;

const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The symbols in the order of their codes, and for each length its first code, and where the symbols of
/// that length begin.
struct Code {
    symbols: [u16; SYMBOLS],
    first: [u32; LONGEST + 1],
    start: [usize; LONGEST + 2],
}

#[expect(clippy::cast_possible_truncation, reason = "there is no other cast in a constant, and all fit")]
const CODE: Code = {
    let mut code = Code { symbols: [0; SYMBOLS], first: [0; LONGEST + 1], start: [0; LONGEST + 2] };
    let (mut length, mut next, mut count) = (SHORTEST, 0, 0);
    while length <= LONGEST {
        code.first[length] = next;
        code.start[length] = count;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                code.symbols[count] = symbol as u16;
                count += 1;
                next += 1;
            }
            symbol += 1;
        }
        next <<= 1;
        length += 1;
    }
    code.start[length] = count;
    code
};

/// The symbol that each byte begins with, and the length of its code; a length of zero where that is
/// longer than a byte.
#[expect(clippy::cast_possible_truncation, reason = "there is no other cast in a constant, and all fit")]
const SHORT: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let mut length = SHORTEST;
        while length <= 8 && table[byte].1 == 0 {
            let offset = (byte as u32 >> (8 - length)).wrapping_sub(CODE.first[length]) as usize;
            if offset < CODE.start[length + 1] - CODE.start[length] {
                table[byte] = (CODE.symbols[CODE.start[length] + offset] as u8, length as u8);
            }
            length += 1;
        }
        byte += 1;
    }
    table
};

/// Appends what `coded` says.
pub(super) fn decode(coded: &[u8], decoded: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut bytes = coded;
    // The last `count` bits of `bits` are still to be read.
    let (mut bits, mut count) = (0_u64, 0_u32);
    decoded.reserve(coded.len() * 8 / SHORTEST);
    loop {
        if count < 32 {
            if let Some((word, rest)) = bytes.split_first_chunk() {
                bits = bits << 32 | u64::from(u32::from_be_bytes(*word));
                count += 32;
                bytes = rest;
            } else {
                for byte in std::mem::take(&mut bytes) {
                    bits = bits << 8 | u64::from(*byte);
                    count += 8;
                }
            }
        }
        // Nearly all symbols have a code of a byte at most.
        while count >= 8
            && let (symbol, length @ 1..) = SHORT[usize::from((bits >> (count - 8)).to_le_bytes()[0])]
        {
            decoded.push(symbol);
            count -= u32::from(length);
        }
        if count < 32 && !bytes.is_empty() {
            continue;
        }
        // The next 32 bits; behind the last there are ones, as in the padding.
        let window = if count >= 32 { bits >> (count - 32) } else { !(!bits << (32 - count)) };
        let window = u32::try_from(window & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let (symbol, length) = symbol(window);
        if length > count {
            // Less than a byte of ones is the padding; anything else is no code.
            let is_padding = count < 8 && window == u32::MAX;
            return if is_padding { Ok(()) } else { Err(Malformed) };
        }
        decoded.push(u8::try_from(symbol).map_err(|_| Malformed)?);
        count -= length;
    }
}

/// The symbol whose code `window` begins with, and the length of that.
fn symbol(window: u32) -> (u16, u32) {
    let (symbol, length) = SHORT[(window >> 24) as usize];
    if length > 0 {
        return (u16::from(symbol), u32::from(length));
    }
    (9..=LONGEST)
        .find_map(|length| {
            let offset = ((window >> (32 - length)).wrapping_sub(CODE.first[length])) as usize;
            let (start, end) = (CODE.start[length], CODE.start[length + 1]);
            (offset < end - start).then(|| (CODE.symbols[start + offset], length))
        })
        .map_or((END, 32), |(symbol, length)| (symbol, u32::try_from(length).unwrap_or(32)))
}
