//! HTTP/1.1 on an asynchronous stream: heads read whole, bodies compared as they come.

use std::io::{self, ErrorKind};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::plan::Framing;
use crate::random::Random;

/// Any stream.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// One connection.
pub struct Wire {
    /// The stream, for raw bytes.
    pub stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
    start: usize,
}

/// A start line and fields, as they were received.
#[derive(Debug, Clone)]
pub struct Head(String);

impl Head {
    /// The start line.
    pub fn start_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.start_line().get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.split("\r\n").skip(1).find_map(|line| {
            let value = line.get(name.len()..)?.strip_prefix(':')?;
            line[..name.len()].eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How often a field stands there.
    pub fn count(&self, name: &str) -> usize {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|sent| sent.eq_ignore_ascii_case(name));
        self.0.split("\r\n").skip(1).filter(is_it).count()
    }

    /// The head as text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// How the body is framed, or else `otherwise`: requests have none then, answers run to the end of
    /// the connection.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self.field("transfer-encoding").is_some() {
            return Framing::Chunked;
        }
        self.field("content-length").and_then(|length| length.parse().ok()).map_or(otherwise, Framing::Length)
    }
}

impl Wire {
    /// A wire on a stream.
    pub fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), start: 0 }
    }

    /// What was read and not used.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    async fn more(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Reads one head; `None` if the connection ends before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(end) = memmem::find(self.rest(), b"\r\n\r\n") {
                break end + 4;
            }
            if self.more().await? == 0 {
                return if self.rest().is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = String::from_utf8(self.rest()[..end].to_vec()).map_err(|_| ErrorKind::InvalidData)?;
        self.start += end;
        Ok(Some(Head(head)))
    }

    /// Reads a body. Whether it is the one that is wanted; an error if it is not whole.
    pub async fn body(&mut self, framing: Framing, wanted: &[u8]) -> io::Result<bool> {
        let mut left = wanted;
        match framing {
            Framing::Nothing => {}
            Framing::Length(length) => self.compare(length, &mut left).await?,
            Framing::Chunked => loop {
                let size = self.line().await?;
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    break;
                }
                self.compare(size, &mut left).await?;
                if !self.line().await?.is_empty() {
                    return Err(ErrorKind::InvalidData.into());
                }
            },
            Framing::Close => {
                while !self.rest().is_empty() || self.more().await? > 0 {
                    let length = self.rest().len();
                    self.compare(length, &mut left).await?;
                }
            }
        }
        Ok(left.is_empty())
    }

    /// Reads so many bytes; takes from `left` what agrees, and spoils it where it does not.
    async fn compare(&mut self, length: usize, left: &mut &[u8]) -> io::Result<()> {
        let mut unread = length;
        while unread > 0 {
            if self.rest().is_empty() && self.more().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let piece = self.rest().len().min(unread);
            *left = left.strip_prefix(&self.buffer[self.start..self.start + piece]).unwrap_or(b"spoilt");
            self.start += piece;
            unread -= piece;
        }
        Ok(())
    }

    /// Reads exactly so many bytes.
    pub async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        while self.rest().len() < bytes.len() {
            if self.more().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.copy_from_slice(&self.buffer[self.start..self.start + bytes.len()]);
        self.start += bytes.len();
        Ok(())
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = memmem::find(self.rest(), b"\r\n") {
                break end;
            }
            if self.more().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let line = String::from_utf8_lossy(&self.rest()[..end]).into_owned();
        self.start += end + 2;
        Ok(line)
    }

    /// Writes a message in `pieces` of about the same length, letting others run in between.
    pub async fn send(&mut self, bytes: &[u8], pieces: usize) -> io::Result<()> {
        let length = bytes.len().div_ceil(pieces.max(1)).max(1);
        for piece in bytes.chunks(length) {
            self.stream.write_all(piece).await?;
            self.stream.flush().await?;
            if pieces > 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Whether the connection ends without another byte.
    pub async fn is_at_end(&mut self) -> bool {
        self.rest().is_empty() && self.more().await.is_ok_and(|length| length == 0)
    }
}

/// Appends a body in a framing; chunks have lengths and now and then an extension by chance.
pub fn put_body(message: &mut Vec<u8>, framing: Framing, body: &[u8], trailer: &str, random: &mut Random) {
    if framing != Framing::Chunked {
        message.extend_from_slice(body);
        return;
    }
    let mut left = body;
    while !left.is_empty() {
        let most = if random.once_in(3) { 16 } else { 20_000 };
        let (chunk, rest) = left.split_at(left.len().min(1 + random.below(most)));
        let extension = if random.once_in(8) { ";name=value" } else { "" };
        message.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        message.extend_from_slice(chunk);
        message.extend_from_slice(b"\r\n");
        left = rest;
    }
    message.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
}
