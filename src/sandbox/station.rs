//! One vendor on its port: connections, faults, and the ledger of what was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fault::{Fault, ScriptedFault};
use super::{Answer, Received, Simulator, Vendor};
use crate::clock::Clock;

/// Bodies longer than this are not taken.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// The ledger keeps the last so many requests.
const LEDGER_LIMIT: usize = 10_000;
/// The ledger keeps so much of a body.
const LEDGER_BODY_LIMIT: usize = 4 * 1024;

/// A vendor that listens; it stops when this is dropped.
pub struct Station {
    vendor: Vendor,
    address: SocketAddr,
    desk: Arc<Desk>,
    _connections: JoinSet<Infallible>,
}

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What was sent; of the body, the first 4 KiB.
    pub request: Received,
    /// What was answered; `None` if the connection was broken instead.
    pub status: Option<StatusCode>,
    /// What was off about the request.
    pub complaint: Option<String>,
    /// Time since boot.
    pub at: Duration,
}

/// What all connections of a vendor share.
struct Desk {
    vendor: Vendor,
    simulator: Arc<dyn Simulator>,
    faults: Vec<ScriptedFault>,
    clock: Clock,
    started: Duration,
    ledger: Mutex<VecDeque<Record>>,
    /// Requests so far.
    count: watch::Sender<u64>,
}

/// Breaks the connection: hyper writes nothing for a request whose service fails.
#[derive(Debug)]
struct Broken;

impl Station {
    pub(super) async fn open(
        vendor: Vendor,
        address: SocketAddr,
        simulator: Arc<dyn Simulator>,
        faults: Vec<ScriptedFault>,
        clock: Clock,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let started = clock.boot();
        let ledger = Mutex::default();
        let count = watch::Sender::new(0);
        let desk = Arc::new(Desk { vendor, simulator, faults, clock, started, ledger, count });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&desk)));
        for scripted in &desk.faults {
            if let Fault::Revoke(after) = scripted.fault {
                tasks.spawn(revoke(Arc::clone(&desk), after));
            }
        }
        Ok(Self { vendor, address, desk, _connections: tasks })
    }

    /// Whose simulator this is.
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The last requests, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.desk.lock().iter().cloned().collect()
    }

    /// The last requests to one path, oldest first.
    pub fn records_of(&self, path: &str) -> Vec<Record> {
        self.desk.lock().iter().filter(|record| record.request.path() == path).cloned().collect()
    }

    /// What was off about the last requests, as `METHOD /path: what`.
    pub fn complaints(&self) -> Vec<String> {
        self.desk.lock().iter().filter_map(Record::complaint_line).collect()
    }

    /// The number of requests so far, and news of each further one.
    pub fn count(&self) -> watch::Receiver<u64> {
        self.desk.count.subscribe()
    }

    /// Revokes all tokens handed out so far, as an operator of the vendor would.
    pub fn revoke(&self) {
        self.desk.simulator.tokens().revoke();
    }

    /// Lets all tokens handed out so far reach their end now.
    pub fn expire(&self) {
        self.desk.simulator.tokens().expire();
    }
}

impl fmt::Debug for Station {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Station({} on {})", self.vendor, self.address)
    }
}

impl Record {
    fn complaint_line(&self) -> Option<String> {
        let complaint = self.complaint.as_deref()?;
        Some(format!("{} {}: {complaint}", self.request.method, self.request.path()))
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, peer)) = listener.accept().await {
            connections.spawn(serve(stream, peer.ip(), Arc::clone(&desk)));
        } else {
            // Out of file descriptors, most likely: let some connections end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, from: IpAddr, desk: Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| desk.receive(request, from));
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(vendor = %desk.vendor, %error, "a connection to the sandbox broke");
    }
}

async fn revoke(desk: Arc<Desk>, after: Duration) -> Infallible {
    tokio::time::sleep(after).await;
    desk.simulator.tokens().revoke();
    tracing::info!(vendor = %desk.vendor, "all tokens handed out so far are revoked");
    std::future::pending().await
}

impl Desk {
    async fn receive(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Broken)?.to_bytes();
        let request = Received { method: head.method, target: head.uri, headers: head.headers, body, from };
        let is_issuer = self.simulator.is_issuer(request.path());
        let answer = match self.interference(is_issuer) {
            Some(Interference::Down) => None,
            Some(Interference::Instead(answer)) => Some(answer),
            Some(Interference::Lost) => {
                self.simulator.answer(&request);
                None
            }
            None => Some(self.simulator.answer(&request)),
        };
        let delay = self.delay(is_issuer);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.note(request, answer.as_ref());
        answer.map(Answer::into_response).ok_or(Broken)
    }

    /// The first fault that strikes now.
    fn interference(&self, is_issuer: bool) -> Option<Interference> {
        let elapsed = self.clock.boot().saturating_sub(self.started);
        let lasts = |length: Option<Duration>| length.is_none_or(|length| elapsed < length);
        let strike = |scripted: &ScriptedFault| match scripted.fault {
            Fault::Down(length) if lasts(length) => Some(Interference::Down),
            Fault::Lost(length) if lasts(length) => Some(Interference::Lost),
            Fault::Html(length) if lasts(length) => Some(Interference::Instead(Answer::html())),
            Fault::Status(status, length) if lasts(length) => {
                Some(Interference::Instead(Answer::plain(status)))
            }
            _ => None,
        };
        self.faults.iter().filter(|scripted| scripted.part.covers(is_issuer)).find_map(strike)
    }

    fn delay(&self, is_issuer: bool) -> Duration {
        let delay = |scripted: &ScriptedFault| match scripted.fault {
            Fault::Slow(delay) if scripted.part.covers(is_issuer) => Some(delay),
            _ => None,
        };
        self.faults.iter().filter_map(delay).sum()
    }

    fn note(&self, mut request: Received, answer: Option<&Answer>) {
        request.body.truncate(LEDGER_BODY_LIMIT);
        let record = Record {
            request,
            status: answer.map(Answer::status),
            complaint: answer.and_then(Answer::complaint).map(String::from),
            at: self.clock.boot(),
        };
        let vendor = self.vendor;
        let status = record.status.map_or(0, |status| status.as_u16());
        tracing::info!(%vendor, method = %record.request.method, path = record.request.path(), status, "asked");
        if let Some(complaint) = record.complaint_line() {
            tracing::warn!(%vendor, "{complaint}");
        }
        let mut ledger = self.lock();
        if ledger.len() == LEDGER_LIMIT {
            ledger.pop_front();
        }
        ledger.push_back(record);
        drop(ledger);
        self.count.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Interference {
    Down,
    Lost,
    Instead(Answer),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a scripted fault broke the connection")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{Fault, Station};
    use crate::clock::Clock;
    use crate::sandbox::fault::ScriptedFault;
    use crate::sandbox::{Sandbox, Vendor, nic};

    async fn sandbox(faults: &[&str]) -> Sandbox {
        let faults: Vec<ScriptedFault> = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
        Sandbox::start(0, &faults, &Clock::system()).await.expect("free ports")
    }

    /// Asks for data; the whole answer as text.
    async fn ask(station: &Station) -> String {
        let mut stream = TcpStream::connect(station.address()).await.expect("it listens");
        let request = format!(
            "GET /api/gram-panchayats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\n\r\n",
            nic::TOKEN
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        // A connection that is broken off may also end in a reset.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_vendor_answers_and_keeps_a_ledger() {
        let sandbox = sandbox(&[]).await;
        let station = sandbox.station(Vendor::NicMa);
        assert!(ask(station).await.starts_with("HTTP/1.1 200 OK"));
        station.revoke();
        assert!(ask(station).await.starts_with("HTTP/1.1 401 Unauthorized"));
        assert_eq!((station.records().len(), *station.count().borrow()), (2, 2));
        assert_eq!(sandbox.complaints(), ["nic-ma: GET /api/gram-panchayats: the token was revoked"]);
    }

    #[tokio::test]
    async fn faults_strike_the_vendor_that_they_name() {
        let html = sandbox(&["nic-ma=html", "payhub=down"]).await;
        let page = ask(html.station(Vendor::NicMa)).await;
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("<!doctype html>"), "{page}");
        assert_eq!(ask(html.station(Vendor::Payhub)).await, "");
        let busy = sandbox(&["nic-ma.api=status:503", "nic-ma.issuer=down"]).await;
        assert!(ask(busy.station(Vendor::NicMa)).await.starts_with("HTTP/1.1 503 Service Unavailable"));
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_a_request_in_the_ledger() {
        let sandbox = sandbox(&["nic-ma=lost"]).await;
        let station = sandbox.station(Vendor::NicMa);
        assert_eq!(ask(station).await, "");
        let records = station.records();
        assert_eq!((records.len(), records[0].status), (1, None));
        assert!(matches!(station.desk.faults[0].fault, Fault::Lost(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_come_late_and_faults_end_with_their_time() {
        let clock = Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
        let faults = ["nic-ma=status:500:10s", "nic-ma=slow:3s"].map(|fault| fault.parse().expect("a fault"));
        let sandbox = Sandbox::start(0, &faults, &clock).await.expect("free ports");
        let started = clock.boot();
        assert!(ask(sandbox.station(Vendor::NicMa)).await.contains(" 500 "));
        assert!(clock.boot() - started >= std::time::Duration::from_secs(3));
        tokio::time::advance(std::time::Duration::from_secs(8)).await;
        assert!(ask(sandbox.station(Vendor::NicMa)).await.contains(" 200 "));
    }
}
