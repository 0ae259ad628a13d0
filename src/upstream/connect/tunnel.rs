//! A way through an outbound proxy: CONNECT (RFC 9110, section 9.3.6).

use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::secret::{Secret, SecretBuffer};

/// The largest head of an answer to CONNECT, interim answers included, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// The most fields of it.
const MOST_FIELDS: usize = 100;

/// Why a proxy opened no way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its answer, if it gave one.
    pub(super) status: Option<u16>,
    /// What it did, in words that follow its name.
    pub(super) reason: String,
}

impl Refusal {
    fn without_answer(reason: impl Into<String>) -> Self {
        Self { status: None, reason: reason.into() }
    }
}

/// Asks the proxy at the other end of `stream` for a way to `target` (host and port). When this
/// returns, the next byte on the stream is the target's. `authorization` is the value of
/// `Proxy-Authorization`.
pub(super) async fn open(
    stream: &mut TcpStream,
    target: &str,
    authorization: Option<&Secret>,
) -> Result<(), Refusal> {
    let mut request = SecretBuffer::with_capacity(512);
    request.push(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").as_bytes());
    if let Some(authorization) = authorization {
        request.push(b"Proxy-Authorization: ");
        request.push(authorization.expose());
        request.push(b"\r\n");
    }
    request.push(b"\r\n");
    // A proxy that refuses at once may close before it has read all: its answer tells more.
    let sent = stream.write_all(request.expose()).await;
    match answer(stream).await {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(Refusal { status: Some(status), reason: meaning(status, target) }),
        Err(refusal) => Err(sent.err().map_or(refusal, |error| hung_up(&error))),
    }
}

/// The status of the final answer. A body of a 2xx does not exist, whatever its head says.
async fn answer(stream: &mut TcpStream) -> Result<u16, Refusal> {
    let mut left = LARGEST_HEAD;
    loop {
        let (status, length) = head(stream, left).await?;
        match status {
            100 | 102..=199 => left -= length,
            status => return Ok(status),
        }
    }
}

/// Reads one head of at most `most` bytes, and not a byte more: what follows may be the target's.
async fn head(stream: &mut TcpStream, most: usize) -> Result<(u16, usize), Refusal> {
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let seen = stream.peek(&mut piece).await.map_err(|error| hung_up(&error))?;
        if seen == 0 {
            return Err(Refusal::without_answer("hung up before it answered"));
        }
        let before = head.len();
        head.extend_from_slice(&piece[..seen]);
        let outcome = parse(&head)?;
        let taken = outcome.map_or(seen, |(_, length)| length - before);
        stream.read_exact(&mut piece[..taken]).await.map_err(|error| hung_up(&error))?;
        match outcome {
            Some((status, length)) if length <= most => return Ok((status, length)),
            None if head.len() < most => {}
            _ => {
                let reason = format!("answered with a head of more than {LARGEST_HEAD} bytes");
                return Err(Refusal::without_answer(reason));
            }
        }
    }
}

/// Status and length of a head; `None` if it is not whole yet.
fn parse(head: &[u8]) -> Result<Option<(u16, usize)>, Refusal> {
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(head) {
        Ok(Status::Complete(length)) => Ok(response.code.map(|status| (status, length))),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            Err(Refusal::without_answer(format!("answered with more than {MOST_FIELDS} fields")))
        }
        Err(_) => Err(Refusal::without_answer("did not answer in HTTP: is it an HTTP proxy?")),
    }
}

fn meaning(status: u16, target: &str) -> String {
    let what = match status {
        // Some say 401 of a password that they do not know, though it is a server's word.
        401 | 407 => {
            "it wants a user and a password that it knows (`proxy_user` and `proxy_password`)".to_owned()
        }
        403 => format!("it does not let connections to {target} through"),
        405 | 501 => "it does not know CONNECT".to_owned(),
        500.. => format!("it cannot reach {target}"),
        _ => format!("it opened no way to {target}"),
    };
    format!("answered {status}: {what}")
}

fn hung_up(error: &std::io::Error) -> Refusal {
    Refusal::without_answer(format!("broke the connection off ({})", error.kind()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{Refusal, open};
    use crate::secret::Secret;

    /// What comes of a proxy that answers with these pieces, and what it was sent.
    async fn ask(pieces: &[&[u8]], authorization: Option<&Secret>) -> (Result<TcpStream, Refusal>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a way");
        client.set_nodelay(true).expect("an option");
        let proxy = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.expect("a request");
            }
            for piece in pieces {
                // A client that has seen enough may be gone.
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            String::from_utf8(request).expect("text")
        };
        let (opened, request) = tokio::join!(
            async {
                let opened = open(&mut client, "api.example:443", authorization).await;
                opened.map(|()| client)
            },
            proxy
        );
        (opened, request)
    }

    #[tokio::test]
    async fn the_first_byte_behind_the_answer_is_the_targets() {
        for pieces in [
            vec![b"HTTP/1.1 200 Connection established\r\n\r\nhello".as_slice()],
            vec![b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
            vec![b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 Fine\r\nA: b\r\n", b"\r", b"\nhel", b"lo"],
            vec![b"HT", b"TP/1.1 200 OK\r\n\r", b"\nhello"],
        ] {
            let (opened, request) = ask(&pieces, None).await;
            let mut rest = String::new();
            opened.expect("a way").read_to_string(&mut rest).await.expect("what the target said");
            assert_eq!(rest, "hello", "{pieces:?}");
            assert_eq!(request, "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n");
        }
    }

    #[tokio::test]
    async fn the_authorization_is_for_the_proxy() {
        let (opened, request) = ask(&[b"HTTP/1.1 200 OK\r\n\r\n"], Some(&Secret::from("Basic eA=="))).await;
        opened.expect("a way");
        assert!(request.contains("\r\nProxy-Authorization: Basic eA==\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_tells_its_status_and_what_it_means() {
        for (status, words) in [
            (407, "proxy_password"),
            (401, "proxy_password"),
            (403, "does not let connections to api.example:443"),
            (502, "cannot reach api.example:443"),
            (405, "does not know CONNECT"),
            (302, "opened no way"),
            (101, "opened no way"),
        ] {
            let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
            let refusal = ask(&[answer.as_bytes()], None).await.0.expect_err("a refusal");
            assert_eq!(refusal.status, Some(status));
            assert!(refusal.reason.contains(words), "{refusal:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_or_a_boundless_one_is_told() {
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &b"a".repeat(20_000)].concat();
        let interims = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
        let fields = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(200)].concat();
        for (piece, words) in [
            (b"".as_slice(), "hung up"),
            (b"HTTP/1.1 200", "hung up"),
            (b"\x05\x01\x00", "not answer in HTTP"),
            (b"SSH-2.0-OpenSSH\r\n", "not answer in HTTP"),
            (&endless, "more than 16384 bytes"),
            (&interims, "more than 16384 bytes"),
            (&fields, "more than 100 fields"),
        ] {
            let refusal = ask(&[piece], None).await.0.expect_err("no way");
            assert_eq!(refusal.status, None, "{refusal:?}");
            assert!(refusal.reason.contains(words), "{refusal:?}");
        }
    }
}
