//! Bodies that came compressed though nobody asked for it: they are decoded to be looked at, and passed on
//! as they came.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::guard::Withheld;
use crate::guard::patterns::Patterns;
use crate::guard::screen::{Patience, Screen, Shown};
use crate::guard::token_answer::TokenAnswer;

/// Bytes that are decoded at once, so that little room is taken by what comes of them.
const STEP: usize = 256;

/// How many times its own length a body may have when it is decoded, beside [`ALLOWANCE`].
const MOST_TIMES: u64 = 100;

/// What any body may have when it is decoded, in bytes.
const ALLOWANCE: u64 = 1024 * 1024;

/// A content coding (RFC 9110, section 8.4.1) that can be decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`.
    Gzip,
    /// `deflate`: zlib (RFC 1950), or what some servers take it for: the bare format (RFC 1951).
    Deflate,
}

impl Coding {
    /// The coding of this name; `None` for any other.
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            Some(Self::Gzip)
        } else if name.eq_ignore_ascii_case(b"deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }
}

/// Decodes a body and looks through it.
#[derive(Debug)]
pub(super) struct Inflater {
    decoder: Decoder,
    screen: Screen,
    /// For what comes as it comes: there are names and remarks in it that are not compressed.
    bare: Screen,
    tokens: Option<TokenAnswer>,
    came: u64,
    decoded: u64,
}

#[derive(Debug)]
enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Bare(DeflateDecoder<Vec<u8>>),
    /// One of the two before, which the first two bytes tell.
    Unknown(Vec<u8>),
}

impl Inflater {
    /// An inflater for the beginning of a body.
    pub(super) fn new(
        coding: Coding,
        patterns: &Arc<Patterns>,
        patience: Patience,
        tokens: Option<TokenAnswer>,
    ) -> Self {
        let [screen, bare] = [(); 2].map(|()| Screen::new(Arc::clone(patterns), patience));
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => Decoder::Unknown(Vec::new()),
        };
        Self { decoder, screen, bare, tokens, came: 0, decoded: 0 }
    }

    /// Looks through the next piece, behind which nothing follows if `is_last`, and says whether all that
    /// came so far may be passed on.
    pub(super) fn look(&mut self, piece: &[u8], is_last: bool) -> Result<bool, Withheld> {
        self.came += piece.len() as u64;
        assert_clear(&mut self.bare, piece, is_last)?;
        for step in piece.chunks(STEP) {
            self.decoder.write(step).and_then(|()| self.decoder.flush()).map_err(|_| Withheld)?;
            self.look_through(false)?;
        }
        if is_last {
            self.decoder.finish().map_err(|_| Withheld)?;
            self.look_through(true)?;
        }
        Ok(self.tokens.is_none() && !self.screen.is_holding() && !self.bare.is_holding())
    }

    fn look_through(&mut self, is_last: bool) -> Result<(), Withheld> {
        let mut text = self.decoder.take();
        self.decoded += text.len() as u64;
        if self.decoded > ALLOWANCE + MOST_TIMES * self.came {
            return Err(Withheld);
        }
        if let Some(tokens) = &mut self.tokens {
            match tokens.read(&text, is_last) {
                Some(true) => return Err(Withheld),
                Some(false) => self.tokens = None,
                None => {}
            }
        }
        assert_clear(&mut self.screen, &text, is_last)?;
        text.clear();
        self.decoder.give(text);
        Ok(())
    }
}

/// Has the next piece of a text looked through, behind which nothing follows if `is_last`: nothing may be in it.
fn assert_clear(screen: &mut Screen, text: &[u8], is_last: bool) -> Result<(), Withheld> {
    let mut at = 0;
    while at < text.len() || (is_last && screen.is_holding()) {
        match screen.show(&text[at..], is_last) {
            Shown::Bytes(bytes) => {
                let count = bytes.len();
                at += screen.take(count, &text[at..]);
            }
            Shown::Wait => {
                screen.hold(&text[at..]);
                at = text.len();
            }
        }
        if screen.found() > 0 {
            return Err(Withheld);
        }
    }
    Ok(())
}

impl Decoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Bare(decoder) => decoder.write_all(bytes),
            Self::Unknown(start) => {
                start.extend_from_slice(bytes);
                let [first, second, ..] = start[..] else { return Ok(()) };
                let start = std::mem::take(start);
                let is_zlib = first & 0xf == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
                *self = if is_zlib {
                    Self::Zlib(ZlibDecoder::new(Vec::new()))
                } else {
                    Self::Bare(DeflateDecoder::new(Vec::new()))
                };
                self.write(&start)
            }
        }
    }

    /// Has all written that can be told by now.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zlib(decoder) => decoder.flush(),
            Self::Bare(decoder) => decoder.flush(),
            Self::Unknown(_) => Ok(()),
        }
    }

    /// Nothing follows.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Bare(decoder) => decoder.try_finish(),
            Self::Unknown(start) if start.is_empty() => Ok(()),
            Self::Unknown(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn output(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::Bare(decoder) => Some(decoder.get_mut()),
            Self::Unknown(_) => None,
        }
    }

    /// What was decoded.
    fn take(&mut self) -> Vec<u8> {
        self.output().map(std::mem::take).unwrap_or_default()
    }

    /// Gives the memory of what was taken back.
    fn give(&mut self, memory: Vec<u8>) {
        if let Some(output) = self.output() {
            *output = memory;
        }
    }
}
