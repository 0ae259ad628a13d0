//! Blocks of fields over HTTP/2: what is taken for a head can be said over HTTP/1.1 as well, and says the same.

use bearerd::http1::head::Progress;
use bearerd::http1::{HeadLimits, RequestHead};
use bearerd::http2::head::RequestReader;
use bearerd::http2::hpack::Decoder;

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 16 * 1024 };

/// Blocks of one connection, each with its length before it.
pub(crate) fn run(mut bytes: &[u8]) {
    let mut decoder = Decoder::default();
    while !bytes.is_empty() {
        let block = super::piece(&mut bytes);
        let mut head = RequestHead::default();
        let mut reader = RequestReader::new(&mut head, LIMITS.bytes);
        if decoder.decode(block, |name, value| reader.take(name, value)).is_err() {
            return;
        }
        let Ok(read) = reader.finish(false, LIMITS) else { continue };
        if read.fits.is_ok() {
            check(&head);
        }
    }
}

fn check(head: &RequestHead) {
    let mut text = [head.method.as_str().as_bytes(), b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    for field in head.fields.iter() {
        assert!(!field.name.iter().any(u8::is_ascii_uppercase), "names are in lower case");
        text.extend_from_slice(&[field.name, b": ", field.value, b"\r\n"].concat());
    }
    text.extend_from_slice(b"\r\n");
    // A target that is no text is refused later; over HTTP/1.1 it is no head.
    if str::from_utf8(head.target()).is_err() {
        return;
    }
    let mut again = RequestHead::default();
    let roomy = HeadLimits { bytes: 2 * LIMITS.bytes, fields: 2 * LIMITS.fields, target: LIMITS.bytes };
    assert_eq!(again.parse(&text, roomy), Ok(Progress::Whole(text.len())), "{}", text.escape_ascii());
    assert_eq!(again.target(), head.target());
    let fields = |head: &RequestHead| -> Vec<(Vec<u8>, Vec<u8>)> {
        head.fields.iter().map(|field| (field.name.to_vec(), field.value.trim_ascii().to_vec())).collect()
    };
    assert_eq!(fields(&again), fields(head), "one field stays one field");
}
