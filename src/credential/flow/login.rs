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

use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderName, Method};
use serde_json::Value;

use crate::credential::flow::classify::{quote, transient};
use crate::credential::flow::json::scalar_text;
use crate::credential::flow::login::cookies::Cookies;
use crate::credential::flow::login::page::{Page, Selection};
use crate::credential::flow::mail::{self, Found, Inbox, MailStep, Waited};
use crate::credential::flow::{Exchange, MintError, jwt};
use crate::credential::store::{Awaited, Mark};
use crate::credential::{Lifetime, Minted, Outputs};
use crate::template::Template;
use crate::upstream::exchange::{Answer, Request};
use crate::upstream::{Origin, Url};

/// So many redirects are followed of one step.
const MOST_REDIRECTS: usize = 5;

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
    let mut visit = Visit::new(exchange, known);
    // What lies there before anybody was asked is not the answer. And where a mailbox cannot be opened, nobody
    // is asked for a message that could not be read.
    let mut inboxes = Vec::new();
    for step in steps {
        if let Step::Mail(step) = step {
            inboxes.push(mail::open(step, exchange, None).await?);
        }
    }
    let mut inboxes = inboxes.into_iter();
    for (index, step) in steps.iter().enumerate() {
        let number = (index + 1, steps.len());
        match step {
            Step::Http(step) => match visit.ask(step, number).await {
                // The question has gone out, and what it asks for is mailed: it may come all the same.
                Err(MintError::Unanswered { message })
                    if matches!(steps.get(index + 1), Some(Step::Mail(_))) && step.outputs.is_empty() =>
                {
                    let credential = &exchange.spec.name;
                    tracing::warn!(%credential, reason = message, "no answer came: the message is waited for");
                }
                asked => asked?,
            },
            Step::Mail(step) => {
                let inbox = inboxes.next().expect("one was opened for each such step");
                visit.wait(step, inbox, number).await?;
            }
        }
    }
    Ok(visit.end())
}

/// Looks how far the mailboxes are filled. `None` if only the login that asks for its messages can use them.
pub(super) async fn mark(flow: &LoginFlow, exchange: &Exchange<'_>) -> Result<Option<Vec<Mark>>, MintError> {
    let mut marks = Vec::new();
    for step in flow.mails() {
        marks.push(mail::open(step, exchange, None).await?.leave().await);
    }
    Ok((flow.brings_all_by_mail() && !marks.is_empty()).then_some(marks))
}

/// Waits for messages that were asked for before; `None` if they have not come and are not waited for any longer.
pub(super) async fn pick_up(
    flow: &LoginFlow,
    exchange: &Exchange<'_>,
    awaited: &Awaited,
) -> Result<Option<Minted>, MintError> {
    if !flow.brings_all_by_mail() || flow.mails().count() != awaited.marks.len() {
        return Ok(None);
    }
    let mut visit = Visit::new(exchange, Outputs::new());
    let mut marks = awaited.marks.iter();
    for (index, step) in flow.steps.iter().enumerate() {
        let Step::Mail(step) = step else { continue };
        let named = |error: MintError| error.of_step((index + 1, flow.steps.len()));
        let Some(mark) = marks.next() else { return Ok(None) };
        let inbox = mail::open(step, exchange, Some((*mark, awaited.since))).await.map_err(named)?;
        // A clock that was set back does not make it longer.
        let passed = exchange.clock.wall().duration_since(awaited.since).try_into().unwrap_or_default();
        match inbox.wait(step, step.wait.saturating_sub(passed)).await.map_err(named)? {
            Waited::Found(found) => visit.take(step, found),
            Waited::Nothing(_) => return Ok(None),
        }
    }
    Ok(Some(visit.end()))
}

/// A login under way.
struct Visit<'a> {
    exchange: &'a Exchange<'a>,
    cookies: Cookies,
    /// The last page that was answered, whose forms may be submitted.
    page: Option<Page>,
    /// What it brought so far.
    minted: Minted,
}

impl<'a> Visit<'a> {
    fn new(exchange: &'a Exchange<'a>, known: Outputs) -> Self {
        let minted =
            Minted { outputs: known, lifetime: None, rotated: None, lapses: None, warnings: Vec::new() };
        Self { exchange, cookies: Cookies::default(), page: None, minted }
    }

    /// What it brought.
    fn end(self) -> Minted {
        let mut minted = self.minted;
        if minted.lifetime.is_none() {
            minted.lifetime = minted.outputs.values().filter_map(jwt::expiry).min().map(Lifetime::Until);
        }
        minted
    }

    /// Has one step asked and judged. `number` says which of how many it is.
    async fn ask(&mut self, step: &HttpStep, number: (usize, usize)) -> Result<(), MintError> {
        let values = request::Values { exchange: self.exchange, outputs: &self.minted.outputs };
        let named = |error: MintError| error.of_step(number);
        let (url, request) =
            request::build(step, &values, self.page.as_ref(), &self.cookies).map_err(named)?;
        let (page, answer) = self.fetch(url, request, step.follows, number).await?;
        let who = match number.1 {
            1 => page.url.origin.to_string(),
            steps => format!("step {} of {steps} ({})", number.0, page.url.origin),
        };
        answer::read(step, self.exchange, &answer, &who, &mut self.minted)?;
        self.page = Some(page);
        Ok(())
    }

    /// The answer to a request, or to what it redirects to if redirects are followed: by its status, or as a page.
    async fn fetch(
        &mut self,
        mut url: Url,
        mut request: Request,
        follows: bool,
        number: (usize, usize),
    ) -> Result<(Page, Answer), MintError> {
        let mut redirects = 0;
        loop {
            let mut answer = self.request(&url, request.clone()).await?;
            let page = Page::of(url.clone(), &mut answer);
            let is_redirect = matches!(answer.status.as_u16(), 301..=303 | 307 | 308);
            let goes_on = follows && answer.status.is_success();
            let refresh = if goes_on { page.refresh() } else { None };
            if !follows || (!is_redirect && refresh.is_none()) {
                return Ok((page, answer));
            }
            let (base, to) = match refresh {
                Some(to) => (page.base(), Some(to)),
                None => (page.url.clone(), location(&answer)),
            };
            let wrong = |what: &str| {
                let message = format!("{} redirects {what}", page.url.origin);
                MintError::Stubborn { message }.of_step(number)
            };
            redirects += 1;
            if redirects > MOST_REDIRECTS {
                return Err(wrong("in a circle"));
            }
            let next = to.and_then(|to| link::resolve(&base, &to));
            let next = next.ok_or_else(|| wrong("to where nobody can be asked"))?;
            if next.origin != url.origin {
                let what =
                    format!("to another server ({}), which gets neither cookies nor secrets", next.origin);
                return Err(wrong(&what));
            }
            url = next;
            request = match answer.status.as_u16() {
                307 | 308 => request::again(request, &url, &self.cookies)?,
                _ => request::get(&url, &self.cookies)?,
            };
        }
    }

    async fn request(&mut self, url: &Url, request: Request) -> Result<Answer, MintError> {
        let answer = self.exchange.ask(url, request).await?;
        self.cookies.learn(url, &answer.headers, self.exchange.clock.wall());
        Ok(answer)
    }

    /// Waits for the message of a step.
    async fn wait(
        &mut self,
        step: &MailStep,
        inbox: Inbox<'_>,
        number: (usize, usize),
    ) -> Result<(), MintError> {
        let unmailed = |error: MintError| MintError::Unmailed { error: Box::new(error.of_step(number)) };
        match inbox.wait(step, step.wait).await.map_err(unmailed)? {
            Waited::Found(found) => self.take(step, found),
            Waited::Nothing(message) => return Err(unmailed(transient(message))),
        }
        Ok(())
    }

    fn take(&mut self, step: &MailStep, found: Found) {
        self.minted.outputs.extend(found.outputs);
        self.minted.warnings.extend(found.warning);
        let said = step.expiry.iter().find_map(|rule| expiry::read(rule, None, &self.minted.outputs));
        self.minted.lifetime = said.or(self.minted.lifetime);
    }
}

/// Where an answer redirects to.
fn location(answer: &Answer) -> Option<String> {
    answer.headers.get(LOCATION)?.to_str().ok().map(str::to_owned)
}

/// A found value for a message, or what stands for it.
fn shown(value: &Value, exchange: &Exchange<'_>) -> String {
    scalar_text(value)
        .and_then(|text| quote(&text, exchange.inputs))
        .map_or_else(|| "something that is not shown here".to_owned(), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests;
