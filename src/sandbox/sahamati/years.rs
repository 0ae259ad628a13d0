//! Three years of a member of the network in a second: the real presets, flows and keeper against the
//! simulator, in virtual time, with everything that may go wrong on the way.
//!
//! The vendor lives by a clock of its own. bearerd's is stepped and sleeps; its process dies at any moment
//! and starts again over what its store holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{DAY, ENTITY, PASSWORD, RESET_SECRET, Rules, Sahamati, USER_TOKEN, USERNAME};
use crate::clock::Clock;
use crate::config::{Environment, load_text};
use crate::credential::flow::{Direct, Issuer};
use crate::credential::keeper::{Keeper, Options, SleepRules, start};
use crate::credential::slot::Slot;
use crate::credential::store::MemoryStore;
use crate::credential::{CredentialSpec, Minted, State};
use crate::sandbox::received::tests::request;
use crate::sandbox::{Received, Simulator, TokenBook};
use crate::secret::Secret;
use crate::upstream::Url;
use crate::upstream::exchange::{Answer, ExchangeError, Request};

const HOUR: Duration = Duration::from_secs(3600);
const YEARS: u32 = 3 * 365;

/// So long after the last trouble everything has to be well again: the longest pause between tries, twice.
const RECOVERY: Duration = Duration::from_secs(900);

const CONFIGURATION: &str = r#"
[credentials.user]
preset = "sahamati-user"
base_url = "http://127.0.0.1:1/iam/v1"
username = { value = "USERNAME" }
password = { value = "PASSWORD" }
[credentials.secret]
preset = "sahamati-secret"
base_url = "http://127.0.0.1:1/iam/v1"
entity_id = "ENTITY"
user = { credential = "user" }
[credentials.entity]
preset = "sahamati-entity"
base_url = "http://127.0.0.1:1/iam/v1"
entity_id = "ENTITY"
secret = { credential = "secret" }
[routes.registry]
upstream = "http://127.0.0.1:1"
credential = "entity"
[listeners.app]
bind = "127.0.0.1:0"
"#;

/// What is wrong with the way to the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// No connection.
    Down,
    /// A status in place of an answer, and nothing done.
    Busy,
    /// All is done, and no answer arrives.
    Deaf,
    /// Each request fares as it comes.
    Stormy,
}

/// The vendor, and the way there.
struct Vendor {
    clock: Clock,
    simulator: Sahamati,
    weather: Mutex<Weather>,
    calls: Mutex<u32>,
    /// The last requests, for the person who reads why a life failed.
    last: Mutex<VecDeque<String>>,
}

/// So many of the last requests are told.
const TOLD: usize = 60;

impl Vendor {
    fn new(clock: &Clock, rules: Rules) -> Arc<Self> {
        let simulator = Sahamati::new(TokenBook::new(clock.clone(), None), clock.clone(), rules);
        let weather = Mutex::new(Weather::Fair);
        Arc::new(Self {
            clock: clock.clone(),
            simulator,
            weather,
            calls: Mutex::default(),
            last: Mutex::default(),
        })
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, u32> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request on its way there and back: each takes up to a second.
    async fn ask(self: Arc<Self>, url: Url, asked: Request) -> Result<Answer, ExchangeError> {
        *self.calls() += 1;
        let gone = |message: &str, sent| Err(ExchangeError { message: message.to_owned(), sent });
        tokio::time::sleep(Duration::from_secs_f64(self.clock.fraction())).await;
        let weather = *self.weather();
        let fate = match weather {
            Weather::Stormy => [Weather::Fair, Weather::Down, Weather::Busy, Weather::Deaf]
                [usize::from(self.clock.fraction() > 0.5) * 2 + usize::from(self.clock.fraction() > 0.5)],
            weather => weather,
        };
        if fate == Weather::Down {
            return gone("no connection", false);
        }
        if fate == Weather::Busy {
            let (status, body) = (http::StatusCode::BAD_GATEWAY, Secret::from("<html>"));
            return Ok(Answer { status, headers: http::HeaderMap::new(), body });
        }
        let place = url.path_and_query.path().trim_start_matches("/iam/v1/").to_owned();
        let received = Received {
            method: asked.method,
            target: url.path_and_query.as_str().parse().expect("a target"),
            headers: asked.headers,
            body: asked.body.map(|body| body.expose().to_vec().into()).unwrap_or_default(),
        };
        let answer = self.simulator.answer(&received);
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let complaint = answer.complaint().unwrap_or_default();
            last.push_back(format!(
                "{:.0} {place} {fate:?} {} {complaint}",
                self.clock.wall(),
                answer.status()
            ));
            if last.len() > TOLD {
                last.pop_front();
            }
        }
        assert!(answer.status().as_u16() != 400, "{:?}", answer.complaint());
        tokio::time::sleep(Duration::from_secs_f64(self.clock.fraction())).await;
        if fate == Weather::Deaf {
            return gone("the connection broke", true);
        }
        let body = Secret::new(answer.bytes());
        Ok(Answer { status: answer.status(), headers: http::HeaderMap::new(), body })
    }

    /// Somebody else resets the secret: a person at the portal, or another bearerd.
    fn reset_by_others(&self) {
        let form = format!("username={}&password={PASSWORD}", USERNAME.replace('@', "%40"));
        let token = self.simulator.answer(&request("POST", USER_TOKEN).posting_form(&form)).value();
        let body = json!({"ver": "1.0.0", "timestamp": self.clock.wall().to_string(), "txnId": self.clock.uuid(),
                          "entityId": ENTITY, "secretExpiryDays": 180});
        let reset = request("POST", RESET_SECRET).with_bearer(&token["accessToken"]).posting_json(&body);
        assert_ne!(self.simulator.answer(&reset).value()["secret"], Value::Null);
    }
}

/// One process of bearerd.
struct Process {
    keeper: Keeper,
    slot: Arc<Slot<String>>,
    task: JoinHandle<()>,
}

impl Process {
    fn start(
        clock: &Clock,
        vendor: &Arc<Vendor>,
        store: &Arc<MemoryStore>,
        specs: &[Arc<CredentialSpec>],
    ) -> Self {
        let vendor = Arc::clone(vendor);
        let direct: Direct = Arc::new(move |url, request| Box::pin(Arc::clone(&vendor).ask(url, request)));
        let options =
            Options { issuer_concurrency: 32, sleep: SleepRules::default(), observe: Box::new(|_, _, _| {}) };
        let issuer = Arc::new(Issuer::direct(direct, clock.clone()));
        let (keeper, task) = start(clock.clone(), Arc::clone(store) as _, issuer, options);
        keeper.reconcile(specs.to_vec());
        let prepare = |minted: &Minted| {
            let token = minted.outputs.get("access_token").and_then(Secret::expose_str);
            token.map(str::to_owned).ok_or_else(|| "no token".to_owned())
        };
        let slot = keeper.slot(&"entity".into(), Arc::new(prepare)).expect("the credential is kept");
        Self { keeper, slot, task: tokio::spawn(task) }
    }

    /// The process is killed: what runs ends in the middle.
    fn kill(self) {
        self.task.abort();
    }

    fn state(&self, name: &str) -> State {
        self.keeper.status(&name.into()).expect("the credential is kept").state
    }
}

/// What is counted over the years.
#[derive(Debug, Default)]
struct Tally {
    requests: u32,
    without_token: u32,
    restarts: u32,
    steps: u32,
    resets_by_others: u32,
    /// Days in which the weather was not fair.
    bad_days: f64,
}

/// A whole life; random throughout, from one seed.
struct Life {
    seed: u64,
    /// The vendor's time, which is the true one.
    truth: Clock,
    local: Clock,
    dice: Clock,
    vendor: Arc<Vendor>,
    store: Arc<MemoryStore>,
    specs: Vec<Arc<CredentialSpec>>,
    process: Option<Process>,
    /// What was received since then was dated by a right clock.
    right_since: Timestamp,
    /// A secret that was found to be dead the last time.
    stale: Option<Secret>,
    tally: Tally,
}

impl Life {
    fn new(seed: u64, rules: Rules) -> Self {
        let begin: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        let clock = |place: u64| Clock::simulated(begin, seed * 10 + place);
        let (truth, local, dice) = (clock(1), clock(2), clock(3));
        let vendor = Vendor::new(&truth, rules);
        let text = CONFIGURATION.replace("USERNAME", USERNAME).replace("PASSWORD", PASSWORD);
        let text = text.replace("ENTITY", ENTITY);
        let loaded = load_text("years.toml", &text, &Environment::default());
        let specs = loaded.unwrap_or_else(|problems| panic!("{problems}")).config.credentials;
        let store = Arc::new(MemoryStore::rehearsing(&[7; 32]));
        let process = Some(Process::start(&local, &vendor, &store, &specs));
        let tally = Tally::default();
        Self {
            seed,
            truth,
            local,
            dice,
            vendor,
            store,
            specs,
            process,
            right_since: begin,
            stale: None,
            tally,
        }
    }

    /// A random time up to so long.
    fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.dice.fraction())
    }

    fn one_in(&self, count: u8) -> bool {
        self.pick(count) == 0
    }

    /// A random number below this one.
    fn pick(&self, count: u8) -> u8 {
        let mut byte = [0];
        self.dice.fill_random(&mut byte);
        byte[0] % count
    }

    async fn live(&mut self) {
        let end = self.truth.wall() + YEARS * DAY;
        while self.truth.wall() < end {
            self.quiet_time().await;
            self.something_happens().await;
        }
        *self.vendor.weather() = Weather::Fair;
        self.recover().await;
    }

    /// Some days in which nothing goes wrong: no request is without a token.
    async fn quiet_time(&mut self) {
        self.recover().await;
        self.set_the_clock_right();
        let end = self.truth.wall() + self.up_to(8 * DAY);
        while self.truth.wall() < end {
            let without = self.tally.without_token;
            self.request();
            assert_eq!(
                self.tally.without_token, without,
                "{self:?}: a request found no token in quiet times"
            );
            tokio::time::sleep(self.up_to(3 * HOUR)).await;
        }
    }

    /// All is well within minutes, and no person was needed.
    async fn recover(&mut self) {
        *self.vendor.weather() = Weather::Fair;
        self.wait(RECOVERY).await;
        let process = self.process.as_ref().expect("it runs");
        for name in ["user", "secret", "entity"] {
            let status = process.keeper.status(&name.into()).expect("it is kept");
            assert!(matches!(status.state, State::Ready | State::Renewing), "{self:?}: {status:?}");
        }
        let secret = process.keeper.output(&"secret".into(), "secret", self.local.now()).expect("a secret");
        if self.vendor.simulator.takes(secret.expose_str().expect("a text")) {
            self.stale = None;
        } else {
            // Somebody else has reset it, and it was not needed since: by the next time it was.
            assert_ne!(self.stale, Some(secret.clone()), "{self:?}: the secret was lost");
            self.stale = Some(secret);
        }
    }

    async fn something_happens(&mut self) {
        let bad = |most: Duration| (most, self.dice.fraction());
        let (weather, (most, part)) = match self.pick(8) {
            0 => (Weather::Down, bad(5 * DAY)),
            1 => (Weather::Busy, bad(DAY)),
            2 => (Weather::Deaf, bad(DAY / 2)),
            3 | 4 => (Weather::Stormy, bad(DAY)),
            _ => (Weather::Fair, bad(HOUR)),
        };
        *self.vendor.weather() = weather;
        let length = most.mul_f64(part);
        if weather != Weather::Fair {
            self.tally.bad_days += length.as_secs_f64() / 86_400.0;
        }
        let end = self.truth.wall() + length;
        while self.truth.wall() < end {
            match self.pick(6) {
                0 | 4 => self.restart().await,
                1 if self.one_in(4) => self.step_the_clock(),
                2 => self.sleep_for(self.up_to(2 * DAY)),
                3 if self.one_in(10) => {
                    self.tally.resets_by_others += 1;
                    self.vendor.reset_by_others();
                }
                _ => {}
            }
            self.wait(self.up_to(6 * HOUR)).await;
        }
    }

    /// The process dies, and another one starts. What it takes up was judged by the wall clock when it was
    /// received: a record from a time when that was wrong is believed, so that this does not happen then.
    async fn restart(&mut self) {
        let process = self.process.as_ref().expect("it runs");
        let oldest = ["user", "secret", "entity"]
            .into_iter()
            .filter_map(|name| process.keeper.status(&name.into()).and_then(|status| status.obtained_at));
        let is_wrong = self.error() != SignedDuration::ZERO;
        if is_wrong || oldest.min().is_some_and(|oldest| oldest < self.right_since) {
            return;
        }
        self.tally.restarts += 1;
        if let Some(process) = self.process.take() {
            process.kill();
        }
        if self.one_in(2) {
            tokio::time::sleep(self.up_to(DAY)).await;
        }
        self.process = Some(Process::start(&self.local, &self.vendor, &self.store, &self.specs));
    }

    /// The wall clock is wrong for a while, or right again.
    fn step_the_clock(&mut self) {
        self.tally.steps += 1;
        if self.error() == SignedDuration::ZERO {
            let wrong = SignedDuration::from_secs_f64((self.dice.fraction() - 0.5) * 7200.0);
            self.local.step_wall(wrong);
        } else {
            self.set_the_clock_right();
        }
    }

    /// How wrong the wall clock is.
    fn error(&self) -> SignedDuration {
        self.local.wall().duration_since(self.truth.wall())
    }

    fn set_the_clock_right(&mut self) {
        if self.error() != SignedDuration::ZERO {
            self.local.step_wall(-self.error());
            // What was received before may be dated by up to an hour too late.
            self.right_since = self.truth.wall() + HOUR;
        }
    }

    /// The machine sleeps, and the world goes on.
    fn sleep_for(&self, length: Duration) {
        self.truth.suspend(length);
        self.local.suspend(length);
    }

    /// Lets time pass, with requests on the way.
    async fn wait(&mut self, length: Duration) {
        for _ in 0..10 {
            tokio::time::sleep(length / 10).await;
            self.request();
        }
    }

    /// One request of the app: it carries a token that the vendor takes, or none.
    fn request(&mut self) {
        self.tally.requests += 1;
        let process = self.process.as_ref().expect("it runs");
        let held = process.slot.current(self.local.now());
        let Some(token) = held.as_ref().and_then(|held| held.as_ref().map(|it| it.value.clone())) else {
            self.tally.without_token += 1;
            return;
        };
        let verdict = self.vendor.simulator.tokens().check(&token);
        assert!(verdict.is_ok(), "{self:?}: a request carried a dead token: {verdict:?}");
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let states =
            self.process.as_ref().map(|process| ["user", "secret", "entity"].map(|name| process.state(name)));
        for told in self.vendor.last.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            writeln!(formatter, "{told}")?;
        }
        write!(formatter, "seed {}, {}, {states:?}, {:?}", self.seed, self.truth.wall(), self.tally)
    }
}

/// Lives once; what it came to is told by its last assertions.
async fn life(seed: u64, rules: Rules) {
    let mut life = Life::new(seed, rules);
    life.live().await;
    let calls = *life.vendor.calls();
    let resets = u32::try_from(life.vendor.simulator.resets()).expect("few") - life.tally.resets_by_others;
    let (days, restarts) = (f64::from(YEARS), f64::from(life.tally.restarts));
    // A token a day each, a secret that is read with each user's token; tries every few minutes while the
    // vendor is away, by three credentials at most.
    let most = 20.0 * days + 1800.0 * life.tally.bad_days + 20.0 * restarts;
    assert!(f64::from(calls) < most, "{life:?}: {calls} calls");
    let lives = rules.user_lifetime.min(180 * DAY).as_secs_f64() / 86_400.0;
    let most = days / (0.7 * lives) + life.tally.bad_days + restarts;
    assert!(f64::from(resets) <= most, "{life:?}: {resets} resets");
    assert!(life.tally.restarts > 20 && life.tally.steps > 5 && life.tally.resets_by_others > 0, "{life:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_lives_for_three_years_without_a_dead_token_a_lost_secret_or_a_person() {
    for seed in [1] {
        for hard_reset in [false, true] {
            let long = Rules { user_lifetime: 180 * DAY, hard_reset, ..Rules::default() };
            life(seed, long).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_secrets_live_a_day_lives_for_three_years_too() {
    for seed in [11] {
        for hard_reset in [false, true] {
            life(seed, Rules { hard_reset, late: 60 * Duration::from_secs(1), ..Rules::default() }).await;
        }
    }
}
