//! One request to an issuer on a connection of its own, and its whole answer.
//!
//! Issuers are asked rarely and their answers are small, so nothing here is pooled: a fresh
//! connection cannot have been closed by the other side in the meantime, and what goes wrong is
//! told apart by one question, whether any byte of the request may have left.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::secret::{Secret, SecretBuffer};
use crate::upstream::Url;
use crate::upstream::connect::{ConnectError, Connector, Offer, Stream, tls_reason};

/// How bearerd names itself to issuers.
const AGENT: &str = concat!("bearerd/", env!("CARGO_PKG_VERSION"));

/// The largest head of an answer, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

/// What is asked of an issuer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Header fields; `host` and `content-length` are added, `accept` and `user-agent` where they
    /// are missing.
    pub headers: HeaderMap,
    /// The body; `None` sends none.
    pub body: Option<Secret>,
}

/// How long an exchange may take, and how much it may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection to stand.
    pub connect: Duration,
    /// For the whole exchange.
    pub whole: Duration,
    /// Bytes of the answer's body.
    pub body: usize,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body as it came, no coding removed.
    pub body: Secret,
}

/// Why there is no answer. The message is for people and names the origin only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeError {
    /// What happened.
    pub message: String,
    /// Whether any byte of the request may have left: the issuer may have acted on it.
    pub sent: bool,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ExchangeError {}

impl From<ConnectError> for ExchangeError {
    fn from(error: ConnectError) -> Self {
        Self { message: error.to_string(), sent: false }
    }
}

/// Sends `request` over HTTP/1.1 and waits for the whole answer. Redirects are answers like any
/// other; a body that is cut off or too large is an error.
pub async fn exchange(
    connector: &Connector,
    url: &Url,
    request: Request,
    limits: Limits,
) -> Result<Answer, ExchangeError> {
    let deadline = Clock::instant() + limits.whole;
    // No time at all is not the same as no limit.
    let limit = limits.connect.min(limits.whole).max(Duration::from_millis(1));
    let stream = connector.connect(&url.origin, Offer::Http1, limit).await?.stream;
    let sent = Arc::new(AtomicBool::new(false));
    let stream = Watched { stream, sent: Arc::clone(&sent) };
    let message = match tokio::time::timeout_at(deadline, converse(stream, url, request, limits.body)).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(what)) => format!("{} {what}", url.origin),
        Err(_) => format!("{} did not answer within {:?}", url.origin, limits.whole),
    };
    Err(ExchangeError { message, sent: sent.load(Ordering::Acquire) })
}

/// Request and answer on a connection that stands. An error says what the issuer did.
async fn converse(stream: Watched, url: &Url, request: Request, largest: usize) -> Result<Answer, String> {
    let request = outgoing(url, request)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        // Pieces of the body are written from where they lie, so that no copy of a secret is left.
        .writev(true)
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| what_happened(&error))?;
    let mut connection = pin!(connection);
    let mut conversation = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| what_happened(&error))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: collect(body, largest).await? })
    });
    tokio::select! {
        biased;
        outcome = &mut conversation => outcome,
        // The connection may end before the answer has been taken out of its buffer.
        _ = &mut connection => conversation.await,
    }
}

/// The request as hyper takes it.
fn outgoing(url: &Url, request: Request) -> Result<http::Request<Full<Bytes>>, String> {
    let host = HeaderValue::try_from(url.origin.authority())
        .map_err(|_| "cannot be named in a Host field".to_owned())?;
    let carries_content = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    let mut outgoing = http::Request::new(Full::default());
    outgoing.headers_mut().insert(HOST, host);
    outgoing.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    outgoing.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    outgoing.headers_mut().extend(request.headers);
    match request.body {
        Some(body) => {
            outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            *outgoing.body_mut() = Full::new(body.into_bytes());
        }
        None if carries_content => {
            outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        None => {}
    }
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = Uri::from(url.path_and_query.clone());
    Ok(outgoing)
}

/// The whole body, into memory that is wiped.
async fn collect(mut body: Incoming, largest: usize) -> Result<Secret, String> {
    let too_large = || format!("answered with more than {largest} bytes");
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > largest {
        return Err(too_large());
    }
    let mut whole = SecretBuffer::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| what_happened(&error))?;
        let Some(piece) = frame.data_ref() else { continue };
        if piece.len() > largest - whole.len() {
            return Err(too_large());
        }
        whole.push(piece);
    }
    Ok(whole.into())
}

/// What the other side did, in words that follow its name.
fn what_happened(error: &hyper::Error) -> String {
    let of_connection =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let reset = of_connection.filter(|error| error.kind() != io::ErrorKind::UnexpectedEof);
    if let Some(reason) = of_connection.and_then(tls_reason) {
        format!("ended TLS: {reason}")
    } else if error.is_parse_too_large() {
        format!("answered with a head of more than {LARGEST_HEAD} bytes")
    } else if error.is_parse() {
        "answered something that is not HTTP/1.1".to_owned()
    } else if let Some(error) = reset {
        format!("broke the connection off ({})", error.kind())
    } else {
        "hung up before its answer was complete".to_owned()
    }
}

/// A connection that notes when anything may have been written to it.
struct Watched {
    stream: Stream,
    sent: Arc<AtomicBool>,
}

impl Watched {
    /// A write that failed may still have sent a part: only one that waits has sent nothing.
    fn note<T>(&self, write: Poll<T>) -> Poll<T> {
        if write.is_ready() {
            self.sent.store(true, Ordering::Release);
        }
        write
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, HeaderValue, Method};

    use super::{AGENT, Answer, ExchangeError, Limits, Request, exchange};
    use crate::secret::Secret;
    use crate::upstream::connect::Connector;
    use crate::upstream::testing::{Reply, Server};
    use crate::upstream::{EgressSpec, Url};

    const LIMITS: Limits =
        Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(5), body: 1024 * 1024 };

    async fn ask(url: &Url, limits: Limits) -> Result<Answer, ExchangeError> {
        let connector = Connector::new(&EgressSpec::default()).expect("the default egress");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let request = Request { method: Method::POST, headers, body: Some(Secret::from("hello")) };
        exchange(&connector, url, request, limits).await
    }

    async fn fail(reply: Reply, limits: Limits) -> ExchangeError {
        let server = Server::start([reply]).await;
        ask(&server.url("/token"), limits).await.expect_err("this exchange fails")
    }

    #[tokio::test]
    async fn a_request_leaves_as_written_and_its_answer_comes_back_whole() {
        let server = Server::start([Reply::answer("201 Created\r\nx-a: b", "{}")]).await;
        let answer = ask(&server.url("/a//b%2f?c=%20"), LIMITS).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.body.expose()), (201, "{}".as_bytes()));
        assert_eq!(answer.headers["x-a"], "b");
        let authority = server.authority();
        assert_eq!(
            server.requests().await,
            [format!(
                "POST /a//b%2f?c=%20 HTTP/1.1\r\nhost: {authority}\r\naccept: application/json\r\nuser-agent: \
                 {AGENT}\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
            )]
        );
    }

    #[tokio::test]
    async fn a_body_may_be_chunked_or_end_with_the_connection() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nabc",
            "HTTP/1.0 200 OK\r\n\r\nabc",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ] {
            let server = Server::start([Reply::raw(head)]).await;
            let answer = ask(&server.url("/"), LIMITS).await.expect(head);
            assert_eq!(answer.body.expose(), b"abc", "{head}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let server = Server::start([Reply::answer("302 Found\r\nlocation: http://127.0.0.1:1/", "")]).await;
        let answer = ask(&server.url("/"), LIMITS).await.expect("an answer");
        assert_eq!(answer.status.as_u16(), 302);
        assert_eq!(server.requests().await.len(), 1);
    }

    #[tokio::test]
    async fn nothing_was_sent_if_nobody_listens() {
        let server = Server::start([]).await;
        let url = server.url("/");
        server.requests().await;
        let error = ask(&url, LIMITS).await.expect_err("nobody listens");
        assert!(!error.sent && error.message.contains("cannot be reached"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_answer_says_that_the_request_was_sent() {
        for (reply, what) in [
            (Reply::Reset, "broke the connection off"),
            (Reply::raw(""), "hung up"),
            (Reply::raw("HTTP/1.1 200 OK\r\ncontent-le"), "hung up"),
            (Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"), "hung up"),
            (Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc"), "hung up"),
            (Reply::raw("220 mail.example ESMTP\r\n\r\n"), "not HTTP/1.1"),
        ] {
            let shown = format!("{reply:?}");
            let error = fail(reply, LIMITS).await;
            assert!(error.sent && error.message.contains(what), "{shown}: {error}");
        }
    }

    #[tokio::test]
    async fn the_deadline_holds_for_a_hanging_and_for_a_dripping_issuer() {
        let limits = Limits { whole: Duration::from_millis(150), ..LIMITS };
        for reply in [Reply::Hang, Reply::Drip] {
            let error = fail(reply, limits).await;
            assert!(error.sent && error.message.contains("did not answer within 150ms"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
        let limits = Limits { body: 4, ..LIMITS };
        for reply in [
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"),
            Reply::raw("HTTP/1.1 200 OK\r\n\r\n12345"),
            Reply::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n1\r\n5\r\n0\r\n\r\n",
            ),
        ] {
            let error = fail(reply, limits).await;
            assert!(error.sent && error.message.contains("more than 4 bytes"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1024 * 1024));
        let error = fail(Reply::raw(&head), LIMITS).await;
        assert!(error.message.contains("a head of more than"), "{error}");
    }
}
