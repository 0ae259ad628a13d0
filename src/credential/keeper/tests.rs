//! The life of a credential as a specification: the names of these tests are its sentences.
//!
//! Time is paused and moves only when nothing else can; the issuer is a script.

mod attempts;
mod chains;
mod consent;
mod failures;
mod files;
mod histories;
mod interleavings;
mod notices;
mod reading;
mod refusals;
mod rejections;
mod reloads;
mod renewals;
mod revocation;
mod rotation;
mod scale;
mod subjects;
mod succession;
mod time;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::credential::flow::oauth2::endpoints::Endpoints;
use crate::credential::flow::oauth2::{ClientAuth, Grant};
use crate::credential::flow::{
    Mint, MintError, MintFuture, OAuth2Flow, RevokeFuture, StaticFlow, TokenHint, VerifyFuture,
    fixed::Expires,
};
use crate::credential::input::Inputs;
use crate::credential::keeper::{Keeper, Options, Outcome, SetError, SleepRules, start};
use crate::credential::slot::{AfterRefusal, Slot, Unavailable};
use crate::credential::store::{MemoryStore, Store};
use crate::credential::{
    CredentialName, CredentialSpec, ErrorClass, Flow, Lifetime, Minted, Outputs, Owner, Source, State,
    Status, Subject, Times,
};
use crate::named::Named;
use crate::secret::Secret;
use crate::template::Template;

const HOUR: Duration = Duration::from_secs(3600);
const WAIT: Duration = Duration::from_secs(5);

/// A keeper with everything around it.
struct House {
    clock: Clock,
    keeper: Keeper,
    issuer: Arc<ScriptedIssuer>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

impl House {
    fn new() -> Self {
        Self::with(Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7), None, 32)
    }

    fn with_issuer_concurrency(limit: usize) -> Self {
        Self::with(Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7), None, limit)
    }

    fn with(clock: Clock, store: Option<Arc<dyn Store>>, issuer_concurrency: usize) -> Self {
        Self::with_rules(clock, store, issuer_concurrency, SleepRules::default())
    }

    fn with_rules(
        clock: Clock,
        store: Option<Arc<dyn Store>>,
        issuer_concurrency: usize,
        sleep: SleepRules,
    ) -> Self {
        let issuer = Arc::new(ScriptedIssuer { clock: clock.clone(), scripts: Arc::default() });
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&outcomes);
        let options = Options {
            issuer_concurrency,
            sleep,
            observe: Box::new(move |_, outcome, _| {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }),
        };
        let store = store.unwrap_or_else(|| Arc::new(MemoryStore::new(&clock)));
        let (keeper, task) = start(clock.clone(), store, Arc::clone(&issuer) as _, options);
        tokio::spawn(task);
        Self { clock, keeper, issuer, outcomes }
    }

    /// A house that keeps one credential, and a reader of it.
    fn with_one(spec: CredentialSpec) -> (Self, Arc<Slot<String>>) {
        let house = Self::new();
        let name = spec.name.clone();
        house.keep([spec]);
        let slot = house.slot(name.as_str());
        (house, slot)
    }

    fn keep(&self, specs: impl IntoIterator<Item = CredentialSpec>) {
        self.keeper.reconcile(specs.into_iter().map(Arc::new).collect());
    }

    /// A reader that wants its token as one line of text.
    fn slot(&self, name: &str) -> Arc<Slot<String>> {
        let prepare = |outputs: &Outputs| {
            let token = outputs.get("token").and_then(Secret::expose_str).ok_or("no token")?;
            if token.contains('\n') { Err("it has a line break".to_owned()) } else { Ok(token.to_owned()) }
        };
        self.keeper.slot(&name.into(), Arc::new(prepare)).expect("the credential is kept")
    }

    fn status(&self, name: &str) -> Status {
        self.keeper.status(&name.into()).expect("the credential is kept")
    }

    fn state(&self, name: &str) -> State {
        self.status(name).state
    }

    fn error_class(&self, name: &str) -> Option<ErrorClass> {
        self.status(name).last_error.map(|error| error.class)
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The token that a request would carry now, without waiting.
    fn token(&self, slot: &Slot<String>) -> Option<String> {
        let guard = slot.current(self.clock.now())?;
        guard.as_ref().map(|current| current.value.clone())
    }

    async fn wait(&self, slot: &Slot<String>) -> Result<String, Unavailable> {
        slot.wait(&self.clock, WAIT).await.map(|current| current.value.clone())
    }

    async fn refused(&self, slot: &Slot<String>, generation: u64) -> Option<String> {
        match slot.refused(generation, &self.clock, WAIT).await {
            AfterRefusal::Renewed(current) => Some(current.value.clone()),
            AfterRefusal::Stands => None,
        }
    }

    async fn refresh(&self, name: &str, force: bool) -> Outcome {
        self.keeper.refresh(&name.into(), force).expect("the credential is kept").await
    }
}

/// Lets so much time pass.
async fn pass(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Lets everything happen that is due now, and half a second pass.
async fn settle() {
    pass(Duration::from_millis(500)).await;
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A credential that asks an issuer and needs no inputs.
fn spec(name: &str) -> CredentialSpec {
    CredentialSpec {
        name: name.into(),
        flow: oauth2(Grant::ClientCredentials),
        inputs: Named::new(),
        egress: String::new(),
        times: Arc::default(),
        optional: false,
        retry_ambiguous: false,
        expected_upstream: None,
        lends: Arc::default(),
        only_subjects: false,
        deadline: None,
        rotation: None,
    }
}

fn with_inputs<'a>(
    spec: CredentialSpec,
    inputs: impl IntoIterator<Item = (&'a str, Source)>,
) -> CredentialSpec {
    let inputs = inputs.into_iter().map(|(name, source)| (name.to_owned(), source)).collect();
    CredentialSpec { inputs, ..spec }
}

/// A credential that has an output of another one as input.
fn child(name: &str, parent: &str) -> CredentialSpec {
    let output = Source::Output { credential: parent.into(), output: "token".to_owned() };
    with_inputs(spec(name), [("key", output)])
}

fn oauth2(grant: Grant) -> Flow {
    Flow::OAuth2(Box::new(OAuth2Flow {
        grant,
        endpoints: Endpoints::of_token("https://issuer.test/token".parse().expect("a URL")).into(),
        client_id: Template::text("client"),
        client_auth: ClientAuth::None,
        scopes: Vec::new(),
        params: Vec::new(),
        outputs: Vec::new(),
        dpop: None,
        id_token: Arc::default(),
        rotates: true,
        rejected_errors: Vec::new(),
        revoke_on_exit: false,
        consent: Arc::default(),
    }))
}

fn static_spec(name: &str, token: Source) -> CredentialSpec {
    let flow = Flow::Static(StaticFlow { expires: Expires::Never });
    with_inputs(CredentialSpec { flow, ..spec(name) }, [("token", token)])
}

fn refresh_spec(name: &str, token: &str) -> CredentialSpec {
    let flow = oauth2(Grant::RefreshToken);
    with_inputs(
        CredentialSpec { flow, ..spec(name) },
        [("refresh_token", Source::Value(Secret::from(token)))],
    )
}

/// An issuer that does what a test says.
struct ScriptedIssuer {
    clock: Clock,
    scripts: Arc<Mutex<HashMap<CredentialName, Script>>>,
}

#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    /// How many are being answered.
    open: usize,
    most_open: usize,
    answer: Option<Arc<Answering>>,
    revoked: Vec<(Secret, TokenHint)>,
}

type Answering = dyn Fn(&Call) -> Answer + Send + Sync;

/// One exchange, as the issuer saw it.
#[derive(Debug, Clone)]
struct Call {
    /// Counted from 1, by credential.
    number: usize,
    /// In time since boot.
    at: Duration,
    inputs: Inputs,
}

impl Call {
    fn input(&self, name: &str) -> &str {
        self.inputs.values.get(name).and_then(Secret::expose_str).unwrap_or_default()
    }
}

/// What the issuer says.
enum Answer {
    Minted(Minted),
    Fails(MintError),
    Hangs,
    Panics,
    /// The same, so much later.
    After(Duration, Box<Answer>),
    /// The same, when the test says so.
    Once(Arc<Notify>, Box<Answer>),
}

impl Answer {
    fn after(self, pause: Duration) -> Self {
        Self::After(pause, Box::new(self))
    }
}

fn minted(token: &str, lifetime: Option<Lifetime>) -> Minted {
    let outputs = Outputs::from([("token".to_owned(), Secret::from(token))]);
    Minted { outputs, lifetime, ..Minted::default() }
}

fn token(token: &str, lifetime: Duration) -> Answer {
    Answer::Minted(minted(token, Some(Lifetime::For(lifetime))))
}

/// `t1` for the first exchange, and so on; good for an hour.
fn next_token(call: &Call) -> Answer {
    token(&format!("t{}", call.number), HOUR)
}

fn down() -> Answer {
    Answer::Fails(MintError::Transient { message: "the issuer is down".to_owned(), retry_after: None })
}

fn rejected() -> Answer {
    Answer::Fails(MintError::Rejected { message: "wrong password".to_owned() })
}

fn unanswered() -> Answer {
    Answer::Fails(MintError::Unanswered { message: "the connection broke".to_owned() })
}

impl ScriptedIssuer {
    fn answers(&self, name: &str, answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) {
        self.script(name, |script| script.answer = Some(Arc::new(answer)));
    }

    fn calls(&self, name: &str) -> Vec<Call> {
        self.script(name, |script| script.calls.clone())
    }

    fn count(&self, name: &str) -> usize {
        self.script(name, |script| script.calls.len())
    }

    fn most_open(&self, name: &str) -> usize {
        self.script(name, |script| script.most_open)
    }

    fn script<T>(&self, name: &str, with: impl FnOnce(&mut Script) -> T) -> T {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        with(scripts.entry(name.into()).or_default())
    }
}

impl Mint for ScriptedIssuer {
    /// Asked as `NAME.replace`; the current value is the input `current`.
    fn replace(&self, spec: Arc<CredentialSpec>, mut inputs: Inputs, current: Outputs) -> MintFuture {
        if let Some(current) = current.get("token") {
            inputs.values.insert("current".to_owned(), current.clone());
        }
        self.mint(Arc::new(CredentialSpec { name: errand(&spec, "replace"), ..(*spec).clone() }), inputs)
    }

    /// Asked as `NAME.verify`; the value is the input `value`.
    fn verify(&self, spec: Arc<CredentialSpec>, mut inputs: Inputs, value: Outputs) -> VerifyFuture {
        if let Some(value) = value.get("token") {
            inputs.values.insert("value".to_owned(), value.clone());
        }
        let spec = CredentialSpec { name: errand(&spec, "verify"), ..(*spec).clone() };
        let verified = self.mint(Arc::new(spec), inputs);
        Box::pin(async { verified.await.map(drop) })
    }

    fn revoke(
        &self,
        spec: Arc<CredentialSpec>,
        _inputs: Inputs,
        token: Secret,
        hint: TokenHint,
    ) -> RevokeFuture {
        self.script(spec.name.as_str(), |script| script.revoked.push((token, hint)));
        Box::pin(async { Ok(true) })
    }

    fn mint(&self, spec: Arc<CredentialSpec>, inputs: Inputs) -> MintFuture {
        if let Flow::Static(flow) = &spec.flow
            && inputs.values.contains_key("token")
        {
            let minted = flow.mint(&inputs, self.clock.wall());
            return Box::pin(async { Ok(minted) });
        }
        let at = self.clock.boot();
        let answer = self.script(spec.name.as_str(), |script| {
            let call = Call { number: script.calls.len() + 1, at, inputs };
            script.open += 1;
            script.most_open = script.most_open.max(script.open);
            let answer = script.answer.as_ref().map_or_else(|| next_token(&call), |answer| answer(&call));
            script.calls.push(call);
            answer
        });
        let open = OpenCall { scripts: Arc::clone(&self.scripts), name: spec.name.clone() };
        Box::pin(async move {
            let _open = open;
            carry_out(answer).await
        })
    }
}

/// The name under which a script answers for another question than that for the token.
fn errand(spec: &CredentialSpec, errand: &str) -> CredentialName {
    CredentialName::from(format!("{}.{errand}", spec.name).as_str())
}

/// Counts an exchange as open for as long as it lives.
struct OpenCall {
    scripts: Arc<Mutex<HashMap<CredentialName, Script>>>,
    name: CredentialName,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.entry(self.name.clone()).or_default().open -= 1;
    }
}

async fn carry_out(mut answer: Answer) -> Result<Minted, MintError> {
    loop {
        match answer {
            Answer::Minted(minted) => return Ok(minted),
            Answer::Fails(error) => return Err(error),
            Answer::Hangs => std::future::pending().await,
            Answer::Panics => panic!("a fault in a flow"),
            Answer::After(pause, then) => {
                tokio::time::sleep(pause).await;
                answer = *then;
            }
            Answer::Once(notify, then) => {
                notify.notified().await;
                answer = *then;
            }
        }
    }
}
