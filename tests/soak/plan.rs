//! What one request is, and what its answer shall be; the answer's part travels with the request.

use std::fmt;

use crate::random::{LONGEST, Random};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Nothing,
    /// By its length.
    Length(usize),
    /// By chunks.
    Chunked,
    /// By the end of the connection: answers only.
    Close,
}

/// A request and the answer that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The method.
    pub method: &'static str,
    /// How its body is framed.
    pub framing: Framing,
    /// How long its body is.
    pub length: usize,
    /// In how many pieces it is sent.
    pub pieces: usize,
    /// The app waits for 100 before it sends the body.
    pub expects: bool,
    /// The answer.
    pub answer: Answer,
}

/// What an upstream shall answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How its body is framed.
    pub framing: Framing,
    /// How long its body is.
    pub length: usize,
    /// In how many pieces it is sent.
    pub pieces: usize,
    /// How much later, in milliseconds.
    pub delay: usize,
    /// The upstream says that it closes, and does; or closes without a word.
    pub close: Close,
    /// An interim answer comes first.
    pub is_announced: bool,
    /// Trailer fields follow chunks.
    pub has_trailer: bool,
}

/// What an upstream does with the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Keeps it.
    No,
    /// Says `Connection: close`, and closes.
    Told,
    /// Closes without having said so.
    Silently,
}

impl Plan {
    /// Any request. Its body is at most `most` bytes long.
    pub fn any(random: &mut Random, most: usize) -> Self {
        let method =
            *random.pick(&["GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
        let has_body = matches!(method, "POST" | "PUT" | "PATCH") || random.once_in(20);
        let length = if has_body { length(random).min(most) } else { 0 };
        let framing = match (has_body, random.below(2)) {
            (false, _) => Framing::Nothing,
            (true, 0) => Framing::Length(length),
            (true, _) => Framing::Chunked,
        };
        let expects = length > 0 && random.once_in(30);
        let pieces = if random.once_in(5) { 1 + random.below(4) } else { 1 };
        Self { method, framing, length, pieces, expects, answer: Answer::any(random, method) }
    }

    /// A GET with a short answer.
    pub fn plain() -> Self {
        let answer = Answer {
            status: 200,
            framing: Framing::Length(100),
            length: 100,
            pieces: 1,
            delay: 0,
            close: Close::No,
            is_announced: false,
            has_trailer: false,
        };
        Self { method: "GET", framing: Framing::Nothing, length: 0, pieces: 1, expects: false, answer }
    }
}

impl Answer {
    fn any(random: &mut Random, method: &str) -> Self {
        let status = *random.pick(&[200, 200, 200, 200, 200, 201, 206, 204, 304, 404, 500]);
        let length = length(random);
        let framing = match random.below(8) {
            _ if matches!(status, 204 | 304) => Framing::Nothing,
            _ if method == "HEAD" => Framing::Length(length),
            0..4 => Framing::Length(length),
            4..7 => Framing::Chunked,
            _ => Framing::Close,
        };
        let close = match random.below(40) {
            _ if framing == Framing::Close => Close::Told,
            0 => Close::Told,
            _ => Close::No,
        };
        Self {
            status,
            framing,
            length,
            pieces: if random.once_in(5) { 1 + random.below(4) } else { 1 },
            delay: if random.once_in(20) { random.below(30) } else { 0 },
            close,
            is_announced: random.once_in(40),
            has_trailer: framing == Framing::Chunked && random.once_in(4),
        }
    }

    /// How long the body is that comes with an answer to this method.
    pub fn sent_length(&self, method: &str) -> usize {
        if method == "HEAD" || self.framing == Framing::Nothing { 0 } else { self.length }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<usize> = text.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let &[status, framing, length, pieces, delay, close, announced, trailer] = numbers.as_slice() else {
            return None;
        };
        let framing = match framing {
            0 => Framing::Nothing,
            1 => Framing::Length(length),
            2 => Framing::Chunked,
            _ => Framing::Close,
        };
        let close = match close {
            0 => Close::No,
            1 => Close::Told,
            _ => Close::Silently,
        };
        let status = u16::try_from(status).ok()?;
        let (is_announced, has_trailer) = (announced == 1, trailer == 1);
        Some(Self { status, framing, length, pieces, delay, close, is_announced, has_trailer })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = match self.framing {
            Framing::Nothing => 0,
            Framing::Length(_) => 1,
            Framing::Chunked => 2,
            Framing::Close => 3,
        };
        let close = match self.close {
            Close::No => 0,
            Close::Told => 1,
            Close::Silently => 2,
        };
        let Self { status, length, pieces, delay, is_announced, has_trailer, .. } = self;
        let (announced, trailer) = (u8::from(*is_announced), u8::from(*has_trailer));
        write!(formatter, "{status}.{framing}.{length}.{pieces}.{delay}.{close}.{announced}.{trailer}")
    }
}

/// Mostly short, sometimes long, now and then longer than any buffer.
fn length(random: &mut Random) -> usize {
    match random.below(200) {
        0..20 => 0,
        20..120 => 1 + random.below(2_000),
        120..180 => random.below(16 * 1024),
        180..199 => random.below(100 * 1024),
        _ => random.below(LONGEST),
    }
}

#[test]
fn a_plan_of_an_answer_is_read_as_it_was_written() {
    let mut random = Random::new(7);
    for _ in 0..1000 {
        let plan = Plan::any(&mut random, LONGEST);
        assert_eq!(Answer::parse(&plan.answer.to_string()), Some(plan.answer));
    }
}
