//! Records as bytes: how both stores keep them.
//!
//! ```text
//! version (1 byte) { tag (1 byte) length (4 bytes, big endian) value }
//! ```
//!
//! Fields stand in the order of their tags, each at most once, and what is not there takes no room.
//! So a record has one encoding only, and whatever else is read is an error: nothing is guessed. A
//! field that came later has another version, which is written only where the field is there.

use std::fmt;

use jiff::Timestamp;

use crate::credential::Outputs;
use crate::credential::store::{Awaited, Current, InFlight, Mark, Record, Succession, Value};
use crate::secret::{Secret, SecretBuffer};

/// The version of a record without a succession.
pub const VERSION: u8 = 1;

/// The version of a record with one, and nothing that came later.
const WITH_SUCCESSION: u8 = 2;

/// The version of a record with attempts or the end of a token that was set, and nothing that came later.
const WITH_ATTEMPTS: u8 = 3;

/// The version of a record with a memo, and nothing that came later.
const WITH_MEMO: u8 = 4;

/// The version of a record with messages that are awaited, and the last that this bearerd reads.
pub const LAST_VERSION: u8 = 5;

const REPLACEMENT: u8 = 1;
const RENEW_BY: u8 = 2;
const IN_FLIGHT: u8 = 3;
const REUSABLE: u8 = 4;
const REJECTIONS: u8 = 5;
const CURRENT: u8 = 6;
const SUCCESSION: u8 = 7;
const ATTEMPTS: u8 = 8;
const SET_UNTIL: u8 = 9;
const MEMO: u8 = 10;
const AWAITED: u8 = 11;

/// A mark by number, and one by time.
const BY_NUMBER: u8 = 1;
const BY_TIME: u8 = 2;

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodingError {
    /// They are of a version that this bearerd does not know.
    Version(u8),
    /// They are no record of their version.
    Malformed,
}

impl fmt::Display for EncodingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(
                    formatter,
                    "it is of format {version}, and this bearerd knows none after {LAST_VERSION}"
                )
            }
            Self::Malformed => formatter.write_str("it is not whole"),
        }
    }
}

impl std::error::Error for EncodingError {}

/// The record as bytes, in a buffer that is wiped.
pub fn encode(record: &Record) -> SecretBuffer {
    let mut writer = Writer(SecretBuffer::with_capacity(256));
    writer.0.push(&[version(record)]);
    if let Some((of, value)) = &record.replacement {
        writer.field(REPLACEMENT, &[of, value.expose()]);
    }
    if let Some(end) = record.renew_by {
        writer.field(RENEW_BY, &[&time(end)]);
    }
    if let Some(InFlight { value, again }) = &record.in_flight {
        writer.field(IN_FLIGHT, &[value, &[u8::from(*again)]]);
    }
    if let Some(of) = &record.reusable {
        writer.field(REUSABLE, &[of]);
    }
    if let Some((of, tries)) = &record.rejections {
        writer.field(REJECTIONS, &[of, &tries.to_be_bytes()]);
    }
    if let Some(current) = &record.current {
        let inner = encode_current(current);
        writer.field(CURRENT, &[inner.expose()]);
    }
    if let Some(succession) = &record.succession {
        let inner = encode_succession(succession);
        writer.field(SUCCESSION, &[inner.expose()]);
    }
    if !record.attempts.is_empty() {
        let times: Vec<_> = record.attempts.iter().map(|at| time(*at)).collect();
        writer.field(ATTEMPTS, &times.iter().map(<[u8; 12]>::as_slice).collect::<Vec<_>>());
    }
    if let Some(end) = record.set_until {
        writer.field(SET_UNTIL, &[&time(end)]);
    }
    if let Some(memo) = &record.memo {
        writer.field(MEMO, &[memo.expose()]);
    }
    if let Some(awaited) = &record.awaited {
        writer.field(AWAITED, &[encode_awaited(awaited).expose()]);
    }
    writer.0
}

/// The first version that has all fields of a record.
fn version(record: &Record) -> u8 {
    if record.awaited.is_some() {
        LAST_VERSION
    } else if record.memo.is_some() {
        WITH_MEMO
    } else if !record.attempts.is_empty() || record.set_until.is_some() {
        WITH_ATTEMPTS
    } else if record.succession.is_some() {
        WITH_SUCCESSION
    } else {
        VERSION
    }
}

/// The inputs, the generation, both times, and then each output with its name.
fn encode_current(current: &Current) -> SecretBuffer {
    let mut buffer = SecretBuffer::with_capacity(256);
    buffer.push(&current.inputs);
    buffer.push(&current.generation.to_be_bytes());
    buffer.push(&time(current.obtained_at));
    push_time_if_any(&mut buffer, current.expires_at);
    push_outputs(&mut buffer, &current.outputs);
    buffer
}

/// Whose it is, the time, and then both values behind their lengths; one that is not there is empty.
fn encode_succession(succession: &Succession) -> SecretBuffer {
    let mut buffer = SecretBuffer::with_capacity(256);
    buffer.push(&succession.of);
    push_time_if_any(&mut buffer, succession.since);
    for value in [&succession.successor, &succession.previous] {
        let mut inner = SecretBuffer::with_capacity(256);
        if let Some(value) = value {
            push_time_if_any(&mut inner, value.expires_at);
            push_outputs(&mut inner, &value.outputs);
        }
        buffer.push(&length(inner.len()));
        buffer.push(inner.expose());
    }
    buffer
}

/// Whose they are, the time, and then each mark behind its kind.
fn encode_awaited(awaited: &Awaited) -> SecretBuffer {
    let mut buffer = SecretBuffer::with_capacity(64);
    buffer.push(&awaited.of);
    buffer.push(&time(awaited.since));
    for mark in &awaited.marks {
        match mark {
            Mark::Number { validity, next } => {
                buffer.push(&[BY_NUMBER]);
                buffer.push(&validity.to_be_bytes());
                buffer.push(&next.to_be_bytes());
            }
            Mark::Time(at) => {
                buffer.push(&[BY_TIME]);
                buffer.push(&time(*at));
            }
        }
    }
    buffer
}

fn push_time_if_any(buffer: &mut SecretBuffer, at: Option<Timestamp>) {
    match at {
        Some(at) => {
            buffer.push(&[1]);
            buffer.push(&time(at));
        }
        None => buffer.push(&[0]),
    }
}

fn push_outputs(buffer: &mut SecretBuffer, outputs: &Outputs) {
    for (name, value) in outputs {
        for part in [name.as_bytes(), value.expose()] {
            buffer.push(&length(part.len()));
            buffer.push(part);
        }
    }
}

/// Seconds and nanoseconds since 1970.
fn time(at: Timestamp) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&at.as_second().to_be_bytes());
    bytes[8..].copy_from_slice(&at.subsec_nanosecond().to_be_bytes());
    bytes
}

/// A length as it is written. Nothing of 4 GiB gets here: a token that large was refused long before.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// The record that bytes stand for.
pub fn decode(bytes: &[u8]) -> Result<Record, EncodingError> {
    let mut reader = Reader(bytes);
    let written = reader.byte()?;
    if !(VERSION..=LAST_VERSION).contains(&written) {
        return Err(EncodingError::Version(written));
    }
    let mut record = Record::default();
    let mut last = 0;
    while !reader.is_empty() {
        let (tag, mut value) = reader.field()?;
        if tag <= last {
            return Err(EncodingError::Malformed);
        }
        last = tag;
        match tag {
            REPLACEMENT => record.replacement = Some((value.array()?, Secret::new(value.rest()))),
            RENEW_BY => record.renew_by = Some(value.time()?),
            IN_FLIGHT => {
                record.in_flight = Some(InFlight { value: value.array()?, again: value.boolean()? });
            }
            REUSABLE => record.reusable = Some(value.array()?),
            REJECTIONS => record.rejections = Some((value.array()?, u32::from_be_bytes(value.array()?))),
            CURRENT => record.current = Some(value.current()?),
            SUCCESSION => record.succession = Some(value.succession()?),
            ATTEMPTS => record.attempts = value.times()?,
            SET_UNTIL => record.set_until = Some(value.time()?),
            MEMO => record.memo = Some(Secret::new(value.rest())),
            AWAITED => record.awaited = Some(value.awaited()?),
            _ => return Err(EncodingError::Malformed),
        }
        value.end()?;
    }
    if version(&record) == written { Ok(record) } else { Err(EncodingError::Malformed) }
}

struct Writer(SecretBuffer);

impl Writer {
    fn field(&mut self, tag: u8, parts: &[&[u8]]) {
        self.0.push(&[tag]);
        self.0.push(&length(parts.iter().map(|part| part.len()).sum()));
        for part in parts {
            self.0.push(part);
        }
    }
}

/// What is left of the bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], EncodingError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(EncodingError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EncodingError> {
        self.take(N)?.try_into().map_err(|_| EncodingError::Malformed)
    }

    fn byte(&mut self) -> Result<u8, EncodingError> {
        self.array().map(|[byte]| byte)
    }

    fn boolean(&mut self) -> Result<bool, EncodingError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(EncodingError::Malformed),
        }
    }

    /// All times that are left; at least one.
    fn times(&mut self) -> Result<Vec<Timestamp>, EncodingError> {
        let mut times = vec![self.time()?];
        while !self.is_empty() {
            times.push(self.time()?);
        }
        Ok(times)
    }

    fn time(&mut self) -> Result<Timestamp, EncodingError> {
        let (second, nanosecond) = (i64::from_be_bytes(self.array()?), i32::from_be_bytes(self.array()?));
        let at = Timestamp::new(second, nanosecond).map_err(|_| EncodingError::Malformed)?;
        // Another spelling of the same time is not one of ours.
        if (at.as_second(), at.subsec_nanosecond()) == (second, nanosecond) {
            Ok(at)
        } else {
            Err(EncodingError::Malformed)
        }
    }

    /// Bytes behind their length.
    fn bytes(&mut self) -> Result<&'a [u8], EncodingError> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).map_err(|_| EncodingError::Malformed)?)
    }

    fn field(&mut self) -> Result<(u8, Self), EncodingError> {
        Ok((self.byte()?, Self(self.bytes()?)))
    }

    fn current(&mut self) -> Result<Current, EncodingError> {
        let inputs = self.array()?;
        let generation = u64::from_be_bytes(self.array()?);
        let obtained_at = self.time()?;
        let expires_at = self.time_if_any()?;
        Ok(Current { inputs, generation, obtained_at, expires_at, outputs: self.outputs()? })
    }

    fn succession(&mut self) -> Result<Succession, EncodingError> {
        let (of, since) = (self.array()?, self.time_if_any()?);
        let (successor, previous) = (Self(self.bytes()?).value()?, Self(self.bytes()?).value()?);
        Ok(Succession { of, since, successor, previous })
    }

    fn awaited(&mut self) -> Result<Awaited, EncodingError> {
        let (of, since) = (self.array()?, self.time()?);
        let mut marks = Vec::new();
        while !self.is_empty() {
            marks.push(match self.byte()? {
                BY_NUMBER => Mark::Number {
                    validity: u32::from_be_bytes(self.array()?),
                    next: u32::from_be_bytes(self.array()?),
                },
                BY_TIME => Mark::Time(self.time()?),
                _ => return Err(EncodingError::Malformed),
            });
        }
        Ok(Awaited { of, since, marks })
    }

    fn value(&mut self) -> Result<Option<Value>, EncodingError> {
        if self.is_empty() {
            return Ok(None);
        }
        let expires_at = self.time_if_any()?;
        Ok(Some(Value { expires_at, outputs: self.outputs()? }))
    }

    fn time_if_any(&mut self) -> Result<Option<Timestamp>, EncodingError> {
        Ok(if self.boolean()? { Some(self.time()?) } else { None })
    }

    /// All that is left.
    fn outputs(&mut self) -> Result<Outputs, EncodingError> {
        let mut outputs = Outputs::new();
        let mut last: Option<&str> = None;
        while !self.is_empty() {
            let name = std::str::from_utf8(self.bytes()?).map_err(|_| EncodingError::Malformed)?;
            if last.is_some_and(|last| last >= name) {
                return Err(EncodingError::Malformed);
            }
            outputs.insert(name, Secret::new(self.bytes()?));
            last = Some(name);
        }
        Ok(outputs)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), EncodingError> {
        if self.is_empty() { Ok(()) } else { Err(EncodingError::Malformed) }
    }
}

#[cfg(test)]
mod tests;
