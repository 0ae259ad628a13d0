//! A server on loopback that does exactly what a test scripts, byte for byte, and records what it
//! was sent.

mod authority;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::upstream::{Origin, Scheme, Url};

pub(crate) use authority::{Authority, Differences, Files};

/// What the server does after it has read one whole request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Writes these bytes and closes.
    Raw(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Says nothing and stays.
    Hang,
    /// Writes a head, then one byte of its body now and then for ever.
    Drip,
}

impl Reply {
    /// Bytes as they are.
    pub(crate) fn raw(bytes: &str) -> Self {
        Self::Raw(bytes.as_bytes().to_vec())
    }

    /// A whole answer; `head` is the status with its reason and further fields.
    pub(crate) fn answer(head: &str, body: &str) -> Self {
        Self::raw(&format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    /// `200 OK` with a JSON body.
    pub(crate) fn json(body: &str) -> Self {
        Self::answer("200 OK\r\ncontent-type: application/json", body)
    }
}

/// A running server. It serves one connection a reply, in order, and then stops listening.
pub(crate) struct Server {
    origin: Origin,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on 127.0.0.1 in plain text.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(|_| replies.into_iter().collect(), None).await
    }

    /// Listens on 127.0.0.1 in plain text; the replies may name its own origin.
    pub(crate) async fn start_knowing(replies: impl FnOnce(&Origin) -> Vec<Reply>) -> Self {
        Self::start_with(replies, None).await
    }

    /// Listens on 127.0.0.1 with TLS.
    pub(crate) async fn start_tls(
        replies: impl IntoIterator<Item = Reply>,
        config: Arc<rustls::ServerConfig>,
    ) -> Self {
        Self::start_with(|_| replies.into_iter().collect(), Some(config.into())).await
    }

    async fn start_with(
        replies: impl FnOnce(&Origin) -> Vec<Reply>,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let requests = Arc::new(Mutex::new(Vec::new()));
        let origin = Origin { scheme, host: "127.0.0.1".into(), port };
        let mut replies = VecDeque::from(replies(&origin));
        let record = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Some(reply) = replies.pop_front() {
                let (stream, _) = listener.accept().await.expect("a connection");
                match &tls {
                    None => serve(stream, reply, &record).await,
                    // A client that refuses the certificate ends this connection, not the server.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, reply, &record).await;
                        }
                    }
                }
            }
        });
        Self { origin, requests, task }
    }

    /// A URL of this server.
    pub(crate) fn url(&self, path_and_query: &str) -> Url {
        Url { origin: self.origin.clone(), path_and_query: path_and_query.parse().expect("a path") }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        self.origin.authority()
    }

    /// Stops the server and gives the requests that it read, as they came.
    pub(crate) async fn requests(self) -> Vec<String> {
        self.task.abort();
        let _ = self.task.await;
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(mut stream: impl Close, reply: Reply, record: &Mutex<Vec<String>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    record.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    match reply {
        Reply::Raw(bytes) => {
            // The client may hang up before it has read all.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Reply::Reset => stream.reset(),
        Reply::Hang => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Reply::Drip => {
            let mut piece: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
            while stream.write_all(piece).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                piece = b" ";
            }
        }
    }
}

/// Head and body by `content-length`; `None` if the client hung up before.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8(bytes).expect("requests of these tests are text"));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A stream that can be reset.
trait Close: AsyncRead + AsyncWrite + Unpin {
    fn reset(self);
}

impl Close for TcpStream {
    fn reset(self) {
        let socket = socket2::SockRef::from(&self);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket can linger");
    }
}

impl Close for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(self) {
        self.into_inner().0.reset();
    }
}
