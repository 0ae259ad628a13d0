//! A person consents on another device (RFC 8628): the device's code is shown, and the token endpoint
//! is asked now and then whether it was typed.
//!
//! ```text
//! authorization_pending  asked again after the interval
//! slow_down              the interval grows by 5 s, for good
//! no answer, 429, 5xx    the pause doubles, up to a minute, until there is an answer again
//! access_denied, expired_token, anything else: the end
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::Minted;
use crate::credential::consent::authorization::{added, further};
use crate::credential::consent::random::unguessable;
use crate::credential::consent::sessions::{Secrets, Session};
use crate::credential::consent::{Begun, ConsentError, Desk, Step, Wish, interactive};
use crate::credential::flow::classify::{by_status, quote, status_text};
use crate::credential::flow::form::Form;
use crate::credential::flow::json::{Json, scalar_text};
use crate::credential::flow::lifetime::number;
use crate::credential::flow::oauth2::endpoints::Metadata;
use crate::credential::flow::oauth2::{Asked, OAuth2Flow, Occasion, client_request, error_of, post, take};
use crate::credential::flow::{Exchange, MintError};
use crate::credential::input::Inputs;
use crate::secret::Secret;
use crate::upstream::Url;
use crate::upstream::exchange::Answer;

/// The grant of RFC 8628, section 3.4.
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Between two questions, where the issuer does not say (RFC 8628, section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest that a person is waited for, and what is taken where the issuer does not say.
const LONGEST_LOGIN: Duration = Duration::from_secs(3600);
const USUAL_LOGIN: Duration = Duration::from_secs(600);
/// The longest text that is shown to a person.
const LONGEST_TEXT: usize = 2048;

/// What the device authorization endpoint said.
struct Told {
    device_code: Secret,
    step: Step,
    lifetime: Duration,
    interval: Duration,
}

/// Asks for a device's code, and begins to poll.
pub(super) async fn begin(
    desk: &Arc<Desk>,
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    mut session: Session,
    wish: Wish,
) -> Result<Begun, ConsentError> {
    let metadata = flow.endpoints.resolve(exchange).await?;
    let url = Metadata::needed(metadata.device_authorization.as_ref(), "device_authorization_endpoint")?;
    let mut form = Form::new();
    if !flow.scopes.is_empty() {
        form.field("scope", flow.scopes.join(" ").as_bytes());
    }
    for (name, value) in further(&flow.consent.params, exchange)?.into_iter().chain(added(flow, wish)?) {
        form.field(&name, value.as_bytes());
    }
    let answer = exchange.ask(url, client_request(flow, exchange, form, &[])?).await?;
    let told = read_code(url, &answer, exchange)?;

    session.secrets = Secrets::Device;
    let state = unguessable(&desk.clock);
    let polled = Session::of(session.owner.clone(), Arc::clone(&session.spec), None);
    desk.sessions().insert(&state, session, told.lifetime)?;
    let begun = Begun { state: state.clone(), expires_in: told.lifetime, step: told.step };
    let desk = Arc::clone(desk);
    desk.runtime.clone().spawn(async move {
        let ended =
            desk.wait_for_device(&polled, &state, &told.device_code, told.interval, told.lifetime).await;
        // A login that was abandoned has ended already.
        if desk.sessions().is_pending(&state) {
            desk.end(&state, &polled.owner, &ended);
        }
    });
    Ok(begun)
}

fn read_code(url: &Url, answer: &Answer, exchange: &Exchange<'_>) -> Result<Told, ConsentError> {
    let said = format!("{} answered {}", url.origin, status_text(answer.status));
    let json = Json::parse(&answer.body).filter(Json::is_object);
    if !answer.status.is_success() {
        return Err(refused(answer, json.as_ref(), exchange, &said));
    }
    let json = json.ok_or_else(|| ConsentError::Unusable(format!("{said}, but not with a JSON object")))?;
    let text = |name: &str| {
        let text = scalar_text(json.member(name)?)?;
        let is_fit = !text.is_empty() && text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control);
        is_fit.then_some(text)
    };
    let needed =
        |name: &str| text(name).ok_or_else(|| ConsentError::Unusable(format!("{said}, without a `{name}`")));
    // People follow it: it leads to a page.
    let page = |uri: &String| uri.parse::<Url>().is_ok();
    let verification_uri = text("verification_uri").or_else(|| text("verification_url")).filter(page);
    let step = Step::Device {
        user_code: needed("user_code")?,
        verification_uri: verification_uri
            .ok_or_else(|| ConsentError::Unusable(format!("{said}, without a usable `verification_uri`")))?,
        verification_uri_complete: text("verification_uri_complete").filter(page),
    };
    let device_code = Secret::from(needed("device_code")?);
    let interval = seconds(&json, "interval").unwrap_or(INTERVAL).min(LONGEST_PAUSE);
    let lifetime = lifetime(&json);
    Ok(Told { device_code, step, lifetime, interval })
}

/// How long the issuer waits for the person.
pub(super) fn lifetime(json: &Json) -> Duration {
    seconds(json, "expires_in").unwrap_or(USUAL_LOGIN).min(LONGEST_LOGIN)
}

/// A positive number of seconds.
fn seconds(json: &Json, name: &str) -> Option<Duration> {
    let seconds = number(json.member(name)?).filter(|seconds| *seconds > 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// An answer that is no success, with the issuer's code.
pub(super) fn refused(
    answer: &Answer,
    json: Option<&Json>,
    exchange: &Exchange<'_>,
    said: &str,
) -> ConsentError {
    let code = json.and_then(Json::error_code).and_then(|code| quote(&code, exchange.inputs));
    let said = code.map_or_else(|| said.to_owned(), |code| format!("{said} with the error `{code}`"));
    by_status(answer, exchange.clock.wall(), said).into()
}

/// What one question came to.
enum Polled<T> {
    /// It is decided.
    Decided(Result<T, ConsentError>),
    /// The person has not decided yet.
    Pending,
    /// The same, and the issuer is asked too often.
    SlowDown,
    /// There is no answer now.
    Silent,
}

/// Asks until it is decided or nobody wants to know any more.
async fn poll<T, Asked: Future<Output = Polled<T>>>(
    clock: &Clock,
    mut interval: Duration,
    lifetime: Duration,
    is_wanted: impl Fn() -> bool,
    ask: impl Fn() -> Asked,
) -> Result<T, ConsentError> {
    let end = clock.boot() + lifetime;
    let mut pause = interval;
    loop {
        tokio::time::sleep(pause).await;
        if !is_wanted() || clock.boot() >= end {
            return Err(ConsentError::TooLate);
        }
        pause = match ask().await {
            Polled::Decided(decision) => return decision,
            Polled::Pending => interval,
            Polled::SlowDown => {
                interval += SLOWER;
                interval
            }
            Polled::Silent => (pause * 2).min(LONGEST_PAUSE.max(interval)),
        };
    }
}

impl Desk {
    /// Polls until the person has decided, and has the tokens kept.
    async fn wait_for_device(
        &self,
        session: &Session,
        state: &str,
        device_code: &Secret,
        interval: Duration,
        lifetime: Duration,
    ) -> Result<(), ConsentError> {
        let is_wanted = || self.sessions().is_pending(state);
        let ask = || self.ask_for_device(session, device_code);
        let minted = poll(&self.clock, interval, lifetime, is_wanted, ask).await?;
        if !is_wanted() {
            return Err(ConsentError::Abandoned);
        }
        self.adopt(session, minted).await
    }

    async fn ask_for_device(&self, session: &Session, device_code: &Secret) -> Polled<Minted> {
        let Ok(inputs) = self.inputs(&session.spec).await else { return Polled::Silent };
        match self.ask_once(session, device_code, &inputs).await {
            Ok(polled) => polled,
            Err(MintError::Transient { .. } | MintError::Unanswered { .. }) => Polled::Silent,
            Err(error) => Polled::Decided(Err(error.into())),
        }
    }

    async fn ask_once(
        &self,
        session: &Session,
        device_code: &Secret,
        inputs: &Inputs,
    ) -> Result<Polled<Minted>, MintError> {
        let Ok(flow) = interactive(&session.spec) else {
            return Ok(Polled::Decided(Err(ConsentError::NotInteractive)));
        };
        let _place = self.places.acquire().await;
        let issuer = (self.issuers)();
        let exchange = issuer.exchange(&session.spec, inputs)?;
        let metadata = flow.endpoints.resolve(&exchange).await?;
        let fields = vec![("device_code", device_code.clone())];
        let occasion = Occasion::Login { nonce: None };
        let asked = Asked { grant_type: GRANT, fields, occasion };
        let (url, answer) = post(flow, &exchange, &metadata, &asked).await?;
        match error_of(&answer).as_deref() {
            Some("authorization_pending") => return Ok(Polled::Pending),
            Some("slow_down") => return Ok(Polled::SlowDown),
            Some("access_denied") => {
                let message = "the person or the issuer said no (`access_denied`)".to_owned();
                return Ok(Polled::Decided(Err(ConsentError::Denied(message))));
            }
            Some("expired_token") => return Ok(Polled::Decided(Err(ConsentError::TooLate))),
            _ => {}
        }
        let minted = take(flow, &exchange, &metadata, occasion, (url, &answer)).await?;
        Ok(Polled::Decided(Ok(minted)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{ConsentError, Polled, poll};
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// An issuer that gives these answers, then `authorization_pending`.
    struct Script {
        clock: Clock,
        start: Duration,
        answers: Mutex<VecDeque<Polled<()>>>,
        /// When it was asked, in seconds.
        asked: Mutex<Vec<u64>>,
        /// It is wanted for so many questions.
        wanted: usize,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Polled<()>>, wanted: usize) -> Self {
            let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
            let answers = Mutex::new(answers.into_iter().collect());
            Self { start: clock.boot(), clock, answers, asked: Mutex::default(), wanted }
        }

        /// Polls with an interval of 5 s.
        async fn run(self, lifetime: u32) -> (Vec<u64>, Result<(), ConsentError>) {
            let (is_wanted, ask) = (|| self.is_wanted(), || std::future::ready(self.ask()));
            let ended = poll(&self.clock, 5 * SECOND, lifetime * SECOND, is_wanted, ask).await;
            (self.asked.into_inner().expect("no panic"), ended)
        }

        fn is_wanted(&self) -> bool {
            self.asked.lock().expect("no panic").len() < self.wanted
        }

        fn ask(&self) -> Polled<()> {
            let at = (self.clock.boot() - self.start).as_secs();
            self.asked.lock().expect("no panic").push(at);
            self.answers.lock().expect("no panic").pop_front().unwrap_or(Polled::Pending)
        }
    }

    async fn asked(
        lifetime: u32,
        answers: impl IntoIterator<Item = Polled<()>>,
    ) -> (Vec<u64>, Result<(), ConsentError>) {
        Script::new(answers, usize::MAX).run(lifetime).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_is_polled_at_its_interval_until_it_is_decided() {
        let (at, ended) = asked(600, [Polled::Pending, Polled::Pending, Polled::Decided(Ok(()))]).await;
        assert_eq!((at, ended), (vec![5, 10, 15], Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_down_adds_five_seconds_for_good() {
        let answers = [
            Polled::Pending,
            Polled::SlowDown,
            Polled::Pending,
            Polled::SlowDown,
            Polled::Pending,
            Polled::Decided(Ok(())),
        ];
        assert_eq!(asked(600, answers).await.0, [5, 10, 20, 30, 45, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_pause_and_an_answer_ends_that() {
        let answers = [
            Polled::Silent,
            Polled::Silent,
            Polled::Silent,
            Polled::Silent,
            Polled::Silent,
            Polled::Pending,
            Polled::Decided(Ok(())),
        ];
        assert_eq!(asked(600, answers).await.0, [5, 15, 35, 75, 135, 195, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_and_the_end_of_the_time_end_it() {
        let denied = ConsentError::Denied("no".to_owned());
        let (at, ended) = asked(600, [Polled::Decided(Err(denied.clone()))]).await;
        assert_eq!((at, ended), (vec![5], Err(denied)));
        let (at, ended) = asked(12, []).await;
        assert_eq!((at, ended), (vec![5, 10], Err(ConsentError::TooLate)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_for_a_login_that_nobody_waits_for() {
        let (at, ended) = Script::new([], 2).run(600).await;
        assert_eq!((at, ended), (vec![5, 10], Err(ConsentError::TooLate)));
    }
}
