//! DER (X.690, sections 8.1 and 10): elements, and elements in them.

/// One element: what it is, and what is in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// Its tag, of one byte.
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) content: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element, and what lies behind it.
    pub(crate) fn read(der: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[tag, length], rest) = der.split_first_chunk()?;
        let (length, rest) = match length {
            short @ ..=0x7f => (usize::from(short), rest),
            // The number of bytes that hold the length; an indefinite one is not DER.
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self { tag, content }, rest))
    }

    /// What is in it, element by element.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        parts(self.content)
    }
}

/// Element by element, up to what is none.
pub(crate) fn parts(mut der: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let (element, rest) = Element::read(der)?;
        der = rest;
        Some(element)
    })
}
