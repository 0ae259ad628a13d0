//! A mail handed to a server (RFC 5321), by TLS from the first byte or after STARTTLS, with PLAIN or LOGIN.
//!
//! ```text
//! 220 ◀  EHLO ▶ 250 ◀  [STARTTLS ▶ 220 ◀  TLS  EHLO ▶ 250 ◀]  [AUTH ▶ 235 ◀]
//! MAIL ▶ 250 ◀  RCPT ▶ 250 ◀ ..  DATA ▶ 354 ◀  the message, "." ▶ 250 ◀  QUIT ▶
//! ```

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::notification::Failure;
use crate::notification::mail::{MailSpec, Security};
use crate::secret::Secret;
use crate::upstream::connect::{ConnectError, Connector, Offer, Stream};
use crate::upstream::{Origin, Scheme};

/// The most bytes of a line of an answer.
const LONGEST_LINE: usize = 16 * 1024;

/// The most lines of an answer.
const MOST_LINES: usize = 100;

/// Hands `message` to the server of `spec`, as `login`, if it has one.
pub(super) async fn send(
    spec: &MailSpec,
    password: Option<&Secret>,
    message: &str,
    connector: &Connector,
    limit: Duration,
) -> Result<(), Failure> {
    match tokio::time::timeout(limit, converse(spec, password, message, connector, limit)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::for_now(format!("{} did not take it within {limit:?}", named(&spec.server)))),
    }
}

async fn converse(
    spec: &MailSpec,
    password: Option<&Secret>,
    message: &str,
    connector: &Connector,
    limit: Duration,
) -> Result<(), Failure> {
    let told = |error| Failure::for_now(why(&spec.server, &error));
    let scheme = if spec.security == Security::Tls { Scheme::Https } else { Scheme::Http };
    let origin = Origin { scheme, ..spec.server.clone() };
    let opened = connector.connect(&origin, Offer::Nothing, limit).await.map_err(told)?;
    let mut talk = Conversation { stream: opened.stream, server: named(&spec.server), read: Vec::new() };
    talk.expect(220).await?;
    let mut abilities = talk.greet().await?;
    if spec.security == Security::StartTls {
        if !abilities.has("STARTTLS") {
            let message = format!("{} does not offer STARTTLS, and nothing is sent without", talk.server);
            return Err(Failure::for_good(message));
        }
        talk.say(b"STARTTLS\r\n").await?;
        talk.expect(220).await?;
        // Whoever slipped words in before TLS began is not listened to (RFC 3207, section 4.2).
        if !talk.read.is_empty() {
            return Err(Failure::for_good(format!("{} spoke between STARTTLS and TLS", talk.server)));
        }
        talk.stream = connector.secure(&origin, talk.stream, limit).await.map_err(told)?;
        abilities = talk.greet().await?;
    }
    if let (Some(login), Some(password)) = (&spec.login, password) {
        talk.log_in(&login.user, password, &abilities).await?;
    }
    talk.ask(&format!("MAIL FROM:<{}>\r\n", address(&spec.from)), 250).await?;
    for recipient in &spec.to {
        talk.ask(&format!("RCPT TO:<{}>\r\n", address(recipient)), 250).await?;
    }
    talk.ask("DATA\r\n", 354).await?;
    talk.say(stuffed(message).as_bytes()).await?;
    talk.expect(250).await?;
    // It has the message: whatever becomes of the farewell.
    let _ = talk.say(b"QUIT\r\n").await;
    Ok(())
}

/// What a server can do.
struct Abilities(Vec<String>);

impl Abilities {
    fn has(&self, keyword: &str) -> bool {
        self.0
            .iter()
            .any(|line| line.split_whitespace().next().is_some_and(|it| it.eq_ignore_ascii_case(keyword)))
    }

    fn has_mechanism(&self, mechanism: &str) -> bool {
        let auth =
            |line: &&String| line.split_whitespace().next().is_some_and(|it| it.eq_ignore_ascii_case("AUTH"));
        let mechanisms = self.0.iter().filter(auth).flat_map(|line| line.split_whitespace().skip(1));
        mechanisms.into_iter().any(|it| it.eq_ignore_ascii_case(mechanism))
    }
}

struct Conversation {
    stream: Stream,
    server: String,
    /// What has come and was not looked at yet.
    read: Vec<u8>,
}

impl Conversation {
    async fn greet(&mut self) -> Result<Abilities, Failure> {
        // Who has no name of its own says its address (RFC 5321, section 4.1.4); nobody believes either.
        self.say(b"EHLO [127.0.0.1]\r\n").await?;
        Ok(Abilities(self.expect(250).await?.split_off(1)))
    }

    async fn log_in(&mut self, user: &str, password: &Secret, abilities: &Abilities) -> Result<(), Failure> {
        if abilities.has_mechanism("PLAIN") {
            let pair = Zeroizing::new([b"\0", user.as_bytes(), b"\0", password.expose()].concat());
            self.say_encoded("AUTH PLAIN ", &pair).await?;
        } else if abilities.has_mechanism("LOGIN") {
            self.ask("AUTH LOGIN\r\n", 334).await?;
            self.say_encoded("", user.as_bytes()).await?;
            self.expect(334).await?;
            self.say_encoded("", password.expose()).await?;
        } else {
            return Err(Failure::for_good(format!("{} takes neither PLAIN nor LOGIN", self.server)));
        }
        self.expect(235).await.map(drop)
    }

    async fn say_encoded(&mut self, word: &str, bytes: &[u8]) -> Result<(), Failure> {
        let encoded = Zeroizing::new(STANDARD.encode(bytes));
        let line = Zeroizing::new(format!("{word}{}\r\n", *encoded));
        self.say(line.as_bytes()).await
    }

    async fn ask(&mut self, command: &str, wanted: u16) -> Result<(), Failure> {
        self.say(command.as_bytes()).await?;
        self.expect(wanted).await.map(drop)
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let told = self.stream.write_all(bytes).await;
        let told = if told.is_ok() { self.stream.flush().await } else { told };
        told.map_err(|error| Failure::for_now(format!("{} broke off ({})", self.server, error.kind())))
    }

    /// Reads an answer, whose lines it gives. One of another code is a failure: for now, if the server says so
    /// by a code of 400 and more, and else for good. Its words are not repeated: they may hold what was sent.
    async fn expect(&mut self, wanted: u16) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|code| (200..600).contains(code)) else {
                return Err(Failure::for_now(format!("{} does not speak SMTP", self.server)));
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if lines.len() > MOST_LINES {
                return Err(Failure::for_now(format!("{} says too much", self.server)));
            }
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            if code == wanted || (wanted == 250 && code == 251) {
                return Ok(lines);
            }
            let message = format!("{} answered {code}", self.server);
            return Err(if code < 500 { Failure::for_now(message) } else { Failure::for_good(message) });
        }
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut total = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut piece = [0; 1024];
            let length = self.stream.read(&mut piece).await.unwrap_or(0);
            total += length;
            if length == 0 || total > LONGEST_LINE {
                let what = if length == 0 { "hung up" } else { "says too much" };
                return Err(Failure::for_now(format!("{} {what}", self.server)));
            }
            self.read.extend(&piece[..length]);
        }
    }
}

/// The message with its end. A line that begins with a dot gets a second one, so that none is taken for the
/// end (RFC 5321, section 4.5.2).
fn stuffed(message: &str) -> String {
    let mut text = String::with_capacity(message.len() + 16);
    for line in message.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        text += line;
        text += "\r\n";
    }
    text + ".\r\n"
}

/// The address alone of `Name <address>`.
pub(super) fn address(text: &str) -> &str {
    text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches('>')).trim()
}

/// Why there is no connection: an origin of HTTP is not what a mail server is called by.
fn why(server: &Origin, error: &ConnectError) -> String {
    match error {
        ConnectError::Tls { reason, .. } => format!("TLS with {} failed: {reason}", named(server)),
        ConnectError::Unreachable { reason, .. } => format!("{} cannot be reached: {reason}", named(server)),
        other => other.to_string(),
    }
}

fn named(server: &Origin) -> String {
    format!("the mail server {}", server.host_and_port())
}

#[cfg(test)]
mod tests {
    use super::{address, stuffed};

    #[test]
    fn no_line_of_a_message_is_taken_for_its_end() {
        assert_eq!(stuffed("a\r\n.\r\n..b\r\n"), "a\r\n..\r\n...b\r\n.\r\n");
    }

    #[test]
    fn an_address_may_stand_behind_a_name() {
        assert_eq!(address("Ops <ops@example.org>"), "ops@example.org");
        assert_eq!(address("ops@example.org"), "ops@example.org");
    }
}
