//! What is said on a connection to an IMAP server (RFC 9051): commands, and replies with their literals.
//! Both directions are wiped once they are done with.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::credential::flow::mail::{LARGEST_MESSAGE, Trouble};
use crate::upstream::connect::Stream;

/// How long a server may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest line of a reply, in bytes, literals left out.
const LONGEST_LINE: usize = 64 * 1024;

/// The largest reply, in bytes: one message and what stands around it.
const LARGEST_REPLY: usize = LARGEST_MESSAGE + 2 * LONGEST_LINE;

/// So much may all replies to one command come to, in bytes.
const MOST_REPLIED: usize = 16 * 1024 * 1024;

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    received: Zeroizing<Vec<u8>>,
    commands: u32,
    /// What the command under way was replied so far, in bytes.
    replied: usize,
    /// How many messages there are, as it was last told.
    exist: u32,
    /// There are more than there were when this was last forgotten.
    has_news: bool,
}

/// One reply.
pub(super) struct Reply {
    /// Its line, without literals and the line break.
    pub(super) line: Zeroizing<String>,
    /// Its last literal.
    pub(super) literal: Option<Zeroizing<Vec<u8>>>,
}

/// How a command was taken.
pub(super) enum Outcome {
    Ok,
    /// It was not, for this reason: the reply's line without its tag.
    No(String),
}

impl Reply {
    /// The number behind a word, such as that of `UIDNEXT`.
    pub(super) fn number(&self, word: &str) -> Option<u32> {
        let words = || self.line.split([' ', '(', ')', '[', ']']).filter(|word| !word.is_empty());
        let at = words().position(|found| found.eq_ignore_ascii_case(word))?;
        words().nth(at + 1)?.parse().ok()
    }

    /// The number of what is told, asked for or not, as in `* 23 EXISTS` and `* 4 EXPUNGE`.
    fn told(&self, what: &str) -> Option<u32> {
        let mut words = self.line.split(' ');
        let number = words.next().filter(|mark| *mark == "*").and_then(|_| words.next()?.parse().ok());
        number.filter(|_| words.next().is_some_and(|word| word.eq_ignore_ascii_case(what)))
    }

    pub(super) fn is_goodbye(&self) -> bool {
        self.starts_with("* BYE")
    }

    /// Whether it is the end of the command with this tag.
    pub(super) fn is_tagged(&self, tag: &str) -> bool {
        self.line.strip_prefix(tag).is_some_and(|rest| rest.starts_with(' '))
    }

    pub(super) fn is_invitation(&self) -> bool {
        self.line.starts_with('+')
    }

    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        let received = Zeroizing::default();
        Self { stream, received, commands: 0, replied: 0, exist: 0, has_news: false }
    }

    /// The connection itself, for another protocol to begin on it; `None` if something has come already that was not
    /// asked for.
    pub(super) fn into_stream(self) -> Option<Stream> {
        self.received.is_empty().then_some(self.stream)
    }

    /// Whether messages have come since this was last forgotten.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// What was told so far is going to be looked at.
    pub(super) fn forget_news(&mut self) {
        self.has_news = false;
    }

    /// Sends a command and gives each reply before its end to `each`.
    pub(super) async fn command(
        &mut self,
        command: &str,
        mut each: impl FnMut(Reply),
    ) -> Result<Outcome, Trouble> {
        let tag = self.begin(command).await?;
        loop {
            match self.until(&tag).await? {
                Ok(reply) => each(reply),
                Err(outcome) => return Ok(outcome),
            }
        }
    }

    /// A command that nothing but a fault of the server can refuse.
    pub(super) async fn order(&mut self, command: &str, each: impl FnMut(Reply)) -> Result<(), Trouble> {
        let word = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
        match self.command(command, each).await? {
            Outcome::Ok => Ok(()),
            Outcome::No(why) => Err(Trouble::Lost(format!("refused `{word}`: {why}"))),
        }
    }

    /// Authenticates by a mechanism whose only message is this (RFC 4422). Where the server wants to hear more, it has
    /// told an error, and gets `end`.
    pub(super) async fn authenticate(
        &mut self,
        mechanism: &str,
        message: &[u8],
        end: &str,
    ) -> Result<Outcome, Trouble> {
        let tag = self.begin(&format!("AUTHENTICATE {mechanism}")).await?;
        let message = Zeroizing::new(BASE64_STANDARD.encode(message));
        let mut answers = [message.as_str(), end].into_iter();
        loop {
            match self.until(&tag).await? {
                Ok(reply) if reply.is_invitation() => {
                    let endless = || Trouble::Lost("asks without end who calls".to_owned());
                    let answer = Zeroizing::new(format!("{}\r\n", answers.next().ok_or_else(endless)?));
                    self.send(answer.as_bytes()).await?;
                }
                Ok(_) => {}
                Err(outcome) => return Ok(outcome),
            }
        }
    }

    /// Sends a command that is not waited for; its tag.
    pub(super) async fn begin(&mut self, command: &str) -> Result<String, Trouble> {
        self.commands += 1;
        self.replied = 0;
        let tag = format!("B{}", self.commands);
        self.send(Zeroizing::new(format!("{tag} {command}\r\n")).as_bytes()).await?;
        Ok(tag)
    }

    /// The next reply, or the outcome of the command with this tag.
    pub(super) async fn until(&mut self, tag: &str) -> Result<Result<Reply, Outcome>, Trouble> {
        let reply = self.reply(PATIENCE).await?;
        let Some(rest) = reply.line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) else {
            return if reply.is_goodbye() { Err(hung_up()) } else { Ok(Ok(reply)) };
        };
        let is_ok = rest.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("OK"));
        Ok(Err(if is_ok { Outcome::Ok } else { Outcome::No(quoted(rest)) }))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(hung_up()),
            Err(_) => Err(Trouble::Lost("takes no more commands".to_owned())),
        }
    }

    /// The next reply, if it comes within `limit`.
    pub(super) async fn reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        let reply = tokio::time::timeout(limit, self.read_reply()).await;
        let reply =
            reply.unwrap_or_else(|_| Err(Trouble::Lost(format!("did not answer within {limit:?}"))))?;
        if let Some(count) = reply.told("EXISTS") {
            self.has_news |= count > self.exist;
            self.exist = count;
        } else if reply.told("EXPUNGE").is_some() {
            self.exist = self.exist.saturating_sub(1);
        }
        Ok(reply)
    }

    /// Reads one reply. Nothing is lost if it is broken off: what was read stays in the buffer until the reply is
    /// whole.
    async fn read_reply(&mut self) -> Result<Reply, Trouble> {
        loop {
            if let Some((reply, length)) = whole(&self.received)? {
                self.replied = self.replied.saturating_add(length);
                if self.replied > MOST_REPLIED {
                    return Err(too_much());
                }
                // What is behind it moves to the front, and the place that it leaves is wiped.
                let rest = self.received.len() - length;
                self.received.copy_within(length.., 0);
                self.received[rest..].fill(0);
                self.received.truncate(rest);
                return Ok(reply);
            }
            let mut piece = Zeroizing::new([0; 4096]);
            match self.stream.read(piece.as_mut()).await {
                Ok(0) | Err(_) => return Err(hung_up()),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
            }
        }
    }
}

fn too_much() -> Trouble {
    Trouble::Lost("sends more than was asked for".to_owned())
}

fn hung_up() -> Trouble {
    Trouble::Lost("broke the connection off".to_owned())
}

/// The first reply of what was received and its length in bytes; `None` if it has not all come.
fn whole(received: &[u8]) -> Result<Option<(Reply, usize)>, Trouble> {
    let mut reply = Reply { line: Zeroizing::default(), literal: None };
    let mut at = 0;
    loop {
        let rest = &received[at..];
        let Some(length) = memchr::memmem::find(rest, b"\r\n") else {
            let is_too_long = rest.len() + reply.line.len() > LONGEST_LINE;
            return if is_too_long {
                Err(Trouble::Lost("sends a line without end".to_owned()))
            } else {
                Ok(None)
            };
        };
        let line = String::from_utf8_lossy(&rest[..length]);
        at += length + 2;
        let Some((before, size)) = literal(&line) else {
            reply.line.push_str(&line);
            return Ok(Some((reply, at)));
        };
        let Some(size) = size.filter(|size| at.saturating_add(*size) <= LARGEST_REPLY) else {
            return Err(too_much());
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

/// A server's words, fit for a message: on one line, and not long.
fn quoted(text: &str) -> String {
    text.chars().filter(|next| matches!(next, ' '..='~') && *next != '`').take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_reply_is_a_line_with_its_literals() {
        let text = b"* 3 FETCH (UID 5 BODY[] {4}\r\na\r\nb FLAGS (\\Seen))\r\n* 4 EXISTS\r\n";
        for cut in 0..text.len() {
            let reply = whole(&text[..cut]).expect("no trouble");
            assert_eq!(reply.is_some(), cut >= text.len() - 12, "{cut}");
        }
        let (reply, length) = whole(text).expect("no trouble").expect("a reply");
        assert_eq!(length, text.len() - 12);
        assert_eq!(*reply.line, "* 3 FETCH (UID 5 BODY[]  FLAGS (\\Seen))");
        assert_eq!(reply.literal.as_ref().expect("a literal").as_slice(), b"a\r\nb");
        assert_eq!(
            (reply.number("UID"), reply.number("uidnext"), reply.told("EXISTS")),
            (Some(5), None, None)
        );
        let (reply, _) = whole(&text[length..]).expect("no trouble").expect("a reply");
        assert!(reply.told("exists") == Some(4) && reply.literal.is_none());
    }

    #[test]
    fn numbers_stand_behind_their_words() {
        let number =
            |line: &str, word| whole(line.as_bytes()).expect("no trouble").expect("a reply").0.number(word);
        assert_eq!(number("* OK [UIDNEXT 4392] Predicted\r\n", "UIDNEXT"), Some(4392));
        assert_eq!(number("* OK [UIDVALIDITY 38]\r\n", "UIDVALIDITY"), Some(38));
        assert_eq!(number("* 12 FETCH (FLAGS () UID 7)\r\n", "UID"), Some(7));
    }

    #[test]
    fn a_server_cannot_fill_the_memory() {
        assert!(whole(&vec![b'x'; 70_000]).is_err());
        for size in ["99999999", "4294967296", "99999999999999999999999"] {
            assert!(whole(format!("* 1 FETCH (BODY[] {{{size}}}\r\n").as_bytes()).is_err(), "{size}");
        }
        let pieces = format!("* 1 FETCH (A {{60000}}\r\n{}", "x".repeat(60_000)).repeat(12);
        assert!(whole(pieces.as_bytes()).is_err(), "many literals are one reply");
        assert!(whole(b"* OK {not a size}\r\n").is_ok_and(|reply| reply.is_some()));
    }
}
