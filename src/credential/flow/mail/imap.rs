//! A folder of an account at an IMAP server (RFC 9051, and RFC 3501 before it).

use std::fmt;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::flow::mail::judge::Judge;
use crate::credential::flow::mail::wire::{Outcome, Reply, Wire};
use crate::credential::flow::mail::{LARGEST_MESSAGE, Message, Name, Then, Trouble};
use crate::credential::flow::{CONNECT_LIMIT, Exchange, MintError};
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;
use crate::upstream::connect::{Connector, Offer};
use crate::upstream::{Origin, Scheme};

/// So often a folder is looked into whose server does not tell of news (no IDLE, RFC 2177).
const POLL: Duration = Duration::from_secs(15);

/// So often it is looked into all the same: some servers tell late.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// After a connection broke, another one is tried so much later.
const BREATH: Duration = Duration::from_secs(5);

/// The fields of a message that are looked at before it is read.
const HEAD: &str = "BODY.PEEK[HEADER.FIELDS (FROM DATE SUBJECT)]";

/// A folder of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Imap {
    /// The server: over TLS if its scheme is `https`, else in plain text.
    pub origin: Origin,
    /// The folder, `INBOX` for the usual one.
    pub folder: String,
    /// Whose account it is.
    pub username: Template,
    /// Its password, or its access token.
    pub password: Template,
    /// How it is shown.
    pub authentication: Authentication,
}

/// How a server is shown whose account it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// By name and password (SASL `PLAIN`, RFC 4616, or `LOGIN`).
    Password,
    /// By an OAuth access token (`XOAUTH2`).
    AccessToken,
}

impl fmt::Display for Imap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.scheme == Scheme::Https { "imaps" } else { "imap" };
        write!(formatter, "{scheme}://{}/{}", self.origin.host_and_port(), self.folder)
    }
}

/// The folder, while a message is waited for there.
pub(super) struct Account<'a> {
    spec: &'a Imap,
    connector: &'a Connector,
    username: Secret,
    password: Secret,
    clock: Clock,
    session: Option<Session>,
    /// The folder's own identity: with another one its numbers mean other messages.
    validity: Option<u32>,
    /// The first identifier that was not looked at yet.
    next: u32,
}

/// A connection that is logged in, with the folder open.
struct Session {
    wire: Wire,
    /// The server tells of news.
    idles: bool,
    moves: bool,
    /// It deletes single messages (UIDPLUS, RFC 4315).
    expunges: bool,
}

impl<'a> Account<'a> {
    /// Logs in and opens the folder. The outer error is a fault of the configuration.
    pub(super) async fn open(
        spec: &'a Imap,
        exchange: &'a Exchange<'a>,
    ) -> Result<Result<Self, Trouble>, MintError> {
        let connector = exchange.connector().ok_or_else(|| MintError::Stubborn {
            message: "there is no network here in which a mailbox could be".to_owned(),
        })?;
        let mut account = Account {
            spec,
            connector,
            username: exchange.render(&spec.username)?.into(),
            password: exchange.render(&spec.password)?.into(),
            clock: exchange.clock.clone(),
            session: None,
            validity: None,
            next: 1,
        };
        Ok(account.connect().await.map(|()| account))
    }

    /// See [`super::Inbox::messages`]. Only heads are read of messages that are from others.
    pub(super) async fn messages(&mut self, judge: &mut Judge<'_>) -> Result<Vec<Message>, Trouble> {
        let looked = self.look(judge).await;
        if looked.is_err() {
            self.session = None;
        }
        looked
    }

    async fn look(&mut self, judge: &mut Judge<'_>) -> Result<Vec<Message>, Trouble> {
        if self.session.is_none() {
            self.connect().await?;
        }
        let Some(session) = &mut self.session else { return Ok(Vec::new()) };
        let mut heads = Vec::new();
        let command = format!("UID FETCH {}:* (UID {HEAD})", self.next);
        session.wire.order(&command, |reply| heads.extend(message(reply))).await?;
        // The last message counts as behind any number (RFC 9051, section 9, on `seq-range`).
        heads.retain(|(uid, _)| *uid >= self.next);
        heads.sort_by_key(|(uid, _)| *uid);
        heads.dedup_by_key(|(uid, _)| *uid);
        let mut messages = Vec::new();
        for (uid, head) in heads {
            if judge.wants(&head) {
                let command = format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{LARGEST_MESSAGE}>)");
                let mut found = None;
                session.wire.order(&command, |reply| found = message(reply).or(found.take())).await?;
                let text = found.filter(|(of, _)| *of == uid).map(|(_, text)| text);
                messages.extend(text.map(|text| Message { name: Name::Uid(uid), text }));
            }
            self.next = uid.saturating_add(1);
        }
        Ok(messages)
    }

    /// Waits for news, at most for so long.
    pub(super) async fn pause(&mut self, longest: Duration) {
        let Some(session) = &mut self.session else {
            self.clock.wait(BREATH.min(longest)).await;
            return;
        };
        if !session.idles {
            self.clock.wait(POLL.min(longest)).await;
        } else if session.idle(LONGEST_IDLE.min(longest)).await.is_err() {
            self.session = None;
        }
    }

    /// See [`super::Inbox::dispose`].
    pub(super) async fn dispose(&mut self, uid: u32, then: &Then) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Err("the connection broke".to_owned()) };
        let done = session.dispose(uid, then).await;
        // It is good manners, and nothing depends on it.
        let _ = session.wire.begin("LOGOUT").await;
        done.map_err(|trouble| match trouble {
            Trouble::Refused(what) | Trouble::Lost(what) => format!("the server {what}"),
        })
    }

    /// A new session. The first one says from which message on all are new.
    async fn connect(&mut self) -> Result<(), Trouble> {
        let opened = self.connector.connect(&self.spec.origin, Offer::Nothing, CONNECT_LIMIT).await;
        let opened = opened.map_err(|error| Trouble::Lost(format!("cannot be reached: {error}")))?;
        let mut session =
            Session { wire: Wire::new(opened.stream), idles: false, moves: false, expunges: false };
        session.log_in(self.spec.authentication, &self.username, &self.password).await?;
        let (validity, next) = session.select(&self.spec.folder).await?;
        match self.validity {
            None => self.next = next,
            Some(known) if known != validity => {
                return Err(Trouble::Lost(
                    "was made anew meanwhile: its numbers mean other messages".to_owned(),
                ));
            }
            Some(_) => {}
        }
        self.validity = Some(validity);
        self.session = Some(session);
        Ok(())
    }
}

impl Session {
    async fn log_in(
        &mut self,
        authentication: Authentication,
        username: &Secret,
        password: &Secret,
    ) -> Result<(), Trouble> {
        let greeting = self.wire.reply(CONNECT_LIMIT).await?;
        if !greeting.starts_with("* OK") && !greeting.starts_with("* PREAUTH") {
            return Err(Trouble::Lost("does not welcome anybody, or is no IMAP server".to_owned()));
        }
        let capabilities = self.capabilities().await?;
        let can = |capability: &str| capabilities.iter().any(|it| it.eq_ignore_ascii_case(capability));
        let outcome = if greeting.starts_with("* PREAUTH") {
            Outcome::Ok
        } else if authentication == Authentication::AccessToken {
            let parts: [&[u8]; 5] =
                [b"user=", username.expose(), b"\x01auth=Bearer ", password.expose(), b"\x01\x01"];
            self.wire.authenticate("XOAUTH2", joined(&parts).expose()).await?
        } else if can("AUTH=PLAIN") {
            let parts: [&[u8]; 4] = [b"\0", username.expose(), b"\0", password.expose()];
            self.wire.authenticate("PLAIN", joined(&parts).expose()).await?
        } else if can("LOGINDISABLED") {
            return Err(Trouble::Lost("takes passwords over TLS only: write `imaps://`".to_owned()));
        } else {
            let (Some(username), Some(password)) = (quoted(username), quoted(password)) else {
                return Err(Trouble::Lost("offers no way to send this name and password".to_owned()));
            };
            let parts: [&[u8]; 4] = [b"LOGIN ", username.expose(), b" ", password.expose()];
            let command = joined(&parts);
            self.wire.command(command.expose_str().unwrap_or_default(), drop).await?
        };
        if let Outcome::No(why) = outcome {
            return Err(refusal(&why));
        }
        // There may be more once one is known.
        let capabilities = self.capabilities().await?;
        let can = |capability: &str| capabilities.iter().any(|it| it.eq_ignore_ascii_case(capability));
        (self.idles, self.moves, self.expunges) = (can("IDLE"), can("MOVE"), can("UIDPLUS"));
        Ok(())
    }

    async fn capabilities(&mut self) -> Result<Vec<String>, Trouble> {
        let mut found = Vec::new();
        let each = |reply: Reply| {
            if reply.starts_with("* CAPABILITY ") {
                found.extend(reply.line.split(' ').skip(2).map(str::to_owned));
            }
        };
        self.wire.order("CAPABILITY", each).await?;
        Ok(found)
    }

    /// Opens a folder: its identity, and the identifier of the next message.
    async fn select(&mut self, folder: &str) -> Result<(u32, u32), Trouble> {
        let (mut validity, mut next) = (None, None);
        let each = |reply: Reply| {
            validity = reply.number("UIDVALIDITY").or(validity);
            next = reply.number("UIDNEXT").or(next);
        };
        self.wire.order(&format!("SELECT \"{folder}\""), each).await?;
        let next = match next {
            Some(next) => next,
            None => self.behind_the_last().await?,
        };
        Ok((validity.unwrap_or_default(), next))
    }

    /// For a server that does not tell the next identifier.
    async fn behind_the_last(&mut self) -> Result<u32, Trouble> {
        let mut last = 0;
        // In an empty folder there is no last message, which some call an error.
        let each = |reply: Reply| last = reply.number("UID").unwrap_or_default().max(last);
        self.wire.command("UID FETCH * (UID)", each).await?;
        Ok(last.saturating_add(1))
    }

    /// Waits for the server to tell of news (RFC 2177).
    async fn idle(&mut self, longest: Duration) -> Result<(), Trouble> {
        let deadline = Clock::instant() + longest;
        let tag = self.wire.begin("IDLE").await?;
        loop {
            match self.wire.until(&tag).await? {
                Ok(reply) if reply.is_invitation() => break,
                Ok(_) => {}
                Err(_) => {
                    // It said that it could, and cannot.
                    self.idles = false;
                    return Ok(());
                }
            }
        }
        loop {
            let left = deadline.saturating_duration_since(Clock::instant());
            let Ok(reply) = tokio::time::timeout(left, self.wire.reply(Duration::MAX)).await else { break };
            let reply = reply?;
            if reply.is_goodbye() {
                return Err(Trouble::Lost("said goodbye".to_owned()));
            }
            if reply.tells_news() {
                break;
            }
        }
        self.wire.send(b"DONE\r\n").await?;
        while self.wire.until(&tag).await?.is_ok() {}
        Ok(())
    }

    async fn dispose(&mut self, uid: u32, then: &Then) -> Result<(), Trouble> {
        match then {
            Then::Seen => self.wire.order(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen)"), drop).await,
            Then::Delete => self.delete(uid).await,
            Then::Move(folder) if self.moves => {
                self.wire.order(&format!("UID MOVE {uid} \"{folder}\""), drop).await
            }
            Then::Move(folder) => {
                self.wire.order(&format!("UID COPY {uid} \"{folder}\""), drop).await?;
                self.delete(uid).await
            }
        }
    }

    /// Without UIDPLUS it is only marked: `EXPUNGE` would take other people's marks along.
    async fn delete(&mut self, uid: u32) -> Result<(), Trouble> {
        self.wire.order(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen \\Deleted)"), drop).await?;
        if self.expunges {
            self.wire.order(&format!("UID EXPUNGE {uid}"), drop).await?;
        }
        Ok(())
    }
}

/// The identifier and the text of a message, if a reply is one.
fn message(reply: Reply) -> Option<(u32, zeroize::Zeroizing<Vec<u8>>)> {
    let is_message = reply.line.split(' ').nth(2).is_some_and(|word| word.eq_ignore_ascii_case("FETCH"));
    let uid = reply.number("UID").filter(|_| is_message)?;
    Some((uid, reply.literal?))
}

/// What it means that a server lets nobody in: most of its reasons pass (RFC 5530).
fn refusal(why: &str) -> Trouble {
    let passing = ["[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "[CONTACTADMIN]"];
    let upper = why.to_ascii_uppercase();
    if upper.starts_with("BAD") || passing.iter().any(|code| upper.contains(code)) {
        Trouble::Lost(format!("cannot let anybody in now: {why}"))
    } else {
        Trouble::Refused("does not take the name and password".to_owned())
    }
}

/// A text in quotes (RFC 9051, section 4.3); `None` if it cannot stand in them.
fn quoted(text: &Secret) -> Option<Secret> {
    let mut quoted = SecretBuffer::with_capacity(text.len() * 2 + 2);
    quoted.push(b"\"");
    for byte in text.expose() {
        if !(b' '..=b'~').contains(byte) {
            return None;
        }
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b"\\");
        }
        quoted.push(&[*byte]);
    }
    quoted.push(b"\"");
    Some(quoted.into())
}

fn joined(parts: &[&[u8]]) -> Secret {
    let mut joined = SecretBuffer::with_capacity(256);
    for part in parts {
        joined.push(part);
    }
    joined.into()
}
