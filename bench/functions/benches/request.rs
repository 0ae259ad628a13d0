//! A request's head on its way: read, admitted, matched, sanitized, and written with the credential on it.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bearerd::buffer::Output;
use bearerd::http1::{HeadLimits, RequestHead};
use bearerd::inject::Prepared;
use bearerd::proxy::admit::{self, Door, SkipLimits};
use bearerd::proxy::choose::{Chosen, choose};
use bearerd::proxy::sanitize::{Outbound, Sanitized};
use bearerd::route::{Guesses, Rate, RouteTable};
use gungraun::prelude::*;

use crate::{PATH, injection, table};

const PSEUDONYM: &str = "bearerd-0123456789abcdef";
const VIA: &str = "1.1 bearerd-0123456789abcdef";
const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 16 * 1024 };

/// What a benchmark's client sends.
const SHORT: &[&str] = &["Authorization: Bearer sent-by-the-app"];

/// What an HTTP library sends, with a body.
const USUAL: &[&str] = &[
    "User-Agent: accounts/2.4 (linux; x86_64)",
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate, br",
    "Connection: keep-alive",
    "Content-Type: application/json",
    "Content-Length: 4096",
    "X-Request-Id: 5f0c7a86-6a5e-4c43-9a3e-1f6f3b8d2c11",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Cookie: session=0123456789abcdef; theme=dark",
];

/// What does not pass: hop-by-hop fields, those that `Connection` lists, and other spellings.
const HOSTILE: &[&str] = &[
    "AUTHORIZATION: Bearer sent-by-the-app",
    "X_Api_Key: sent-by-the-app",
    "Connection: close, authorization, x-listed",
    "X-Listed: 1",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Proxy-Authorization: Basic eDp5",
    "Forwarded: for=192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-Host: example.org",
];

/// All that a request meets, and its head as it arrives.
struct Passage {
    table: RouteTable,
    door: Door,
    prepared: Prepared,
    arriving: Vec<u8>,
    head: RequestHead,
    output: Output,
}

fn passage(method: &str, fields: &[&str]) -> Passage {
    let door = Door {
        listener: "app".to_owned(),
        address: Some(([127, 0, 0, 1], 8080).into()),
        is_tls: false,
        hosts: HashSet::new(),
        control: false,
        body_timeout: Duration::from_secs(30),
        skipped: SkipLimits::default(),
        idle_timeout: Duration::from_secs(75),
        head_timeout: Duration::from_secs(10),
        allow: None,
        accounts: Vec::new(),
        wrong_bearers: Guesses::default(),
        max_wrong_bearers: Rate { count: 50, per: Duration::from_secs(10) },
        metrics: Arc::default(),
    };
    let (injection, outputs, clock) = injection();
    let prepared = injection.prepare(&outputs, &clock).expect("the outputs are there");
    let mut lines = vec![format!("{method} {PATH}?page=2 HTTP/1.1"), "Host: 127.0.0.1:8080".to_owned()];
    lines.extend(fields.iter().map(|field| (*field).to_owned()));
    let arriving = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    let mut passage = Passage {
        table: table(1),
        door,
        prepared,
        arriving,
        head: RequestHead::default(),
        output: Output::default(),
    };
    // A connection has served a request before: its memory is there.
    pass(&mut passage);
    passage.output.clear();
    passage
}

/// From the bytes that arrive to the bytes that leave: how many these are.
fn pass(passage: &mut Passage) -> usize {
    let Passage { table, door, prepared, arriving, head, output } = passage;
    head.parse(arriving, LIMITS).expect("it is a head");
    let routes = table.listener(&door.listener);
    let found = admit::admit(door, head, PSEUDONYM, routes).expect("it may pass");
    let Ok(Chosen::Route(choice)) = choose(routes, door, found) else { panic!("it is to be forwarded") };
    let claim = choice.claim(head).expect("the policy lets it pass");
    let sanitized = Sanitized::new(head, &choice.found, choice.route, &claim.rest, VIA);
    let outbound = Outbound::new(sanitized, prepared, None).expect("the values can be made");
    outbound.write(choice.found.framing(), output);
    output.len()
}

#[library_benchmark]
#[bench::short(passage("GET", SHORT))]
#[bench::usual(passage("POST", USUAL))]
#[bench::hostile(passage("GET", HOSTILE))]
fn pass_head(mut passage: Passage) -> (usize, Passage) {
    (pass(black_box(&mut passage)), passage)
}

#[library_benchmark]
#[bench::short(passage("GET", SHORT))]
#[bench::usual(passage("POST", USUAL))]
fn parse_head(mut passage: Passage) -> Passage {
    let read = passage.head.parse(black_box(&passage.arriving), LIMITS);
    black_box(read).expect("it is a head");
    passage
}

library_benchmark_group!(name = passing, benchmarks = [pass_head, parse_head]);
