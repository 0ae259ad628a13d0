//! `[notify.NAME]` as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::Texts;
use crate::config::raw::scalar::Time;
use crate::config::raw::secret::SecretReference;
use crate::rate::Rate;

/// Who is told of trouble and of deadlines: by exactly one of `webhook`, `command` and `mail`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notify {
    /// A URL to which notices are sent by POST, signed with `key`.
    pub(crate) webhook: Option<String>,
    /// The key of the signatures of `webhook`: any text of 16 bytes and more, or `whsec_` and base64.
    pub(crate) key: Option<SecretReference>,
    /// A program and its arguments (no shell), which gets the notice on standard input.
    pub(crate) command: Option<Vec<String>>,
    /// Whom to write to: an address, or a list of them.
    pub(crate) mail: Option<Texts>,
    /// The server of `mail`: `"smtps://mail.example.org"`, or `"smtp://"` for STARTTLS.
    pub(crate) server: Option<String>,
    /// Who writes.
    pub(crate) from: Option<String>,
    /// The user that the mail server knows.
    pub(crate) user: Option<String>,
    /// That user's password.
    pub(crate) password: Option<SecretReference>,
    /// Whether an `smtp://` server is spoken to by STARTTLS; default `true`, and `false` on loopback.
    pub(crate) starttls: Option<bool>,
    /// The way there may be without TLS; default `false`, and not asked for on loopback.
    pub(crate) allow_plaintext: Option<bool>,
    /// What is told of; default everything.
    pub(crate) events: Option<Vec<EventName>>,
    /// The credentials that are told of; default all, and what concerns egresses and listeners.
    pub(crate) credentials: Option<Vec<String>>,
    /// How long what may mend itself lasts before it is told, and is well before that is; default `"1m"`.
    pub(crate) after: Option<Time>,
    /// How long before a deadline it is told; default `"14d"`.
    pub(crate) before: Option<Time>,
    /// How often what lasts is told again; default `"24h"`, `"0"` is never.
    pub(crate) remind: Option<Time>,
    /// How often one and the same matter is told; default `"6/h"`.
    pub(crate) flaps: Option<Rate>,
    /// How many notices come; what is more comes together in one; default `"60/h"`.
    pub(crate) rate: Option<Rate>,
    /// How many notices wait, of which the oldest goes if there are more; default 100.
    pub(crate) max_queue: Option<u32>,
    /// How long a delivery may take; default `"10s"`.
    pub(crate) timeout: Option<Time>,
    /// How the receiver is reached, by the name of an egress.
    pub(crate) egress: Option<String>,
}

/// What is told of.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventName {
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
    /// It was logged out.
    Revoked,
    /// An upstream refuses its token, and it cannot renew itself.
    Refused,
    /// Something ends that only a person renews.
    Deadline,
    /// Connections leave from another address than the one that is expected.
    Address,
    /// The trouble that was told of is over.
    Recovered,
}
