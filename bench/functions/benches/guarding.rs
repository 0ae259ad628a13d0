//! Texts that the guard looks through.

use std::sync::Arc;

use bearerd::guard::{Patience, Patterns, Screen, Shown};
use bearerd::secret::Secret;

/// A token and a password as they are in play for a login.
const VALUES: [&str; 2] = ["eyJhbGciOiJSUzI1NiJ9.c3ViamVjdA.c2lnbmF0dXJl", "correct-horse-battery"];

/// What is looked for.
pub fn patterns() -> Arc<Patterns> {
    Arc::new(Patterns::new(&VALUES.map(Secret::from)))
}

/// JSON without an escape.
pub fn plain(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!(
            r#"{{"id":"tx-{number:06}","amount":"{number}.99","text":"Invoice {number} of Miller und Partner"}},"#
        )
    })
}

/// JSON with an escape now and then, as programs write it: lines, quotes, slashes and umlauts.
pub fn json(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!(
            r#"{{"url":"https:\/\/api.example\/v1\/{number}","text":"He said \"M\u00fcller\"\nand went {number}"}},"#
        )
    })
}

/// JSON with what has signs of escapes in it, though it is not escaped: addresses with parameters.
pub fn addresses(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!(r#"{{"next":"https://api.example/v1/list?page={number}&size=50&order=descending&of=M%C3%BCller"}},"#)
    })
}

/// A page, with references to characters.
pub fn page(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!("<p class=\"line\">Miller &amp; Sons have &lt;{number}&gt;, <a href=\"/list?a=1&amp;b=2\">more</a></p>\n")
    })
}

/// A text of which each letter is escaped in JSON.
pub fn unicode(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!("tx {number} of Miller").bytes().map(|byte| format!("\\u{byte:04x}")).collect()
    })
}

/// A text of which each letter is percent-encoded.
pub fn percent(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!("tx {number} of Miller").bytes().map(|byte| format!("%{byte:02X}")).collect()
    })
}

/// JSON in JSON: escapes of escapes.
pub fn nested(length: usize) -> Vec<u8> {
    repeated(length, |number| {
        format!(r#"\"{{\\\"id\\\":\\\"tx-{number:06}\\\",\\\"text\\\":\\\"Invoice\\\"}}\","#)
    })
}

fn repeated(length: usize, piece: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text: Vec<u8> = (0..).flat_map(|number| piece(number).into_bytes()).take(length).collect();
    // It does not end in the middle of an escape.
    let end = text.len() - 16;
    text[end..].fill(b'x');
    text
}

/// Looks through a text that comes in pieces of the size in which a body is read: how many bytes pass.
pub fn screened(patterns: &Arc<Patterns>, text: &[u8]) -> usize {
    let mut screen = Screen::new(Arc::clone(patterns), Patience::Whole);
    let mut passed = 0;
    for piece in text.chunks(64 * 1024) {
        let mut rest = piece;
        while !rest.is_empty() {
            match screen.show(rest, false) {
                Shown::Bytes(bytes) => {
                    let count = bytes.len();
                    passed += count;
                    rest = &rest[screen.take(count, rest)..];
                }
                Shown::Wait => {
                    screen.hold(rest);
                    rest = b"";
                }
            }
        }
    }
    passed
}
