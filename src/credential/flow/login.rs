//! The flow `login`: a vendor's own way, as a list of HTTP exchanges.

mod answer;
mod cookies;
mod expiry;
mod request;

use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;

use crate::credential::flow::classify::quote;
use crate::credential::flow::json::scalar_text;
use crate::credential::flow::login::cookies::Cookies;
use crate::credential::flow::{Exchange, MintError, jwt};
use crate::credential::{Lifetime, Minted, Outputs};
use crate::template::Template;
use crate::upstream::{Origin, Url};

/// A login: its steps run in order and share their outputs and cookies.
#[derive(Debug, Clone, PartialEq)]
pub struct LoginFlow {
    /// At least one.
    pub steps: Vec<Step>,
}

impl LoginFlow {
    /// The origins of all steps, in their order, each once.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.steps.iter().filter_map(Step::origin).collect();
        origins.dedup();
        origins
    }

    /// The origin of the last step, whose answer is the token.
    pub fn issuer(&self) -> Option<Origin> {
        self.steps.last()?.origin()
    }
}

/// One HTTP exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The request method.
    pub method: Method,
    /// The absolute URL; its origin is plain text.
    pub url: Template,
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

impl Step {
    /// Where it asks: the text of its URL is plain up to there.
    pub fn origin(&self) -> Option<Origin> {
        let prefix = self.url.literal_prefix();
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
    /// The first group of a regular expression over the body.
    Regex(String),
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

/// Runs the steps of a login.
pub(super) async fn mint(flow: &LoginFlow, exchange: &Exchange<'_>) -> Result<Minted, MintError> {
    run(&flow.steps, exchange, Outputs::new()).await
}

/// Runs steps in order: each sees the inputs, the outputs known before and of those before it, and their
/// cookies. The end of the last step that tells one is the end of all outputs; if none does, it is the
/// first `exp` of those outputs that are signed tokens.
pub(super) async fn run(
    steps: &[Step],
    exchange: &Exchange<'_>,
    known: Outputs,
) -> Result<Minted, MintError> {
    let mut cookies = Cookies::default();
    let mut minted =
        Minted { outputs: known, lifetime: None, rotated: None, lapses: None, warnings: Vec::new() };
    for (number, step) in steps.iter().enumerate() {
        let (url, request) = request::build(step, exchange, &minted.outputs, &cookies)?;
        let answer = exchange.ask(&url, request).await?;
        cookies.learn(&url, &answer.headers, exchange.clock.wall());
        let who = match steps.len() {
            1 => url.origin.to_string(),
            steps => format!("step {} of {steps} ({})", number + 1, url.origin),
        };
        answer::read(step, exchange, &answer, &who, &mut minted)?;
    }
    if minted.lifetime.is_none() {
        minted.lifetime = minted.outputs.values().filter_map(jwt::expiry).min().map(Lifetime::Until);
    }
    Ok(minted)
}

/// A found value for a message, or what stands for it.
fn shown(value: &Value, exchange: &Exchange<'_>) -> String {
    scalar_text(value)
        .and_then(|text| quote(&text, exchange.inputs))
        .map_or_else(|| "something that is not shown here".to_owned(), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests;
