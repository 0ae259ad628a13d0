//! Calls for help: who is told, and by which way, when a credential or a way out is in trouble, or when
//! something ends that only a person can renew.
//!
//! ```text
//! states, deadlines, addresses ──▶ troubles ──once a second──▶ tracker ──▶ notices ──▶ outbox
//!                                  (all there are now)         (what was told)         (bounded)
//!                                                                                         │
//!               webhook, signed  |  command, by the helper  |  mail  ◀── again, with pauses ┘
//! ```
//!
//! A tracker compares what is with what it has told, so that nothing is told twice, nothing is lost by a
//! change that came and went, and what lasts is repeated in fixed intervals. Each receiver has a tracker, an
//! outbox and tasks of its own: one that is slow or down delays nobody, neither the other receivers nor
//! requests, which know nothing of all this.
//!
//! What was told, and what waits, is kept in the store ([`diary`]): a restart tells nothing twice, and forgets nothing
//! that was on its way.

mod command;
mod diary;
mod event;
mod mail;
mod outbox;
mod post;
mod smtp;
mod tracker;
mod trouble;
mod webhook;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::credential::Source;
use crate::rate::Rate;
use crate::upstream::{Origin, Url};

pub use event::{Event, Notice};
pub use mail::{MailLogin, MailSpec, Security};
pub use outbox::Numbers;
pub use post::{Exists, Failure, Notifications, Sources, Troubles, deliver_test};
pub use trouble::{Survey, Topic, Trouble, of_credentials, unsettled};

/// A receiver of notices, as validated from `[notify.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverSpec {
    /// The name in the configuration.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// What it is told of.
    pub events: BTreeSet<Event>,
    /// The credentials that it is told of; `None` for all, and for egresses and listeners too.
    pub credentials: Option<BTreeSet<String>>,
    /// How long a trouble that may mend itself lasts before it is told, and how long it is well again before
    /// that is.
    pub after: Duration,
    /// How long before a deadline it is told.
    pub before: Duration,
    /// How often what lasts is told again; zero is never.
    pub remind: Duration,
    /// How often one and the same matter is told.
    pub flaps: Rate,
    /// How many notices it gets; what is more comes together in one.
    pub rate: Rate,
    /// How many notices wait for it.
    pub max_queue: usize,
    /// How long a delivery may take.
    pub timeout: Duration,
    /// The egress that it is reached by; empty for the default.
    pub egress: String,
}

/// How a receiver is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// A POST, signed.
    Webhook {
        /// Where to.
        url: Url,
        /// The key of the signature, read at each use.
        key: Source,
    },
    /// A program and its arguments.
    Command(Vec<String>),
    /// A mail.
    Mail(Box<MailSpec>),
}

impl Way {
    /// The name in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Command(_) => "command",
            Self::Mail(_) => "mail",
        }
    }

    /// Where it leads, if it leads over a network.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Webhook { url, .. } => Some(&url.origin),
            Self::Command(_) => None,
            Self::Mail(mail) => Some(&mail.server),
        }
    }

    /// The secret that it needs.
    pub fn secret(&self) -> Option<&Source> {
        match self {
            Self::Webhook { key, .. } => Some(key),
            Self::Command(_) => None,
            Self::Mail(mail) => mail.login.as_ref().map(|login| &login.password),
        }
    }
}

impl ReceiverSpec {
    /// The default of `after`.
    pub const AFTER: Duration = Duration::from_secs(60);
    /// The default of `remind`.
    pub const REMIND: Duration = Duration::from_secs(86_400);
    /// The default of `flaps`.
    pub const FLAPS: Rate = Rate { count: 6, per: Duration::from_secs(3600) };
    /// The default of `rate`.
    pub const RATE: Rate = Rate { count: 60, per: Duration::from_secs(3600) };
    /// The default of `max_queue`.
    pub const MAX_QUEUE: usize = 100;
    /// The default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Whether it is told of this.
    fn wants(&self, trouble: &Trouble) -> bool {
        self.events.contains(&trouble.event)
            && self.credentials.as_ref().is_none_or(|names| names.contains(&trouble.name))
    }
}
