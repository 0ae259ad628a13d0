//! Upstreams that break, stutter and talk nonsense: what an app takes for an answer is one, is whole,
//! and is its own.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::message::Message;
use crate::support::{PATIENCE, Sidecar, canary};

/// An upstream that does to each answer what the request's target says.
struct Chaos {
    address: SocketAddr,
}

/// One thing that is done to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// Only so many bytes of it, then the end.
    Cut(usize),
    /// Only so many bytes of it, then a reset.
    Reset(usize),
    /// Each byte by itself.
    Dribble,
    /// So many pieces with pauses in between.
    Stutter(usize),
    /// A whole answer to nobody, right behind it.
    Surplus,
    /// The same, once the answer has long been read.
    LateSurplus,
    /// A byte of its framing is another one.
    Spoilt(usize, u8),
    /// Bytes that are no answer at all.
    Garbage(u64),
}

/// How the answer's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Trailers,
    Close,
}

const FRAMINGS: [Framing; 4] = [Framing::Length, Framing::Chunked, Framing::Trailers, Framing::Close];

/// What an app made of what it got.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The upstream's answer, whole.
    Whole(String),
    /// An error of bearerd's own.
    Refused(u16),
    /// No answer, or one that broke off.
    Broken,
}

/// The body of the answer to a request.
fn body(id: u64) -> String {
    format!("the answer to {id} and to nobody else")
}

fn answer(framing: Framing, id: u64) -> Vec<u8> {
    let body = body(id);
    let (first, second) = body.split_at(10);
    let chunks = format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\n", first.len(), second.len());
    let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n");
    let length = body.len();
    match framing {
        Framing::Length => format!("{head}Content-Length: {length}\r\n\r\n{body}"),
        Framing::Chunked => format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}\r\n"),
        Framing::Trailers => {
            format!("{head}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}X-Sum: 7\r\n\r\n")
        }
        Framing::Close => format!("{head}Connection: close\r\n\r\n{body}"),
    }
    .into_bytes()
}

impl Chaos {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }

    fn configuration(&self) -> String {
        format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = \"never\"\n\n\
             [routes.api]\npath = \"/api\"\nupstream = \"http://{}\"\ncredential = \"key\"\n",
            canary::token(),
            self.address
        )
    }
}

/// The target tells framing, fault and the request's number.
fn target(framing: Framing, fault: Fault, id: u64) -> String {
    let (name, one, two) = match fault {
        Fault::None => ("none", 0, 0),
        Fault::Cut(at) => ("cut", at as u64, 0),
        Fault::Reset(at) => ("reset", at as u64, 0),
        Fault::Dribble => ("dribble", 0, 0),
        Fault::Stutter(pieces) => ("stutter", pieces as u64, 0),
        Fault::Surplus => ("surplus", 0, 0),
        Fault::LateSurplus => ("late", 0, 0),
        Fault::Spoilt(at, byte) => ("spoilt", at as u64, u64::from(byte)),
        Fault::Garbage(seed) => ("garbage", seed, 0),
    };
    format!("/api/{framing:?}/{name}/{one}/{two}/{id}")
}

/// Serves one connection; whatever ends it is seen by the app.
fn serve(stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    while let Ok(Some(request)) = Message::read(&mut reader, false) {
        let target = request.target();
        let parts: Vec<&str> = target.split('/').skip(1).collect();
        let &[framing, fault, one, two, id] = parts.as_slice() else { return None };
        let framing = FRAMINGS.into_iter().find(|known| format!("{known:?}") == framing)?;
        let id: u64 = id.parse().ok()?;
        let (number, byte): (u64, u8) = (one.parse().ok()?, two.parse().ok()?);
        let at = usize::try_from(number).ok()?;
        let mut bytes = answer(framing, id);
        let is_last = match fault {
            "cut" | "reset" => {
                stream.write_all(&bytes[..at]).ok()?;
                if fault == "reset" {
                    // What was sent must be on its way before the reset overtakes it.
                    thread::sleep(Duration::from_millis(5));
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
                }
                true
            }
            "dribble" => {
                for byte in bytes {
                    stream.write_all(&[byte]).ok()?;
                    thread::yield_now();
                }
                false
            }
            "stutter" => {
                for piece in bytes.chunks(bytes.len().div_ceil(at.max(1))) {
                    stream.write_all(piece).ok()?;
                    thread::sleep(Duration::from_millis(3));
                }
                false
            }
            "surplus" => {
                bytes.extend(answer(Framing::Length, 0));
                stream.write_all(&bytes).ok()?;
                false
            }
            "late" => {
                stream.write_all(&bytes).ok()?;
                thread::sleep(Duration::from_millis(20));
                stream.write_all(&answer(Framing::Length, 0)).ok()?;
                false
            }
            "spoilt" => {
                bytes[at] = byte;
                stream.write_all(&bytes).ok()?;
                true
            }
            "garbage" => {
                stream.write_all(&garbage(number)).ok()?;
                true
            }
            _ => {
                stream.write_all(&bytes).ok()?;
                false
            }
        };
        if is_last || framing == Framing::Close {
            return None;
        }
    }
    None
}

/// Numbers below `end` that look random, one after the other.
fn random(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap_or_default() % end
}

/// Bytes from pieces that answers are made of, in no order.
fn garbage(seed: u64) -> Vec<u8> {
    const PIECES: [&str; 14] = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/2.0 200\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 50\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "X-Id: 0\r\n",
        "\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "\0\u{1}\u{7f}: \r\r\n",
    ];
    let mut state = seed;
    (0..random(&mut state, 9))
        .flat_map(|_| PIECES[random(&mut state, PIECES.len())].as_bytes().to_vec())
        .collect()
}

/// An app that goes on with its connection for as long as that stands.
struct App<'a> {
    bearerd: &'a Sidecar,
    stream: Option<BufReader<TcpStream>>,
    id: u64,
}

impl<'a> App<'a> {
    fn new(bearerd: &'a Sidecar, first: u64) -> Self {
        Self { bearerd, stream: None, id: first }
    }

    /// Asks, and judges what came: an answer is this request's own, or it is bearerd's.
    #[track_caller]
    fn ask(&mut self, framing: Framing, fault: Fault) -> Outcome {
        self.id += 1;
        let id = self.id;
        let client = self.bearerd.app();
        let mut stream = self.stream.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(client.address()).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            BufReader::new(stream)
        });
        let head = client.head("GET", &target(framing, fault, id), "TE: trailers\r\n", 0);
        stream.get_mut().write_all(&head).expect("a request");
        let answer = match Message::read(&mut stream, true) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Outcome::Broken,
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{fault:?} of {framing:?}: no end");
                return Outcome::Broken;
            }
        };
        if answer.field("connection").is_none_or(|value| value != "close") {
            self.stream = Some(stream);
        }
        let shown = answer.fields("x-id");
        if answer.field("proxy-status").is_some() {
            return Outcome::Refused(answer.status());
        }
        if !shown.is_empty() && !matches!(fault, Fault::Garbage(_) | Fault::Spoilt(..)) {
            assert_eq!(shown, [id.to_string()], "{fault:?} of {framing:?}: crossed: {}", answer.head());
        }
        Outcome::Whole(answer.text())
    }

    /// A request that nothing is done to, which must be answered.
    #[track_caller]
    fn ask_plainly(&mut self) {
        let outcome = self.ask(Framing::Length, Fault::None);
        assert_eq!(outcome, Outcome::Whole(body(self.id)));
    }
}

/// The body of an answer by RFC 9112, section 6.3, from the head's fields alone; `None` if it has none.
fn as_it_stands(sent: &[u8]) -> Option<String> {
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, rest) = (String::from_utf8_lossy(&sent[..end]), &sent[end + 4..]);
    let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (sent, value) = line.split_once(':')?;
            sent.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    };
    match (value("transfer-encoding").as_deref(), value("content-length")) {
        (Some("chunked"), _) => Some(Message::read(&mut &*sent, true).ok()??.text()),
        // Any other coding, or no length: to the end of the connection.
        (Some(_), _) | (None, None) => Some(as_text(rest)),
        (None, Some(length)) => rest.get(..length.parse().ok()?).map(as_text),
    }
}

/// What is open beyond the connections that bearerd counts.
fn uncounted(bearerd: &Sidecar) -> i64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", bearerd.id())).expect("a process").count();
    let metrics = bearerd.admin().get("/metrics").text();
    let counted = metrics.lines().filter(|line| {
        line.starts_with("bearerd_connections{") || line.starts_with("bearerd_upstream_connections{")
    });
    let counted = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum::<i64>();
    i64::try_from(open).expect("a number") - counted
}

/// Runs a test before a chaotic upstream, and looks for descriptors that are left over.
fn before_chaos(test: impl FnOnce(&Sidecar)) {
    let bearerd = Sidecar::ready(&Chaos::start().configuration());
    App::new(&bearerd, 0).ask_plainly();
    let before = uncounted(&bearerd);
    test(&bearerd);
    // A connection that just ended is counted a moment longer, or shorter, than it is open.
    bearerd.wait("no descriptor left over", || (uncounted(&bearerd) <= before).then_some(()));
    App::new(&bearerd, 1 << 60).ask_plainly();
}

#[test]
fn an_answer_that_is_cut_anywhere_never_looks_whole() {
    before_chaos(|bearerd| {
        let mut app = App::new(bearerd, 1000);
        for framing in FRAMINGS {
            let whole = answer(framing, app.id).len();
            let head =
                answer(framing, app.id).windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            for at in 0..whole {
                for fault in [Fault::Cut(at), Fault::Reset(at)] {
                    // Where the end of the connection is the end of the answer, an early one shows nothing.
                    if framing == Framing::Close && matches!(fault, Fault::Cut(_)) && at > head + 3 {
                        continue;
                    }
                    let outcome = app.ask(framing, fault);
                    let is_right = match outcome {
                        // What the reset overtook may be a part of the head.
                        Outcome::Refused(status) => {
                            status == 502 && (at < head + 4 || matches!(fault, Fault::Reset(_)))
                        }
                        Outcome::Broken => at >= head + 4,
                        Outcome::Whole(_) => false,
                    };
                    assert!(is_right, "{fault:?} of {whole} bytes, {framing:?}: {outcome:?}");
                }
            }
            app.ask_plainly();
        }
    });
}

#[test]
fn an_answer_in_any_pieces_comes_whole() {
    before_chaos(|bearerd| {
        let mut app = App::new(bearerd, 10_000);
        for framing in FRAMINGS {
            for fault in [Fault::Dribble, Fault::Stutter(2), Fault::Stutter(7), Fault::Stutter(30)] {
                let outcome = app.ask(framing, fault);
                assert_eq!(outcome, Outcome::Whole(body(app.id)), "{fault:?} of {framing:?}");
            }
        }
    });
}

#[test]
fn what_nobody_asked_for_is_never_an_answer() {
    before_chaos(|bearerd| {
        let mut app = App::new(bearerd, 20_000);
        for framing in FRAMINGS {
            for round in 0..10 {
                let fault = if round % 2 == 0 { Fault::Surplus } else { Fault::LateSurplus };
                let outcome = app.ask(framing, fault);
                // Behind an answer without a length it belongs to it.
                if framing != Framing::Close {
                    assert_eq!(outcome, Outcome::Whole(body(app.id)), "{fault:?} of {framing:?}");
                }
                // Once the next request is on its way, nobody could tell it from that one's answer.
                if fault == Fault::LateSurplus {
                    thread::sleep(Duration::from_millis(60));
                }
                app.ask_plainly();
            }
        }
    });
}

#[test]
fn an_answer_with_another_byte_in_its_framing_is_refused_broken_or_read_as_it_stands() {
    before_chaos(|bearerd| {
        let mut app = App::new(bearerd, 30_000);
        let mut state = 7;
        for framing in FRAMINGS {
            for at in 0..answer(framing, app.id).len() {
                let byte = *b"\0\n\r 0f:;x\x80".get(random(&mut state, 10)).expect("a byte");
                let mut sent = answer(framing, app.id + 1);
                let had_return = std::mem::replace(&mut sent[at], byte) == b'\r';
                let outcome = app.ask(framing, Fault::Spoilt(at, byte));
                // A line that ends with LF alone may be read, and is not read here.
                if let Outcome::Whole(body) = &outcome
                    && byte != b'\n'
                    && !had_return
                {
                    // What carries no meaning, such as a chunk's extension, may be anything.
                    let read = as_it_stands(&sent).unwrap_or_else(|| self::body(app.id));
                    assert_eq!(*body, read, "{at} is {byte:#x} in {framing:?}");
                }
            }
            // The upstream has closed without a word: nobody can tell before that is seen.
            thread::sleep(Duration::from_millis(30));
            app.ask_plainly();
        }
    });
}

#[test]
fn apps_at_once_never_get_each_others_answers_through_any_fault() {
    before_chaos(|bearerd| {
        let whole = answer(Framing::Length, 1_000_000).len();
        thread::scope(|scope| {
            for number in 1..9_u64 {
                scope.spawn(move || {
                    let mut app = App::new(bearerd, number * 1_000_000);
                    let mut state = number;
                    for _ in 0..150 {
                        let at = random(&mut state, whole);
                        let framing = FRAMINGS[random(&mut state, FRAMINGS.len())];
                        let fault = match random(&mut state, 8) {
                            0 => Fault::Cut(at),
                            1 => Fault::Reset(at),
                            2 => Fault::Dribble,
                            3 => Fault::Stutter(1 + at % 9),
                            4 => Fault::Surplus,
                            5 => Fault::Garbage(random(&mut state, 1 << 30) as u64),
                            _ => Fault::None,
                        };
                        let outcome = app.ask(framing, fault);
                        if matches!(fault, Fault::None | Fault::Dribble | Fault::Stutter(_)) {
                            assert_eq!(outcome, Outcome::Whole(body(app.id)), "{fault:?} of {framing:?}");
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn an_app_that_leaves_in_the_middle_leaves_nothing_behind() {
    before_chaos(|bearerd| {
        let address = bearerd.app().address();
        let bearerd = Arc::new(bearerd);
        for number in 0..60_u64 {
            let head =
                bearerd.app().head("GET", &target(Framing::Trailers, Fault::Stutter(9), number), "", 0);
            let mut stream = TcpStream::connect(address).expect("a connection");
            let part = usize::try_from(number).expect("a number") * head.len() / 40;
            stream.write_all(&head[..part.min(head.len())]).expect("a part of a request");
            if number % 3 == 0 {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
                let _ = stream.read(&mut [0; 30]);
            }
        }
        bearerd.wait("no app's connection", || {
            let metrics = bearerd.admin().get("/metrics").text();
            metrics.contains("bearerd_connections{listener=\"app\"} 0").then_some(())
        });
    });
}
