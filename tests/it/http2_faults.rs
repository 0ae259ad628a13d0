//! Frames that break a rule end their stream or the connection, by the code that RFC 9113 names, and the
//! next connection is served.

use h2::Reason;

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NONE, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, status,
};
use crate::support::{Origin, Sidecar, Upstream, configuration};

const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 32;

/// The head of a request that nobody answers.
fn head() -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")])
}

/// A request whose body is still to come.
fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head())
}

#[test]
fn what_breaks_a_rule_of_the_connection_ends_it_by_the_right_code() {
    let (bearerd, _origin) = Origin::behind_bearerd();
    let window = |more: u32| more.to_be_bytes();
    let (protocol, size, flow) =
        (Reason::PROTOCOL_ERROR, Reason::FRAME_SIZE_ERROR, Reason::FLOW_CONTROL_ERROR);
    let compression = Reason::COMPRESSION_ERROR;
    let cases: Vec<(&str, Reason, Vec<u8>)> = vec![
        ("settings of a stream", protocol, frame(SETTINGS, NONE, 1, b"")),
        ("settings heard with a payload", size, frame(SETTINGS, ACK, 0, &[0; 6])),
        ("half a setting", size, frame(SETTINGS, NONE, 0, &[0; 5])),
        ("a push that is neither on nor off", protocol, frame(SETTINGS, NONE, 0, &[0, 2, 0, 0, 0, 2])),
        ("a window too large at first", flow, frame(SETTINGS, NONE, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("frames too short", protocol, frame(SETTINGS, NONE, 0, &[0, 5, 0, 0, 0x3f, 0xff])),
        ("frames too long", protocol, frame(SETTINGS, NONE, 0, &[0, 5, 1, 0, 0, 0])),
        ("a ping of a stream", protocol, frame(PING, NONE, 1, &[0; 8])),
        ("a short ping", size, frame(PING, NONE, 0, &[0; 7])),
        ("a goodbye of a stream", protocol, frame(GOAWAY, NONE, 1, &[0; 8])),
        ("half a window", size, frame(WINDOW_UPDATE, NONE, 0, &[0; 3])),
        ("a window by nothing", protocol, frame(WINDOW_UPDATE, NONE, 0, &window(0))),
        ("a window beyond all measure", flow, frame(WINDOW_UPDATE, NONE, 0, &window((1 << 31) - 1))),
        ("a window of no stream", protocol, frame(WINDOW_UPDATE, NONE, 7, &window(1))),
        ("a reset of the connection", protocol, frame(RST_STREAM, NONE, 0, &[0; 4])),
        ("a reset of no stream", protocol, frame(RST_STREAM, NONE, 7, &[0; 4])),
        ("half a reset", size, [open(1), frame(RST_STREAM, NONE, 1, &[0; 3])].concat()),
        ("data of the connection", protocol, frame(DATA, NONE, 0, b"data")),
        ("data of no stream", protocol, frame(DATA, NONE, 7, b"data")),
        ("data of a stream of the server's", protocol, frame(DATA, NONE, 2, b"data")),
        ("more padding than data", protocol, [open(1), frame(DATA, PADDED, 1, b"\x05data")].concat()),
        ("a head of the connection", protocol, frame(HEADERS, END_HEADERS, 0, &head())),
        ("a stream of the server's", protocol, open(2)),
        ("more padding than head", protocol, frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff\x82")),
        ("half a priority", protocol, frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4])),
        ("a priority of the connection", protocol, frame(PRIORITY, NONE, 0, &[0; 5])),
        ("a promise of an app", protocol, frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("the rest of no head", protocol, frame(CONTINUATION, END_HEADERS, 1, &head())),
        ("an index of no field", compression, frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x0f])),
        ("half a field", compression, frame(HEADERS, END_HEADERS, 1, &[0, 5, b'x'])),
        ("a larger table than there is", compression, frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe2, 0x1f])),
        ("another table behind a field", compression, frame(HEADERS, END_HEADERS, 1, &[0x82, 0x20])),
        ("a frame too long", size, frame(DATA, NONE, 1, &[0; 16_385])),
    ];
    for (what, reason, bytes) in cases {
        let mut app = Frames::app(&bearerd);
        app.try_send(&bytes);
        let end = app.find(|frame| frame.kind == GOAWAY).unwrap_or_else(|| panic!("{what}: no goodbye"));
        assert_eq!(end.code(), u32::from(reason), "{what}");
        assert!(app.find(|_| false).is_none(), "{what}: the connection goes on");
    }
    assert_eq!(bearerd.app().get("/nowhere").status(), 404);
}

#[test]
fn what_breaks_a_rule_of_a_stream_ends_it_and_the_others_live() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let window = |more: u32| more.to_be_bytes();
    let trailers = |fields: &[(&str, &str)], flags| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let cases: Vec<(&str, Reason, Vec<u8>)> = vec![
        ("a window by nothing", Reason::PROTOCOL_ERROR, frame(WINDOW_UPDATE, NONE, 1, &window(0))),
        (
            "a window beyond all measure",
            Reason::FLOW_CONTROL_ERROR,
            frame(WINDOW_UPDATE, NONE, 1, &window((1 << 31) - 1)),
        ),
        ("a second head", Reason::PROTOCOL_ERROR, trailers(&[("x", "y")], NONE)),
        ("a pseudo-field at the end", Reason::PROTOCOL_ERROR, trailers(&[(":path", "/")], END_STREAM)),
        ("upper case at the end", Reason::PROTOCOL_ERROR, trailers(&[("X", "y")], END_STREAM)),
    ];
    for (what, reason, bytes) in cases {
        let mut app = Frames::app(&bearerd);
        app.try_send(&[open(1), bytes].concat());
        let end = app.find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY)).expect("a word about it");
        assert_eq!((end.kind, end.stream, end.code()), (RST_STREAM, 1, u32::from(reason)), "{what}");
        app.request(3, "GET", "/api/other", &[], true);
        assert_eq!(status(&app.head(3)), Some(200), "{what}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.target() == "/other"));
}

#[test]
fn a_connection_that_had_many_errors_of_streams_lives_as_long_as_it_is_answered() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let mut app = Frames::app(&bearerd);
    for number in 0..500 {
        let (broken, fine) = (4 * number + 1, 4 * number + 3);
        app.try_send(&[open(broken), frame(WINDOW_UPDATE, NONE, broken, &[0; 4])].concat());
        app.request(fine, "GET", "/api/x", &[], true);
        assert_eq!(status(&app.head(fine)), Some(200), "after {number} errors");
    }
}
