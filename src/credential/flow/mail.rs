//! What an issuer mails: a message is waited for in a mailbox, and outputs are taken from it.
//!
//! ```text
//! opened before anybody is asked: what lies there is not the answer
//!   ─▶ news ─▶ from the expected sender? written since? ─▶ read ─▶ outputs ─▶ marked, moved or deleted
//!        ▲            no ─▶ left alone, and not read further │ nothing matches
//!        └───────────────────────────────────────────────────┘ until `wait` is over
//! ```
//!
//! Of a message nothing is kept but its outputs, and nothing of it is told.

mod imap;
mod judge;
mod maildir;
pub mod reply;
mod utf7;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::Outputs;
use crate::credential::flow::classify::transient;
use crate::credential::flow::login::{ExpiryRule, Extract};
use crate::credential::flow::{Exchange, MintError};
use crate::credential::store::Mark;
use crate::upstream::Origin;

pub use imap::{Authentication, Imap};

use imap::Account;
use judge::Judge;
use maildir::Folder;

/// How long a message is waited for where nothing says so. Attempts lie an hour apart, so that one that comes
/// late is still found by the attempt that had it sent.
pub const USUAL_WAIT: Duration = Duration::from_secs(50 * 60);

/// No message is read further than this, in bytes.
const LARGEST_MESSAGE: usize = 512 * 1024;

/// A mailbox that went away when it was shown the password is not shown it again for so long: nobody knows how often
/// it takes a wrong one before it locks the account.
const CAUTION: Duration = Duration::from_secs(3600);

/// A message that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct MailStep {
    /// Where it comes.
    pub mailbox: Mailbox,
    /// The address that it comes from (RFC 5322, section 3.4.1), in whatever case.
    pub from: String,
    /// A regular expression that its subject matches, if that matters.
    pub subject: Option<String>,
    /// How long it is waited for.
    pub wait: Duration,
    /// What becomes of it.
    pub then: Then,
    /// What is taken from it: by patterns over its text, by selectors over its HTML.
    pub outputs: Vec<(String, Extract)>,
    /// When the outputs end, if that is known.
    pub expiry: Vec<ExpiryRule>,
}

/// A place where messages come.
#[derive(Debug, Clone, PartialEq)]
pub enum Mailbox {
    /// A folder of an account at a server.
    Imap(Imap),
    /// A folder of this machine, with a file for each message.
    Maildir(PathBuf),
}

impl Mailbox {
    /// The server, if there is one.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Imap(imap) => Some(&imap.origin),
            Self::Maildir(_) => None,
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imap(imap) => imap.fmt(formatter),
            Self::Maildir(folder) => write!(formatter, "maildir:{}", folder.display()),
        }
    }
}

/// What becomes of a message whose outputs were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It is marked as read.
    Seen,
    /// It is deleted.
    Delete,
    /// It is moved to this folder.
    Move(String),
}

/// What a message brought.
pub(in crate::credential::flow) struct Found {
    pub(in crate::credential::flow) outputs: Outputs,
    /// The outputs were taken, but what was to become of the message did not.
    pub(in crate::credential::flow) warning: Option<String>,
}

/// What came of waiting.
pub(in crate::credential::flow) enum Waited {
    /// The message.
    Found(Found),
    /// It has not come; what is told of that.
    Nothing(String),
}

/// A mailbox that was opened before the message was asked for.
pub(in crate::credential::flow) struct Inbox<'a> {
    place: Place<'a>,
    judge: Judge<'a>,
}

enum Place<'a> {
    Imap(Box<Account<'a>>),
    Maildir(Folder),
}

/// What a mailbox calls a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// Its unique identifier (RFC 9051, section 2.3.1.1).
    Uid(u32),
    /// Its file.
    File(PathBuf),
}

/// Why a mailbox gives nothing.
#[derive(Debug)]
enum Trouble {
    /// It does not take the name and the password.
    Refused(String),
    /// It went away when it was shown them.
    Unclear(String),
    /// Anything else, which may mend itself.
    Lost(String),
}

impl Trouble {
    fn of(self, mailbox: &Mailbox) -> MintError {
        match self {
            Self::Refused(what) => MintError::Rejected { message: format!("the mailbox {mailbox} {what}") },
            Self::Unclear(what) => MintError::Transient {
                message: format!("the mailbox {mailbox} {what}"),
                retry_after: Some(CAUTION),
            },
            Self::Lost(what) => transient(format!("the mailbox {mailbox} {what}")),
        }
    }
}

/// Opens the mailbox of a step. What lies there now is not what will be waited for; or, where a message was asked for
/// before, what lay there then.
pub(in crate::credential::flow) async fn open<'a>(
    step: &'a MailStep,
    exchange: &'a Exchange<'a>,
    before: Option<(Mark, Timestamp)>,
) -> Result<Inbox<'a>, MintError> {
    let since = before.map_or_else(|| exchange.clock.wall(), |(_, since)| since);
    let mark = before.map(|(mark, _)| mark);
    let place = match &step.mailbox {
        Mailbox::Imap(imap) => Place::Imap(Box::new(
            Account::open(imap, exchange, since, mark).await?.map_err(|trouble| trouble.of(&step.mailbox))?,
        )),
        Mailbox::Maildir(folder) => Place::Maildir(
            Folder::open(folder, &exchange.clock, mark).await.map_err(|trouble| trouble.of(&step.mailbox))?,
        ),
    };
    Ok(Inbox { place, judge: Judge::new(step, since) })
}

impl Inbox<'_> {
    /// Closes it, and says how far it is filled.
    pub(in crate::credential::flow) async fn leave(self) -> Mark {
        match self.place {
            Place::Imap(account) => account.leave().await,
            Place::Maildir(folder) => folder.mark(),
        }
    }

    /// Waits until the message has come, for so long, and takes its outputs. Of several the newest counts. There is one
    /// look even if there is no time left.
    pub(in crate::credential::flow) async fn wait(
        mut self,
        step: &MailStep,
        longest: Duration,
    ) -> Result<Waited, MintError> {
        let deadline = Clock::instant() + longest;
        loop {
            let lost = match self.look(step).await {
                Ok(Some(found)) => return Ok(Waited::Found(found)),
                Ok(None) => None,
                Err(Trouble::Lost(why)) => Some(why),
                Err(trouble) => return Err(trouble.of(&step.mailbox)),
            };
            let left = deadline.saturating_duration_since(Clock::instant());
            if left.is_zero() {
                let (from, wait, seen) = (&step.from, step.wait, self.judge.seen());
                let nothing = format!(
                    "no message with what is looked for came from `{from}` to {} within {wait:?}{seen}",
                    step.mailbox
                );
                return match lost {
                    None => Ok(Waited::Nothing(nothing)),
                    Some(why) => Err(transient(format!("{nothing}; in the end the mailbox {why}"))),
                };
            }
            self.pause(left).await;
        }
    }

    /// Looks through what has come since the last look, the newest first.
    async fn look(&mut self, step: &MailStep) -> Result<Option<Found>, Trouble> {
        match &mut self.place {
            Place::Imap(account) => account.look(&mut self.judge).await?,
            Place::Maildir(folder) => folder.look(&mut self.judge).await?,
        }
        while let Some((name, text)) = self.newest().await? {
            if let Some(outputs) = self.judge.outputs(&text) {
                let done = self.dispose(&name, &step.then).await;
                let warning = done.err().map(|why| {
                    format!("the token was taken from its message, which stayed as it was: {why}")
                });
                return Ok(Some(Found { outputs, warning }));
            }
        }
        Ok(None)
    }

    /// The newest message that is worth reading and was not read yet: one at a time, however many there are.
    async fn newest(&mut self) -> Result<Option<(Name, Zeroizing<Vec<u8>>)>, Trouble> {
        match &mut self.place {
            Place::Imap(account) => {
                let newest = account.newest().await?;
                Ok(newest.map(|(uid, text)| (Name::Uid(uid), text)))
            }
            Place::Maildir(folder) => {
                let newest = folder.newest().await?;
                Ok(newest.map(|(file, text)| (Name::File(file), text)))
            }
        }
    }

    /// Waits for news, at most for so long; it may be shorter.
    async fn pause(&mut self, longest: Duration) {
        match &mut self.place {
            Place::Imap(account) => account.pause(longest).await,
            Place::Maildir(folder) => folder.pause(longest).await,
        }
    }

    async fn dispose(&mut self, name: &Name, then: &Then) -> Result<(), String> {
        match (&mut self.place, name) {
            (Place::Imap(account), Name::Uid(uid)) => account.dispose(*uid, then).await,
            (Place::Maildir(folder), Name::File(file)) => folder.dispose(file, then).await,
            _ => Err("it is in another mailbox: this is a fault of bearerd".to_owned()),
        }
    }
}
