//! HTTP/2 on either side of bearerd, and on both: what a request and its answer become.

use http::{HeaderMap, HeaderValue, Request};

use crate::support::http2::{Http2App, Http2Origin};
use crate::support::{Origin, Reply, Sidecar, Upstream, configuration};

/// What an app got, whichever protocol it spoke.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    fields: Vec<(&'static str, Option<String>)>,
    body: Vec<u8>,
}

const FIELDS: [&str; 4] = ["content-type", "content-length", "x-own", "etag"];

fn over_http1(bearerd: &Sidecar, method: &str, path: &str, body: &[u8]) -> Got {
    let mut app = bearerd.app().connect();
    app.send(
        [bearerd.app().head(method, path, "X-Own: a\r\nX-Own: b\r\n", body.len()), body.into()].concat(),
    );
    let answer = if method == "HEAD" { app.head() } else { app.answer() };
    let fields = FIELDS.map(|name| (name, answer.field(name))).into();
    Got { status: answer.status(), fields, body: answer.body }
}

fn over_http2(bearerd: &Sidecar, method: &str, path: &str, body: &[u8]) -> Got {
    let app = Http2App::of(bearerd);
    let mut call = app.send(app.request(method, path, &[("x-own", "a"), ("x-own", "b")]), body.is_empty());
    if !body.is_empty() {
        call.upload(body, true);
    }
    let (head, content) = call.answer();
    let value = |name: &str| head.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    Got {
        status: head.status().as_u16(),
        fields: FIELDS.map(|name| (name, value(name))).into(),
        body: content.body,
    }
}

/// Answers over HTTP/1.1 as [`answer_in_http2`] does.
fn http1_upstream() -> Upstream {
    Upstream::answering(|request| {
        assert_eq!(request.fields("x-own"), ["a", "b"]);
        let (status, length) = plan(&request.target(), request.body.len());
        let head =
            format!("HTTP/1.1 {status} Status\r\nContent-Type: text/plain\r\nX-Own: yes\r\nETag: \"e\"\r\n");
        let length = if status == 204 { String::new() } else { format!("Content-Length: {length}\r\n") };
        let body = if request.method() == "HEAD" {
            Vec::new()
        } else {
            vec![b'x'; if status == 204 { 0 } else { length_of(&length) }]
        };
        Reply::Bytes([format!("{head}{length}\r\n").into_bytes(), body].concat())
    })
}

fn length_of(field: &str) -> usize {
    field.trim_start_matches("Content-Length: ").trim().parse().unwrap_or(0)
}

/// The status that a target asks for, and the length of the answer to a body.
fn plan(target: &str, body: usize) -> (u16, usize) {
    let status = target.trim_start_matches('/').split('?').next().and_then(|status| status.parse().ok());
    (status.unwrap_or(200), body + 5)
}

fn answer_in_http2(origin: Http2Origin) {
    origin.answer_all(|request, content| {
        let own: Vec<_> = request.headers().get_all("x-own").iter().collect();
        assert_eq!(own, ["a", "b"]);
        let (status, length) = plan(request.uri().path(), content.body.len());
        let mut answer = http::Response::builder().status(status);
        answer = answer.header("content-type", "text/plain").header("x-own", "yes").header("etag", "\"e\"");
        let mut body = vec![b'x'; length];
        if status == 204 {
            body.clear();
        } else {
            answer = answer.header("content-length", length.to_string());
        }
        if request.method() == "HEAD" {
            body.clear();
        }
        let content = crate::support::http2::Content { body, trailers: HeaderMap::new() };
        (answer.body(()).expect("a head"), content)
    });
}

#[test]
fn a_request_and_its_answer_are_the_same_whichever_protocols_the_two_sides_speak() {
    let http1 = http1_upstream();
    let (plain, tls) = (Http2Origin::start(), Http2Origin::behind_tls());
    let bearerds = [Sidecar::ready(&configuration::to(&http1.origin())), plain.bearerd(""), tls.bearerd("")];
    answer_in_http2(plain);
    answer_in_http2(tls);
    for (method, path, body) in [
        ("GET", "/api/200?a=b", 0),
        ("HEAD", "/api/200", 0),
        ("POST", "/api/201", 4),
        ("PUT", "/api/200", 300_000),
        ("DELETE", "/api/204", 0),
        ("PATCH", "/api/404", 17),
        ("GET", "/api/503", 0),
        ("OPTIONS", "/api/200", 0),
    ] {
        let body = vec![b'b'; body];
        let expected = over_http1(&bearerds[0], method, path, &body);
        assert_eq!(expected.status, path[5..8].parse::<u16>().expect("a number"));
        for bearerd in &bearerds {
            assert_eq!(over_http1(bearerd, method, path, &body), expected, "{method} {path}");
            assert_eq!(over_http2(bearerd, method, path, &body), expected, "{method} {path}");
        }
    }
}

#[test]
fn both_protocols_are_served_on_the_same_port_at_the_same_time() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let (one, two) = (Http2App::of(&bearerd), Http2App::of(&bearerd));
    for _ in 0..5 {
        assert_eq!(one.get("/api/x").text(), (200, "hello".into()));
        assert_eq!(bearerd.app().get("/api/x").text(), "hello");
        assert_eq!(two.get("/api/x").text(), (200, "hello".into()));
    }
}

#[test]
fn the_preface_is_known_however_it_is_cut() {
    let (bearerd, _origin) = Origin::behind_bearerd();
    let preface = crate::support::frames::PREFACE;
    let settings = crate::support::frames::frame(4, 0, 0, b"");
    for cut in [1, 3, 14, 16, 18, 23, 24, 30] {
        let bytes = [preface, &settings].concat();
        let mut wire = bearerd.app().connect();
        wire.send(&bytes[..cut]);
        // What is answered in between shows that the piece has been looked at.
        assert_eq!(bearerd.app().get("/nowhere").status(), 404);
        wire.send(&bytes[cut..]);
        let first = wire.bytes(9);
        assert_eq!(first[3], 4, "settings come first");
    }
}

#[test]
fn the_upstreams_authority_is_the_routes_and_the_apps_is_gone() {
    let (origin, upstream) = (Http2Origin::start(), Upstream::start());
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let own = bearerd.app().address().to_string();
    let call = app.send(app.request("GET", "/api/x", &[("host", &own)]), true);
    let exchange = origin.accept();
    assert_eq!(
        exchange.request.uri().authority().map(ToString::to_string),
        Some(origin.address().to_string())
    );
    assert_eq!(exchange.request.uri().scheme_str(), Some("http"));
    assert_eq!(exchange.field("host"), None);
    assert!(exchange.field("authorization").is_some_and(|value| value.starts_with("Bearer ")));
    assert!(
        exchange
            .field("via")
            .is_some_and(|via| via.starts_with("2.0 bearerd-") || via.starts_with("1.1 bearerd-"))
    );
    exchange.text("ok");
    assert_eq!(call.text(), (200, "ok".into()));

    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    assert_eq!(Http2App::of(&bearerd).get("/api/x").text().0, 200);
    let seen = upstream.request();
    assert_eq!(seen.field("host"), Some(upstream.address().to_string()));
    assert_eq!(seen.start_line(), "GET /x HTTP/1.1");
}

#[test]
fn an_authority_that_is_not_the_listeners_is_refused() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    for authority in ["evil.example", "127.0.0.1.nip.io", "localhost.evil:80", "0.0.0.0"] {
        let request =
            Request::builder().uri(format!("http://{authority}/api/x")).body(()).expect("a request");
        let (status, body) = app.send(request, true).text();
        assert_eq!(status, 403, "{authority}: {body}");
        assert!(body.contains("caller_denied"), "{body}");
    }
    for authority in ["localhost", "LOCALHOST:9", "[::1]:1"] {
        let request =
            Request::builder().uri(format!("http://{authority}/nowhere")).body(()).expect("a request");
        assert_eq!(app.send(request, true).text().0, 404, "{authority}");
    }
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(app.send(app.request("GET", "/api/x", &[(name, value)]), true).text().0, 403);
    }
    origin.assert_no_other_connection();
}

#[test]
fn a_host_beside_the_authority_has_to_agree_with_it() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    for hosts in [vec!["evil.example"], vec!["localhost", "localhost"], vec!["localhost", "evil.example"]] {
        let mut request = app.request("GET", "/api/x", &[]);
        *request.uri_mut() = "http://localhost/api/x".parse().expect("a URI");
        for host in &hosts {
            request.headers_mut().append("host", HeaderValue::from_str(host).expect("a value"));
        }
        // Malformed, be it by a status or by the end of the stream (RFC 9113, section 8.3.1).
        if let Ok(head) = app.send(request, true).try_head() {
            assert_eq!(head.status(), 400, "{hosts:?}");
        }
    }
    origin.assert_no_other_connection();
}

#[test]
fn errors_made_here_are_documents_in_http_2_too() {
    let (bearerd, _origin) = Origin::behind("", "allow = [\"GET /x\"]\n");
    let app = Http2App::of(&bearerd);
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "no_route"),
        ("POST", "/api/x", 403, "not_allowed"),
        ("GET", "/api/a/../b", 400, "path_ambiguous"),
        ("GET", "/api/%2e%2e/b", 400, "path_ambiguous"),
        ("TRACE", "/api/x", 405, "method_not_allowed"),
    ] {
        let (head, content) = app.send(app.request(method, path, &[]), true).answer();
        assert_eq!(head.status(), status, "{method} {path}");
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert!(head.headers()["proxy-status"].to_str().expect("text").contains(code));
        let document: serde_json::Value = serde_json::from_slice(&content.body).expect("JSON");
        assert_eq!((&document["code"], &document["status"]), (&code.into(), &status.into()));
    }
    let (head, content) = app.send(app.request("HEAD", "/nowhere", &[]), true).answer();
    assert_eq!((head.status().as_u16(), content.body.len()), (404, 0));
}

#[test]
fn the_crumbs_of_a_cookie_are_joined_for_http_1() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let app = Http2App::of(&bearerd);
    let crumbs = [("cookie", "a=1"), ("x-own", "1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    assert_eq!(app.send(app.request("GET", "/api/x", &crumbs), true).text().0, 200);
    assert_eq!(upstream.request().fields("cookie"), ["a=1; b=2; c=3; d=4"]);
}

#[test]
fn fields_pass_in_number_and_order_and_hop_by_hop_ones_do_not_come_back() {
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let sent =
        [("x-two", "b"), ("te", "trailers"), ("x-two", "a"), ("x-forwarded-for", "1.2.3.4"), ("x-two", "")];
    let mut call = app.send(app.request("GET", "/api/x", &sent), true);
    let mut upstream = origin.accept();
    let seen = upstream.request();
    assert_eq!(seen.fields("x-two"), ["b", "a", ""]);
    assert_eq!(seen.field("x-forwarded-for"), None);
    upstream.send(
        "HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\
         Proxy-Connection: keep-alive\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nAlt-Svc: h3\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let head = call.head();
    for gone in ["connection", "x-hop", "keep-alive", "upgrade", "proxy-connection", "alt-svc"] {
        assert!(!head.headers().contains_key(gone), "{head:?}");
    }
    let cookies: Vec<_> = head.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(call.rest().body, b"ok");
}

#[test]
fn the_trailers_of_an_answer_pass_between_the_protocols() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.append("x-sum", HeaderValue::from_static("7"));
    trailers.append("x-sum", HeaderValue::from_static("8"));
    // From HTTP/2 to both.
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let call = app.send(app.request("GET", "/api/x", &[("te", "trailers")]), true);
    let mut exchange = origin.accept();
    assert_eq!(exchange.field("te"), Some("trailers"));
    exchange.respond(200, &[], false);
    exchange.send(b"ok", false);
    exchange.trailers(trailers.clone());
    let (_, content) = call.answer();
    assert_eq!((content.body.as_slice(), content.trailers), (b"ok".as_slice(), trailers.clone()));
    let mut app = bearerd.app().ask("GET", "/api/x", "TE: trailers\r\nConnection: TE\r\n");
    let mut exchange = origin.accept();
    exchange.respond(200, &[], false);
    exchange.send(b"ok", false);
    exchange.trailers(trailers.clone());
    let answer = app.answer();
    assert_eq!(
        (answer.text().as_str(), answer.trailers.to_lowercase().as_str()),
        ("ok", "grpc-status: 0\r\nx-sum: 7\r\nx-sum: 8\r\n")
    );
    // From HTTP/1.1 to HTTP/2.
    let (bearerd, origin) = Origin::behind_bearerd();
    let app = Http2App::of(&bearerd);
    let call = app.send(app.request("GET", "/api/x", &[("te", "trailers")]), true);
    let mut upstream = origin.accept();
    upstream.request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n");
    let (_, content) = call.answer();
    assert_eq!((content.body.as_slice(), content.trailers), (b"ok".as_slice(), trailers));
}

#[test]
fn the_trailers_of_a_request_are_dropped_between_all_protocols() {
    let mut trailers = HeaderMap::new();
    trailers.insert("authorization", HeaderValue::from_static("Bearer mine"));
    trailers.insert("x-late", HeaderValue::from_static("1"));
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(b"body", false);
    call.trailers(trailers.clone());
    let mut exchange = origin.accept();
    let content = exchange.content();
    assert_eq!((content.body.as_slice(), content.trailers.len()), (b"body".as_slice(), 0));
    exchange.text("ok");
    assert_eq!(call.text().0, 200);
    let mut app = bearerd.app().ask("POST", "/api/x", "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n");
    app.send("4\r\nbody\r\n0\r\nX-Late: 1\r\n\r\n");
    let mut exchange = origin.accept();
    let content = exchange.content();
    assert_eq!(
        (content.body.as_slice(), content.trailers.len(), exchange.field("trailer")),
        (b"body".as_slice(), 0, None)
    );
    exchange.text("ok");
    assert_eq!(app.answer().status(), 200);

    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let app = Http2App::of(&bearerd);
    let mut call = app.send(app.request("POST", "/api/x", &[]), false);
    call.upload(b"body", false);
    call.trailers(trailers);
    assert_eq!(call.text().0, 200);
    let seen = upstream.request();
    assert_eq!((seen.text().as_str(), seen.trailers.as_str()), ("body", ""));
}

#[test]
fn interim_answers_of_an_http_2_upstream_are_dropped() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let app = Http2App::of(&bearerd);
    let over_http2 = app.get("/api/x");
    let mut over_http1 = bearerd.app().ask("GET", "/api/x", "");
    for _ in 0..2 {
        let mut exchange = origin.accept();
        exchange.inform(103, &[("link", "</a>")]);
        exchange.inform(102, &[]);
        exchange.text("ok");
    }
    assert_eq!(over_http2.text(), (200, "ok".into()));
    assert_eq!(over_http1.answer().start_line(), "HTTP/1.1 200 OK");
}

#[test]
fn an_upgrade_cannot_leave_by_http_2_and_the_request_says_so_or_passes_without() {
    let origin = Http2Origin::start();
    let bearerd = origin.bearerd("");
    let mut app = bearerd.app().ask("GET", "/api/x", "Connection: upgrade\r\nUpgrade: websocket\r\n");
    // Whatever becomes of it, it is an answer, not a tunnel.
    let refused = app.stirs_within(std::time::Duration::from_millis(500));
    if !refused {
        let exchange = origin.accept();
        assert_eq!((exchange.field("upgrade"), exchange.field("connection")), (None, None));
        exchange.text("ok");
    }
    let status = app.answer().status();
    assert!(status == 200 || (500..=502).contains(&status), "{status}");
}

#[test]
fn https_without_http_2_is_spoken_in_http_1() {
    let (config, certificate) = crate::support::http2::tls(&["http/1.1"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = stream;
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut reader = std::io::BufReader::new(&mut tls);
            let Ok(Some(request)) = crate::support::message::Message::read(&mut reader, false) else {
                continue;
            };
            let body = format!("{} {}", request.start_line(), request.text());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut tls, answer.as_bytes());
            tls.conn.send_close_notify();
            let _ = std::io::Write::flush(&mut tls);
        }
    });
    let config = configuration::to(&format!("https://{address}"))
        + "egress = \"own\"\n[egress.own]\nca = \"{folder}/ca.pem\"\n";
    let bearerd = crate::support::Setup::new(&config).file("ca.pem", &certificate).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().request("POST", "/api/x", "", b"body").text(), "POST /x HTTP/1.1 body");
    let app = Http2App::of(&bearerd);
    assert_eq!(app.post("/api/x", b"body").text(), (200, "POST /x HTTP/1.1 body".into()));
}
