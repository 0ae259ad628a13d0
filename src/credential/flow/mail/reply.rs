//! What an IMAP server says (RFC 9051, section 7): a line, and literals in it.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::strtime;
use zeroize::Zeroizing;

use crate::credential::flow::mail::LARGEST_MESSAGE;

/// The longest line of a reply, in bytes, literals left out.
const LONGEST_LINE: usize = 64 * 1024;

/// The largest reply, in bytes: one message and what stands around it.
const LARGEST_REPLY: usize = LARGEST_MESSAGE + 2 * LONGEST_LINE;

/// How a server writes a time (RFC 9051, section 9, `date-time`).
const RECEIVED: &str = "%d-%b-%Y %H:%M:%S %z";

/// One reply.
pub struct Reply {
    /// Its line, without literals and the line break.
    pub line: Zeroizing<String>,
    /// Its last literal.
    pub literal: Option<Zeroizing<Vec<u8>>>,
}

/// A server goes on where it should have come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endless {
    /// In a line.
    Line,
    /// In its replies.
    Reply,
}

impl fmt::Display for Endless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Line => "sends a line without end",
            Self::Reply => "sends more than was asked for",
        })
    }
}

impl Reply {
    /// The number behind a word, such as that of `UIDNEXT`.
    pub fn number(&self, word: &str) -> Option<u32> {
        let words = || self.line.split([' ', '(', ')', '[', ']']).filter(|word| !word.is_empty());
        let at = words().position(|found| found.eq_ignore_ascii_case(word))?;
        words().nth(at + 1)?.parse().ok()
    }

    /// The number of what is told, asked for or not, as in `* 23 EXISTS` and `* 4 EXPUNGE`.
    pub fn told(&self, what: &str) -> Option<u32> {
        let mut words = self.line.split(' ');
        let number = words.next().filter(|mark| *mark == "*").and_then(|_| words.next()?.parse().ok());
        number.filter(|_| words.next().is_some_and(|word| word.eq_ignore_ascii_case(what)))
    }

    /// Whether the server ends the connection.
    pub fn is_goodbye(&self) -> bool {
        self.starts_with("* BYE")
    }

    /// Whether it is the end of the command with this tag.
    pub fn is_tagged(&self, tag: &str) -> bool {
        self.line.strip_prefix(tag).is_some_and(|rest| rest.starts_with(' '))
    }

    /// Whether the server wants to hear more of a command.
    pub fn is_invitation(&self) -> bool {
        self.line.starts_with('+')
    }

    /// Whether its line begins so, in whatever case.
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }

    /// When the server received the message that it tells of.
    pub fn received(&self) -> Option<Timestamp> {
        let time = |text: &str| strtime::parse(RECEIVED, text.trim()).ok()?.to_timestamp().ok();
        self.line.split('"').skip(1).step_by(2).find_map(time)
    }

    /// The number of a message and this part of it, such as `BODY[]`, if it brings that one.
    pub fn message(self, part: &str) -> Option<(u32, Zeroizing<Vec<u8>>)> {
        let is_message = self.line.split(' ').nth(2).is_some_and(|word| word.eq_ignore_ascii_case("FETCH"))
            && self.line.to_ascii_uppercase().contains(part);
        let uid = self.number("UID").filter(|_| is_message)?;
        Some((uid, self.literal?))
    }

    /// What the names of an account's own folders begin with, if it answers to `NAMESPACE` (RFC 9051, section 6.3.10):
    /// the first text of the first list.
    pub fn own_prefix(&self) -> Option<String> {
        let own = self.line.get("* NAMESPACE".len()..).filter(|_| self.starts_with("* NAMESPACE"))?;
        let prefix = own.strip_prefix(" ((\"").and_then(|rest| rest.split_once('"'));
        Some(prefix.map(|(prefix, _)| prefix.to_owned()).unwrap_or_default())
    }
}

/// The first reply of what was received and its length in bytes; `None` if it has not all come.
///
/// # Errors
/// It is longer than any that is asked for.
pub fn first(received: &[u8]) -> Result<Option<(Reply, usize)>, Endless> {
    let mut reply = Reply { line: Zeroizing::default(), literal: None };
    let mut at = 0;
    loop {
        let rest = &received[at..];
        let Some(length) = memchr::memmem::find(rest, b"\r\n") else {
            let is_too_long = rest.len() + reply.line.len() > LONGEST_LINE;
            return if is_too_long { Err(Endless::Line) } else { Ok(None) };
        };
        let line = String::from_utf8_lossy(&rest[..length]);
        at += length + 2;
        let Some((before, size)) = literal(&line) else {
            reply.line.push_str(&line);
            return Ok(Some((reply, at)));
        };
        let Some(size) = size.filter(|size| at.saturating_add(*size) <= LARGEST_REPLY) else {
            return Err(Endless::Reply);
        };
        reply.line.push_str(before);
        let Some(bytes) = received.get(at..at + size) else { return Ok(None) };
        reply.literal = Some(Zeroizing::new(bytes.to_vec()));
        at += size;
    }
}

/// What stands before the length of a literal at the end of a line, and the length (RFC 9051, section 4.3); `None` for
/// one that no machine could hold.
fn literal(line: &str) -> Option<(&str, Option<usize>)> {
    let (before, size) = line.strip_suffix('}')?.rsplit_once('{')?;
    let size = size.strip_suffix('+').unwrap_or(size);
    let is_size = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    is_size.then(|| (before, size.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::{Endless, Reply, first};

    fn reply(line: &str) -> Reply {
        first(format!("{line}\r\n").as_bytes()).expect("an end").expect("all of it").0
    }

    #[test]
    fn a_reply_is_a_line_with_its_literals() {
        let text = b"* 3 FETCH (UID 5 BODY[] {4}\r\na\r\nb FLAGS (\\Seen))\r\n* 4 EXISTS\r\n";
        for cut in 0..text.len() {
            let reply = first(&text[..cut]).expect("no trouble");
            assert_eq!(reply.is_some(), cut >= text.len() - 12, "{cut}");
        }
        let (reply, length) = first(text).expect("no trouble").expect("a reply");
        assert_eq!(length, text.len() - 12);
        assert_eq!(*reply.line, "* 3 FETCH (UID 5 BODY[]  FLAGS (\\Seen))");
        assert_eq!(reply.literal.as_ref().expect("a literal").as_slice(), b"a\r\nb");
        assert_eq!(
            (reply.number("UID"), reply.number("uidnext"), reply.told("EXISTS")),
            (Some(5), None, None)
        );
        let (reply, _) = first(&text[length..]).expect("no trouble").expect("a reply");
        assert!(reply.told("exists") == Some(4) && reply.literal.is_none());
    }

    #[test]
    fn numbers_stand_behind_their_words() {
        assert_eq!(reply("* OK [UIDNEXT 4392] Predicted").number("UIDNEXT"), Some(4392));
        assert_eq!(reply("* OK [UIDVALIDITY 38]").number("UIDVALIDITY"), Some(38));
        assert_eq!(reply("* 12 FETCH (FLAGS () UID 7)").number("UID"), Some(7));
    }

    #[test]
    fn a_server_cannot_fill_the_memory() {
        assert_eq!(first(&vec![b'x'; 70_000]).err(), Some(Endless::Line));
        for size in ["99999999", "4294967296", "99999999999999999999999"] {
            let text = format!("* 1 FETCH (BODY[] {{{size}}}\r\n");
            assert_eq!(first(text.as_bytes()).err(), Some(Endless::Reply), "{size}");
        }
        let pieces = format!("* 1 FETCH (A {{60000}}\r\n{}", "x".repeat(60_000)).repeat(12);
        assert_eq!(first(pieces.as_bytes()).err(), Some(Endless::Reply), "many literals are one reply");
        assert!(first(b"* OK {not a size}\r\n").is_ok_and(|reply| reply.is_some()));
    }

    #[test]
    fn the_own_folders_of_an_account_have_a_prefix() {
        for (line, expected) in [
            ("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL", Some("INBOX.")),
            ("* NAMESPACE ((\"\" \"/\")) ((\"Other/\" \"/\")) NIL", Some("")),
            ("* NAMESPACE NIL NIL ((\"shared.\" \".\"))", Some("")),
            ("* NAMESPACE", Some("")),
            ("* OK", None),
        ] {
            assert_eq!(reply(line).own_prefix().as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_time_at_which_a_server_received_a_message_is_read_with_its_zone() {
        let at = |text| {
            let received = reply(&format!("* 1 FETCH (UID 4 INTERNALDATE \"{text}\")")).received();
            received.map(|at| at.to_string())
        };
        assert_eq!(at("17-Jul-1996 02:44:25 -0700").as_deref(), Some("1996-07-17T09:44:25Z"));
        assert_eq!(at(" 1-Feb-2026 02:44:25 +0530").as_deref(), Some("2026-01-31T21:14:25Z"));
        assert_eq!(at("yesterday"), None);
        assert_eq!(reply("17-Jul-1996 02:44:25 -0700").received(), None, "a time stands in quotes");
    }
}
