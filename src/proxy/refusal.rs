//! Whether an answer says that the token is dead.
//!
//! Most say it by status. Some say it inside an answer that looks like a success: then the beginning
//! of a JSON answer is looked into, and no more of it is held than that.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::proxy::answer::BrokenAnswer;
use crate::proxy::pointer::{self, Verdict};
use crate::proxy::watch::{Elapsed, Watch};
use crate::route::Refusal;

/// What of an answer was read to judge it; it goes to the app before the rest.
#[derive(Debug, Default)]
pub struct Peeked {
    frames: VecDeque<Result<Frame<Bytes>, BrokenAnswer>>,
    length: u64,
}

impl Peeked {
    /// The next frame.
    pub fn pop(&mut self) -> Option<Result<Frame<Bytes>, BrokenAnswer>> {
        let frame = self.frames.pop_front()?;
        if let Ok(Some(data)) = frame.as_ref().map(Frame::data_ref) {
            self.length -= data.len() as u64;
        }
        Some(frame)
    }

    /// Bytes that are left.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn push(&mut self, frame: Result<Frame<Bytes>, BrokenAnswer>) {
        if let Ok(Some(data)) = frame.as_ref().map(Frame::data_ref) {
            self.length += data.len() as u64;
        }
        self.frames.push_back(frame);
    }

    /// The first `limit` bytes in one piece.
    fn beginning(&self, limit: usize) -> Vec<u8> {
        let mut beginning = Vec::new();
        for data in self.frames.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref()) {
            let room = limit - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
        beginning
    }
}

/// Whether the status alone says that the token is dead; `None` if the body has to be looked into.
pub fn by_status(refusal: &Refusal, status: u16, headers: &HeaderMap) -> Option<bool> {
    if refusal.except.contains(&status) {
        Some(false)
    } else if refusal.status.contains(&status) {
        Some(true)
    } else if refusal.json.is_empty() || !is_json(headers) {
        Some(false)
    } else {
        None
    }
}

/// A JSON answer in plain bytes.
fn is_json(headers: &HeaderMap) -> bool {
    let is_plain = headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    is_plain && (kind == "application/json" || kind == "text/json" || kind.ends_with("+json"))
}

/// Reads as much of the body as it takes to judge it, at most the first `peek` bytes.
pub async fn by_body(
    refusal: &Refusal,
    incoming: &mut Incoming,
    watch: &Watch,
) -> Result<(bool, Peeked), Elapsed> {
    let mut peeked = Peeked::default();
    loop {
        let frame = watch.guard(incoming.frame()).await?;
        let is_last = !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if let Some(frame) = frame {
            peeked.push(frame.map_err(|_| BrokenAnswer));
        }
        let beginning = peeked.beginning(refusal.peek);
        let verdict = pointer::test(&beginning, &refusal.json);
        if verdict != Verdict::Open || is_last || beginning.len() >= refusal.peek {
            return Ok((verdict == Verdict::Holds, peeked));
        }
    }
}
