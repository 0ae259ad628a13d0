//! Where a chunked body ends.

/// Follows a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub struct Chunks {
    part: Part,
    size: u64,
    has_digits: bool,
    /// Bytes of the line at hand, to tell an empty one.
    line: usize,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Size,
    /// Behind the size, up to the line's end.
    Extension,
    /// Data, and the line end behind it.
    Data,
    DataEnd,
    Trailers,
}

/// The bytes are no chunked body.
pub struct NotChunked;

impl Chunks {
    /// How many bytes belong to the body, and whether it is over.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<(usize, bool), NotChunked> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match self.part {
                Part::Size => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        self.has_digits = true;
                        let size = self.size.checked_mul(16).ok_or(NotChunked)?;
                        self.size = size | u64::from(digit);
                    }
                    None if self.has_digits && matches!(byte, b';' | b' ' | b'\t' | b'\r') => {
                        self.part = Part::Extension;
                    }
                    None => return Err(NotChunked),
                },
                Part::Extension => {
                    if byte == b'\n' {
                        self.line = 0;
                        self.part = if self.size == 0 { Part::Trailers } else { Part::Data };
                    }
                }
                Part::Data => {
                    let taken = self.size.min((bytes.len() - at + 1) as u64);
                    self.size -= taken;
                    at += usize::try_from(taken).unwrap_or(0) - 1;
                    if self.size == 0 {
                        self.part = Part::DataEnd;
                    }
                }
                Part::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => *self = Self::default(),
                    _ => return Err(NotChunked),
                },
                Part::Trailers => match byte {
                    b'\r' => {}
                    b'\n' if self.line == 0 => return Ok((at, true)),
                    b'\n' => self.line = 0,
                    _ => self.line += 1,
                },
            }
        }
        Ok((at, false))
    }
}
