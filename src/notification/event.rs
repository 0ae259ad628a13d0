//! What is told, and the document that tells it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A credential never had a token, and cannot get one.
    Pending,
    /// Its renewal fails; the token is still valid.
    Failing,
    /// Its token has ended.
    Expired,
    /// The issuer refused its input.
    Rejected,
    /// A person has to log in.
    LoginRequired,
    /// It was logged out, or its grant was given up.
    Revoked,
    /// An upstream refuses its token, and it cannot renew itself.
    Refused,
    /// Something ends that only a person renews.
    Deadline,
    /// Connections leave from another address than the one that is expected.
    Address,
    /// The trouble that was told of is over.
    Recovered,
    /// Somebody tries whether notices arrive.
    Test,
}

impl Event {
    /// All that a receiver may ask for, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Failing,
        Self::Expired,
        Self::Rejected,
        Self::LoginRequired,
        Self::Revoked,
        Self::Refused,
        Self::Deadline,
        Self::Address,
        Self::Recovered,
    ];

    /// The name in notices and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::LoginRequired => "login_required",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Deadline => "deadline",
            Self::Address => "address",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }
}

/// What is told once: the document that a webhook and a command get, and that a mail is made of. It holds
/// names, states and times, and never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same at each try to deliver it, so that a receiver knows it again.
    pub id: String,
    /// What is told.
    pub event: Event,
    /// Of what: a credential, or `egress.NAME` or `listener.NAME`.
    pub name: String,
    /// The others of which the same is told at once, if there are any: at most a hundred of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Of how many it is told.
    pub number: usize,
    /// What happened, for the person at 3 a.m.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// What was told before, where this says that it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Event>,
    /// When it began.
    pub since: Timestamp,
    /// When this was written.
    pub at: Timestamp,
    /// When it ends, where it is about an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How often it was told before: 0, and then 1 for the first reminder.
    pub reminder: u32,
    /// The name of the machine.
    pub host: String,
}

impl Notice {
    /// One line that says it all.
    pub fn headline(&self) -> String {
        let more = self.number.saturating_sub(1);
        let others = if more > 0 { format!(" and {more} more") } else { String::new() };
        let again = if self.reminder > 0 { " (still)" } else { "" };
        format!("{}{others}: {}{again}", self.name, self.event.as_str())
    }
}
