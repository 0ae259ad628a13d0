//! The way to a vendor, on which answers and requests are lost.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::clock::Clock;
use crate::sandbox::{Received, Simulator};
use crate::secret::Secret;
use crate::upstream::Url;
use crate::upstream::exchange::{Answer, ExchangeError, Request};

/// So many of the last requests are told.
const TOLD: usize = 60;

/// What is wrong with the way to the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
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

/// The way there and back.
pub(super) struct Road {
    clock: Clock,
    vendor: Arc<dyn Simulator>,
    never: &'static [&'static str],
    log: Mutex<Log>,
}

/// What happened on it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) weather: Weather,
    /// Exchanges that were begun.
    pub(super) calls: u32,
    /// Those that the vendor carried out, and whose answers did not arrive.
    pub(super) lost: u32,
    /// What the vendor should never have had to complain about.
    pub(super) wrong: Option<String>,
    /// The last requests, for the person who reads why a life failed.
    last: VecDeque<String>,
}

impl Road {
    pub(super) fn new(
        clock: &Clock,
        vendor: Arc<dyn Simulator>,
        never: &'static [&'static str],
    ) -> Arc<Self> {
        let log = Log { weather: Weather::Fair, calls: 0, lost: 0, wrong: None, last: VecDeque::new() };
        Arc::new(Self { clock: clock.clone(), vendor, never, log: Mutex::new(log) })
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One exchange: each way takes up to a second.
    pub(super) async fn ask(self: Arc<Self>, url: Url, asked: Request) -> Result<Answer, ExchangeError> {
        let gone = |message: &str, sent| Err(ExchangeError { message: message.to_owned(), sent });
        let weather = {
            let mut log = self.log();
            log.calls += 1;
            log.weather
        };
        self.some_time().await;
        let fate = match weather {
            Weather::Stormy => {
                let mut byte = [0];
                self.clock.fill_random(&mut byte);
                [Weather::Fair, Weather::Down, Weather::Busy, Weather::Deaf][usize::from(byte[0] % 4)]
            }
            weather => weather,
        };
        if fate == Weather::Down {
            return gone("no connection", false);
        }
        if fate == Weather::Busy {
            let (status, body) = (StatusCode::BAD_GATEWAY, Secret::from("<html>"));
            return Ok(Answer { status, headers: HeaderMap::new(), body });
        }
        let target = url.path_and_query.as_str().parse().expect("a target");
        let body = asked.body.map(|body| body.expose().to_vec().into()).unwrap_or_default();
        let received = Received { method: asked.method, target, headers: asked.headers, body, from: LOCAL };
        let answer = self.vendor.answer(&received);
        self.note(&received, &answer, fate);
        // Until it has arrived, it is lost: the process may be killed meanwhile.
        self.log().lost += 1;
        self.some_time().await;
        if fate == Weather::Deaf {
            return gone("the connection broke", true);
        }
        self.log().lost -= 1;
        Ok(Answer { status: answer.status(), headers: answer.headers(), body: Secret::new(answer.bytes()) })
    }

    fn note(&self, received: &Received, answer: &crate::sandbox::Answer, fate: Weather) {
        let mut log = self.log();
        let (path, status) = (received.path(), answer.status().as_u16());
        let complaint = answer.complaint().unwrap_or_default();
        let line = format!("{:.0} {path} {fate:?} {status} {complaint}", self.clock.wall());
        if self.never.iter().any(|never| complaint.contains(never)) {
            log.wrong.get_or_insert_with(|| line.clone());
        }
        log.last.push_back(line);
        if log.last.len() > TOLD {
            log.last.pop_front();
        }
    }

    async fn some_time(&self) {
        tokio::time::sleep(Duration::from_secs_f64(self.clock.fraction())).await;
    }

    /// The last requests, for people.
    pub(super) fn tale(&self) -> String {
        self.log().last.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// Where all comes from.
pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
