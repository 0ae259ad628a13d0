//! Bytes that must not be seen.
//!
//! [`Secret`] is the only type that holds a password, a key or a token. It cannot be printed or
//! serialised, it compares in constant time, and its bytes are wiped when the last copy goes. Those that
//! tokens are made with (passwords, keys, refresh tokens) lie in memory that never reaches the swap.
//! Redaction sits on this leaf, so that a derived `Debug` of any type above it is safe.

mod arena;
mod file;

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use arena::Cell;
pub use arena::{Held, held, prepare};
pub use file::{open_file, read_file, unreadable, what_else};

/// A secret value: a password, a client secret, a key, a token.
///
/// Cloning shares the bytes, so that a secret lies in memory once however many hold it.
#[derive(Clone)]
pub struct Secret(Arc<Place>);

/// Where the bytes lie.
enum Place {
    Heap(Zeroizing<Vec<u8>>),
    Arena(Cell),
}

impl Secret {
    /// Takes the bytes over; the caller's buffer is moved, not copied.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Zeroizing::new(bytes.into()).into()
    }

    /// The same secret in memory that never reaches the swap, as far as the system lets this process have
    /// that: for what is kept for long, and what more than one token can be made with.
    #[must_use]
    pub fn locked(self) -> Self {
        match &*self.0 {
            Place::Arena(_) => self,
            Place::Heap(bytes) => match Cell::holding(bytes) {
                Some(cell) => Self(Arc::new(Place::Arena(cell))),
                None => self,
            },
        }
    }

    /// The bytes themselves. Every call is a place where a secret leaves its cover: keep them few.
    pub fn expose(&self) -> &[u8] {
        match &*self.0 {
            Place::Heap(bytes) => bytes,
            Place::Arena(cell) => cell.expose(),
        }
    }

    /// The secret as text, or `None` if it is not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// The bytes for a library that takes nothing else; they are wiped when the last who holds them lets go.
    pub fn into_bytes(self) -> Bytes {
        struct Exposed(Secret);
        impl AsRef<[u8]> for Exposed {
            fn as_ref(&self) -> &[u8] {
                self.0.expose()
            }
        }
        Bytes::from_owner(Exposed(self))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(Place::Heap(bytes)))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

/// A buffer to put a secret together in. What it outgrows is wiped, and so is all of it when it is
/// dropped.
#[derive(Default)]
pub struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    /// A buffer that holds so many bytes before it has to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Reads to the end, or a little beyond `limit` bytes: whoever asks sees by the length that there
    /// was more.
    pub fn read(from: &mut impl Read, limit: usize) -> io::Result<Self> {
        let mut buffer = Self::default();
        let mut piece = Zeroizing::new([0; 4096]);
        loop {
            match from.read(&mut *piece) {
                Ok(0) => return Ok(buffer),
                Ok(length) => buffer.push(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if buffer.len() > limit {
                return Ok(buffer);
            }
        }
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        append(&mut self.0, bytes);
    }

    /// The whole, without the one line break that editors and `echo` leave at the end.
    pub fn without_line_break(self) -> Secret {
        let kept = without_line_break(&self.0);
        if kept.len() == self.0.len() { self.into() } else { Secret::new(kept) }
    }

    /// The bytes so far.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends without leaving the old bytes behind in memory when the buffer has to grow.
pub fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((buffer.len() + bytes.len()).max(64) * 2));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// The bytes without the one line break that editors and `echo` leave at the end.
pub fn without_line_break(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
}

impl From<SecretBuffer> for Secret {
    fn from(buffer: SecretBuffer) -> Self {
        // No more room than it needs: there may be thousands.
        if buffer.0.capacity() > buffer.0.len() { Self::new(buffer.expose()) } else { Self::from(buffer.0) }
    }
}

/// Writing never fails.
impl io::Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretBuffer};

    #[derive(Debug)]
    #[expect(dead_code, reason = "only its Debug is of interest")]
    struct Holder(Option<Secret>);

    #[test]
    fn debug_of_a_secret_shows_nothing_of_it() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "[redacted] [redacted]");
        assert!(!format!("{:?}", Holder(Some(secret))).contains("hunter2"));
    }

    #[test]
    fn a_locked_secret_is_the_same() {
        for length in [0, 1, 64, 65, 5000, 20_000] {
            let secret = Secret::new(vec![7; length]);
            assert_eq!(secret.clone().locked().locked(), secret);
        }
    }

    #[test]
    fn secrets_are_equal_by_their_bytes() {
        assert_eq!(Secret::from("a"), Secret::from(String::from("a")));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
    }

    #[test]
    fn a_buffer_grows_over_what_it_holds() {
        let mut buffer = SecretBuffer::with_capacity(1);
        for _ in 0..100 {
            buffer.push(b"abc");
        }
        assert_eq!(buffer.len(), 300);
        assert_eq!(Secret::from(buffer), Secret::from("abc".repeat(100)));
    }
}
