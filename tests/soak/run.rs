//! One run: everything is started, changed each second, ended and judged.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet, spawn_local};

use crate::app::{App, BREAKERS, Door, Doors, Switch, Trust, World};
use crate::certificate::Rotation;
use crate::configuration::{Bound, Sites, revision};
use crate::fault::Fault;
use crate::gauge::Gauge;
use crate::http2::serve_streams;
use crate::issuer::Issuer;
use crate::ledger::{Kind, Ledger};
use crate::origin::{Certificate, serve, serve_tls};
use crate::support::sidecar::Setup;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, Sidecar};
use crate::variable;

/// How long a token whose file was replaced may be in use.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// A token is revoked every so many ticks: bearerd renews after a refusal at most every 10 s.
const REVOKED_EVERY: u64 = 13;

/// What is run.
pub struct Run {
    /// How long.
    pub length: Duration,
    /// Between two changes of everything.
    pub tick: Duration,
    /// A fault that should be found.
    pub fault: Option<Fault>,
}

/// What came of it.
pub struct Report {
    /// Everything that was found.
    pub ledger: Arc<Ledger>,
    /// Rates and sizes, for people.
    pub figures: String,
    /// The first lines in which bearerd complains of upstreams.
    pub complaints: String,
}

/// The listeners of upstreams and issuer, bound but not yet served.
struct Servers {
    origin: StdListener,
    other: StdListener,
    secure: StdListener,
    streams: StdListener,
    issuer: StdListener,
}

/// Runs it to its end.
pub fn run(run: &Run) -> Report {
    let ledger = Arc::new(Ledger::new(run.fault));
    let servers = Servers { origin: bind(), other: bind(), secure: bind(), streams: bind(), issuer: bind() };
    let vouching = Authority::called("listeners of the soak");
    let mut rotation = Rotation::new();
    let sites = servers.sites();
    let issuer = Issuer::new(ledger.clone());
    let (load, go) = servers.start(rotation.shown(), issuer.clone(), ledger.clone());

    let fixed = ledger.issue("fixed", None);
    let bound = Bound { side: address(&bind()), visitor: address(&bind()), secured: address(&bind()) };
    let pair = vouching.server();
    let setup = Setup::new(&revision(0, &sites, &bound, None))
        .server(&format!("workers = {}", variable("SOAK_WORKERS", 2)))
        .file("fixed", &fixed)
        .file("ca.pem", rotation.trusted())
        .file("listener.pem", &pair.cert)
        .file("listener-key.pem", &pair.key);
    let mut bearerd = counting(setup).start();
    bearerd.wait_until_ready();
    let socket = bearerd.folder().join("app.sock");
    let doors = Doors { app: bearerd.app().address(), bound, socket, trust: Trust::new(&vouching.pem()) };

    let mut gauge = Gauge::new(bearerd.id());
    let at_rest = gauge.at_rest();
    let switch = Arc::<Switch>::default();
    // The load's thread is gone only if it panicked, which joining it tells.
    let _ = go.send((doors.clone(), switch.clone()));
    let mut change =
        Change { bearerd: &bearerd, ledger: &ledger, switch: &switch, vouching, fixed, revision: 0 };
    let (started, busy) = (ledger.now(), gauge.busy());
    while ledger.now() - started < run.length {
        let due = started + run.tick * u32::try_from(change.revision + 1).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_sub(ledger.now()));
        change.everything(&sites, &bound, &mut rotation, run.fault);
        gauge.sample();
    }
    let (elapsed, busy) = (ledger.now() - started, gauge.busy() - busy);
    let reloads = change.revision;
    ledger.end();
    load.join().expect("the load ends");
    if ledger.now() - started > elapsed + PATIENCE {
        ledger.find(Kind::Failed, format!("the last answers came in {:?}", ledger.now() - started - elapsed));
    }
    let grown = gauge.judge(&ledger);
    issuer.judge(elapsed);
    all_is_gone(&bearerd, &gauge, at_rest, &ledger);
    look_for_tokens(&bearerd, &ledger);
    bearerd.end_by(Signal::TERM);
    let answered = ledger.answered.load(Ordering::Relaxed);
    let figures = format!(
        "{answered} requests in {elapsed:.0?} ({}/s, {} us of bearerd's CPU each), {} MiB of bodies compared, \
         {} broken off, {} tokens, {} refused once, {reloads} reloads; {grown}",
        answered / elapsed.as_secs().max(1),
        busy.as_micros() / u128::from(answered.max(1)),
        ledger.compared.load(Ordering::Relaxed) >> 20,
        ledger.broken_off.load(Ordering::Relaxed),
        ledger.issued(),
        ledger.refused.load(Ordering::Relaxed),
    );
    Report { ledger, figures, complaints: complaints(&bearerd) }
}

/// One that was built to count what runs writes it as it ends to where this variable says, which is outside of what it
/// may write to when it is confined.
fn counting(setup: Setup) -> Setup {
    match std::env::var("LLVM_PROFILE_FILE") {
        Ok(file) => setup.server("sandbox = \"off\"").variable("LLVM_PROFILE_FILE", &file),
        Err(_) => setup,
    }
}

fn complaints(bearerd: &Sidecar) -> String {
    let is_of_upstreams =
        |line: &serde_json::Value| line["code"].as_str().is_some_and(|code| code.starts_with("upstream"));
    let lines = bearerd.logs().into_iter().filter(is_of_upstreams).take(10);
    lines.fold(String::new(), |lines, line| lines + "\n    " + &line.to_string())
}

fn bind() -> StdListener {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("an option");
    listener
}

fn address(listener: &StdListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}

impl Servers {
    fn sites(&self) -> Sites {
        Sites {
            origin: address(&self.origin),
            other: address(&self.other),
            secure: address(&self.secure),
            streams: address(&self.streams),
            issuer: address(&self.issuer),
        }
    }

    /// Starts the thread that holds upstreams, issuer and apps; the apps begin when they are told where.
    fn start(
        self,
        certificate: Certificate,
        issuer: Arc<Issuer>,
        ledger: Arc<Ledger>,
    ) -> (JoinHandle<()>, tokio::sync::oneshot::Sender<(Doors, Arc<Switch>)>) {
        let (go, told) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, async move {
                let listen = |listener| TcpListener::from_std(listener).expect("a listener");
                spawn_local(serve(listen(self.origin), ledger.clone()));
                spawn_local(serve(listen(self.other), ledger.clone()));
                spawn_local(serve_tls(listen(self.secure), certificate, ledger.clone()));
                spawn_local(serve_streams(listen(self.streams), ledger.clone()));
                spawn_local(issuer.serve(listen(self.issuer)));
                if let Ok((doors, switch)) = told.await {
                    ask(World::new(ledger, doors, switch)).await;
                }
            });
        });
        (thread, go)
    }
}

/// All apps, to their end.
async fn ask(world: World) {
    let world = Rc::new(world);
    let mut apps = JoinSet::new();
    let doors = [
        (0, 40, Door::App),
        (100, 12, Door::Side),
        (200, 8, Door::Socket),
        (500, 24, Door::Streams),
        (600, 6, Door::Secured),
        (700, 12, Door::SecuredStreams),
    ];
    for (first, count, door) in doors {
        for client in first..first + count {
            apps.spawn_local(App::new(&world, client).keep_asking(door));
        }
        for client in first + 50..first + 53 {
            apps.spawn_local(App::new(&world, client).come_again(door));
        }
    }
    apps.spawn_local(App::new(&world, 300).ask_alone());
    for client in 310..313 {
        apps.spawn_local(App::new(&world, client).watch_route());
        apps.spawn_local(App::new(&world, client + 10).watch_listener());
        apps.spawn_local(App::new(&world, client + BREAKERS).break_off(Door::App));
        apps.spawn_local(App::new(&world, client + 10 + BREAKERS).break_off(Door::Streams));
    }
    if world.ledger.has(Fault::HoardedConnections) {
        apps.spawn_local(App::new(&world, 400).hoard());
    }
    while let Some(ended) = apps.join_next().await {
        ended.expect("no app panics");
    }
}

/// What changes with each tick.
struct Change<'a> {
    bearerd: &'a Sidecar,
    ledger: &'a Ledger,
    switch: &'a Switch,
    /// Vouches for what the listener over TLS shows.
    vouching: Authority,
    fixed: String,
    revision: u64,
}

impl Change<'_> {
    fn everything(&mut self, sites: &Sites, bound: &Bound, rotation: &mut Rotation, fault: Option<Fault>) {
        self.revision += 1;
        let next = self.ledger.issue("fixed", None);
        self.bearerd.replace_file("fixed", &next);
        self.ledger.retire(&std::mem::replace(&mut self.fixed, next), TAKE_OVER);
        self.bearerd.replace_file("ca.pem", &rotation.turn());
        // The certificate first: with the old key it is no pair, and the old pair stays until both are there.
        let pair = self.vouching.server();
        self.bearerd.replace_file("listener.pem", &pair.cert);
        self.bearerd.replace_file("listener-key.pem", &pair.key);
        if self.revision.is_multiple_of(REVOKED_EVERY) {
            self.ledger.revoke("revoked");
        }
        let text = revision(self.revision, sites, bound, fault);
        if self.revision.is_multiple_of(5) {
            // A bad one in between changes nothing.
            self.reload(&text.replace("[routes.fixed]", "[routes.fixed]\nmistake = 1"), 422);
        }
        let text = if fault == Some(Fault::BadReload) { text.replace("path", "paht") } else { text };
        self.switch.change();
        self.reload(&text, 200);
        self.switch.set(self.revision % 2 == 1);
    }

    fn reload(&self, text: &str, wanted: u16) {
        let folder = self.bearerd.folder().display().to_string();
        self.bearerd.rewrite(&text.replace("{folder}", &folder));
        let answer = self.bearerd.control("POST", "/v1/reload", b"");
        if answer.status() != wanted {
            self.ledger
                .find(Kind::Reload, format!("{} where {wanted} was due: {}", answer.status(), answer.text()));
        }
    }
}

/// With all apps and upstreams gone, no connection may be left over.
fn all_is_gone(bearerd: &Sidecar, gauge: &Gauge, at_rest: u64, ledger: &Ledger) {
    let pause = Duration::from_millis(100);
    let mut left = String::new();
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        let metrics = bearerd.admin().get("/metrics").text();
        let open = metrics.lines().filter(|line| {
            let is_gauge =
                line.starts_with("bearerd_connections") || line.starts_with("bearerd_upstream_connections");
            is_gauge && !line.ends_with(" 0")
        });
        let open: Vec<&str> = open.collect();
        // The visitor's listener may be there.
        let descriptors = gauge.open_but_kept_pipes();
        if open.is_empty() && descriptors <= at_rest + 1 {
            return;
        }
        left = format!("{descriptors} descriptors, {at_rest} before; {}", open.join(", "));
        thread::sleep(pause);
    }
    ledger.find(Kind::Descriptors, format!("left over at the end: {left}"));
}

fn look_for_tokens(bearerd: &Sidecar, ledger: &Ledger) {
    for line in bearerd.logs() {
        let line = line.to_string();
        if ["tok-", "secret-of-", "refresh-"].iter().any(|secret| line.contains(secret)) {
            ledger.find(Kind::Leak, line);
        }
    }
}
