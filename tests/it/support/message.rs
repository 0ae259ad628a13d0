//! HTTP/1.1 messages read from a socket, their heads kept byte for byte.

use std::io::{self, BufRead, Read};

/// A request or an answer.
#[derive(Debug, Clone)]
pub struct Message {
    /// Start line and fields, exactly as received, with the empty line.
    pub head: Vec<u8>,
    /// The body, freed of its framing.
    pub body: Vec<u8>,
    /// The fields behind a chunked body, each with its line end.
    pub trailers: String,
}

impl Message {
    /// Reads one message; `None` at the end of the connection. `has_body` says, by the head,
    /// whether a body without a length runs to the end of the connection.
    pub fn read(stream: &mut impl BufRead, is_answer: bool) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(stream)? else { return Ok(None) };
        message.body = message.read_body(stream, is_answer)?;
        Ok(Some(message))
    }

    /// Reads a head alone; `None` at the end of the connection.
    pub fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        Ok(Some(Self { head, body: Vec::new(), trailers: String::new() }))
    }

    fn read_body(&mut self, stream: &mut impl BufRead, is_answer: bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.field("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
            loop {
                let chunk = read_chunk(stream)?;
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
            self.trailers = read_trailers(stream)?;
        } else if let Some(length) = self.field("content-length") {
            let length: u64 = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            if stream.take(length).read_to_end(&mut body)? as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else if is_answer && !matches!(self.status(), 100..200 | 204 | 304) {
            stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// The head as text.
    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The start line.
    pub fn start_line(&self) -> String {
        self.head().lines().next().unwrap_or_default().to_owned()
    }

    /// The method of a request.
    pub fn method(&self) -> String {
        self.start_line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The target of a request.
    pub fn target(&self) -> String {
        self.start_line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.start_line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// All values of a field.
    pub fn fields(&self, name: &str) -> Vec<String> {
        let head = self.head();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(sent, _)| sent.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut values = self.fields(name);
        assert!(values.len() < 2, "`{name}` stands more than once:\n{}", self.head());
        values.pop()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.head(), self.text()))
    }

    /// The fields of a form in the body.
    pub fn form(&self) -> std::collections::BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

/// Reads the data of one chunk (RFC 9112, section 7.1); behind the last one, which has none, the
/// trailer section follows.
pub fn read_chunk(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut data = Vec::new();
    if stream.by_ref().take(size).read_to_end(&mut data)? as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if size > 0 {
        let mut end = [0; 2];
        stream.read_exact(&mut end)?;
        if end != *b"\r\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(data)
}

fn read_trailers(stream: &mut impl BufRead) -> io::Result<String> {
    let mut trailers = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok(trailers);
        }
        trailers += &line;
    }
}
