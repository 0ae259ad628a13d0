//! The compression of fields (HPACK, RFC 7541).

mod decoder;
mod encoder;
mod huffman;
mod table;

pub use decoder::Decoder;
pub use encoder::{put_field, put_status, put_table_size};

/// What was read is no HPACK: the two ends do not know the same any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

#[cfg(test)]
mod tests;
