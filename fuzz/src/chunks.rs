//! Chunked bodies: however they arrive, the same bytes come out, the same bytes are left, and what is written
//! of them is read as the same again.

use bearerd::buffer::{Input, Output};
use bearerd::http1::body::Step;
use bearerd::http1::{Decoder, Encoder, Framing};

pub(crate) fn run(bytes: &[u8]) {
    let Some((&size, text)) = bytes.split_first() else { return };
    let whole = read(text, text.len().max(1));
    assert_eq!(read(text, usize::from(size).max(1)), whole, "in pieces of {size}");
    let Some(Body { data, left }) = whole else { return };
    let (expected, rest) = plainly(text).expect("whoever reads in the simplest way finds a body, too");
    assert_eq!((&data, left), (&expected, rest.len()), "and the same one");
    let mut output = Output::default();
    let mut encoder = Encoder::new(Framing::Chunked);
    for piece in data.chunks(usize::from(size).max(1)) {
        let count = encoder.frame(piece, &mut output);
        output.put(&piece[..count]);
        encoder.wrote(count, &mut output);
        assert_eq!(count, piece.len(), "a chunk is as long as its data");
    }
    encoder.finish(None, &mut output);
    let again = read(output.bytes(), output.len()).expect("what is written can be read");
    assert_eq!((again.data, again.left), (data, 0));
}

#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    left: usize,
}

/// The body as the simplest reader has it, who forgives much, and what is left behind it.
fn plainly(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut data = Vec::new();
    loop {
        let (size, behind) = line(text)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(str::from_utf8(&size[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            text = behind;
            break;
        }
        data.extend_from_slice(behind.get(..size)?);
        text = behind.get(size..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, behind) = line(text)?;
        text = behind;
        if trailer.is_empty() {
            return Some((data, text));
        }
    }
}

/// A line without its end, and what follows it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let line = &text[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &text[end + 1..]))
}

/// The body that arrives in pieces of so many bytes; nothing if it is malformed or has no end.
fn read(text: &[u8], size: usize) -> Option<Body> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut input, mut data) = (Input::default(), Vec::new());
    let mut pieces = text.chunks(size);
    loop {
        match decoder.step(&mut input).ok()? {
            Step::Data(count) => {
                data.extend_from_slice(&input.bytes()[..count]);
                input.consume(count);
                decoder.took(count);
            }
            Step::Read => input.put(pieces.next()?),
            Step::End => {
                let left = input.bytes().len() + pieces.map(<[u8]>::len).sum::<usize>();
                return Some(Body { data, left });
            }
        }
    }
}
