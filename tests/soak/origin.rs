//! The upstreams: each request is held against what the app sent, each token against the ledger.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use crate::fault::Fault;
use crate::ledger::{Id, Kind, Ledger, Verdict, lock};
use crate::plan::{Answer, Close, Framing};
use crate::random::{Random, body};
use crate::wire::{Head, Wire, put_body};

/// What an upstream's first path segment says: which credential a request to it carries.
pub const BASES: [(&str, &str); 9] = [
    ("grant", "grant"),
    ("refreshed", "refreshed"),
    ("login", "login"),
    ("fixed", "fixed"),
    ("revoked", "revoked"),
    ("moving-grant", "grant"),
    ("moving-fixed", "fixed"),
    ("lone", "grant"),
    ("streams", "grant"),
];

/// The rest of every target, which must come byte for byte.
pub const QUERY: &str = "?a=%20%2F&&b;c=//../";

/// The certificate that a TLS upstream shows, which changes.
pub type Certificate = Arc<Mutex<Arc<ServerConfig>>>;

/// Serves in plain text for ever.
pub async fn serve(listener: TcpListener, ledger: Arc<Ledger>) {
    let authority = authority(&listener);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        spawn_local(converse(Wire::new(stream), authority.clone(), ledger.clone()));
    }
}

/// Serves over TLS for ever.
pub async fn serve_tls(listener: TcpListener, certificate: Certificate, ledger: Arc<Ledger>) {
    let authority = authority(&listener);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (acceptor, authority, ledger) =
            (TlsAcceptor::from(lock(&certificate).clone()), authority.clone(), ledger.clone());
        spawn_local(async move {
            // A handshake that bearerd breaks off shows as a request that fails.
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(Wire::new(stream), authority, ledger).await;
            }
        });
    }
}

fn authority(listener: &TcpListener) -> Rc<str> {
    listener.local_addr().expect("an address").to_string().into()
}

/// Answers on one connection to its end.
pub async fn converse(mut wire: Wire, authority: Rc<str>, ledger: Arc<Ledger>) {
    // How a connection ends is the app's matter: whether its requests were answered.
    let _ = answer_all(&mut wire, &authority, &ledger).await;
}

async fn answer_all(wire: &mut Wire, authority: &str, ledger: &Ledger) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let Some(request) = Request::read(&head, authority, ledger) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let wanted = body(!request.id.seed(), request.length);
        if !wire.body(head.framing(Framing::Nothing), wanted).await? {
            ledger.find(Kind::Altered, format!("the body of {} is not the one that was sent", request.id));
        }
        if request.verdict == Verdict::Revoked {
            ledger.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            wire.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nrevoked", 1).await?;
            continue;
        }
        ledger.arrived(request.id);
        if request.answer.delay > 0 {
            tokio::time::sleep(Duration::from_millis(request.answer.delay as u64)).await;
        }
        let mut message = request.answer(ledger);
        let is_cut = ledger.has(Fault::CutAnswers) && request.id.number.is_multiple_of(50);
        if is_cut {
            message.truncate(message.len() - 2);
        }
        wire.send(&message, request.answer.pieces).await?;
        if is_cut || request.answer.close != Close::No {
            return wire.stream.shutdown().await;
        }
    }
    Ok(())
}

/// What a request says of itself.
struct Request {
    id: Id,
    base: &'static str,
    method: String,
    length: usize,
    answer: Answer,
    verdict: Verdict,
    token: String,
}

impl Request {
    /// Reads a head and reports what is wrong with it; `None` if nothing can be made of it.
    fn read(head: &Head, authority: &str, ledger: &Ledger) -> Option<Self> {
        let read = || {
            let id = Id::parse(head.field("x-id")?)?;
            let sent = Duration::from_micros(head.field("x-sent")?.parse().ok()?);
            let length = head.field("x-length")?.parse().ok()?;
            let answer = Answer::parse(head.field("x-answer")?)?;
            let mut line = head.start_line().split(' ');
            let (method, target) = (line.next()?, line.next()?);
            let (base, rest) = target.strip_prefix('/')?.split_once('/')?;
            let &(base, credential) = BASES.iter().find(|(known, _)| *known == base)?;
            Some((id, sent, length, answer, method.to_owned(), base, credential, rest.to_owned()))
        };
        let Some((id, sent, length, answer, method, base, credential, rest)) = read() else {
            ledger.find(Kind::Altered, format!("a head that no app sent: {:?}", head.text()));
            return None;
        };
        let token = if credential == "login" {
            let (token, key) =
                (head.field("x-token").unwrap_or_default(), head.field("x-key").unwrap_or_default());
            // Two outputs of one exchange: they come together or not at all.
            if ledger.judge(key, credential, sent) == Verdict::Valid && key != format!("{token}-key") {
                ledger.find(Kind::ForeignToken, format!("{token} and {key} are not of one generation"));
            }
            token
        } else {
            head.field("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
        };
        let verdict = ledger.judge(token, credential, sent);
        let injected = if credential == "login" { format!("&key={token}") } else { String::new() };
        let is_as_sent = rest == format!("r/{id}{QUERY}{injected}")
            && head.field("x-method") == Some(&method)
            && head.field("host") == Some(authority)
            && (head.count("x-two"), head.count("via"), head.count("host")) == (2, 1, 1)
            && head.count("authorization") == usize::from(credential != "login")
            && ["connection", "x-hop", "te", "upgrade", "forwarded"].iter().all(|gone| head.count(gone) == 0);
        if !is_as_sent {
            ledger.find(Kind::Altered, format!("{id}: {:?}", head.text()));
        }
        Some(Self { id, base, method, length, answer, verdict, token: token.to_owned() })
    }

    /// The whole answer, interim ones before it.
    fn answer(&self, ledger: &Ledger) -> Vec<u8> {
        let mut random = Random::new(self.id.seed());
        let Answer { status, framing, is_announced, has_trailer, close, .. } = self.answer;
        let mut message = Vec::with_capacity(512 + self.answer.length);
        if is_announced {
            message.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n");
        }
        let mut id = self.id;
        if ledger.has(Fault::SwappedAnswers) && id.number.is_multiple_of(50) {
            id.number -= 1;
        }
        let framed = match framing {
            Framing::Nothing | Framing::Close => String::new(),
            Framing::Length(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".into(),
        };
        let closing = if close == Close::Told { "Connection: close\r\n" } else { "" };
        let shown = if ledger.has(Fault::ShownTokens) { &*self.token } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nX-Id: {id}\r\nX-Base: {}\r\nX-Shown: {shown}\r\nSet-Cookie: a=1\r\n\
             Set-Cookie: b=2\r\nServer: origin\r\n{closing}{framed}\r\n",
            self.base
        );
        message.extend_from_slice(head.as_bytes());
        let body_starts = message.len();
        let content = body(id.seed(), self.answer.sent_length(&self.method));
        let trailer = if has_trailer { "X-Trailer: late\r\n" } else { "" };
        let framing = if self.method == "HEAD" { Framing::Nothing } else { framing };
        put_body(&mut message, framing, content, trailer, &mut random);
        if ledger.has(Fault::ChangedByte) && self.id.number.is_multiple_of(50) && content.len() > 100 {
            // Inside the first chunk at least, if there are chunks.
            message[body_starts + 8] ^= 1;
        }
        message
    }
}
