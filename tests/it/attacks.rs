//! What somebody tries who knows how proxies are attacked, one rule a test: the request that means another one
//! than was judged, what costs more than it weighs, and whoever sits on what others need.
//!
//! Framing and heads are in `framing.rs`, paths in `request.rs`, frames of HTTP/2 in `http2_frames.rs`, hostile
//! upstreams in `answer.rs`; origins that read what bearerd writes are in `tests/peers`.

use std::time::Duration;

use bearerd::clock::Clock;
use serde_json::json;

use crate::support::configuration::{fixed, to};
use crate::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, NONE, PING, RST_STREAM, block, frame,
};
use crate::support::wire::Wire;
use crate::support::{Reply, Setup, Sidecar, Upstream, canary};

/// See RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

fn start() -> (Sidecar, Upstream) {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    (bearerd, upstream)
}

#[test]
fn a_field_names_no_other_target_than_the_one_that_was_judged() {
    let (bearerd, upstream) = start();
    for name in [
        "X-Original-URL",
        "x-original-url",
        "X_Original_URL",
        "X-Original-URI",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-Rewrite_Url",
        "X-Forwarded-Uri",
        "Forwarded",
    ] {
        assert_eq!(bearerd.app().get_with("/api/x", &format!("{name}: /admin\r\n")).status(), 200);
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!(seen.target(), "/x");
        assert!(!seen.head().contains("/admin"), "{name}: {}", seen.head());
    }
}

#[test]
fn where_methods_are_allowed_no_field_names_another_one() {
    let upstream = Upstream::start();
    let allow = "allow = [\"GET /**\", \"POST /things\"]\n";
    let restricted = Sidecar::ready(&(fixed(&canary::token(), &upstream) + allow));
    let free = Sidecar::ready(&fixed(&canary::token(), &upstream));
    for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-HTTP-Method", "X-Method-Override"] {
        let field = format!("{name}: DELETE\r\n");
        for (method, target) in [("GET", "/api/x"), ("POST", "/api/things")] {
            assert_eq!(restricted.app().request(method, target, &field, b"").status(), 200);
            let seen = upstream.requests().pop().expect("a request");
            assert!(!seen.head().contains("DELETE"), "{}", seen.head());
        }
        assert_eq!(restricted.app().request("DELETE", "/api/x", "", b"").status(), 403);
        assert_eq!(free.app().request("POST", "/api/x", &field, b"").status(), 200);
        let seen = upstream.requests().pop().expect("a request");
        assert!(seen.head().contains("DELETE"), "a field of the app's own: {}", seen.head());
    }
}

#[test]
fn methods_that_echo_or_that_begin_another_protocol_are_not_forwarded() {
    let (bearerd, upstream) = start();
    for method in ["TRACE", "TRACK", "CONNECT", "PRI", "get", "Get", &"M".repeat(65), &"M".repeat(10_000)] {
        let answer = bearerd.app().request(method, "/api/x", "", b"");
        assert_eq!(answer.status(), 405, "{method}");
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(bearerd.app().request("UPDATEREDIRECTREF", "/api/x", "", b"").status(), 200);
}

#[test]
fn a_cookie_of_an_injected_name_does_not_hide_behind_another_separator() {
    let token = canary::token();
    let upstream = Upstream::start();
    let inject = "inject = { cookies = { SID = \"{token}\" } }\n";
    let bearerd = Sidecar::ready(&(fixed(&token, &upstream) + inject));
    for cookies in [
        "SID=mine",
        "a=1; sid=mine",
        "a=1,SID=mine",
        "a=1, SID=mine",
        "a=1 SID=mine",
        "SID =mine",
        "SID",
        "\tSID=mine",
        "a=1;S_ID=kept;SID=mine",
    ] {
        assert_eq!(bearerd.app().get_with("/api/x", &format!("Cookie: {cookies}\r\n")).status(), 200);
        let sent = upstream.requests().pop().and_then(|seen| seen.field("cookie")).expect("a cookie");
        assert!(!sent.contains("mine"), "{cookies}: {sent}");
        assert!(sent.ends_with(&format!("SID={token}")), "{cookies}");
    }
}

#[test]
fn a_request_over_http2_says_its_authority_where_it_belongs() {
    let (bearerd, upstream) = start();
    for fields in [
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/api/x"), ("host", "localhost")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/api/x")],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/api/x"),
            (":authority", "localhost"),
            ("host", "a"),
        ],
    ] {
        let mut app = Frames::app(&bearerd);
        app.headers(1, &fields, true);
        let end = app.find(|frame| frame.stream == 1).expect("an end");
        assert!(end.kind == RST_STREAM || end.kind == HEADERS, "{fields:?}: {end:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

/// The time that the process has computed.
fn cpu(bearerd: &Sidecar) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bearerd.id())).expect("its times");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// One request that an app has thought about, as long as may be.
fn costly() -> Vec<(&'static str, String)> {
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let of = |count: usize, text: &str| text.repeat(count);
    let names = (0..97).map(|number| format!("a{number}: b\r\n")).collect::<Vec<_>>().concat();
    vec![
        ("a path encoded many times over", head(&format!("GET /api/%{}", of(7_900, "25")), "")),
        ("a path of parameters", head(&format!("GET /api{}", of(5_200, "/a;")), "")),
        ("a path of dots", head(&format!("GET /api{}", of(4_000, "/..b")), "")),
        ("a path of escapes", head(&format!("GET /api/{}", of(5_300, "%25")), "")),
        ("a query of nothing", head(&format!("GET /api/?{}", of(16_000, "&")), "")),
        ("a list of names", head("GET /api/x", &format!("Connection: {}\r\n{names}", of(15_000, "c,")))),
        ("a list of bearerds", head("GET /api/x", &format!("Via: {}\r\n", of(4_000, "bearerd")))),
        ("a cookie of crumbs", head("GET /api/x", &format!("Cookie: {}\r\n", of(15_000, "a;")))),
        (
            "a body of small chunks",
            head("POST /api/x", "Transfer-Encoding: chunked\r\n") + &of(5_000, "1\r\na\r\n") + "0\r\n\r\n",
        ),
    ]
}

#[test]
fn no_request_costs_much_more_than_its_bytes() {
    let upstream = Upstream::start();
    let inject = "inject = { cookies = { SID = \"{token}\" }, query = { key = \"{token}\" } }\nallow = [\"GET /**\", \"POST /**/x\"]\n";
    let bearerd = Sidecar::ready(&(fixed(&canary::token(), &upstream) + inject));
    for (what, request) in costly() {
        let before = cpu(&bearerd);
        let mut app = Wire::connect(bearerd.app().address());
        for _ in 0..20 {
            app.send(&request);
            assert!(matches!(app.answer().status(), 200 | 400 | 403 | 508), "{what}");
        }
        let each = (cpu(&bearerd) - before) / 20;
        // A build for tests is an order of magnitude slower than what is shipped; a quadratic cost would
        // be several times as much all the same.
        assert!(each < Duration::from_millis(15), "{what}: {each:?} for {} bytes", request.len());
    }
    assert!(bearerd.memory().1 < 64 * 1024, "{} KiB", bearerd.memory().1);
}

#[test]
fn an_upstream_cannot_make_an_answer_cost_much_more_than_its_bytes() {
    let names = (0..250).map(|number| format!("a{number}: b\r\n")).collect::<Vec<_>>().concat();
    let list = (0..40_000).map(|number| format!("{number:x}")).collect::<Vec<_>>().join(",");
    let heads = [
        format!("Connection: {list}\r\n{names}"),
        format!("Location: {}\r\n", "/a".repeat(50_000)),
        format!("Set-Cookie: {}\r\n", "a;".repeat(50_000)),
        format!("X: {}\r\n", "%25".repeat(50_000)),
        format!("X: {}\r\n", "\\u0025".repeat(30_000)),
    ];
    for head in heads {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n");
        let length = answer.len();
        let upstream = Upstream::answering(move |_| Reply::Bytes(answer.clone().into_bytes()));
        let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
        let before = cpu(&bearerd);
        for _ in 0..10 {
            assert_eq!(bearerd.app().get("/api/x").status(), 200);
        }
        let each = (cpu(&bearerd) - before) / 10;
        // See above: this is where a quadratic one would take minutes.
        assert!(each < Duration::from_millis(500), "{}: {each:?} for {length} bytes", &head[..20]);
    }
}

#[test]
fn an_upstream_that_only_announces_its_answer_is_given_up() {
    let upstream = Upstream::answering(|_| {
        Reply::Bytes(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10_000))
    });
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_protocol")));
    assert_eq!(bearerd.metric("bearerd_limited_total{limit=\"max_interim_answers\"}"), 1);
    let upstream = Upstream::answering(|_| {
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(3);
        Reply::Bytes([&interim[..], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"].concat())
    });
    for (most, status) in [(2, 502), (3, 200)] {
        let route = format!("max_interim_answers = {most}\n");
        let bearerd = Sidecar::ready(&(fixed(&canary::token(), &upstream) + &route));
        assert_eq!(bearerd.app().get("/api/x").status(), status);
    }
}

#[test]
fn each_of_several_places_is_made_one_of_the_listeners() {
    let upstream = Upstream::answering(|_| {
        Reply::with_fields(302, "Location: /first/place\r\nLocation: /second\r\n", "")
    });
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    assert_eq!(bearerd.app().get("/api/x").fields("location"), ["/api/first/place", "/api/second"]);
}

#[test]
fn masks_without_end_are_counted_one_by_one_and_told_once_in_a_while() {
    let token = canary::token();
    let body = json!({ "echo": token });
    let upstream = Upstream::answering(move |_| Reply::json(200, &body));
    let bearerd = Sidecar::ready(&fixed(&token, &upstream));
    for _ in 0..200 {
        assert_eq!(bearerd.app().get("/api/x").status(), 200);
    }
    assert_eq!(bearerd.metric("bearerd_masked_total{route=\"api\"}"), 200);
    let told = bearerd.logs();
    let told = told.iter().filter(|line| line["message"] == "a secret was masked in an answer").count();
    assert!((1..20).contains(&told), "{told} lines");
}

#[test]
fn what_is_named_by_several_types_is_looked_through() {
    let token = canary::token();
    for fields in [
        "Content-Type: image/png, text/html\r\n",
        "Content-Type: image/png\r\nContent-Type: text/html\r\n",
        "Content-Type: ,\r\n",
        "Content-Type: image\r\n",
    ] {
        let body = token.clone();
        let upstream = Upstream::answering(move |_| Reply::with_fields(200, fields, &body));
        let bearerd = Sidecar::ready(&fixed(&token, &upstream));
        let answer = bearerd.app().get("/api/x");
        assert_eq!(answer.text(), "*".repeat(token.len()), "{fields}");
    }
}

#[test]
fn each_limit_of_an_http2_connection_has_a_key_and_is_counted_where_it_bites() {
    let upstream = Upstream::start();
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")];
    let pings = frame(PING, NONE, 0, b"12345678").repeat(50);
    let resets: Vec<u8> = (0..40)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let open = frame(HEADERS, END_HEADERS, stream, &block(&head));
            [open, frame(RST_STREAM, NONE, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let endless = [frame(HEADERS, END_STREAM, 1, &block(&head)), frame(CONTINUATION, NONE, 1, b"").repeat(9)];
    for (key, limit, bytes) in [
        ("max_fruitless_frames = \"20/m\"", "max_fruitless_frames", pings),
        ("max_streams = 4\nmax_fruitless_streams = 8", "max_fruitless_streams", resets),
        ("max_continuations = 4", "max_continuations", endless.concat()),
    ] {
        let bearerd = Sidecar::ready(&format!("{key}\n{}", to(&upstream.origin())));
        let mut app = Frames::app(&bearerd);
        app.try_send(&bytes);
        let farewell = app.find(|frame| frame.kind == GOAWAY).expect("a farewell");
        assert_eq!(farewell.code(), ENHANCE_YOUR_CALM, "{key}");
        assert_eq!(bearerd.metric(&format!("bearerd_limited_total{{limit=\"{limit}\"}}")), 1, "{key}");
        assert_eq!(bearerd.app().get("/api/x").status(), 200, "{key}");
    }
}

#[test]
fn a_head_over_http2_that_does_not_end_has_the_time_of_a_head() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&format!("head_timeout = \"1s\"\n{}", to(&upstream.origin())));
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/api/x")];
    let mut app = Frames::app(&bearerd);
    app.request(1, "GET", "/api/x", &[], true);
    app.head(1);
    app.send(HEADERS, END_STREAM, 3, &block(&head));
    let began = Clock::instant();
    assert!(app.find(|frame| frame.stream == 3).is_none(), "the connection ends");
    assert!(began.elapsed() < Duration::from_secs(15), "long before `idle_timeout`");
    assert_eq!(bearerd.metric("bearerd_limited_total{limit=\"head_timeout\"}"), 1);
    let mut app = Frames::app(&bearerd);
    app.send(HEADERS, END_STREAM, 1, &block(&head));
    app.send(CONTINUATION, END_HEADERS, 1, b"");
    app.head(1);
    std::thread::sleep(Duration::from_millis(1500));
    app.ping();
}

#[test]
fn silent_connections_do_not_keep_probes_out_of_the_admin_listener() {
    let upstream = Upstream::start();
    let setup = Setup::new(&fixed(&canary::token(), &upstream)).admin("max_connections = 20");
    let bearerd = setup.start();
    let address = bearerd.address("admin");
    let began = Clock::instant();
    let silent: Vec<Wire> = (0..300)
        .map(|_| {
            let mut wire = Wire::connect(address);
            wire.try_send(b"GET /live HTTP/1.1\r\nHo");
            wire
        })
        .collect();
    assert_eq!(bearerd.admin().get("/live").status(), 200);
    assert!(began.elapsed() < Duration::from_secs(9), "not only when they were closed for their silence");
    drop(silent);
    let evicted = bearerd.metric("bearerd_limited_total{limit=\"admin_connections\"}");
    assert!(evicted >= 280, "{evicted}");
}

#[test]
fn guessing_the_admin_token_is_slow() {
    let bearerd = Setup::new(&fixed(&canary::token(), &Upstream::start())).start();
    let guess = |number: u32| {
        let field = format!("Authorization: Bearer guess-{number}\r\n");
        bearerd.admin().request("POST", "/v1/credentials/key/refresh", &field, b"")
    };
    let statuses: Vec<u16> = (0..200).map(|number| guess(number).status()).collect();
    let compared = statuses.iter().filter(|status| **status == 401).count();
    assert!((50..150).contains(&compared), "{compared} were compared");
    let refused = guess(0);
    assert_eq!((refused.status(), refused.json()["code"].as_str()), (429, Some("rate_limited")));
    assert!(refused.field("retry-after").is_some());
    assert!(bearerd.metric("bearerd_limited_total{limit=\"admin_wrong_tokens\"}") > 0);
}
