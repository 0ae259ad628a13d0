//! bearerd is killed at every moment between an issuer's answer and the publication of the token, and at
//! others, against oidc-provider, which ends a grant when a refresh token is used twice.
//!
//! ```text
//! bearerd ──▶ relay (sees every use of a refresh token, and kills) ──▶ oidc-provider
//! ```
//!
//! After each kill a restart knows the new token, or finds the old one still good, or says that nobody
//! knows; then it asks nobody, and a new consent heals it. No refresh token is ever used twice.

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bearerd::clock::Clock;
use bearerd::credential::store::seal::StoreKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::oidc_provider::Provider;
use crate::support::message::Message;
use crate::support::sidecar::{ADMIN_TOKEN, Setup};
use crate::support::{PATIENCE, Sidecar};

/// Kills after the issuer has answered, spread over the time until the token is published and a little
/// beyond.
const AFTER_THE_ANSWER: u32 = 160;
/// Kills at any moment of a process's life.
const AT_ANY_MOMENT: u32 = 60;

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The request has come, and the issuer has not seen it.
    Asked,
    /// The issuer has answered, and bearerd has not seen it.
    Answered,
    /// So long after bearerd was given the answer.
    After(Duration),
}

/// Stands between bearerd and the issuer.
#[derive(Clone)]
struct Relay {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    used: BTreeSet<String>,
    /// Uses of a refresh token that was used before.
    reused: usize,
    requests: usize,
    /// When to kill, at the next request.
    order: Option<Moment>,
    /// Whom to kill; it is known a moment after the process was started.
    process: Option<Pid>,
    /// When the last answer was handed on.
    answered: Option<Instant>,
}

impl Relay {
    fn start(issuer: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let relay = Self { address, state: Arc::default() };
        let relaying = relay.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let relay = relaying.clone();
                thread::spawn(move || relay.serve(stream, issuer));
            }
        });
        relay
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands requests and answers on until either side goes away.
    fn serve(&self, mut app: TcpStream, issuer: SocketAddr) -> Option<()> {
        app.set_nodelay(true).ok()?;
        let mut from_app = BufReader::new(app.try_clone().ok()?);
        while let Ok(Some(request)) = Message::read(&mut from_app, false) {
            let order = self.note(&request);
            if matches!(order, Some(Moment::Asked)) {
                self.kill(Duration::ZERO);
                return None;
            }
            let mut there = TcpStream::connect(issuer).ok()?;
            there.write_all(&[request.head, request.body].concat()).ok()?;
            let answer = Message::read(&mut BufReader::new(there), true).ok()??;
            if matches!(order, Some(Moment::Answered)) {
                self.kill(Duration::ZERO);
                return None;
            }
            app.write_all(&[answer.head, answer.body].concat()).ok()?;
            self.state().answered = Some(now());
            if let Some(Moment::After(delay)) = order {
                self.kill(delay);
            }
        }
        None
    }

    fn note(&self, request: &Message) -> Option<Moment> {
        let token = request.form().get("refresh_token").cloned().unwrap_or_default();
        let mut state = self.state();
        state.requests += 1;
        if !state.used.insert(token) {
            state.reused += 1;
        }
        self.state.1.notify_all();
        state.order.take()
    }

    /// Kills the process so long from now.
    fn kill(&self, delay: Duration) {
        let start = now();
        let state = self.state.1.wait_while(self.state(), |state| state.process.is_none());
        let process = state.unwrap_or_else(PoisonError::into_inner).process.take();
        while start.elapsed() < delay {
            std::hint::spin_loop();
        }
        // It is gone already if it ended by itself.
        let _ = kill_process(process.expect("a process"), Signal::KILL);
    }

    fn requests(&self) -> usize {
        self.state().requests
    }

    /// Waits until there were more requests than `before`, or `otherwise` says something.
    fn wait_beyond<T>(&self, before: usize, mut otherwise: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = now() + PATIENCE;
        while now() < deadline {
            let state = self.state();
            let state = self
                .state
                .1
                .wait_timeout_while(state, Duration::from_millis(20), |state| state.requests <= before);
            if state.unwrap_or_else(PoisonError::into_inner).0.requests > before {
                return None;
            }
            if let Some(found) = otherwise() {
                return Some(found);
            }
        }
        panic!("neither a request nor a state came");
    }
}

/// A request to the admin listener of a process that may be killed at any moment: then there is no answer.
fn ask(bearerd: &Sidecar, method: &str, target: &str) -> Option<Message> {
    let address = bearerd.address("admin");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    Message::read(&mut BufReader::new(stream), true).ok()?
}

#[expect(clippy::disallowed_methods, reason = "a test measures the machine's own time")]
fn now() -> Instant {
    Instant::now()
}

/// How often each of the three came.
#[derive(Debug, Default)]
struct Found {
    known: u32,
    ambiguous: u32,
}

/// A bearerd that is killed again and again, and what it meets.
struct Trial {
    provider: Provider,
    relay: Relay,
    bearerd: Sidecar,
    /// Each start sends another parameter: then the token of the store is not of these inputs, and the
    /// issuer is asked at once.
    round: u32,
    found: Found,
}

impl Trial {
    fn start() -> Self {
        let provider = Provider::with_lifetime("3600");
        let relay = Relay::start(provider.client().address());
        let key = StoreKey::generate(&Clock::system());
        let setup = Setup::new(&format!("{STORE}{}", credential(&provider, &relay, 0)))
            .file("refresh-token", &provider.file("refresh-token"))
            .file("key", key.expose_str().expect("digits"));
        let bearerd = setup.start();
        bearerd.wait_until_ready();
        Self { provider, relay, bearerd, round: 0, found: Found::default() }
    }

    /// Starts it again, so that it asks the issuer at once.
    fn spawn(&mut self, order: Option<Moment>) {
        self.round += 1;
        self.bearerd.rewrite(&credential(&self.provider, &self.relay, self.round));
        {
            let mut state = self.relay.state();
            (state.order, state.process) = (order, None);
        }
        self.bearerd.spawn_again();
        self.relay.state().process = Some(self.bearerd.process());
        self.relay.state.1.notify_all();
    }

    /// How long it takes from the issuer's answer until the new token is in use.
    fn time_to_publication(&mut self) -> Duration {
        self.bearerd.end_by(Signal::KILL);
        self.spawn(None);
        self.bearerd.wait_until_ready();
        self.relay.state().answered.expect("an answer").elapsed()
    }

    /// Has it renew, and kills it at that moment of the exchange.
    fn kill_at(&mut self, moment: Moment) {
        loop {
            let before = self.relay.requests();
            self.spawn(Some(moment));
            if !self.meets_ambiguity(before) {
                self.found.known += 1;
                self.bearerd.wait_for_exit();
                return;
            }
            self.heal();
            self.bearerd.end_by(Signal::KILL);
        }
    }

    /// Waits for the question to the issuer. None comes if nobody knows what became of the last one.
    fn meets_ambiguity(&mut self, before: usize) -> bool {
        let bearerd = &self.bearerd;
        let said = self.relay.wait_beyond(before, || {
            let said = ask(bearerd, "GET", "/v1/credentials/person")?.json();
            (said["last_error"]["class"] == "ambiguous").then_some(said)
        });
        let Some(said) = said else { return false };
        assert_eq!(said["state"], "login_required", "{said}");
        self.found.ambiguous += 1;
        true
    }

    /// A person consents anew, and all is well.
    fn heal(&self) {
        self.relay.state().order = None;
        let before = self.relay.requests();
        let consent = self.provider.client().get("/consent").json();
        let token = consent["refresh_token"].as_str().expect("a refresh token");
        self.bearerd.replace_file("refresh-token", token);
        self.is_well();
        assert_eq!(self.relay.requests(), before + 1, "one exchange heals it, and none came before");
    }

    /// Waits until it is ready, and sees that its token is good.
    fn is_well(&self) {
        self.bearerd.wait_for_state("person", "ready");
        let answer = self.bearerd.app().get("/api/thing");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    fn assert_nothing_was_used_twice(&self) {
        assert_eq!(self.relay.state().reused, 0, "a refresh token was used twice");
        let events = self.provider.events();
        assert_eq!((&events["grants_revoked"], &events["refused"]), (&0.into(), &serde_json::json!([])));
    }
}

const STORE: &str =
    "[store]\nkind = \"file\"\npath = \"{folder}/state\"\nkey = { file = \"{folder}/key\" }\n\n";

fn credential(provider: &Provider, relay: &Relay, round: u32) -> String {
    format!(
        "[credentials.person]\nflow = \"oauth2\"\ngrant = \"refresh_token\"\n\
         token_url = \"http://{}/token\"\nclient_id = \"app\"\nclient_secret = {{ value = \"app-secret\" }}\n\
         refresh_token = {{ file = \"refresh-token\" }}\nparams = {{ round = \"{round}\" }}\n\n\
         [routes.api]\nupstream = \"{}\"\ncredential = \"person\"\n",
        relay.address, provider.issuer,
    )
}

#[test]
fn after_a_kill_at_any_point_of_a_renewal_no_refresh_token_is_lost_or_used_twice() {
    let mut trial = Trial::start();
    let window = (0..5).map(|_| trial.time_to_publication()).max().expect("five times");
    trial.bearerd.end_by(Signal::KILL);
    for number in 0..AFTER_THE_ANSWER {
        // The last quarter lies behind the publication.
        let delay = window.mul_f64(f64::from(number) / f64::from(AFTER_THE_ANSWER) * 4.0 / 3.0);
        trial.kill_at(match number % 20 {
            18 => Moment::Asked,
            19 => Moment::Answered,
            _ => Moment::After(delay),
        });
    }
    let Found { known, ambiguous } = trial.found;
    assert_eq!(known, AFTER_THE_ANSWER);
    assert!(
        (16..AFTER_THE_ANSWER - 20).contains(&ambiguous),
        "{ambiguous} of {known}: the kills miss {window:?}"
    );
    let before = trial.relay.requests();
    trial.spawn(None);
    if trial.meets_ambiguity(before) {
        trial.heal();
    }
    trial.is_well();
    trial.assert_nothing_was_used_twice();
}

#[test]
fn after_kills_at_any_moment_of_its_life_no_refresh_token_is_lost_or_used_twice() {
    let mut trial = Trial::start();
    trial.bearerd.end_by(Signal::KILL);
    let clock = Clock::system();
    for _ in 0..AT_ANY_MOMENT {
        let before = trial.relay.requests();
        trial.spawn(None);
        thread::sleep(Duration::from_millis(120).mul_f64(clock.fraction()));
        trial.bearerd.end_by(Signal::KILL);
        if trial.relay.requests() > before {
            let before = trial.relay.requests();
            trial.spawn(None);
            if trial.meets_ambiguity(before) {
                trial.heal();
            }
            trial.is_well();
            trial.bearerd.end_by(Signal::KILL);
        }
    }
    trial.assert_nothing_was_used_twice();
}
