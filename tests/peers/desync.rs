//! What is framed in every way that proxies were ever fooled by, before origins that read with parsers of their
//! own: they see the requests that were answered, and no other ones.
//!
//! ```text
//! app ── a strange request, and a second one behind it ──▶ bearerd ──▶ (nginx | HAProxy ──▶) node | Python
//! ```
//!
//! nginx that answers by itself logs more requests than were answered: it answers before a body has come, and
//! bearerd, which streams, sees only then that the body is malformed. It ends that connection, so that nothing
//! follows. What nginx or HAProxy pass on is compared here.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use crate::counterpart::{Counterpart, here, node};
use crate::support::configuration::to;
use crate::support::{PATIENCE, Sidecar};
use crate::yardstick::{Role, Yardstick};

const HOST: &str = "Host: localhost\r\n";

/// Spellings of a transfer coding.
const CODINGS: [&str; 24] = [
    "chunked",
    "\tchunked",
    "chunked ",
    "Chunked",
    "chunked,",
    "chunked, chunked",
    ",chunked",
    "identity",
    "identity, chunked",
    "chunked, identity",
    "gzip, chunked",
    "xchunked",
    "\"chunked\"",
    "chunked;a=b",
    "\u{b}chunked",
    "chunked\u{b}",
    "\u{a0}chunked",
    "chunked\0",
    "chun\rked",
    "\r\n chunked",
    "",
    "cow",
    "chunked\r\nTransfer-Encoding: cow",
    "cow\r\nTransfer-Encoding: chunked",
];

/// Spellings of the name of its field.
const NAMES: [&str; 11] = [
    "Transfer-Encoding",
    "transfer-encoding",
    "Transfer-Encoding ",
    " Transfer-Encoding",
    "Transfer_Encoding",
    "Transfer-Encoding\0",
    "Transfer\u{b}Encoding",
    "X: a\nTransfer-Encoding",
    "X: a\rTransfer-Encoding",
    "Foo\r\n Transfer-Encoding",
    "Content-Encoding",
];

/// Spellings of a length.
const LENGTHS: [&str; 17] = [
    "5",
    "+5",
    "-5",
    "0x5",
    "5 ",
    "5 5",
    "5,5",
    "5, 6",
    "5.0",
    "5e0",
    "05",
    "18446744073709551621",
    "4294967301",
    "",
    "5\u{b}",
    "1_0",
    "5\r\n 6",
];

/// Bodies in chunks that are not quite.
const CHUNKS: [&str; 16] = [
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "05\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n",
    "5;\0\r\nhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nX: y\n\n",
    "0;a\r\n\r\n",
    "-0\r\n\r\n",
];

fn corpus() -> Vec<String> {
    let mut corpus = Vec::new();
    for name in NAMES {
        for coding in CODINGS {
            let coding = format!("{name}: {coding}\r\n");
            for length in ["", "Content-Length: 4\r\n", "Content-Length: 0\r\n"] {
                for fields in [format!("{coding}{length}"), format!("{length}{coding}")] {
                    corpus.push(format!("POST /x HTTP/1.1\r\n{HOST}{fields}\r\n0\r\n\r\n"));
                }
            }
        }
    }
    for length in LENGTHS {
        for name in ["Content-Length", "Content_Length", "Content-Length ", " Content-Length"] {
            for method in ["GET", "POST"] {
                corpus.push(format!("{method} /x HTTP/1.1\r\n{HOST}{name}: {length}\r\n\r\nhello"));
            }
        }
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for fields in [
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: content-length\r\nContent-Length: 5\r\n",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\nContent-Length: 5\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
        ] {
            corpus.push(format!("{method} /x HTTP/1.1\r\n{HOST}{fields}\r\n0\r\n\r\n"));
        }
    }
    let chunked = format!("POST /x HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n");
    corpus.extend(CHUNKS.map(|chunks| format!("{chunked}{chunks}")));
    corpus
}

/// All that comes back of what is sent.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // Who refuses may close before all is read.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    String::from_utf8_lossy(&answers).into_owned()
}

/// What stands before the origin.
type Front = fn(Role) -> Yardstick;

fn look(mut command: Command, front: Option<Front>) {
    let origin = Counterpart::start(&mut command, "listening ");
    let port = origin.greeting.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let origin = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // What the origin has seen since it was asked the last time.
    let ask = || {
        let answer = exchange(origin, b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        answer.split_once("\r\n\r\n").expect("an answer").1.to_owned()
    };
    let front = front.map(|front| front(Role::Proxy(origin)));
    let upstream = front.as_ref().map_or(origin, |front| front.address);
    let bearerd = Sidecar::ready(&to(&format!("http://{upstream}")).replace("path = \"/api\"\n", ""));
    let behind = format!("GET /behind HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n");
    let mut passed = 0;
    for request in corpus() {
        let answers = exchange(bearerd.app().address(), format!("{request}{behind}").as_bytes());
        // HAProxy writes the names of fields small.
        let answered = answers.to_ascii_lowercase().matches("x-origin: seen").count();
        let seen = ask();
        let seen: Vec<&str> = seen.lines().collect();
        assert_eq!(seen.len(), answered, "{request:?}: {seen:?} was seen: {answers}");
        let is_behind = |line: &&str| line.starts_with("GET /behind ");
        let behind = seen.iter().copied().filter(is_behind).count();
        assert!(
            behind == 0 || (behind == 1 && answers.matches("HTTP/1.1 2").count() == 2),
            "{request:?}: {seen:?}"
        );
        passed += usize::from(answered == 2);
    }
    assert!(passed > 50, "only {passed} passed: nothing much was tried");
}

#[test]
fn node_sees_no_request_that_was_not_answered() {
    let mut command = node("node");
    command.arg(here("desync.mjs"));
    look(command, None);
}

#[test]
fn behind_nginx_or_haproxy_no_request_is_seen_that_was_not_answered() {
    let fronts: [Front; 2] = [Yardstick::nginx, Yardstick::haproxy];
    for front in fronts {
        let mut command = Command::new("python3");
        command.arg(here("desync.py"));
        look(command, Some(front));
    }
}

#[test]
fn python_sees_no_request_that_was_not_answered() {
    let mut command = Command::new("python3");
    command.arg(here("desync.py"));
    look(command, None);
}
