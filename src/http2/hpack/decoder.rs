//! Reading blocks of fields (RFC 7541, section 6).

use crate::http2::hpack::table::{Entry, LARGEST, Table};
use crate::http2::hpack::{Malformed, huffman};

/// Reads the blocks of one connection, in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Reads a whole block, and gives its fields to `take`: name and value.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first().copied() {
            let is_kept = match first {
                0x80.. => {
                    let (name, value) = self.table.get(integer(&mut rest, 7)?)?;
                    take(name, value);
                    may_resize = false;
                    continue;
                }
                0x20..0x40 if may_resize => {
                    let size = integer(&mut rest, 5)?;
                    self.table.resize(if size <= LARGEST { size } else { return Err(Malformed) });
                    continue;
                }
                0x20..0x40 => return Err(Malformed),
                // Never indexed, or just not: a difference only for whoever compresses it again.
                0x40.. => true,
                0x00..0x20 => false,
            };
            may_resize = false;
            let name = match integer(&mut rest, if is_kept { 6 } else { 4 })? {
                0 => string(&mut rest, &mut self.name)?,
                index => self.table.get(index)?.0,
            };
            let value = string(&mut rest, &mut self.value)?;
            take(name, value);
            if is_kept {
                let entry = Entry::new(name, value);
                self.table.insert(entry);
            }
        }
        Ok(())
    }
}

/// An integer behind a prefix of so many bits (section 5.1); nobody needs one of more than 28.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, mut behind) = rest.split_first().ok_or(Malformed)?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, next) = behind.split_first().ok_or(Malformed)?;
            behind = next;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(Malformed);
            }
        }
    }
    *rest = behind;
    Ok(value)
}

/// A string (section 5.2); one that is coded is decoded into `decoded`.
fn string<'a, 'block: 'a>(rest: &mut &'block [u8], decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (string, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = behind;
    if !is_coded {
        return Ok(string);
    }
    decoded.clear();
    huffman::decode(string, decoded)?;
    Ok(decoded)
}
