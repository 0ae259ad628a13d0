//! What leaves is what the specification says, whatever comes.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;
use proptest::prelude::*;

use super::{Outbound, Sanitized};
use crate::buffer::Output;
use crate::clock::Clock;
use crate::guard::Mode;
use crate::http1::head::Progress;
use crate::http1::{Framing, HeadLimits, RequestHead};
use crate::inject::content::Description;
use crate::inject::{BodyValue, Content, Injection};
use crate::proxy::admit::{Door, SkipLimits, admit};
use crate::route::testing::{spec, spec_with, table, terms};
use crate::route::{AllowRule, Guesses, Rate, Refusal, Route, RouteSpec, Terms};
use crate::secret::Secret;
use crate::template::Template;

const VIA: &str = "1.1 bearerd-0123456789abcdef";

fn injection() -> Injection {
    let template = |text| Template::parse(text).expect("a template");
    Injection {
        dpop: false,
        headers: vec![
            (HeaderName::from_static("authorization"), template("Bearer {token}")),
            (HeaderName::from_static("x-api-key"), template("{token}")),
        ],
        query: vec![("api key".into(), template("{token}"))],
        cookies: vec![("sid".into(), template("{token}"))],
        ..Injection::default()
    }
}

fn route(upstream: &str, injection: Injection) -> Arc<Route> {
    routed(spec_with(upstream, Terms { injection: Arc::new(injection), ..terms() }))
}

fn routed(spec: RouteSpec) -> Arc<Route> {
    table([spec]).routes()[0].clone()
}

fn door() -> Door {
    Door {
        listener: "app".into(),
        is_tls: false,
        control: false,
        address: Some("127.0.0.1:80".parse().expect("an address")),
        hosts: std::collections::HashSet::default(),
        body_timeout: std::time::Duration::ZERO,
        skipped: SkipLimits::default(),
        idle_timeout: std::time::Duration::ZERO,
        head_timeout: std::time::Duration::ZERO,
        allow: None,
        accounts: Vec::new(),
        wrong_bearers: Guesses::default(),
        max_wrong_bearers: Rate { count: 1, per: std::time::Duration::ZERO },
        metrics: Arc::default(),
    }
}

/// Fields by their names.
type Fields = Vec<(String, Vec<u8>)>;

/// Sends a head through; the fields that leave, sorted, with the target.
fn pass(route: &Route, target: &str, fields: &[(&str, &[u8])]) -> Option<(String, Fields)> {
    let mut text = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in fields {
        text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text.extend_from_slice(b"\r\n");
    let head = read(&text);
    let found = admit(&door(), &head, "bearerd-0123456789abcdef", None).ok()?;
    let sanitized = Sanitized::new(&head, &found, route, route.strip(found.path), VIA);
    let outputs = crate::named::Named::from([("token", Secret::from("t/1="))]);
    let prepared = route.spec.injection.prepare(&outputs, &Clock::system()).expect("a value");
    let outbound = Outbound::new(sanitized, &prepared, None).expect("an outbound request");
    let mut output = Output::default();
    outbound.write(found.framing(), &mut output);
    let written = read(output.bytes());
    let mut left: Fields = written
        .fields
        .iter()
        .map(|field| (String::from_utf8_lossy(field.name).to_lowercase(), field.value.to_vec()))
        .collect();
    left.sort_by(|one, other| one.0.cmp(&other.0));
    let target = String::from_utf8(written.target().to_vec()).expect("text");
    let by_http2 = over_http2(&outbound, found.framing());
    let without_framing: Fields = left
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "transfer-encoding" | "te"))
        .cloned()
        .collect();
    assert_eq!(by_http2, (target.clone(), without_framing), "both protocols say the same");
    Some((target, left))
}

/// The head that leaves of one with these lines, and the fields of the same over HTTP/2.
fn sent(route: &Route, lines: &[&str]) -> (String, Fields) {
    let text = [lines, &["host: localhost", "", ""]].concat().join("\r\n");
    let head = read(text.as_bytes());
    let door = door();
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    let sanitized = Sanitized::new(&head, &found, route, route.strip(found.path), VIA);
    let outputs = crate::named::Named::from([("token", Secret::from("t/1="))]);
    let prepared = route.spec.injection.prepare(&outputs, &Clock::system()).expect("a value");
    let outbound = Outbound::new(sanitized, &prepared, None).expect("an outbound request");
    let mut output = Output::default();
    outbound.write(found.framing(), &mut output);
    let request = outbound.request(found.framing()).expect("a request");
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    (String::from_utf8(output.bytes().to_vec()).expect("text"), fields)
}

fn has(fields: &Fields, name: &str, value: &str) -> bool {
    fields.iter().any(|field| field.0 == name && field.1 == value.as_bytes())
}

fn read(text: &[u8]) -> RequestHead {
    let mut head = RequestHead::default();
    let limits = HeadLimits { bytes: 1 << 20, fields: 200, target: 1 << 20 };
    assert_eq!(head.parse(text, limits), Ok(Progress::Whole(text.len())), "{}", text.escape_ascii());
    head
}

/// The same request as HTTP/2 has it.
fn over_http2(outbound: &Outbound<'_>, framing: Framing) -> (String, Fields) {
    let request = outbound.request(framing).expect("a request");
    assert_eq!(request.method(), Method::GET);
    let mut fields: Fields = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str() != "te")
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    (request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(), fields)
}

/// The same, as the specification says it (RFC 9110, section 7.6), and what is ours beside.
fn specified(fields: &[(&str, &[u8])]) -> Fields {
    let fold = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let listed: Vec<String> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| {
            String::from_utf8_lossy(value)
                .split(',')
                .map(|name| name.trim().to_lowercase())
                .collect::<Vec<_>>()
        })
        .collect();
    let ends_here = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "forwarded",
        "expect",
        "authorization",
        "x-api-key",
    ];
    let mut left: Fields = fields
        .iter()
        .filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            let is_gone = ends_here.contains(&name.as_str())
                || matches!(
                    fold(&name).as_str(),
                    "authorization" | "x-api-key" | "proxy-authorization" | "proxy-connection"
                )
                || fold(&name).starts_with("x-forwarded-")
                || (listed.contains(&name) && name != "content-length" && name != "host");
            !is_gone && name != "cookie"
        })
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    let cookies: Vec<String> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("cookie") && !listed.contains(&"cookie".to_owned()))
        .flat_map(|(_, value)| {
            String::from_utf8_lossy(value).split(';').map(|pair| pair.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|pair| !pair.is_empty() && pair.split('=').next().map(str::trim) != Some("sid"))
        .chain(["sid=t/1=".to_owned()])
        .collect();
    left.push(("cookie".into(), cookies.join("; ").into_bytes()));
    left.push(("host".into(), b"up.example:8443".to_vec()));
    left.push(("via".into(), VIA.into()));
    left.push(("authorization".into(), b"Bearer t/1=".to_vec()));
    left.push(("x-api-key".into(), b"t/1=".to_vec()));
    left.sort_by(|one, other| one.0.cmp(&other.0));
    left
}

fn field() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let name = prop::sample::select(vec![
        "Accept",
        "X-One",
        "x-two",
        "X_Two",
        "Connection",
        "connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Authorization",
        "authorization",
        "X-Api-Key",
        "x_api-key",
        "X_API_KEY",
        "Proxy-Authorization",
        "Proxy_Authorization",
        "proxy_connection",
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "Via",
        "Cookie",
        "If-None-Match",
        "Range",
        "Content-Type",
    ]);
    let connection = prop::sample::select(vec![
        "close",
        "keep-alive, x-one",
        "authorization",
        "X-TWO , accept",
        "cookie",
        "x-api-key,via",
        "host",
        "",
    ]);
    let value = prop_oneof![
        connection.prop_map(|text| text.as_bytes().to_vec()),
        prop::sample::select(vec!["a=1; sid=mine", "sid=2", "b = 3;;c", "1.0 fred"])
            .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(prop_oneof![0x21_u8..0x7f, 0x80_u8..=0xff], 0..6),
    ];
    (name, value)
}

thread_local! {
    static ROUTE: Arc<Route> = route("https://up.example:8443", injection());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_leaves_is_what_the_specification_says(fields in prop::collection::vec(field(), 0..12)) {
        let route = ROUTE.with(Arc::clone);
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        // Cookies hold any bytes only up to what text can show of them.
        prop_assume!(fields.iter().all(|(name, value)| !matches!(name.to_ascii_lowercase().as_str(), "cookie" | "connection") || value.is_ascii()));
        let (_, left) = pass(&route, "/r/x", &fields).expect("it may pass");
        prop_assert_eq!(left, specified(&fields));
    }
}

#[test]
fn path_and_query_pass_byte_for_byte_behind_the_upstreams_path() {
    let plain = Injection { headers: injection().headers, ..Injection::default() };
    for (upstream, target, wanted) in [
        ("http://up", "/r/a%2Fb//c;d?q=%20&&x", "/a%2Fb//c;d?q=%20&&x"),
        ("http://up", "/r", "/"),
        ("http://up", "/r?", "/?"),
        ("http://up", "/r/", "/"),
        ("http://up/base", "/r", "/base"),
        ("http://up/base", "/r?q", "/base?q"),
        ("http://up/base/", "/r/", "/base/"),
        ("http://up/base", "/r//x", "/base//x"),
    ] {
        let route = route(upstream, plain.clone());
        assert_eq!(pass(&route, target, &[]).map(|(target, _)| target).as_deref(), Some(wanted), "{target}");
    }
}

#[test]
fn an_injected_parameter_replaces_the_apps_in_any_spelling() {
    let route = route("http://up", injection());
    for (query, wanted) in [
        ("", "?api%20key=t%2F1%3D"),
        ("?a=%41&b", "?a=%41&b&api%20key=t%2F1%3D"),
        ("?api+key=mine&a=1", "?a=1&api%20key=t%2F1%3D"),
        ("?a=1&API%20KEY=mine&%61pi%20key", "?a=1&api%20key=t%2F1%3D"),
        ("?a=1;api+key=mine", "?api%20key=t%2F1%3D"),
        ("?api.key=mine&%20api_key[x]=y&a=1&api-key%00z", "?a=1&api%20key=t%2F1%3D"),
        ("?[api+key]=a&api+keys=b", "?[api+key]=a&api+keys=b&api%20key=t%2F1%3D"),
    ] {
        let (target, _) = pass(&route, &format!("/r/x{query}"), &[]).expect("it may pass");
        assert_eq!(target, format!("/x{wanted}"), "{query}");
    }
}

#[test]
fn a_chunked_get_stays_chunked_and_a_length_has_one_spelling() {
    let route = route("http://up", Injection { headers: injection().headers, ..Injection::default() });
    let length = |value: &[u8]| {
        let (_, left) = pass(&route, "/r", &[("content-length", value)])?;
        left.into_iter().find(|(name, _)| name == "content-length").map(|(_, value)| value)
    };
    assert_eq!(length(b"007").as_deref(), Some(b"7".as_slice()));
    assert_eq!(length(b"0").as_deref(), Some(b"0".as_slice()));
    let (_, left) = pass(&route, "/r", &[("transfer-encoding", b"Chunked")]).expect("it may pass");
    assert!(left.contains(&("transfer-encoding".into(), b"chunked".to_vec())));
}

#[test]
fn another_protocol_is_asked_for_in_the_words_of_this_hop() {
    let route = route("http://up", Injection::default());
    let upgrade = ["GET /r/x HTTP/1.1", "connection: Upgrade, x-one", "upgrade: websocket", "x-one: 1"];
    let (head, by_http2) = sent(&route, &upgrade);
    assert!(head.contains("Upgrade: websocket\r\nConnection: upgrade\r\n"), "{head}");
    assert!(!head.contains("x-one"), "{head}");
    assert!(by_http2.iter().all(|(name, _)| name != "upgrade" && name != "connection"), "{by_http2:?}");
    let (head, _) = sent(&route, &["GET /r/x HTTP/1.1", "upgrade: websocket"]);
    assert!(!head.to_lowercase().contains("upgrade"), "not without the option: {head}");
}

#[test]
fn a_hop_is_counted_off_only_where_hops_are_counted() {
    let route = route("http://up", Injection::default());
    let hops = |method: &str, hops: &str| {
        sent(&route, &[&format!("{method} /r/x HTTP/1.1"), &format!("max-forwards: {hops}")]).0
    };
    assert!(hops("OPTIONS", "3").contains("max-forwards: 2\r\n"));
    assert!(hops("OPTIONS", "many").contains("max-forwards: many\r\n"));
    assert!(hops("GET", "3").contains("max-forwards: 3\r\n"), "RFC 9110, section 7.6.2: OPTIONS and TRACE");
}

#[test]
fn an_answer_that_is_read_here_is_asked_for_in_plain_bytes() {
    let asks = ["GET /r/x HTTP/1.1", "accept-encoding: gzip", "sec-websocket-extensions: permessage-deflate"];
    let refusal = Refusal { json: vec![("/code".into(), vec![401.into()])], ..Refusal::default() };
    for (spec, plain, extension) in [
        (spec("http://up"), false, true),
        (spec_with("http://up", Terms { guard: Mode::Mask, ..terms() }), true, false),
        (spec_with("http://up", Terms { guard: Mode::Block, ..terms() }), true, false),
        (spec_with("http://up", Terms { refusal: Arc::new(refusal), ..terms() }), true, true),
    ] {
        let (head, by_http2) = sent(&routed(spec), &asks);
        let wanted = if plain { "identity" } else { "gzip" };
        assert_eq!(head.matches("accept-encoding").count(), 1, "{head}");
        assert!(head.contains(&format!("accept-encoding: {wanted}\r\n")), "{head}");
        assert!(has(&by_http2, "accept-encoding", wanted));
        assert_eq!(head.contains("permessage-deflate"), extension, "{head}");
    }
}

#[test]
fn a_method_cannot_be_another_one_where_methods_are_looked_at() {
    let lines = ["POST /r/x HTTP/1.1", "content-length: 0", "x-http-method-override: DELETE"];
    let allow = [AllowRule { method: Some(Method::POST), pattern: "/**".into() }];
    let restricted = spec_with("http://up", Terms { allow: allow.into(), ..terms() });
    assert!(sent(&routed(spec("http://up")), &lines).0.contains("x-http-method-override: DELETE"));
    assert!(!sent(&routed(restricted), &lines).0.contains("x-http-method-override"));
}

#[test]
fn a_length_is_told_where_there_is_a_body_or_the_app_told_one() {
    let route = route("http://up", Injection::default());
    for (lines, length) in [
        (&["POST /r/x HTTP/1.1", "content-length: 12"][..], Some("12")),
        (&["POST /r/x HTTP/1.1", "content-length: 0"], Some("0")),
        (&["GET /r/x HTTP/1.1"], None),
        (&["POST /r/x HTTP/1.1", "transfer-encoding: chunked"], None),
    ] {
        let (head, by_http2) = sent(&route, lines);
        assert_eq!(head.contains("Content-Length: "), length.is_some(), "{head}");
        assert_eq!(by_http2.iter().any(|(name, _)| name == "content-length"), length.is_some());
        if let Some(length) = length {
            assert!(
                head.contains(&format!("Content-Length: {length}\r\n"))
                    && has(&by_http2, "content-length", length)
            );
        }
    }
}

#[test]
fn trailers_are_taken_over_http2_if_the_app_takes_them() {
    let route = route("http://up", Injection::default());
    let (head, by_http2) = sent(&route, &["GET /r/x HTTP/1.1", "te: trailers", "connection: te"]);
    assert!(has(&by_http2, "te", "trailers") && !head.to_lowercase().contains("te: trailers"), "{head}");
    let (_, by_http2) = sent(&route, &["GET /r/x HTTP/1.1"]);
    assert!(by_http2.iter().all(|(name, _)| name != "te"), "{by_http2:?}");
}

#[test]
fn cookies_that_are_listed_in_connection_are_gone_with_those_that_are_injected() {
    let route = route("http://up", injection());
    let plain = self::route("http://up", Injection::default());
    let (head, by_http2) = sent(&plain, &["GET /r/x HTTP/1.1", "cookie: a=1; sid=mine"]);
    assert!(
        head.contains("cookie: a=1; sid=mine\r\n") && has(&by_http2, "cookie", "a=1; sid=mine"),
        "{head}"
    );
    let (head, _) = sent(&route, &["GET /r/x HTTP/1.1", "cookie: a=1; sid=mine; ; b=2"]);
    assert!(head.contains("Cookie: a=1; b=2; sid=t/1=\r\n"), "{head}");
    let (head, by_http2) = sent(&route, &["GET /r/x HTTP/1.1", "cookie: a=1", "connection: cookie"]);
    assert!(head.contains("Cookie: sid=t/1=\r\n") && has(&by_http2, "cookie", "sid=t/1="), "{head}");
}

#[test]
fn what_is_told_of_a_request_is_what_leaves() {
    let route = route("http://up/base", injection());
    let head = read(b"PUT /r/a?b=1&api+key=2 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let door = door();
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    let sanitized = Sanitized::new(&head, &found, &route, route.strip(found.path), VIA);
    assert_eq!((sanitized.method(), sanitized.target().as_str()), (&Method::PUT, "/base/a?b=1"));
    assert_eq!((sanitized.path().as_str(), sanitized.upgrades()), ("/base/a", false));
    assert_eq!(sanitized.uri(), "http://up/base/a", "a proof names no query (RFC 9449, section 4.2)");
    let bare = self::route("http://up", injection());
    let head = read(b"GET /r HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    let sanitized = Sanitized::new(&head, &found, &bare, bare.strip(found.path), VIA);
    assert_eq!((sanitized.path().as_str(), sanitized.target().as_str()), ("/", "/"));
    assert!(sanitized.upgrades());
    let head = read(b"GET /r/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    assert_eq!(Sanitized::new(&head, &found, &bare, bare.strip(found.path), VIA).path(), "/a");
}

#[test]
fn a_body_that_was_held_has_a_length_though_the_app_told_none() {
    let route = route("http://up", Injection::default());
    let head = read(b"GET /r/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let door = door();
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    let sanitized = Sanitized::new(&head, &found, &route, route.strip(found.path), VIA);
    let prepared =
        route.spec.injection.prepare(&crate::named::Named::new(), &Clock::system()).expect("nothing");
    let outbound = Outbound::new(sanitized, &prepared, None).expect("an outbound request");
    assert!(outbound.content().is_none(), "nothing is made of a body that was not held");
    for (framing, length) in
        [(Framing::Length(5), Some("5")), (Framing::Length(0), None), (Framing::Close, None)]
    {
        let mut output = Output::default();
        outbound.write(framing, &mut output);
        let written = String::from_utf8(output.bytes().to_vec()).expect("text");
        let wanted = length.map(|length| format!("Content-Length: {length}\r\n"));
        assert_eq!(written.contains("Content-Length"), wanted.is_some(), "{written}");
        assert!(wanted.is_none_or(|wanted| written.contains(&wanted)), "{written}");
        let request = outbound.request(framing).expect("a request");
        let told = request.headers().get("content-length").and_then(|value| value.to_str().ok());
        assert_eq!(told, length);
    }
}

#[test]
fn what_is_sent_as_content_is_what_was_held_with_what_is_injected() {
    let key = BodyValue::Text(Template::parse("{token}").expect("a template"));
    let route = route("http://up", Injection { body: vec![("key".into(), key)], ..Injection::default() });
    let head = read(b"POST /r/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n");
    let door = door();
    let found = admit(&door, &head, "bearerd-0123456789abcdef", None).expect("it may pass");
    let sanitized = Sanitized::new(&head, &found, &route, route.strip(found.path), VIA);
    let injection = &route.spec.injection;
    let prepared =
        injection.prepare(&[("token", Secret::from("t"))].into(), &Clock::system()).expect("it is there");
    let types = vec![b"application/json".as_slice()];
    let description = Description { types, is_encoded: false, has_meaning: true };
    let object = Content::read("{\"a\":1}".into(), &description, injection).expect("an object");
    let outbound = Outbound::new(sanitized, &prepared, Some(&object)).expect("an outbound request");
    let content: serde_json::Value =
        serde_json::from_slice(outbound.content().expect("it was held")).expect("an object");
    assert_eq!(content, serde_json::json!({ "a": 1, "key": "t" }));
}
