//! What is said on a connection to an IMAP server (RFC 9051): commands, and the replies to them.
//! Both directions are wiped once they are done with.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::credential::flow::mail::Trouble;
use crate::credential::flow::mail::reply::{self, Endless, Reply};
use crate::upstream::connect::Stream;

/// How long a server may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// How a command was taken.
pub(super) enum Outcome {
    Ok,
    /// It was not, for this reason: the reply's line without its tag.
    No(String),
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
            if let Some((reply, length)) = reply::first(&self.received)? {
                self.replied = self.replied.saturating_add(length);
                if self.replied > MOST_REPLIED {
                    return Err(Endless::Reply.into());
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

impl From<Endless> for Trouble {
    fn from(endless: Endless) -> Self {
        Self::Lost(endless.to_string())
    }
}

fn hung_up() -> Trouble {
    Trouble::Lost("broke the connection off".to_owned())
}

/// A server's words, fit for a message: on one line, and not long.
fn quoted(text: &str) -> String {
    text.chars().filter(|next| matches!(next, ' '..='~') && *next != '`').take(100).collect()
}
