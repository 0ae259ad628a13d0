//! bearerd held against nginx and HAProxy: as origins behind it, which see the requests that were sent
//! and no others; and as yardsticks beside it, which pass the same and refuse no more.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::message::Message;
use crate::support::{PATIENCE, Reply, Sidecar, Upstream, canary};
use crate::yardstick::{Role, Yardstick};

/// A bearerd that forwards everything to an upstream, without the guard, which asks for the identity coding and
/// masks the token that these origins tell.
fn before(upstream: SocketAddr, token: &str) -> Sidecar {
    Sidecar::ready(&format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n\
         [routes.all]\nupstream = \"http://{upstream}\"\ncredential = \"key\"\nguard = \"off\"\n"
    ))
}

/// Numbers that look random, one after the other.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// A request that every proxy must pass.
#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    is_chunked: bool,
}

/// Field names that mean nothing to anyone on the way.
const NAMES: [&str; 10] = [
    "Accept",
    "accept-language",
    "X-One",
    "x-two",
    "Cookie",
    "If-None-Match",
    "User-Agent",
    "X-Very.Odd!Name",
    "Cache-Control",
    "idempotency-key",
];
const REPEATING: [&str; 5] = ["Accept", "X-One", "x-two", "Cookie", "Cache-Control"];
const VALUES: [&str; 9] = [
    "a",
    "text/html;q=0.9, */*",
    "a=1; b=\"2\"",
    "W/\"x\"",
    "caf\u{e9} \u{2713}",
    "",
    "a  b\tc",
    "no-cache, no-store",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

impl Request {
    fn any(random: &mut Random, id: usize) -> Self {
        let method =
            random.pick(&["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "REPORT"]);
        let path = random.pick(&["/", "/a", "/a//b", "/a;b=c", "/%41%2B%c3%a9", "/a,b@c:d", "/~x/!$&'()*+"]);
        let query = random.pick(&["", "?", "?a=1", "?a=%20+&&b", "?/?:@", "?x=..//;y"]);
        let mut fields = vec![("X-Id".to_owned(), id.to_string())];
        for _ in 0..random.below(8) {
            let name = random.pick(&NAMES);
            // nginx refuses what should not repeat.
            if REPEATING.contains(&name) || fields.iter().all(|(sent, _)| sent != name) {
                fields.push((name.to_owned(), random.pick(&VALUES).to_owned()));
            }
        }
        let length = match random.below(4) {
            _ if matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") => 0,
            0 => 0,
            1 => random.below(100),
            2 => random.below(5_000),
            _ => random.below(70_000),
        };
        let body = (0..length).map(|_| u8::try_from(random.below(256)).unwrap_or_default()).collect();
        Self {
            method,
            target: format!("{path}{query}"),
            fields,
            body,
            is_chunked: length > 0 && random.below(2) == 0,
        }
    }

    fn bytes(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            bytes += &[name, ": ", value, "\r\n"].concat();
        }
        let framing = match (self.is_chunked, self.body.len()) {
            (true, _) => "Transfer-Encoding: chunked\r\n".to_owned(),
            (false, 0) if self.method == "GET" => String::new(),
            (false, length) => format!("Content-Length: {length}\r\n"),
        };
        let head = (bytes + &framing + "\r\n").into_bytes();
        [head, framed(&self.body, self.is_chunked, random)].concat()
    }

    fn id(&self) -> &str {
        &self.fields[0].1
    }
}

fn framed(body: &[u8], is_chunked: bool, random: &mut Random) -> Vec<u8> {
    if !is_chunked {
        return body.to_vec();
    }
    let mut bytes = Vec::new();
    let mut left = body;
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(left.len().min(1 + random.below(9_000)));
        bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        left = rest;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// One connection of an app to any proxy.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, bytes: &[u8]) -> Message {
        self.0.get_mut().write_all(bytes).expect("a request");
        self.read(method).expect("an answer")
    }

    fn read(&mut self, method: &str) -> Option<Message> {
        if method == "HEAD" { Message::read_head(&mut self.0) } else { Message::read(&mut self.0, true) }
            .ok()?
    }
}

/// Fields in their order, without those that a hop makes for itself.
fn fields(message: &Message, but: &[&str]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(&message.head).into_owned();
    let lines = head.trim_end().split("\r\n").skip(1);
    let fields = lines.filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .filter(|(name, _)| !but.contains(&name.as_str()))
        .collect()
}

/// What framing, the hop and bearerd's documented changes account for.
const OF_THE_HOP: [&str; 6] =
    ["host", "connection", "content-length", "transfer-encoding", "via", "authorization"];

/// Fields of one name in their order, whatever the order of the names is.
fn by_name(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

#[test]
fn nginx_and_haproxy_as_origins_see_exactly_the_requests_that_were_sent() {
    let token = canary::token();
    for origin in [Yardstick::nginx(Role::Origin), Yardstick::haproxy(Role::Origin)] {
        let bearerd = before(origin.address, &token);
        let mut random = Random(11);
        let mut sent = Vec::new();
        for connection in 0..30 {
            let mut app = Connection::open(bearerd.app().address());
            // Several requests ahead on each connection: what would be read into another's body shows.
            let requests: Vec<Request> =
                (0..20).map(|number| Request::any(&mut random, connection * 100 + number)).collect();
            for batch in requests.chunks(1 + connection % 5) {
                let bytes: Vec<u8> = batch.iter().flat_map(|request| request.bytes(&mut random)).collect();
                // Written beside the reading: what is ahead may be longer than all buffers on the way.
                let mut writer = app.0.get_ref().try_clone().expect("a handle");
                std::thread::scope(|scope| {
                    scope.spawn(move || writer.write_all(&bytes).expect("requests"));
                    for request in batch {
                        let answer = app.read(request.method);
                        let answer =
                            answer.unwrap_or_else(|| panic!("{}: no answer: {request:?}", origin.name));
                        assert_eq!(answer.status(), 200, "{}: {request:?}: {}", origin.name, answer.head());
                        let wanted = format!(
                            "{} {} {} Bearer {token}\n",
                            request.method,
                            request.target,
                            request.id()
                        );
                        if request.method != "HEAD" {
                            assert!(answer.body == wanted.as_bytes(), "{}: {request:?}", origin.name);
                        }
                    }
                });
            }
            sent.extend(requests);
        }
        if origin.name == "nginx" {
            let seen = origin.log();
            let wanted: Vec<String> = sent
                .iter()
                .map(|request| format!("{} {} {} 200", request.method, request.target, request.id()))
                .collect();
            assert_eq!(seen, wanted);
        }
    }
}

#[test]
fn requests_arrive_as_they_were_sent_and_as_nginx_and_haproxy_pass_them() {
    let upstream = Upstream::start();
    let bearerd = before(upstream.address(), &canary::token());
    let (nginx, haproxy) = (
        Yardstick::nginx(Role::Proxy(upstream.address())),
        Yardstick::haproxy(Role::Proxy(upstream.address())),
    );
    let ways =
        [("bearerd", bearerd.app().address()), (haproxy.name, haproxy.address), (nginx.name, nginx.address)];
    let mut random = Random(5);
    let mut connections = ways.map(|(_, address)| Connection::open(address));
    let mut count = 0;
    for number in 0..300 {
        let request = Request::any(&mut random, number);
        let bytes = request.bytes(&mut random);
        let sent = Message::read(&mut bytes.as_slice(), false).expect("a request").expect("a request");
        for ((name, _), connection) in ways.iter().zip(&mut connections) {
            let answer = connection.ask(request.method, &bytes);
            assert_eq!(answer.status(), 200, "{name}: {request:?}: {}", answer.head());
            count += 1;
            let seen = upstream.wait_for(count).pop().expect("a request");
            assert_eq!(seen.start_line(), sent.start_line(), "{name}");
            assert!(seen.body == sent.body, "{name}: {request:?}: the body differs");
            let (came, went) = (fields(&seen, &OF_THE_HOP), fields(&sent, &OF_THE_HOP));
            if *name == "bearerd" {
                assert_eq!(came, went, "{name}: the order counts as well");
            } else {
                // nginx drops fields without a value.
                let went = went.into_iter().filter(|(_, value)| *name != "nginx" || !value.is_empty());
                let came = came.into_iter().filter(|(_, value)| *name != "nginx" || !value.is_empty());
                assert_eq!(by_name(came.collect()), by_name(went.collect()), "{name}");
            }
        }
    }
}

/// An answer by chance: as it is sent, and whether the connection ends with it.
fn answer(random: &mut Random, id: &str) -> (Vec<u8>, bool) {
    let status = random.pick(&[
        "200 OK",
        "201 Created",
        "204 No Content",
        "304 Not Modified",
        "404 Not Found",
        "500 ",
    ]);
    let mut head = format!(
        "HTTP/1.1 {status}\r\nX-Id: {id}\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nServer: origin\r\n"
    );
    for _ in 0..random.below(6) {
        let name = random.pick(&["ETag", "Set-Cookie", "x-one", "Vary", "Content-Type", "WWW-Authenticate"]);
        head += &[name, ": ", random.pick(&["a=1", "\"x\"", "text/plain", "*"]), "\r\n"].concat();
    }
    let has_none = status.starts_with("204") || status.starts_with("304");
    let length = if has_none { 0 } else { [0, 10, 3_000, 90_000][random.below(4)] };
    let body: Vec<u8> = (0..length).map(|_| u8::try_from(random.below(256)).unwrap_or_default()).collect();
    let (framing, is_chunked, is_last) = match random.below(4) {
        _ if has_none => (String::new(), false, false),
        0 => ("Transfer-Encoding: chunked\r\n".to_owned(), true, false),
        1 => ("Connection: close\r\n".to_owned(), false, true),
        _ => (format!("Content-Length: {length}\r\n"), false, false),
    };
    ([(head + &framing + "\r\n").into_bytes(), framed(&body, is_chunked, random)].concat(), is_last)
}

#[test]
fn answers_arrive_as_they_were_sent_and_as_nginx_and_haproxy_pass_them() {
    let sent = |id: &str| answer(&mut Random(id.parse().expect("a number")), id);
    let upstream = Upstream::answering(move |request| {
        let (bytes, is_last) = sent(&request.field("x-id").expect("a number"));
        if is_last { Reply::Last(bytes) } else { Reply::Bytes(bytes) }
    });
    let bearerd = before(upstream.address(), &canary::token());
    let (nginx, haproxy) = (
        Yardstick::nginx(Role::Proxy(upstream.address())),
        Yardstick::haproxy(Role::Proxy(upstream.address())),
    );
    for (name, address) in
        [("bearerd", bearerd.app().address()), (haproxy.name, haproxy.address), (nginx.name, nginx.address)]
    {
        let mut connection = Connection::open(address);
        for number in 0..300 {
            let id = (number * 7919).to_string();
            let head = format!("GET /x HTTP/1.1\r\nHost: localhost\r\nX-Id: {id}\r\n\r\n");
            let got = connection.ask("GET", head.as_bytes());
            if name != "bearerd" && got.field("connection").is_some_and(|value| value == "close") {
                connection = Connection::open(address);
            }
            let (bytes, _) = sent(&id);
            let sent = Message::read(&mut bytes.as_slice(), true).expect("an answer").expect("an answer");
            assert_eq!(got.status(), sent.status(), "{name}: {}", sent.head());
            assert!(got.body == sent.body, "{name}: the body differs: {}", sent.head());
            let own: &[&str] = &["connection", "content-length", "transfer-encoding", "keep-alive"];
            if name == "bearerd" {
                assert_eq!(got.start_line().trim_end(), sent.start_line().trim_end(), "{name}");
                assert_eq!(by_name(fields(&got, own)), by_name(fields(&sent, own)), "{name}");
            } else {
                // nginx speaks for itself in `Date` and `Server`, and neither keeps what repeats.
                let but = [own, &["date", "server", "etag", "content-type", "vary"]].concat();
                assert_eq!(by_name(fields(&got, &but)), by_name(fields(&sent, &but)), "{name}");
            }
        }
    }
}

/// Heads that are wrong in one way each; the bytes behind them must not become a request of their own.
fn malformed() -> Vec<String> {
    let get = "GET /x HTTP/1.1\r\nHost: localhost\r\n";
    let post = "POST /x HTTP/1.1\r\nHost: localhost\r\n";
    let mut heads: Vec<String> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5a\r\n",
        "Content-Length: \r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\r\n",
        " Content-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{b}\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "A: b\0c\r\n",
        "A: b\rc\r\n",
        "A\0: b\r\n",
        "A b: c\r\n",
        ": b\r\n",
        "A(: b\r\n",
        "Host: other\r\n",
    ]
    .iter()
    .map(|field| format!("{post}{field}\r\n"))
    .collect();
    heads.extend([
        "GET /x HTTP/1.1\r\n\r\n".to_owned(),
        "GET /x\r\n\r\n".to_owned(),
        "GET  /x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1 \r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /x HTTP/1.x\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /x HTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /\u{1}x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "G@T /x HTTP/1.1\r\nHost: localhost\r\n\r\n".replace('@', "("),
        format!("{get} folded: a\r\n\r\n"),
        format!("{get}A: b\r\n folded\r\n\r\n"),
    ]);
    for chunks in [
        "x\r\n",
        "-1\r\na\r\n",
        "0x1\r\na\r\n",
        "1\r\nab\r\n",
        "ffffffffffffffffff\r\na\r\n",
        "1;a\nb\r\na\r\n",
    ] {
        heads.push(format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    }
    heads
}

/// What a proxy makes of bytes: the status of each answer, until the connection ends.
fn statuses(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut connection = Connection::open(address);
    // A proxy that refuses may close before it has read all.
    let _ = connection.0.get_mut().write_all(bytes);
    let _ = connection.0.get_ref().shutdown(Shutdown::Write);
    let _ = connection.0.get_ref().set_read_timeout(Some(Duration::from_secs(5)));
    std::iter::from_fn(|| connection.read("GET")).map(|answer| answer.status()).collect()
}

#[test]
fn whatever_nginx_or_haproxy_refuse_never_reaches_an_upstream_through_bearerd() {
    let upstream = Upstream::start();
    let behind = Upstream::start();
    let bearerd = before(upstream.address(), &canary::token());
    let yardsticks =
        [Yardstick::nginx(Role::Proxy(behind.address())), Yardstick::haproxy(Role::Proxy(behind.address()))];
    let mut refused = 0;
    for head in malformed() {
        let host = "Host: localhost\r\n";
        let bytes = format!("{head}0\r\n\r\nGET /smuggled HTTP/1.1\r\n{host}\r\n");
        let is_refused = yardsticks.iter().any(|yardstick| {
            let first = statuses(yardstick.address, bytes.as_bytes()).first().copied();
            first.is_none_or(|status| status >= 400)
        });
        refused += usize::from(is_refused);
        let before = upstream.requests().len();
        let answers = statuses(bearerd.app().address(), bytes.as_bytes());
        if is_refused {
            assert!(
                answers.iter().all(|status| *status >= 400) && answers.len() <= 1,
                "{head:?}: {answers:?}"
            );
            assert_eq!(upstream.requests().len(), before, "{head:?}");
        }
    }
    // They are strict enough to be a yardstick.
    assert!(refused > 30, "{refused}");
}
