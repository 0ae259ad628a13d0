//! What an IMAP server says: in any pieces the same replies, each with the literal that was announced, and nothing
//! of one in the next.

use bearerd::credential::flow::mail::reply::{Endless, Reply, first};

/// What was read of a text: the replies, why no more was, and how many bytes are left.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    replies: Vec<(String, Option<Vec<u8>>)>,
    end: Option<Endless>,
    left: usize,
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((&size, text)) = bytes.split_first() else { return };
    let whole = read(text, text.len().max(1));
    assert_eq!(read(text, usize::from(size).max(1)), whole, "in pieces of {size}");
    let mut rest = text;
    for (line, literal) in &whole.replies {
        let (expected, behind) = plainly(rest).expect("whoever reads in the simplest way finds a reply, too");
        assert_eq!(&expected, literal, "and the same literal");
        assert!(line.len() <= 3 * (rest.len() - behind.len()), "a line is of what came");
        rest = behind;
    }
    assert_eq!(rest.len(), whole.left, "and the same end of it");
}

fn read(text: &[u8], size: usize) -> Read {
    let (mut received, mut replies, mut left) = (Vec::new(), Vec::new(), text.len());
    for piece in text.chunks(size) {
        received.extend_from_slice(piece);
        loop {
            match first(&received) {
                Ok(Some((reply, length))) => {
                    received.drain(..length);
                    left -= length;
                    replies.push(checked(reply));
                }
                Ok(None) => break,
                Err(end) => return Read { replies, end: Some(end), left },
            }
        }
    }
    Read { replies, end: None, left }
}

/// The line and the literal of a reply, of which nothing is read that it does not say.
fn checked(reply: Reply) -> (String, Option<Vec<u8>>) {
    let line = reply.line.to_string();
    let literal = reply.literal.as_ref().map(|literal| literal.to_vec());
    let uid = reply.number("UID");
    assert!(reply.told("EXISTS").is_none() || line.starts_with("* "), "{line} tells nothing");
    assert!(reply.received().is_none() || line.contains('"'), "a time stands in quotes");
    let prefix = reply.own_prefix().unwrap_or_default();
    assert!(line.contains(&prefix) && !prefix.contains('"'), "a prefix is of the line");
    if let Some((of, part)) = reply.message("BODY[]") {
        let word = line.split(' ').nth(2).unwrap_or_default();
        assert!(word.eq_ignore_ascii_case("fetch"), "{line} brings no message");
        assert!(Some(of) == uid && Some(part.to_vec()) == literal, "a part is of the message that is named");
    }
    (line, literal)
}

/// The last literal of the first reply as the simplest reader has it, and what is behind the reply.
fn plainly(mut text: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let mut literal = None;
    loop {
        let end = text.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, behind) = (&text[..end], &text[end + 2..]);
        let begin = line.iter().rposition(|byte| *byte == b'{').map_or(end, |at| at + 1);
        let size = line[begin..].strip_suffix(b"}").map(|size| size.strip_suffix(b"+").unwrap_or(size));
        let size = size.filter(|size| !size.is_empty() && size.iter().all(u8::is_ascii_digit));
        let Some(size) = size else { return Some((literal, behind)) };
        let size = str::from_utf8(size).ok()?.parse().ok()?;
        literal = Some(behind.get(..size)?.to_vec());
        text = &behind[size..];
    }
}
