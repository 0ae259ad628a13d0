//! `[routes.NAME]` as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::Several;
use crate::config::raw::inject::{Inject, RefusalRule, Verify};
use crate::config::raw::listener::Allow;
use crate::config::raw::scalar::{Size, TextOr, Time};
use crate::rate::Rate;

/// Which request goes where, with which credential.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Route {
    /// The listener; default the only one.
    pub(crate) listener: Option<String>,
    /// A segment-aligned prefix, stripped before forwarding; default `"/"`.
    pub(crate) path: Option<String>,
    /// The `Host` that it asks for; default any.
    pub(crate) host: Option<String>,
    /// Where requests go, such as `"https://api.example"`; its path is put before the stripped path.
    pub(crate) upstream: Option<String>,
    /// Whose tokens are injected.
    pub(crate) credential: Option<String>,
    /// Which of the credential's subjects, by a header field or a segment of the path; default the token
    /// that the credential has by itself.
    pub(crate) subject: Option<Subject>,
    /// Who of those that may call the listener; with a list, whom one of its rules takes; default all.
    pub(crate) callers: Option<Several<Allow>>,
    /// What may be asked for, such as `"GET /user/*"`; default everything but token endpoints.
    pub(crate) allow: Option<Vec<String>>,
    /// What is put on requests, in place of the credential's rule.
    pub(crate) inject: Option<TextOr<Inject>>,
    /// Fields that are not forwarded, such as those that an earlier hop has put on.
    pub(crate) remove: Option<Vec<String>>,
    /// How the upstream says that the token is dead, in place of the credential's rule.
    pub(crate) refusal: Option<RefusalRule>,
    /// What the bodies of answers have to fit, in place of the credential's rule; `"off"` for nothing.
    pub(crate) verify: Option<TextOr<Verify>>,
    /// What is done where a secret is found in an answer; default `"mask"`.
    pub(crate) guard: Option<Guard>,
    /// Whether answers of token endpoints pass; default `false`.
    pub(crate) allow_token_answers: Option<bool>,
    /// How connections leave, by the name of an egress.
    pub(crate) egress: Option<String>,
    /// Requests may go over plain HTTP beyond loopback. Warned about.
    pub(crate) allow_plaintext: Option<bool>,
    /// What becomes of an encoded slash in a path; default `"refuse"`.
    pub(crate) encoded_slash: Option<EncodedSlash>,
    /// At most so many requests in a time, such as `"100/s"`; default no limit.
    pub(crate) rate: Option<Rate>,
    /// The longest request body; default none.
    pub(crate) max_body: Option<Size>,
    /// The longest request body that is held for one replay; default `"64KiB"`.
    pub(crate) replay_body: Option<Size>,
    /// The longest request body that is held to put something into it, or to make something of it;
    /// default `"1MiB"`.
    pub(crate) inject_body: Option<Size>,
    /// Informational answers of the upstream before the one that counts; default 100.
    pub(crate) max_interim_answers: Option<u32>,
    /// Frames in a time that bring nothing, on an HTTP/2 connection of the upstream; default `"2000/s"`.
    pub(crate) max_fruitless_frames: Option<Rate>,
    /// Until a connection stands; default `"5s"`.
    pub(crate) connect_timeout: Option<Time>,
    /// From the last request byte to the head of the answer; default `"60s"`.
    pub(crate) answer_timeout: Option<Time>,
    /// The same as `answer_timeout`.
    pub(crate) timeout: Option<Time>,
    /// Without progress in either direction; default `"5m"`.
    pub(crate) stall_timeout: Option<Time>,
    /// How long a connection to the upstream may lie idle and then be used; default `"60s"`.
    pub(crate) pool_idle_timeout: Option<Time>,
    /// How long a connection to the upstream may be used; default `"15m"`.
    pub(crate) pool_max_age: Option<Time>,
    /// Idle connections that each worker keeps; default 256.
    pub(crate) pool_max_idle: Option<u32>,
}

/// Where a request says whose token it wants: one of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Subject {
    /// A header field, such as `"X-Bearerd-Subject"`; it is not forwarded.
    pub(crate) header: Option<String>,
    /// A segment of the path behind the route's prefix, counted from 1; it is not forwarded.
    pub(crate) path: Option<u16>,
}

/// What is done where a secret is found in an answer.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Guard {
    /// It is covered.
    Mask,
    /// The answer is blocked, or broken off.
    Block,
    /// Answers are not looked at.
    Off,
}

/// What becomes of an encoded slash in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodedSlash {
    /// The request is refused.
    Refuse,
    /// It is part of a segment.
    Pass,
}
