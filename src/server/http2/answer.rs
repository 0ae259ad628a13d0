//! The heads of answers, as they stand in HEADERS.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use crate::buffer::Output;
use crate::http1::{AnswerHead, Fields, Framing, Kind};
use crate::http2::hpack;
use crate::server::date::Date;

/// Puts the head of an upstream's answer.
pub(super) fn put_head(
    output: &mut Output,
    answer: &AnswerHead,
    framing: Framing,
    is_head: bool,
    date: &Date,
) {
    hpack::put_status(output, answer.status);
    let tells_length = is_head || answer.status == StatusCode::NOT_MODIFIED;
    let mut has_date = false;
    for field in answer.fields.iter() {
        has_date |= field.kind == Kind::Date;
        if field.kind != Kind::ContentLength || tells_length {
            hpack::put_field(output, field.name, field.value);
        }
    }
    if !has_date {
        hpack::put_field(output, b"date", &date.now());
    }
    if let Framing::Length(length) = framing
        && !tells_length
        && answer.status != StatusCode::NO_CONTENT
    {
        put_length(output, length);
    }
}

/// Puts the head of an answer that bearerd makes.
pub(super) fn put_own_head(output: &mut Output, response: &Response<Bytes>, date: &Date) {
    hpack::put_status(output, response.status());
    for (name, value) in response.headers() {
        // A stream ends without its connection.
        if name != header::CONNECTION {
            hpack::put_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    hpack::put_field(output, b"date", &date.now());
    if response.status() != StatusCode::NO_CONTENT {
        put_length(output, response.body().len() as u64);
    }
}

/// Puts the fields behind a body.
pub(super) fn put_trailers(output: &mut Output, trailers: &Fields) {
    for field in trailers.iter() {
        hpack::put_field(output, field.name, field.value);
    }
}

fn put_length(output: &mut Output, length: u64) {
    hpack::put_field(output, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}
