//! What an upstream says on a connection, by the headers of its frames alone (RFC 9113, section 4.1): whether it
//! brings anything, and whether it only keeps bearerd busy (section 10.5).
//!
//! hyper reads the frames themselves, and has no limits for some of what a hostile upstream can send without
//! end: interim answers, which it drops, PING, SETTINGS and the like.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::http2::frame::{Flags, Header, Kind};
use crate::rate::Rate;
use crate::upstream::http2::room::{Headers, Room};

/// How much trouble an upstream may make on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArrivalLimits {
    /// Informational answers before the one that counts.
    pub interim: u32,
    /// Frames in a time that bring nothing, and follow each other.
    pub fruitless: Rate,
}

impl Default for ArrivalLimits {
    fn default() -> Self {
        Self { interim: 100, fruitless: Rate { count: 2000, per: Duration::from_secs(1) } }
    }
}

/// What an upstream keeps bearerd busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Informational answers.
    Interim,
    /// Frames that bring nothing.
    Fruitless,
}

/// What an upstream owes for one frame that brings nothing, in bytes that were sent to it: whoever gets a large body
/// says often that it wants more, and asks how long the way is.
const PRICE: usize = 64;

/// The most streams of which the heads are counted. Of those that were given up nothing may ever come again, so the
/// oldest make room.
const MOST_STREAMS: usize = 1024;

/// The most that is remembered of what was sent, in bytes.
const MOST_CREDIT: usize = 1024 * 1024;

/// The frames of a connection as they come, in pieces of any length.
#[derive(Debug)]
pub(super) struct Arrivals {
    limits: ArrivalLimits,
    headers: Headers,
    /// Streams of which nothing has come but heads, and how many, the oldest first: mostly none.
    heads: VecDeque<(u32, u32)>,
    /// Frames that brought something.
    fruitful: u64,
    /// Those since then that did not, and since when they are counted.
    fruitless: u32,
    since: Instant,
    /// What was sent and may be answered by frames that bring nothing, in bytes.
    credit: usize,
}

impl Arrivals {
    /// Nothing has come yet.
    pub(super) fn new(limits: ArrivalLimits) -> Self {
        Self {
            limits,
            headers: Headers::default(),
            heads: VecDeque::new(),
            fruitful: 0,
            fruitless: 0,
            since: Clock::instant(),
            credit: 0,
        }
    }

    /// How many frames have brought something: a part of an answer.
    pub(super) fn fruitful(&self) -> u64 {
        self.fruitful
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.credit = MOST_CREDIT.min(self.credit + count);
    }

    /// Reads what has come. An error says that it is a flood.
    pub(super) fn read(&mut self, mut bytes: &[u8], room: &mut Room) -> Result<(), Flood> {
        loop {
            room.read(self.headers.payload_in(bytes));
            let Some(header) = self.headers.next(&mut bytes) else { return Ok(()) };
            room.comes(header);
            self.frame(header)?;
        }
    }

    fn frame(&mut self, header: Header) -> Result<(), Flood> {
        let ends = header.flags.has(Flags::END_STREAM);
        match header.kind {
            Kind::Headers if !ends => {
                // One of them is the answer's own.
                if self.head_of(header.stream) > self.limits.interim.saturating_add(1) {
                    return Err(Flood::Interim);
                }
            }
            Kind::Headers => self.went_on(header.stream),
            Kind::Data if ends || header.length > 0 => self.went_on(header.stream),
            kind => {
                if kind == Kind::Reset {
                    self.went_on(header.stream);
                }
                return self.brought_nothing();
            }
        }
        self.fruitful += 1;
        self.fruitless = 0;
        Ok(())
    }

    /// A head has come; says how many that are of its stream.
    fn head_of(&mut self, stream: u32) -> u32 {
        if let Some((_, count)) = self.heads.iter_mut().find(|(of, _)| *of == stream) {
            *count += 1;
            return *count;
        }
        if self.heads.len() == MOST_STREAMS {
            self.heads.pop_front();
        }
        self.heads.push_back((stream, 1));
        1
    }

    /// Something else than a head has come of a stream.
    fn went_on(&mut self, stream: u32) {
        if let Some(at) = self.heads.iter().position(|(of, _)| *of == stream) {
            self.heads.remove(at);
        }
    }

    fn brought_nothing(&mut self) -> Result<(), Flood> {
        if let Some(left) = self.credit.checked_sub(PRICE) {
            self.credit = left;
            return Ok(());
        }
        let now = Clock::instant();
        if now.saturating_duration_since(self.since) > self.limits.fruitless.per {
            (self.since, self.fruitless) = (now, 0);
        }
        self.fruitless += 1;
        if self.fruitless > self.limits.fruitless.count { Err(Flood::Fruitless) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ArrivalLimits, Arrivals, Flood, MOST_STREAMS, PRICE};
    use crate::rate::Rate;
    use crate::upstream::http2::room::Room;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const WINDOW: u8 = 8;
    const END: u8 = 1;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn arrivals() -> Arrivals {
        let fruitless = Rate { count: 3, per: Duration::from_secs(1) };
        Arrivals::new(ArrivalLimits { interim: 2, fruitless })
    }

    #[test]
    fn frames_are_told_apart_in_pieces_of_any_length() {
        let wire = [
            frame(HEADERS, 4, 1, b"head"),
            frame(DATA, 0, 1, b"data"),
            frame(PING, 0, 0, b"12345678"),
            frame(DATA, END, 1, b""),
        ]
        .concat();
        for piece in [1, 3, 9, 10, wire.len()] {
            let mut arrivals = arrivals();
            for bytes in wire.chunks(piece) {
                arrivals.read(bytes, &mut Room::new()).expect("no flood");
            }
            assert_eq!(arrivals.fruitful(), 3, "pieces of {piece}");
        }
    }

    #[test]
    fn interim_answers_are_counted_for_each_stream_until_something_else_comes() {
        let mut arrivals = arrivals();
        for _ in 0..3 {
            for stream in [1, 3] {
                assert_eq!(arrivals.read(&frame(HEADERS, 4, stream, b"103"), &mut Room::new()), Ok(()));
            }
        }
        assert_eq!(arrivals.read(&frame(DATA, 0, 1, b"x"), &mut Room::new()), Ok(()));
        assert_eq!(arrivals.read(&frame(HEADERS, 4 | END, 3, b"200"), &mut Room::new()), Ok(()));
        assert_eq!(arrivals.read(&frame(HEADERS, 4, 1, b"again"), &mut Room::new()), Ok(()));
        assert_eq!(
            arrivals.read(&frame(HEADERS, 4, 5, b"103").repeat(4), &mut Room::new()),
            Err(Flood::Interim)
        );
    }

    #[test]
    fn streams_that_were_given_up_after_their_head_take_no_memory_for_ever() {
        let mut arrivals = arrivals();
        let head = |stream: usize| {
            let stream = u32::try_from(stream).expect("a small number");
            [&[0, 0, 0, HEADERS, 4], &stream.to_be_bytes()[..]].concat()
        };
        for stream in 0..3 * MOST_STREAMS {
            assert_eq!(arrivals.read(&head(2 * stream + 1), &mut Room::new()), Ok(()));
        }
        assert_eq!(arrivals.heads.len(), MOST_STREAMS);
        assert_eq!(
            arrivals.read(&head(6 * MOST_STREAMS + 1).repeat(4), &mut Room::new()),
            Err(Flood::Interim)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_bring_nothing_are_a_flood_if_they_follow_each_other_too_fast() {
        let nothing =
            [frame(PING, 0, 0, b"12345678"), frame(WINDOW, 0, 0, b"1234"), frame(DATA, 0, 1, b"")].concat();
        let mut arrivals = arrivals();
        for _ in 0..3 {
            assert_eq!(arrivals.read(&nothing, &mut Room::new()), Ok(()));
            tokio::time::advance(Duration::from_millis(1100)).await;
        }
        assert_eq!(arrivals.read(&frame(DATA, 0, 1, b"x"), &mut Room::new()), Ok(()));
        assert_eq!(arrivals.read(&nothing, &mut Room::new()), Ok(()));
        assert_eq!(arrivals.read(&nothing, &mut Room::new()), Err(Flood::Fruitless));
    }

    #[test]
    fn whoever_is_sent_much_may_say_much_that_brings_nothing() {
        let mut arrivals = arrivals();
        let window = frame(WINDOW, 0, 0, b"1234");
        for _ in 0..100 {
            arrivals.sent(PRICE);
            assert_eq!(arrivals.read(&window, &mut Room::new()), Ok(()));
        }
        assert_eq!(arrivals.read(&window.repeat(4), &mut Room::new()), Err(Flood::Fruitless));
    }
}
