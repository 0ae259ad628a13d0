//! A server that records exact bytes and answers what a test scripts.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::message::Message;
use super::{PATIENCE, canary};

/// A recording server on loopback.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    records: Arc<Records>,
}

/// What a server answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The same, that much later.
    Late(Duration, Vec<u8>),
    /// These bytes, and then the end of the connection.
    Last(Vec<u8>),
    /// Nothing, for as long as the other side waits.
    Never,
    /// The connection is reset.
    Reset,
}

#[derive(Default)]
struct Records {
    requests: Mutex<Vec<Message>>,
    news: Condvar,
}

impl Reply {
    /// 200 with a text.
    pub fn text(body: &str) -> Self {
        Self::status(200, "text/plain", body)
    }

    /// A status with a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::status(status, "application/json", &body.to_string())
    }

    /// A status with a body.
    pub fn status(status: u16, media_type: &str, body: &str) -> Self {
        Self::with_fields(status, &format!("Content-Type: {media_type}\r\n"), body)
    }

    /// A status with fields (each ended by CRLF) and a body.
    pub fn with_fields(status: u16, fields: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {status} Status\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    }

    /// The same answer, that much later.
    pub fn after(self, delay: Duration) -> Self {
        match self {
            Self::Bytes(bytes) | Self::Late(_, bytes) => Self::Late(delay, bytes),
            other => other,
        }
    }
}

impl Upstream {
    /// A server that answers every request with 200 and `hello`.
    pub fn start() -> Self {
        Self::answering(|_| Reply::text("hello"))
    }

    /// A server that answers as `answer` says.
    pub fn answering(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::recording(answer, true)
    }

    /// A server that may be shown secrets: an issuer.
    pub fn issuer(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::recording(answer, false)
    }

    fn recording(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static, guarded: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let records = Arc::<Records>::default();
        let server = Self { address, records: Arc::clone(&records) };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (records, answer) = (Arc::clone(&records), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &records, &*answer, guarded));
            }
        });
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Message> {
        self.records.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Message> {
        let requests = self.records.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.records.news.wait_timeout_while(requests, PATIENCE, |requests| requests.len() < count);
        let requests = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        assert!(requests.len() >= count, "{} of {count} requests came", requests.len());
        requests
    }
}

impl Records {
    fn push(&self, request: Message) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.news.notify_all();
    }
}

fn serve(stream: TcpStream, records: &Records, answer: &dyn Fn(&Message) -> Reply, guarded: bool) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    while let Ok(Some(request)) = Message::read(&mut reader, false) {
        if guarded {
            canary::look_for_secrets(&[request.head.as_slice(), &request.body].concat());
        }
        let reply = answer(&request);
        records.push(request);
        let written = match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes),
            Reply::Late(delay, bytes) => {
                thread::sleep(delay);
                stream.write_all(&bytes)
            }
            Reply::Last(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
            Reply::Never => {
                // The other side ends the wait, or the read's timeout does.
                let _ = Message::read(&mut reader, false);
                return;
            }
            Reply::Reset => {
                // A socket closed with lingering zero sends RST in place of FIN.
                let socket = socket2::SockRef::from(&stream);
                let _ = socket.set_linger(Some(Duration::ZERO));
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}
