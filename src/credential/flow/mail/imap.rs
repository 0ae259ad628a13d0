//! A folder of an account at an IMAP server (RFC 9051, and RFC 3501 before it).

mod session;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::flow::mail::judge::Judge;
use crate::credential::flow::mail::{Then, Trouble};
use crate::credential::flow::{Exchange, MintError};
use crate::credential::store::Mark;
use crate::secret::Secret;
use crate::template::Template;
use crate::upstream::connect::Connector;
use crate::upstream::{Origin, Scheme};

use session::Session;

/// So often a folder is looked into whose server does not tell of news (no IDLE, RFC 2177).
const POLL: Duration = Duration::from_secs(15);

/// So often it is looked into all the same: some servers tell late.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// However often a server tells of news, so much lies between two looks.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// After a connection broke, another one is tried so much later: at first, and at last.
const BREATH: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// So much the clock of a server may be behind.
const DRIFT: SignedDuration = SignedDuration::from_mins(2);

/// A folder of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Imap {
    /// The server: over TLS from the first byte if its scheme is `https`.
    pub origin: Origin,
    /// Otherwise TLS begins before anything is told (STARTTLS, RFC 9051, section 6.2.1).
    pub starttls: bool,
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
    /// By an OAuth access token (`XOAUTH2`, or `OAUTHBEARER`, RFC 7628).
    AccessToken,
}

impl Imap {
    /// Whether anybody on the way could read what is told.
    pub fn is_plain(&self) -> bool {
        self.origin.scheme != Scheme::Https && !self.starttls
    }
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
    /// The folder's own identity: with another one its numbers mean other messages. `None` before it was opened.
    validity: Option<u32>,
    /// The first number that was not looked at yet.
    next: u32,
    /// The numbers mean nothing: what the server received since then is looked at.
    by_time: bool,
    since: Timestamp,
    /// The numbers of messages that are worth reading and were not read yet.
    wanted: Vec<u32>,
    /// When it was looked into.
    looked: Option<Instant>,
    breath: Duration,
}

impl<'a> Account<'a> {
    /// Logs in and opens the folder. What it has by now is not looked at; or, if it was opened before, what it had then.
    /// The outer error is a fault of the configuration.
    pub(super) async fn open(
        spec: &'a Imap,
        exchange: &'a Exchange<'a>,
        since: Timestamp,
        mark: Option<Mark>,
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
            by_time: false,
            since,
            wanted: Vec::new(),
            looked: None,
            breath: BREATH.0,
        };
        let connected = account.connect().await;
        match mark {
            Some(Mark::Number { validity, next }) if account.validity == Some(validity) => {
                account.next = next;
            }
            Some(_) => account.by_time = true,
            None => {}
        }
        Ok(connected.map(|()| account))
    }

    /// Closes it, and says how far it is filled.
    pub(super) async fn leave(self) -> Mark {
        if let Some(mut session) = self.session {
            session.leave().await;
        }
        Mark::Number { validity: self.validity.unwrap_or_default(), next: self.next }
    }

    /// Looks at the heads of what has come since the last look: those that are worth reading are read by
    /// [`Self::newest`].
    pub(super) async fn look(&mut self, judge: &mut Judge<'_>) -> Result<(), Trouble> {
        let looked = self.look_at_heads(judge).await;
        self.looked = Some(Clock::instant());
        match looked {
            Ok(()) => self.breath = BREATH.0,
            Err(_) => self.session = None,
        }
        looked
    }

    async fn look_at_heads(&mut self, judge: &mut Judge<'_>) -> Result<(), Trouble> {
        if self.session.is_none() {
            self.connect().await?;
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        if self.by_time {
            self.next = session.first_since(self.since).await?.unwrap_or(self.next);
        }
        let earliest = if self.by_time { self.since.checked_sub(DRIFT).ok() } else { None };
        for head in session.heads(self.next).await? {
            let is_early = earliest.is_some_and(|earliest| head.received.is_none_or(|at| at < earliest));
            if !is_early && judge.wants(&head.fields) {
                self.wanted.push(head.uid);
            }
            self.next = head.uid.saturating_add(1);
        }
        self.by_time = false;
        Ok(())
    }

    /// Takes the newest message that is worth reading. One that was taken away meanwhile is not there.
    pub(super) async fn newest(&mut self) -> Result<Option<(u32, Zeroizing<Vec<u8>>)>, Trouble> {
        while let Some(uid) = self.wanted.pop() {
            let Some(session) = &mut self.session else { return Ok(None) };
            match session.text(uid).await {
                Ok(Some(text)) => return Ok(Some((uid, text))),
                Ok(None) => {}
                Err(trouble) => {
                    self.wanted.push(uid);
                    self.session = None;
                    return Err(trouble);
                }
            }
        }
        Ok(None)
    }

    /// Waits for news, at most for so long.
    pub(super) async fn pause(&mut self, longest: Duration) {
        let Some(session) = &mut self.session else {
            self.clock.wait(self.breath.min(longest)).await;
            self.breath = (self.breath * 2).min(BREATH.1);
            return;
        };
        if !session.idles() && !session.has_news() {
            self.clock.wait(POLL.min(longest)).await;
        } else if !session.has_news() && session.idle(LONGEST_IDLE.min(longest)).await.is_err() {
            self.session = None;
        }
        let passed = self.looked.map_or(LEAST_PAUSE, |looked| looked.elapsed());
        self.clock.wait(LEAST_PAUSE.saturating_sub(passed).min(longest)).await;
    }

    /// See [`super::Inbox::dispose`].
    pub(super) async fn dispose(&mut self, uid: u32, then: &Then) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Err("the connection broke".to_owned()) };
        let done = session.dispose(uid, then).await;
        session.leave().await;
        done.map_err(|trouble| match trouble {
            Trouble::Refused(what) | Trouble::Unclear(what) | Trouble::Lost(what) => {
                format!("the server {what}")
            }
        })
    }

    /// A new session. The first one says from which message on all are new.
    async fn connect(&mut self) -> Result<(), Trouble> {
        let opened = Session::open(self.spec, self.connector, &self.username, &self.password).await;
        let mut session = opened.map_err(|trouble| match trouble {
            // What it has taken before it does not take for a wrong one.
            Trouble::Unclear(why) if self.validity.is_some() => Trouble::Lost(why),
            trouble => trouble,
        })?;
        let (validity, next) = session.select(&self.spec.folder).await?;
        match self.validity {
            None => self.next = next,
            Some(known) if known != validity => {
                self.by_time = true;
                self.next = next;
                self.wanted.clear();
            }
            Some(_) => {}
        }
        self.validity = Some(validity);
        self.session = Some(session);
        Ok(())
    }
}
