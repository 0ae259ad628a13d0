//! The apps: each asks, and holds the answer against what it asked for.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::configuration::Bound;
use crate::fault::Fault;
use crate::http2::Trunk;
use crate::ledger::{Id, Kind, Ledger, lock};
use crate::origin::QUERY;
use crate::plan::{Close, Framing, Plan};
use crate::random::{LONGEST, Random, body};
use crate::wire::{Wire, put_body};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest body of a request that is sent ahead. All of them have to lie somewhere until the first answer
/// is read: app and bearerd would wait for each other (RFC 9112, section 9.3.2).
const LONGEST_AHEAD: usize = 8 * 1024;

/// Clients from this number on break off: an upstream may or may not see what they send.
pub const BREAKERS: u32 = 0x8000;

/// Where bearerd listens.
#[derive(Debug, Clone)]
pub struct Doors {
    /// The listener that is always there.
    pub app: SocketAddr,
    /// Others over TCP.
    pub bound: Bound,
    /// A Unix socket.
    pub socket: PathBuf,
    /// Who vouches for the listener over TLS.
    pub trust: Trust,
}

/// An authority that apps trust.
#[derive(Debug, Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// By its certificate in PEM.
    pub fn new(authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
        roots.add(certificate).expect("an authority");
        Self(Arc::new(roots))
    }

    /// What agrees on this protocol.
    fn connector(&self, protocol: &[u8]) -> TlsConnector {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let mut config = config.with_root_certificates(self.0.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

/// What all apps share.
pub struct World {
    /// What is known.
    pub ledger: Arc<Ledger>,
    /// Where bearerd listens.
    pub doors: Doors,
    /// What comes and goes.
    pub switch: Arc<Switch>,
    /// The connections of HTTP/2 that apps share: in plain text, and over TLS.
    trunks: [Trunk; 2],
    /// TLS for HTTP/1.1, and for HTTP/2.
    tls: [TlsConnector; 2],
}

impl World {
    /// What all apps share.
    pub fn new(ledger: Arc<Ledger>, doors: Doors, switch: Arc<Switch>) -> Self {
        let tls = [b"http/1.1".as_slice(), b"h2"].map(|protocol| doors.trust.connector(protocol));
        Self { ledger, doors, switch, trunks: Default::default(), tls }
    }
}

/// Whether the route and the listener that come and go are there.
#[derive(Default)]
pub struct Switch(Mutex<(u64, Option<bool>)>);

/// A listener.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    /// The TCP listener that is always there.
    App,
    /// The other one.
    Side,
    /// The one that comes and goes.
    Visitor,
    /// The Unix socket.
    Socket,
    /// The TCP listener that is always there, by HTTP/2.
    Streams,
    /// The one over TLS.
    Secured,
    /// The same by HTTP/2.
    SecuredStreams,
}

/// A route as an app sees it.
#[derive(Debug)]
pub struct Route {
    path: &'static str,
    /// The upstreams that may answer.
    bases: &'static [&'static str],
    /// The longest body that is sent there.
    most: usize,
}

/// The routes of the listener that is always there.
const APP: [Route; 6] = [
    Route { path: "/grant", bases: &["grant"], most: LONGEST },
    Route { path: "/refreshed", bases: &["refreshed"], most: LONGEST },
    Route { path: "/fixed", bases: &["fixed"], most: LONGEST },
    Route { path: "/moving", bases: &["moving-grant", "moving-fixed"], most: LONGEST },
    // What is longer than 64 KiB is not sent once more.
    Route { path: "/streams", bases: &["streams"], most: 60_000 },
    Route { path: "/revoked", bases: &["revoked"], most: 60_000 },
];
const SIDE: [Route; 2] = [
    Route { path: "/login", bases: &["login"], most: LONGEST },
    Route { path: "/grant", bases: &["fixed"], most: LONGEST },
];
const VISITOR: [Route; 1] = [Route { path: "/", bases: &["fixed"], most: LONGEST }];
const SOCKET: [Route; 1] = [Route { path: "/deep/path", bases: &["grant"], most: LONGEST }];
const SECURED: [Route; 2] = [
    Route { path: "/grant", bases: &["grant"], most: LONGEST },
    Route { path: "/streams", bases: &["streams"], most: 60_000 },
];
const FLASH: Route = Route { path: "/flash", bases: &["fixed"], most: LONGEST };
const LONE: Route = Route { path: "/lone", bases: &["lone"], most: LONGEST };

impl Switch {
    /// Something is about to change.
    pub fn change(&self) {
        self.turn(None);
    }

    /// It has changed.
    pub fn set(&self, is_there: bool) {
        self.turn(Some(is_there));
    }

    fn turn(&self, state: Option<bool>) {
        let mut turns = lock(&self.0);
        *turns = (turns.0 + 1, state);
    }

    /// The number of turns, and whether it is there; `None` while it changes.
    fn look(&self) -> (u64, Option<bool>) {
        *lock(&self.0)
    }
}

/// One app.
pub struct App {
    world: Rc<World>,
    random: Random,
    client: u32,
    number: u32,
}

impl App {
    /// The app of this number.
    pub fn new(world: &Rc<World>, client: u32) -> Self {
        Self { world: world.clone(), random: Random::new(u64::from(client)), client, number: 0 }
    }

    /// Asks on one connection, now and then several requests ahead.
    pub async fn keep_asking(mut self, door: Door) {
        let routes = door.routes();
        while !self.world.ledger.is_ending() {
            let mut wire = match self.connect(door).await {
                Ok(wire) => wire,
                Err(error) => return self.fail(Kind::Failed, format!("no connection at {door:?}: {error}")),
            };
            while !self.world.ledger.is_ending() {
                let route = self.random.pick(routes);
                let ahead = if self.random.once_in(20) { 1 + self.random.below(4) } else { 1 };
                let asked = self.ask(&mut wire, route, ahead).await;
                if !self.is_fine(route, asked) {
                    break;
                }
            }
        }
    }

    /// Asks on a new connection each time, sometimes in the way of HTTP/1.0.
    pub async fn come_again(mut self, door: Door) {
        while !self.world.ledger.is_ending() {
            let route = self.random.pick(door.routes());
            let asked = match self.connect(door).await {
                Ok(mut wire) => self.ask_once(&mut wire, route).await,
                Err(error) => Err(format!("no connection: {error}")),
            };
            self.is_fine(route, asked);
        }
    }

    /// The only one that asks on its route, whose upstream closes after each answer without a word.
    pub async fn ask_alone(mut self) {
        let plan = Plan::plain();
        let plan = Plan { answer: crate::plan::Answer { close: Close::Silently, ..plan.answer }, ..plan };
        let Ok(mut wire) = self.connect(Door::App).await else {
            return self.fail(Kind::Failed, "no connection");
        };
        while !self.world.ledger.is_ending() {
            let asked = self.ask_for(&mut wire, &LONE, std::slice::from_ref(&plan), "1.1").await;
            if !self.is_fine(&LONE, asked) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks for a route that comes and goes: as long as it is there, it answers.
    pub async fn watch_route(mut self) {
        while !self.world.ledger.is_ending() {
            let before = self.world.switch.look();
            let Ok(mut wire) = self.connect(Door::App).await else { continue };
            let plan = Plan::any(&mut self.random, FLASH.most);
            let asked = self.ask_for(&mut wire, &FLASH, &[plan], "1.1").await;
            if before == (self.world.switch.look().0, Some(true)) {
                self.is_fine(&FLASH, asked);
            }
        }
    }

    /// Asks at a listener that comes and goes: as long as it is there, it answers.
    pub async fn watch_listener(mut self) {
        while !self.world.ledger.is_ending() {
            let before = self.world.switch.look();
            let route = &VISITOR[0];
            let asked = match self.connect(Door::Visitor).await {
                Ok(mut wire) => {
                    let plan = Plan::any(&mut self.random, route.most);
                    self.ask_for(&mut wire, route, &[plan], "1.1").await
                }
                Err(error) => Err(format!("no connection: {error}")),
            };
            if before == (self.world.switch.look().0, Some(true)) {
                self.is_fine(route, asked);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Breaks off, in the request or in the answer.
    pub async fn break_off(mut self, door: Door) {
        while !self.world.ledger.is_ending() {
            let Ok(mut wire) = self.connect(door).await else { continue };
            let route = self.random.pick(&APP);
            let mut plan = Plan::any(&mut self.random, route.most);
            let id = self.next();
            let way = self.random.below(4);
            if way == 2 {
                plan.answer.length = 200_000;
            }
            let (head, content) = self.message(route, &plan, id, "1.1", "");
            let message = [head, content].concat();
            let sent = match way {
                0 | 1 => &message[..self.random.below(message.len())],
                _ => &message,
            };
            // bearerd may have answered and closed already.
            let _ = wire.send(sent, 1).await;
            if way == 2 {
                let mut some = [0; 2000];
                let _ = tokio::time::timeout(PATIENCE, wire.stream.read(&mut some)).await;
            }
            if self.random.once_in(2) {
                let _ = wire.stream.shutdown().await;
            }
            self.world.ledger.broken_off.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Opens connections, begins a long head on each and leaves them open: a fault.
    pub async fn hoard(self) {
        let begun = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 16 * 1024]].concat();
        let mut kept = Vec::new();
        while !self.world.ledger.is_ending() {
            for _ in 0..20 {
                let Ok(mut wire) = self.connect(Door::App).await else { continue };
                // What it becomes is told by the memory.
                let _ = wire.send(&begun, 1).await;
                kept.push(wire);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(&self, door: Door) -> io::Result<Wire> {
        let doors = &self.world.doors;
        let address = match door {
            Door::App => doors.app,
            Door::Side => doors.bound.side,
            Door::Visitor => doors.bound.visitor,
            Door::Socket => return Ok(Wire::new(UnixStream::connect(&doors.socket).await?)),
            Door::Streams => return self.world.trunks[0].wire(tcp(doors.app)).await,
            Door::Secured => return Ok(Wire::new(self.tls(0).await?)),
            Door::SecuredStreams => return self.world.trunks[1].wire(self.tls(1)).await,
        };
        Ok(Wire::new(tcp(address).await?))
    }

    async fn tls(&self, protocol: usize) -> io::Result<TlsStream<TcpStream>> {
        let stream = tcp(self.world.doors.bound.secured).await?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        self.world.tls[protocol].connect(name, stream).await
    }

    async fn ask(&mut self, wire: &mut Wire, route: &Route, ahead: usize) -> Result<(), String> {
        let most = if ahead > 1 { route.most.min(LONGEST_AHEAD) } else { route.most };
        let plans: Vec<Plan> = (0..ahead).map(|_| Plan::any(&mut self.random, most)).collect();
        self.ask_for(wire, route, &plans, "1.1").await
    }

    async fn ask_once(&mut self, wire: &mut Wire, route: &Route) -> Result<(), String> {
        let mut plan = Plan::any(&mut self.random, route.most);
        let is_old = self.random.once_in(4);
        if is_old {
            plan.expects = false;
            plan.framing = if plan.length > 0 { Framing::Length(plan.length) } else { Framing::Nothing };
        }
        self.ask_for(wire, route, &[plan], if is_old { "1.0" } else { "1.1" }).await?;
        if is_old {
            let end = tokio::time::timeout(Duration::from_secs(5), wire.is_at_end()).await;
            if end != Ok(true) {
                return Err(format!("after an answer to HTTP/1.0 the connection stays: {end:?}"));
            }
        }
        Ok(())
    }

    /// Sends the requests at once, if none of them waits for 100, and reads their answers in order.
    async fn ask_for(
        &mut self,
        wire: &mut Wire,
        route: &Route,
        plans: &[Plan],
        version: &str,
    ) -> Result<(), String> {
        let first = self.number + 1;
        let exchange = async {
            let mut asked = Vec::new();
            for plan in plans {
                let id = self.next();
                let expects = if plan.expects { "Expect: 100-continue\r\n" } else { "" };
                let (head, content) = self.message(route, plan, id, version, expects);
                wire.send(&head, plan.pieces).await.map_err(|error| format!("{id} not sent: {error}"))?;
                if plan.expects {
                    for (plan, id) in asked.drain(..) {
                        self.read(wire, route, plan, id)
                            .await
                            .map_err(|why| format!("{id} {plan:?}: {why}"))?;
                    }
                    let head = wire.head().await.map_err(|error| error.to_string())?;
                    let status = head.map(|head| head.status()).unwrap_or_default();
                    if status != 100 {
                        return Err(format!("{id} expects 100 and gets {status}"));
                    }
                }
                wire.send(&content, plan.pieces).await.map_err(|error| format!("{id} not sent: {error}"))?;
                asked.push((plan, id));
            }
            for (plan, id) in asked {
                self.read(wire, route, plan, id).await.map_err(|why| format!("{id} {plan:?}: {why}"))?;
            }
            Ok(())
        };
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        answered.map_err(|_| format!("no answer in time to {plans:?} from number {first:x} on"))?
    }

    fn message(
        &mut self,
        route: &Route,
        plan: &Plan,
        id: Id,
        version: &str,
        more: &str,
    ) -> (Vec<u8>, Vec<u8>) {
        let Plan { method, framing, length, answer, .. } = plan;
        let framed = match framing {
            Framing::Nothing | Framing::Close => String::new(),
            Framing::Length(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".into(),
        };
        let own = match self.random.below(6) {
            0 => "Authorization: Bearer mine\r\n",
            1 => "Connection: X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\n",
            2 => "Forwarded: for=1.2.3.4\r\nTE: trailers\r\nX_TOKEN: mine\r\n",
            _ => "",
        };
        let sent = self.world.ledger.now().as_micros();
        let path = route.path.trim_end_matches('/');
        let head = format!(
            "{method} {path}/r/{id}{QUERY} HTTP/{version}\r\nHost: localhost\r\n{own}X-Id: {id}\r\nX-Sent: {sent}\r\n\
             X-Method: {method}\r\nX-Length: {length}\r\nX-Answer: {answer}\r\nX-Two: 1\r\n{more}{framed}X-Two: 2\r\n\r\n"
        );
        let mut content = Vec::with_capacity(length + length / 8);
        put_body(&mut content, *framing, body(!id.seed(), *length), "X-Late: 1\r\n", &mut self.random);
        (head.into_bytes(), content)
    }

    /// Reads one answer and says what is wrong with it.
    async fn read(&self, wire: &mut Wire, route: &Route, plan: &Plan, id: Id) -> Result<(), String> {
        let head = loop {
            match wire.head().await {
                Ok(Some(head)) if (102..200).contains(&head.status()) => {}
                Ok(Some(head)) => break head,
                Ok(None) => return Err("the connection ended before the answer".into()),
                Err(error) => return Err(format!("the answer's head did not come: {error}")),
            }
        };
        if head.text().contains("tok-") {
            self.fail(Kind::Leak, format!("an answer shows a token: {:?}", head.text()));
        }
        let answer = plan.answer;
        if head.status() != answer.status || head.field("x-id").is_none() {
            return Err(format!("{:?} where {} was wanted", head.text(), answer.status));
        }
        let base = head.field("x-base").unwrap_or_default();
        if head.field("x-id").and_then(Id::parse) != Some(id) || !route.bases.contains(&base) {
            self.fail(Kind::Crossed, format!("{id} at {} was answered {:?}", route.path, head.text()));
            return Err("crossed".into());
        }
        let length = answer.sent_length(plan.method);
        let has_body = plan.method != "HEAD" && !matches!(answer.status, 204 | 304);
        let framing = if has_body { head.framing(Framing::Close) } else { Framing::Nothing };
        let is_as_sent = match wire.body(framing, body(id.seed(), length)).await {
            Ok(is_as_sent) => is_as_sent,
            Err(error) => return Err(format!("the answer broke off: {error}; {:?}", head.text())),
        };
        let is_whole_head = head.count("set-cookie") == 2
            && head.field("server") == Some("origin")
            && (has_body
                || answer.framing == Framing::Nothing
                || head.field("content-length") == Some(&answer.length.to_string()));
        if !is_as_sent || !is_whole_head {
            self.fail(
                Kind::Altered,
                format!("{id} {plan:?}: the answer is not as it was sent: {:?}", head.text()),
            );
        }
        self.world.ledger.answered.fetch_add(1, Ordering::Relaxed);
        self.world.ledger.compared.fetch_add((length + plan.length) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn next(&mut self) -> Id {
        let is_again = self.world.ledger.has(Fault::RepeatedRequests) && self.random.once_in(50);
        self.number += u32::from(!is_again || self.number == 0);
        Id { client: self.client, number: self.number }
    }

    /// Notes what went wrong; whether nothing did.
    fn is_fine(&self, route: &Route, asked: Result<(), String>) -> bool {
        match asked {
            Ok(()) => true,
            Err(why) => {
                // What was crossed was noted as such.
                if why.ends_with("crossed") {
                    return false;
                }
                self.fail(Kind::Failed, format!("{}: {why}", route.path));
                false
            }
        }
    }

    fn fail(&self, kind: Kind, what: impl std::fmt::Display) {
        self.world.ledger.find(kind, format!("client {:x}: {what}", self.client));
    }
}

impl Door {
    fn routes(self) -> &'static [Route] {
        match self {
            Self::App | Self::Streams => &APP,
            Self::Side => &SIDE,
            Self::Visitor => &VISITOR,
            Self::Socket => &SOCKET,
            Self::Secured | Self::SecuredStreams => &SECURED,
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
