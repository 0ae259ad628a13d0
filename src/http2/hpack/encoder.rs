//! Writing blocks of fields.
//!
//! Nothing is kept between blocks, and strings are not coded: an app is near, and what it would save in
//! bytes it would cost in time.

use http::StatusCode;

use crate::buffer::Output;

/// Says that the table is empty, and stays so: what has to be said when the other side wants a smaller
/// one than it had (RFC 7541, section 4.2).
pub fn put_table_size(output: &mut Output) {
    output.put(&[0x20]);
}

/// Writes `:status`.
pub fn put_status(output: &mut Output, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            // Three digits behind their length.
            output.put(&[8, 3]);
            return output.put(status.as_str().as_bytes());
        }
    };
    output.put(&[0x80 | index]);
}

/// Writes a field, whose name becomes one in lower case (RFC 9113, section 8.2.1).
pub fn put_field(output: &mut Output, name: &[u8], value: &[u8]) {
    let mut lower = [0; LONGEST_KNOWN];
    let known = lower.get_mut(..name.len()).map_or(0, |lower| {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        index(lower)
    });
    // All of it at once: what comes first, two lengths, and two strings.
    let mut start = Start::default();
    let mut behind: &[u8] = b"";
    if known == 0 {
        start.push(0);
        start.push_length(name.len());
        behind = name;
    } else if known < 15 {
        start.push(known);
    } else {
        start.push(15);
        start.push(known - 15);
    }
    let mut length = Start::default();
    length.push_length(value.len());
    let (start, length) = (start.bytes(), length.bytes());
    let room = output.room(start.len() + behind.len() + length.len() + value.len());
    let (first, room) = room.split_at_mut(start.len());
    let (second, room) = room.split_at_mut(behind.len());
    let (third, last) = room.split_at_mut(length.len());
    first.copy_from_slice(start);
    second.copy_from_slice(behind);
    second.make_ascii_lowercase();
    third.copy_from_slice(length);
    last.copy_from_slice(value);
}

/// The longest name that [`index`] knows.
const LONGEST_KNOWN: usize = 27;

/// The index of a name in the static table, of those that answers have; else zero.
fn index(name: &[u8]) -> u8 {
    match name {
        b"age" => 21,
        b"via" => 60,
        b"date" => 33,
        b"etag" => 34,
        b"link" => 45,
        b"vary" => 59,
        b"allow" => 22,
        b"server" => 54,
        b"expires" => 36,
        b"location" => 46,
        b"set-cookie" => 55,
        b"retry-after" => 53,
        b"content-type" => 31,
        b"accept-ranges" => 18,
        b"cache-control" => 24,
        b"content-range" => 30,
        b"last-modified" => 44,
        b"content-length" => 28,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"www-authenticate" => 61,
        b"content-disposition" => 25,
        b"strict-transport-security" => 56,
        b"access-control-allow-origin" => 20,
        _ => 0,
    }
}

/// A few bytes in front of a string.
#[derive(Default)]
struct Start {
    bytes: [u8; 12],
    count: usize,
}

impl Start {
    fn push(&mut self, byte: u8) {
        self.bytes[self.count] = byte;
        self.count += 1;
    }

    /// The length of a string that is not coded (RFC 7541, section 5.1).
    fn push_length(&mut self, length: usize) {
        const MOST: usize = 0x7f;
        if length < MOST {
            return self.push(low_bits(length));
        }
        self.push(low_bits(MOST));
        let mut rest = length - MOST;
        while rest >= 0x80 {
            self.push(0x80 | low_bits(rest));
            rest >>= 7;
        }
        self.push(low_bits(rest));
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

/// The lowest seven bits.
fn low_bits(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_KNOWN, index};
    use crate::http2::hpack::table::STATIC;

    #[test]
    fn a_known_name_has_its_index_in_the_static_table() {
        let mut known = 0;
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let index = usize::from(index(name.as_bytes()));
            assert!(index == 0 || (index == at + 1 && name.len() <= LONGEST_KNOWN), "{name}");
            known += usize::from(index > 0);
        }
        assert_eq!(known, 25);
    }
}
