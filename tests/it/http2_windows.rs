//! What an app may still send, and what it may still be sent, whatever streams have come to (RFC 9113,
//! section 5.2): windows and places of streams are lent, and none is lost.
//!
//! Each case is a random row of frames on one connection. The app keeps account of both windows; when all
//! streams are gone, the account has to be bearerd's, byte for byte.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, NONE, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::support::{Origin, Reply, Sidecar, Upstream, configuration};

const PADDED: u8 = 8;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const REFUSED_STREAM: u32 = 7;

/// Streams that may be open at once.
const STREAMS: u32 = 8;

/// What an app takes on all streams together before it says more.
const USUAL_WINDOW: i64 = 65_535;

/// The longest answer here: longer than any window that is left.
const LONG: usize = 300_000;

/// Where a request goes, and what becomes of it.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// It is answered when it is whole.
    Answered,
    /// By more than the windows may take.
    AnsweredAtLength,
    /// It is never answered.
    Ignored,
    /// It is answered before it is whole.
    Refused,
}

/// What an app does next. A stream is one of those that it believes to be open.
#[derive(Debug, Clone)]
enum Act {
    Open {
        target: Target,
        announced: Option<usize>,
        ends: bool,
    },
    Send {
        stream: usize,
        length: usize,
        padding: Option<u8>,
        ends: bool,
    },
    Trail {
        stream: usize,
    },
    Reset {
        stream: usize,
    },
    /// A frame that is an error of its stream.
    Offend {
        stream: usize,
    },
    Widen {
        more: u16,
    },
    /// Another window for each stream.
    Resize {
        size: u32,
    },
    /// What was done so far goes out at once, and what came of it is read.
    Settle,
}

fn act() -> impl Strategy<Value = Act> {
    let target = prop_oneof![
        Just(Target::Answered),
        Just(Target::AnsweredAtLength),
        Just(Target::Ignored),
        Just(Target::Refused),
    ];
    let stream = 0..STREAMS as usize;
    prop_oneof![
        6 => (target, prop::option::weighted(0.3, 0..40_000_usize), prop::bool::weighted(0.2))
            .prop_map(|(target, announced, ends)| Act::Open { target, announced, ends }),
        12 => (stream.clone(), 0..16_000_usize, prop::option::weighted(0.2, any::<u8>()), prop::bool::weighted(0.1))
            .prop_map(|(stream, length, padding, ends)| Act::Send { stream, length, padding, ends }),
        1 => stream.clone().prop_map(|stream| Act::Trail { stream }),
        4 => stream.clone().prop_map(|stream| Act::Reset { stream }),
        1 => stream.prop_map(|stream| Act::Offend { stream }),
        2 => (1..20_000_u16).prop_map(|more| Act::Widen { more }),
        1 => (0..200_000_u32).prop_map(|size| Act::Resize { size }),
        4 => Just(Act::Settle),
    ]
}

impl Target {
    fn path(self) -> &'static str {
        match self {
            Self::Answered => "/api/answered",
            Self::AnsweredAtLength => "/api/long",
            Self::Ignored => "/api/ignored",
            Self::Refused => "/nowhere",
        }
    }
}

/// An app that keeps account.
struct App {
    frames: Frames,
    /// What was not sent yet.
    unsent: Vec<u8>,
    next: u32,
    /// Streams on which the app may still send, and how much.
    open: BTreeMap<u32, i64>,
    /// Streams whose end has not come.
    unanswered: Vec<u32>,
    /// What bearerd takes on a new stream, and on all together.
    initial: i64,
    window: i64,
    /// Bytes of data that were sent, and that bearerd has said to have taken.
    sent: i64,
    told: i64,
    /// What bearerd may send on all streams together.
    granted: i64,
    refused: u32,
}

impl App {
    fn new(bearerd: &Sidecar) -> Self {
        let mut app = Self {
            frames: Frames::app(bearerd),
            unsent: Vec::new(),
            next: 1,
            open: BTreeMap::new(),
            unanswered: Vec::new(),
            initial: USUAL_WINDOW,
            window: USUAL_WINDOW,
            sent: 0,
            told: 0,
            granted: USUAL_WINDOW,
            refused: 0,
        };
        app.settle();
        // What the window is at first is no news of what was taken.
        app.told = 0;
        app
    }

    fn put(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.unsent.extend(frame(kind, flags, stream, payload));
    }

    fn open(&mut self, target: Target, announced: Option<usize>, ends: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        let length = announced.map(|length| length.to_string()).unwrap_or_default();
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", target.path()),
        ];
        if announced.is_some() {
            fields.push(("content-length", &length));
        }
        let flags = END_HEADERS | if ends { END_STREAM } else { NONE };
        self.put(HEADERS, flags, stream, &block(&fields));
        self.unanswered.push(stream);
        if !ends {
            self.open.insert(stream, self.initial);
        }
        stream
    }

    fn data(&mut self, stream: u32, data: &[u8], padding: Option<u8>, ends: bool) {
        let mut payload = Vec::new();
        payload.extend(padding);
        payload.extend(data);
        payload.resize(payload.len() + usize::from(padding.unwrap_or(0)), 0);
        let flags = if ends { END_STREAM } else { NONE } | if padding.is_some() { PADDED } else { NONE };
        let length = i64::try_from(payload.len()).expect("a length");
        self.put(DATA, flags, stream, &payload);
        self.sent += length;
        self.window -= length;
        if let Some(window) = self.open.get_mut(&stream) {
            *window -= length;
        }
        if ends {
            self.open.remove(&stream);
        }
    }

    fn reset(&mut self, stream: u32) {
        self.put(RST_STREAM, NONE, stream, &CANCEL);
        self.open.remove(&stream);
        self.unanswered.retain(|unanswered| *unanswered != stream);
    }

    fn widen(&mut self, more: u32) {
        self.put(WINDOW_UPDATE, NONE, 0, &more.to_be_bytes());
        self.granted += i64::from(more);
    }

    fn resize(&mut self, size: u32) {
        self.put(SETTINGS, NONE, 0, &[&[0, 4], size.to_be_bytes().as_slice()].concat());
    }

    fn act(&mut self, act: &Act) {
        let pick = |app: &Self, at: usize| app.open.keys().nth(at % app.open.len().max(1)).copied();
        match *act {
            Act::Open { target, announced, ends } => {
                self.open(target, announced.filter(|length| !ends || *length == 0), ends);
            }
            Act::Send { stream, length, padding, ends } => {
                let Some(stream) = pick(self, stream) else { return };
                let around = padding.map_or(0, |padding| i64::from(padding) + 1);
                let most = self.window.min(self.open[&stream]) - around;
                if let Ok(most) = usize::try_from(most) {
                    self.data(stream, &vec![b'x'; length.min(most)], padding, ends);
                }
            }
            Act::Trail { stream } => {
                let Some(stream) = pick(self, stream) else { return };
                self.put(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-late", "1")]));
                self.open.remove(&stream);
            }
            Act::Reset { stream } => {
                let Some(stream) = self.unanswered.get(stream % self.unanswered.len().max(1)).copied() else {
                    return;
                };
                self.reset(stream);
            }
            Act::Offend { stream } => {
                let Some(stream) = pick(self, stream) else { return };
                self.put(WINDOW_UPDATE, NONE, stream, &[0; 4]);
            }
            Act::Widen { more } => self.widen(more.into()),
            Act::Resize { size } => self.resize(size),
            Act::Settle => self.settle(),
        }
    }

    /// Sends what was not sent, and reads what bearerd says until it has read it all.
    fn settle(&mut self) {
        self.put(PING, NONE, 0, b"settled?");
        let unsent = std::mem::take(&mut self.unsent);
        assert!(self.frames.try_send(&unsent), "the connection ended");
        while !self.read() {}
    }

    /// Reads the next frame; whether it answers a PING.
    fn read(&mut self) -> bool {
        let frame = self.frames.next().expect("the connection ended");
        assert_ne!(frame.kind, GOAWAY, "{frame:?}");
        let is_pong = frame.kind == PING && frame.flags & ACK != 0;
        self.take(&frame);
        is_pong
    }

    fn take(&mut self, frame: &Frame) {
        let stream = frame.stream;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                let window = frame.payload.chunks(6).find(|setting| setting[..2] == [0, 4]);
                self.initial = window.map_or(USUAL_WINDOW, |setting| number(&setting[2..]));
                self.put(SETTINGS, ACK, 0, b"");
            }
            WINDOW_UPDATE if stream == 0 => {
                self.window += number(&frame.payload);
                self.told += number(&frame.payload);
            }
            WINDOW_UPDATE => {
                if let Some(window) = self.open.get_mut(&stream) {
                    *window += number(&frame.payload);
                }
            }
            DATA => {
                self.granted -= i64::try_from(frame.payload.len()).expect("a length");
                assert!(self.granted >= 0, "bearerd sent more than it may");
                if frame.flags & END_STREAM != 0 {
                    self.ended(stream);
                }
            }
            HEADERS if frame.flags & END_STREAM != 0 => self.ended(stream),
            RST_STREAM => {
                self.refused += u32::from(frame.code() == REFUSED_STREAM);
                self.ended(stream);
                self.open.remove(&stream);
            }
            _ => {}
        }
    }

    fn ended(&mut self, stream: u32) {
        self.unanswered.retain(|unanswered| *unanswered != stream);
    }

    /// Resets what is left, and waits until every stream's task had its turn.
    fn leave_all(&mut self) {
        for stream in [self.unanswered.clone(), self.open.keys().copied().collect()].concat() {
            self.reset(stream);
        }
        for _ in 0..3 {
            self.settle();
        }
    }

    /// All that was sent was taken: bearerd says so at the latest when half of the window was used.
    fn all_was_taken(&mut self) -> Result<(), TestCaseError> {
        let stream = self.open(Target::Refused, None, false);
        self.settle();
        // The answer needs no body, and the stream ends.
        while self.open.contains_key(&stream) {
            self.read();
        }
        let told = self.told;
        while self.told == told {
            // What comes late on a stream that has ended is taken at once.
            let most = usize::try_from(self.window.min(16_384)).unwrap_or(0);
            prop_assert!(most > 0, "{} bytes were sent, {} were taken", self.sent, self.told);
            self.data(stream, &vec![b'x'; most], None, false);
            self.settle();
        }
        prop_assert_eq!(self.sent, self.told);
        Ok(())
    }

    /// bearerd sends as much as it may, and no byte more.
    fn all_may_be_sent(&mut self) {
        self.resize(1 << 20);
        if self.granted == 0 {
            self.widen(1);
        }
        let stream = self.open(Target::AnsweredAtLength, None, true);
        self.settle();
        while self.granted > 0 {
            self.read();
        }
        self.settle();
        self.reset(stream);
        self.settle();
    }

    /// As many streams as at the beginning have a place, and not one more.
    fn all_places_are_free(&mut self) {
        self.refused = 0;
        for _ in 0..STREAMS {
            self.open(Target::Ignored, None, false);
        }
        self.settle();
        assert_eq!(self.refused, 0, "a place of a stream was lost");
        self.open(Target::Ignored, None, false);
        self.settle();
        assert_eq!(self.refused, 1, "there are more places than there should be");
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte))
}

#[test]
fn whatever_becomes_of_streams_no_window_and_no_place_is_lost() {
    let upstream = Upstream::answering(|request| match request.target().as_str() {
        "/ignored" => Reply::Never,
        "/long" => Reply::text(&"x".repeat(LONG)),
        _ => Reply::text("hello"),
    });
    let bearerd =
        Sidecar::ready(&format!("max_streams = {STREAMS}\n{}", configuration::to(&upstream.origin())));
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&prop::collection::vec(act(), 1..160), |acts| {
        let mut app = App::new(&bearerd);
        for act in &acts {
            // A long answer at the end has to find less than it needs.
            if app.granted < 200_000 || !matches!(act, Act::Widen { .. }) {
                app.act(act);
            }
        }
        app.leave_all();
        app.all_was_taken()?;
        app.all_may_be_sent();
        app.all_places_are_free();
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_came_on_streams_that_an_app_reset_at_once_is_given_back() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let mut app = App::new(&bearerd);
    for _ in 0..60 {
        let stream = app.open(Target::Answered, None, false);
        app.data(stream, &[b'x'; 16_384], None, false);
        app.reset(stream);
        app.settle();
    }
    app.settle();
    app.all_was_taken().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn uploads_that_no_upstream_takes_do_not_hold_up_the_others_of_their_connection() {
    const STOPPED: u32 = 99;
    let (origin, quick) = (Origin::start(), Upstream::start());
    let slow = origin.url().replace("http://", "h2c://");
    let other = format!(
        "[routes.quick]\npath = \"/quick\"\nupstream = \"{}\"\ncredential = \"key\"\n",
        quick.origin()
    );
    let bearerd = Sidecar::ready(&(configuration::to(&slow) + &other));
    let mut app = Frames::app(&bearerd);
    let more = app.find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).expect("a window");
    let mut window = USUAL_WINDOW + number(&more.payload);
    let mut upstream = None;
    for stream in (0..STOPPED).map(|number| number * 2 + 1) {
        app.request(stream, "POST", "/api/x", &[], false);
        // The upstream takes the request, and nothing of its body beyond the usual window of all.
        upstream.get_or_insert_with(|| Frames::upstream(&origin, b"")).head(stream);
        for _ in 0..4 {
            let length = usize::try_from(window.min(16_384)).expect("a length");
            app.send(DATA, NONE, stream, &vec![b'x'; length]);
            window -= i64::try_from(length).expect("a length");
        }
    }
    assert!(window > 0, "no window is left");
    app.request(STOPPED * 2 + 1, "POST", "/quick/x", &[], false);
    app.send(DATA, END_STREAM, STOPPED * 2 + 1, b"x");
    assert_eq!(app.head(STOPPED * 2 + 1).payload[0], 0x88, "200 of the static table");
    assert_eq!(quick.request().text(), "x");
}
