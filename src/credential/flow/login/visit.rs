//! A login under way: its steps in their order, each asked and judged, or its message waited for.

use http::header::LOCATION;

use crate::credential::flow::classify::transient;
use crate::credential::flow::json::Json;
use crate::credential::flow::login::cookies::Cookies;
use crate::credential::flow::login::page::Page;
use crate::credential::flow::login::{ExpiryRule, HttpStep, LoginFlow, Step, answer, expiry, link, request};
use crate::credential::flow::mail::{self, Found, Inbox, MailStep, Waited};
use crate::credential::flow::{Exchange, MintError, jwt};
use crate::credential::store::{Awaited, Mark};
use crate::credential::{Lifetime, Minted, Outputs};
use crate::upstream::Url;
use crate::upstream::exchange::{Answer, Request};

/// So many redirects are followed of one step.
const MOST_REDIRECTS: usize = 5;

/// Runs the steps of a login.
pub(in crate::credential::flow) async fn mint(
    flow: &LoginFlow,
    exchange: &Exchange<'_>,
) -> Result<Minted, MintError> {
    run(&flow.steps, exchange, Outputs::new()).await
}

/// Runs steps in order: each sees the inputs, the outputs known before and of those before it, and their
/// cookies. The end of the last step that tells one is the end of all outputs; if none does, it is the
/// first `exp` of those outputs that are signed tokens.
pub(in crate::credential::flow) async fn run(
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
    Ok(visit.haul.end())
}

/// Looks how far the mailboxes are filled. `None` if only the login that asks for its messages can use them.
pub(in crate::credential::flow) async fn mark(
    flow: &LoginFlow,
    exchange: &Exchange<'_>,
) -> Result<Option<Vec<Mark>>, MintError> {
    let mut marks = Vec::new();
    for step in flow.mails() {
        marks.push(mail::open(step, exchange, None).await?.leave().await);
    }
    Ok((flow.brings_all_by_mail() && !marks.is_empty()).then_some(marks))
}

/// Waits for messages that were asked for before; `None` if they have not come and are not waited for any longer.
pub(in crate::credential::flow) async fn pick_up(
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
    Ok(Some(visit.haul.end()))
}

/// A login under way.
struct Visit<'a> {
    exchange: &'a Exchange<'a>,
    cookies: Cookies,
    /// The last page that was answered, whose forms may be submitted.
    page: Option<Page>,
    /// What it brought so far.
    haul: Haul,
}

/// What the steps of a login have brought.
pub(super) struct Haul {
    pub(super) minted: Minted,
    /// Why an end that a step tells could not be read.
    unread: Vec<String>,
}

impl Haul {
    /// Notes when the outputs end: by the first of the rules of a step that can be read.
    pub(super) fn note_end(&mut self, rules: &[ExpiryRule], json: Option<&Json>) {
        match expiry::read(rules, json, &self.minted.outputs) {
            Ok(said) => self.minted.lifetime = Some(said),
            Err(unread) => self.unread.extend(unread),
        }
    }

    /// The whole of it. Where no step has told an end, tokens tell their own; why a step has not is worth a warning
    /// only where they don't.
    fn end(self) -> Minted {
        let mut minted = self.minted;
        if minted.lifetime.is_none() {
            minted.lifetime = minted.outputs.values().filter_map(jwt::expiry).min().map(Lifetime::Until);
        }
        if minted.lifetime.is_none() {
            minted.warnings.extend(self.unread);
        }
        minted
    }
}

impl<'a> Visit<'a> {
    fn new(exchange: &'a Exchange<'a>, known: Outputs) -> Self {
        let haul = Haul { minted: Minted { outputs: known, ..Minted::default() }, unread: Vec::new() };
        Self { exchange, cookies: Cookies::default(), page: None, haul }
    }

    /// Has one step asked and judged. `number` says which of how many it is.
    async fn ask(&mut self, step: &HttpStep, number: (usize, usize)) -> Result<(), MintError> {
        let values = request::Values { exchange: self.exchange, outputs: &self.haul.minted.outputs };
        let named = |error: MintError| error.of_step(number);
        let (url, request) =
            request::build(step, &values, self.page.as_ref(), &self.cookies).map_err(named)?;
        let (page, answer) = self.fetch(url, request, step.follows, number).await?;
        let who = match number.1 {
            1 => page.url.origin.to_string(),
            steps => format!("step {} of {steps} ({})", number.0, page.url.origin),
        };
        answer::read(step, self.exchange, &answer, &who, &mut self.haul)?;
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
        self.haul.minted.outputs.extend(found.outputs);
        self.haul.minted.warnings.extend(found.warning);
        self.haul.note_end(&step.expiry, None);
    }
}

/// Where an answer redirects to.
fn location(answer: &Answer) -> Option<String> {
    answer.headers.get(LOCATION)?.to_str().ok().map(str::to_owned)
}
