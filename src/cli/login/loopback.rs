//! A listener of `bearerd login` itself, for a browser that cannot come back to bearerd: the admin
//! listener is a Unix socket, or on another machine, or another redirect URI is registered (RFC 8252,
//! section 7.3).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::cli::client::Failure;
use crate::control::page;
use crate::upstream::{Scheme, Url};

/// The longest head of a request, in bytes.
const LONGEST_HEAD: u64 = 64 * 1024;
/// How long a browser may take with it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Where it goes how a login ended.
pub(super) type Results = mpsc::Sender<Result<(), Failure>>;

/// Listens at one port of this machine's loopback addresses.
pub(super) struct Loopback {
    sockets: Vec<TcpListener>,
    port: u16,
    answering: Answering,
}

/// Held while a browser is answered: whoever holds it knows that its page is on the way.
pub(super) type Answering = Arc<Mutex<()>>;

/// Redeems what a browser brought back in its query; `None` if that is no answer to this login.
pub(super) type Redeem = Arc<dyn Fn(&str) -> Option<Result<(), Failure>> + Send + Sync>;

impl Loopback {
    /// At a port that is free; `None` if the machine has none.
    pub(super) fn bind() -> Option<Self> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let port = first.local_addr().ok()?.port();
        let mut sockets = vec![first];
        // `localhost` may be either.
        sockets.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)));
        Some(Self { sockets, port, answering: Answering::default() })
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The listener that a browser reaches by a redirect URI: this one, or one at the port that the URI
    /// names. `None` if it leads to another machine, or if somebody listens there already, such as the
    /// bearerd that is asked.
    pub(super) fn behind(self, redirect_uri: &Url) -> Option<Self> {
        let origin = &redirect_uri.origin;
        if origin.scheme != Scheme::Http || !origin.is_loopback() {
            return None;
        }
        if origin.port == self.port {
            return Some(self);
        }
        let addresses: Vec<SocketAddr> = match origin.host.parse() {
            Ok(address) => vec![SocketAddr::new(address, origin.port)],
            Err(_) => {
                vec![(Ipv4Addr::LOCALHOST, origin.port).into(), (Ipv6Addr::LOCALHOST, origin.port).into()]
            }
        };
        let sockets: Vec<_> = addresses.into_iter().filter_map(|at| TcpListener::bind(at).ok()).collect();
        (!sockets.is_empty()).then_some(Self { sockets, port: origin.port, answering: self.answering })
    }

    /// Has queries that come to the path redeemed, in the background, for as long as the process lives, and
    /// sends on what came of them.
    pub(super) fn serve(self, redirect_uri: &Url, redeem: &Redeem, results: &Results) -> Answering {
        let path: Arc<str> = redirect_uri.path().into();
        for socket in self.sockets {
            let browsers = Browsers {
                path: Arc::clone(&path),
                redeem: Arc::clone(redeem),
                results: results.clone(),
                answering: Arc::clone(&self.answering),
            };
            thread::spawn(move || {
                // Browsers open connections ahead, which hold the one that matters up.
                for browser in socket.incoming().filter_map(Result::ok) {
                    let browsers = browsers.clone();
                    thread::spawn(move || browsers.answer(&browser));
                }
            });
        }
        self.answering
    }
}

/// What every browser is answered by.
#[derive(Clone)]
struct Browsers {
    path: Arc<str>,
    redeem: Redeem,
    results: Results,
    answering: Answering,
}

impl Browsers {
    /// Answers one request; a browser that goes away is not missed.
    fn answer(&self, browser: &TcpStream) -> Option<()> {
        browser.set_read_timeout(Some(HEAD_TIMEOUT)).ok()?;
        let mut head = BufReader::new(browser.take(LONGEST_HEAD)).lines();
        let line = head.next()?.ok()?;
        // What is left unread would make the answer a reset.
        head.map_while(Result::ok).take_while(|field| !field.is_empty()).for_each(drop);
        let target = line.strip_prefix("GET ")?.split(' ').next()?;
        let (place, query) = target.split_once('?').unwrap_or((target, ""));
        let _answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        let redeemed = if place == &*self.path { (self.redeem)(query) } else { None };
        let (status, page) = match &redeemed {
            None => ("404 Not Found", page::failed("this is no answer to the login that is under way")),
            Some(Ok(())) => ("200 OK", page::done()),
            Some(Err(why)) => ("400 Bad Request", page::failed(&why.to_string())),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {}\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n{page}",
            page.len(),
            *page::POLICY,
        );
        let mut browser = browser;
        let written = browser.write_all(answer.as_bytes());
        // It counts also where the browser is gone.
        redeemed.map(|result| self.results.send(result));
        written.ok()
    }
}
