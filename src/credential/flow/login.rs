//! The flow `login`: a vendor's own way, as a list of HTTP exchanges, and of messages that are waited for.
//!
//! ```text
//! mailboxes opened ─▶ step ─▶ step ─▶ .. ─▶ step ─▶ outputs
//!                       ├ asked; redirects followed, if it says so; judged; outputs taken
//!                       └ a message that came since: its sender judged, outputs taken
//! ```

pub(super) mod answer;
mod cookies;
mod expiry;
mod form;
mod link;
pub mod page;
mod request;
mod visit;

pub(super) use visit::{mark, mint, pick_up, run};

use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;

use crate::credential::flow::Exchange;
use crate::credential::flow::classify::quote;
use crate::credential::flow::json::scalar_text;
use crate::credential::flow::login::page::Selection;
use crate::credential::flow::mail::MailStep;
use crate::template::Template;
use crate::upstream::{Origin, Url};

/// A login: its steps run in order and share their outputs and cookies.
#[derive(Debug, Clone, PartialEq)]
pub struct LoginFlow {
    /// At least one.
    pub steps: Vec<Step>,
}

impl LoginFlow {
    /// The origins of all steps, in their order, each once; mailboxes too.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.steps.iter().filter_map(Step::origin).collect();
        origins.dedup();
        origins
    }

    /// The origin of the last step that asks, whose answer is the token, or has it mailed.
    pub fn issuer(&self) -> Option<Origin> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Http(step) => step.origin(),
            Step::Mail(_) => None,
        })
    }

    /// Whether all that it obtains comes by messages, and nothing is done after them: then they are of use without what
    /// the steps before them have seen.
    fn brings_all_by_mail(&self) -> bool {
        let is_http = |step: &&Step| matches!(step, Step::Http(_));
        let asks_after = self.steps.iter().skip_while(is_http).any(|step| is_http(&step));
        let is_silent = |step: &Step| match step {
            Step::Http(_) => step.outputs().is_empty() && step.expiry().is_empty(),
            Step::Mail(_) => true,
        };
        !asks_after && self.steps.iter().all(is_silent)
    }

    /// The messages that it waits for.
    pub fn mails(&self) -> impl Iterator<Item = &MailStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Http(_) => None,
            Step::Mail(step) => Some(step),
        })
    }
}

/// One step of a login.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a login has a few steps, which are made once")]
pub enum Step {
    /// Somebody is asked.
    Http(HttpStep),
    /// A message is waited for.
    Mail(MailStep),
}

impl Step {
    /// Where it leads; `None` for a form that is sent to where its page came from, and for a mailbox that is a
    /// folder.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Http(step) => step.origin(),
            Self::Mail(step) => step.mailbox.origin().cloned(),
        }
    }

    /// The outputs that it brings.
    pub fn outputs(&self) -> &[(String, Extract)] {
        match self {
            Self::Http(step) => &step.outputs,
            Self::Mail(step) => &step.outputs,
        }
    }

    /// How it tells when the outputs end.
    pub fn expiry(&self) -> &[ExpiryRule] {
        match self {
            Self::Http(step) => &step.expiry,
            Self::Mail(step) => &step.expiry,
        }
    }
}

/// One HTTP exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpStep {
    /// The request method.
    pub method: Method,
    /// The absolute URL; its origin is plain text. `None` only where a form is submitted: then it goes where
    /// the form says, on the origin of its page.
    pub url: Option<Template>,
    /// The form on the page before that is sent back, by a CSS selector: its hidden fields go along.
    pub submit: Option<String>,
    /// Redirects on the same origin are followed, as a browser does (RFC 9110, section 15.4).
    pub follows: bool,
    /// Header fields beside those that the body brings.
    pub headers: Vec<(HeaderName, Template)>,
    /// Query parameters, appended to the URL's own.
    pub query: Vec<(String, Template)>,
    /// What is sent.
    pub body: StepBody,
    /// What an answer must be to succeed; all of it.
    pub success: Condition,
    /// What means "the input is wrong"; any of it.
    pub reject: Condition,
    /// What is taken from the answer.
    pub outputs: Vec<(String, Extract)>,
    /// How the answer says when the outputs end: the first that it says.
    pub expiry: Vec<ExpiryRule>,
    /// A pointer to a text that is worth a warning.
    pub warn: Option<String>,
}

impl HttpStep {
    /// Where it asks: the text of its URL is plain up to there.
    pub fn origin(&self) -> Option<Origin> {
        let prefix = self.url.as_ref()?.literal_prefix();
        let authority_end = prefix.find("://").map(|at| at + 3)?;
        let end = prefix[authority_end..].find(['/', '?']).map_or(prefix.len(), |at| authority_end + at);
        Some(prefix[..end].parse::<Url>().ok()?.origin)
    }
}

/// The body of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepBody {
    /// None at all.
    Empty,
    /// `application/x-www-form-urlencoded`, in the order of the configuration.
    Form(Vec<(String, Template)>),
    /// `application/json`.
    Json(JsonTemplate),
    /// As it is, with the type that `headers` says.
    Raw(Template),
}

/// A JSON value whose texts are templates. A text that is one placeholder alone still makes a text.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonTemplate {
    /// Anything without texts: numbers, booleans, null.
    Plain(Value),
    /// A text with placeholders.
    Text(Template),
    /// An array.
    Array(Vec<JsonTemplate>),
    /// An object, in the order of the configuration.
    Object(Vec<(String, JsonTemplate)>),
}

/// Tests over an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// Statuses; empty for no test.
    pub status: Vec<u16>,
    /// JSON pointers (RFC 6901) and the values that they may point at.
    pub json: Vec<(String, Vec<Value>)>,
    /// CSS selectors that match something on the page.
    pub css: Vec<String>,
    /// CSS selectors that match nothing on the page.
    pub css_absent: Vec<String>,
    /// Regular expressions that match something in the body.
    pub regex: Vec<String>,
}

/// Where in an answer an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extract {
    /// A JSON pointer (RFC 6901) to a text or a number.
    Json(String),
    /// A header field.
    Header(HeaderName),
    /// The value of a cookie that the answer sets.
    Cookie(String),
    /// The first group of a regular expression over the body; of a message, over its text.
    Regex(String),
    /// An element of the page, by a CSS selector.
    Css(Selection),
}

/// How an answer says when its outputs end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpiryRule {
    /// `expires_in = { json, unit }`: a number or its text, times `unit`, from now.
    In {
        /// JSON pointer to the number.
        pointer: String,
        /// One second, or one millisecond.
        unit: Duration,
    },
    /// `expires_at = { json, format, zone }`.
    At {
        /// JSON pointer to the time.
        pointer: String,
        /// How it is written.
        format: TimeFormat,
    },
    /// `{ jwt = "token" }`: the `exp` claim of that output.
    Jwt {
        /// The output that is a token.
        output: String,
    },
    /// `{ output = "ends", format, zone }`: the time that an output tells.
    Told {
        /// The output that is a time.
        output: String,
        /// How it is written.
        format: TimeFormat,
    },
    /// `expires_in = "1h"`: the same for each answer.
    Fixed(Duration),
}

/// How a point in time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339; a time without a zone is taken at `offset` seconds east of UTC.
    Rfc3339 {
        /// Seconds east of UTC.
        offset: i32,
    },
    /// Seconds since 1970; beyond 1e11 they are taken for milliseconds.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// A pattern such as `%Y-%m-%d %H:%M:%S`, and the offset of its zone in seconds east of UTC.
    Pattern {
        /// The pattern (strftime).
        pattern: String,
        /// Seconds east of UTC.
        offset: i32,
    },
}

/// A found value for a message, or what stands for it.
fn shown(value: &Value, exchange: &Exchange<'_>) -> String {
    scalar_text(value)
        .and_then(|text| quote(&text, exchange.inputs))
        .map_or_else(|| "something that is not shown here".to_owned(), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests;
