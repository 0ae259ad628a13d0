//! What becomes of a request: route, token, framing, repetition.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::configuration::{fixed, granted};
use crate::support::message::Message;
use crate::support::{Issuer, Origin, Reply, Sidecar, Upstream, canary, configuration};

#[test]
fn a_request_gets_the_token_and_passes_otherwise_as_it_was_sent() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Sidecar::ready(&fixed(&token, &upstream));
    let fields = "X-One: 1\r\nX-Two: a\r\nX-Two: b\r\nAccept: */*\r\n";
    let answer = bearerd.app().request("POST", "/api/v1/a%2Bb;c//d?q=%20&empty=", fields, b"body \0 bytes");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));

    let seen = upstream.request();
    assert_eq!(seen.start_line(), "POST /v1/a%2Bb;c//d?q=%20&empty= HTTP/1.1");
    assert_eq!(seen.field("host"), Some(upstream.address().to_string()));
    assert_eq!(seen.field("authorization"), Some(format!("Bearer {token}")));
    assert_eq!((seen.fields("x-two"), seen.field("x-one")), (vec!["a".into(), "b".into()], Some("1".into())));
    assert_eq!(seen.body, b"body \0 bytes");
    assert!(seen.field("via").is_some_and(|via| via.starts_with("1.1 bearerd-")), "{}", seen.head());
}

#[test]
fn an_authorization_of_the_apps_own_never_passes() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Sidecar::ready(&fixed(&token, &upstream));
    let attempts = [
        "Authorization: Bearer mine\r\n",
        "authorization: Basic bWluZQ==\r\n",
        "AUTHORIZATION:\r\n",
        "Authorization: Bearer mine\r\nAuthorization: Bearer mine too\r\n",
        "Proxy-Authorization: Bearer mine\r\n",
        "Connection: authorization\r\n",
        "Connection: close, Authorization\r\nAuthorization: Bearer mine\r\n",
        "Connection: AuThOrIzAtIoN\r\nConnection: x\r\n",
    ];
    for fields in attempts {
        let answer = bearerd.app().get_with("/api/x", fields);
        assert_eq!(answer.status(), 200, "{fields}: {}", answer.text());
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), attempts.len());
    for seen in requests {
        assert_eq!(seen.fields("authorization"), [format!("Bearer {token}")], "{}", seen.head());
        assert!(!seen.head().contains("mine"), "{}", seen.head());
    }
}

#[test]
fn what_is_injected_replaces_the_apps_field_in_any_spelling() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let config = fixed(&token, &upstream) + "inject = { headers = { x-api-key = \"{token}\" } }\n";
    let bearerd = Sidecar::ready(&config);
    for name in ["x-api-key", "X-Api-Key", "X_API_KEY", "x_api-key"] {
        assert_eq!(bearerd.app().get_with("/api/x", &format!("{name}: mine\r\n")).status(), 200);
    }
    for seen in upstream.requests() {
        assert_eq!(seen.field("x-api-key"), Some(token.clone()));
        assert!(!seen.head().contains("mine") && seen.field("authorization").is_none(), "{}", seen.head());
    }
}

#[test]
fn hop_by_hop_fields_and_claims_about_the_way_do_not_pass() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Sidecar::ready(&fixed(&token, &upstream));
    let fields = "Connection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                  Proxy-Connection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\
                  X-Forwarded-Host: evil\r\nX-Kept: yes\r\n";
    assert_eq!(bearerd.app().get_with("/api/x", fields).status(), 200);
    let seen = upstream.request();
    for gone in
        ["x-mine", "keep-alive", "proxy-connection", "x-forwarded-for", "x-forwarded-host", "forwarded"]
    {
        assert_eq!(seen.field(gone), None, "{}", seen.head());
    }
    assert_eq!(seen.field("x-kept"), Some("yes".into()));
}

#[test]
fn several_requests_share_a_connection_of_the_app() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Sidecar::ready(&fixed(&token, &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    for number in 0..5 {
        connection.send(app.head("GET", &format!("/api/{number}"), "", 0));
        assert_eq!(connection.answer().status(), 200);
    }
    assert!(upstream.requests().iter().all(|seen| seen.method() == "GET"));
    let targets: Vec<_> = upstream.requests().iter().map(Message::target).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3", "/4"]);
}

#[test]
fn a_large_body_streams_in_both_directions() {
    let echo = |request: &Message| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        Reply::Bytes([head.as_bytes(), &request.body].concat())
    };
    let upstream = Upstream::answering(echo);
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|number| (number % 251) as u8).collect();
    let answer = bearerd.app().request("POST", "/api/echo", "", &body);
    assert_eq!(answer.status(), 200);
    assert!(answer.body == body, "the body came back changed");
}

#[test]
fn a_chunked_body_and_a_chunked_answer_pass_whole() {
    let upstream = Upstream::answering(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".into(),
        )
    });
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let mut connection = app.connect();
    connection.send(app.head("POST", "/api/x", "Transfer-Encoding: chunked\r\n", 0));
    connection.send(b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n");
    assert_eq!(connection.answer().text(), "abcde");
    assert_eq!(upstream.request().text(), "Wikipedia");
}

/// An upstream that takes only the newest token of an issuer.
fn upstream_of(issuer: &Issuer, refusal: Reply) -> Upstream {
    let issuer = issuer.clone();
    Upstream::answering(move |request| {
        let newest = issuer.granted().pop().map(|token| format!("Bearer {token}"));
        if request.field("authorization") == newest { Reply::text("welcome") } else { refusal.clone() }
    })
}

/// An upstream that refuses the first requests and then takes all.
fn refusing(count: usize, refusal: Reply) -> Upstream {
    let refused = AtomicUsize::new(0);
    Upstream::answering(move |_| {
        if refused.fetch_add(1, Ordering::SeqCst) < count { refusal.clone() } else { Reply::text("welcome") }
    })
}

#[test]
fn a_refused_request_is_sent_once_more_with_a_new_token() {
    let issuer = Issuer::start(3600);
    let upstream = refusing(1, Reply::status(401, "text/plain", "no"));
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    let answer = bearerd.app().post("/api/x", r#"{"amount":1}"#);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "welcome"));
    let tokens: Vec<_> = upstream.requests().iter().map(|seen| seen.field("authorization")).collect();
    let granted: Vec<_> = issuer.granted().iter().map(|token| Some(format!("Bearer {token}"))).collect();
    assert_eq!((tokens.len(), &tokens), (2, &granted));
    assert!(upstream.requests().iter().all(|seen| seen.text() == r#"{"amount":1}"#));
}

#[test]
fn a_refusal_inside_http_200_is_recognised_where_the_route_says_so() {
    let issuer = Issuer::start(3600);
    let upstream =
        refusing(1, Reply::json(200, &json!({"responseCode": 403, "responseMessage": "invalid token"})));
    let refusal = "\n[routes.api.refusal]\nstatus = [401]\njson = { \"/responseCode\" = 403 }\n";
    let bearerd = Sidecar::ready(&(granted(&issuer, &canary::secret(), &upstream, "") + refusal));
    assert_eq!(bearerd.app().post("/api/x", "{}").text(), "welcome");
    assert_eq!((upstream.requests().len(), issuer.granted().len()), (2, 2));
}

#[test]
fn an_upstream_that_always_refuses_costs_one_renewal_and_its_answer_passes() {
    let issuer = Issuer::start(3600);
    let upstream = Upstream::answering(|_| {
        Reply::with_fields(401, "WWW-Authenticate: Bearer realm=\"x\"\r\nX-Own: yes\r\n", "go away")
    });
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    for _ in 0..5 {
        let answer = bearerd.app().get("/api/x");
        assert_eq!((answer.status(), answer.text().as_str()), (401, "go away"));
        assert_eq!(answer.field("x-own"), Some("yes".into()));
        assert_eq!(answer.field("proxy-status"), None);
    }
    assert_eq!(issuer.granted().len(), 2, "one refusal-driven renewal in 10 s");
    assert_eq!(upstream.requests().len(), 6, "only the first refused request was sent once more");
}

#[test]
fn a_body_too_large_to_hold_is_streamed_and_not_sent_again() {
    let issuer = Issuer::start(3600);
    let upstream = refusing(1, Reply::status(401, "text/plain", "no"));
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    let body = vec![b'x'; 1024 * 1024];
    let answer = bearerd.app().request("POST", "/api/x", "", &body);
    assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
    assert_eq!(upstream.requests().len(), 1);
    // The refusal renews all the same, for the requests that come after.
    issuer.wait_for(2);
    bearerd.wait_for_generation("api", 2);
    assert_eq!(bearerd.app().get("/api/x").text(), "welcome");
}

#[test]
fn many_refused_requests_share_one_renewal() {
    let issuer = Issuer::start(3600);
    let upstream = upstream_of(&issuer, Reply::status(401, "text/plain", "no"));
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    assert_eq!(bearerd.app().get("/api/x").text(), "welcome");
    // A grant that bearerd does not know of makes its token an old one.
    issuer.grant_to_somebody_else();
    let app = bearerd.app();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|_| scope.spawn(move || app.get("/api/x"))).collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    assert!(answers.iter().all(|answer| answer.text() == "welcome"));
    assert_eq!(issuer.requests().len(), 2, "the first token, and one renewal for all");
}

#[test]
fn a_route_matches_whole_segments_and_nothing_else_passes() {
    let upstream = Upstream::start();
    let config = fixed(&canary::token(), &upstream) + "allow = [\"GET /open/*\", \"POST /orders\"]\n";
    let bearerd = Sidecar::ready(&config);
    let app = bearerd.app();
    for (method, target, status) in [
        ("GET", "/api/open/1", 200),
        ("GET", "/api/open/1?x=1", 200),
        ("POST", "/api/orders", 200),
        ("GET", "/api/orders", 403),
        ("POST", "/api/open/1", 403),
        ("GET", "/api/open/1/2", 403),
        ("GET", "/apix/open/1", 404),
        ("GET", "/other", 404),
        ("GET", "/", 404),
        ("GET", "/api/open/../admin", 400),
        ("GET", "/api/open/%2e%2e/admin", 400),
        ("GET", "/api/open/%2E./admin", 400),
        ("GET", "/api/open/a%2fb", 400),
        ("GET", "/api/open/a\\b", 400),
        ("GET", "/api/open/%zz", 400),
        ("GET", "/api/open/%00", 400),
    ] {
        assert_eq!(app.request(method, target, "", b"").status(), status, "{method} {target}");
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn the_token_endpoint_of_a_preset_is_out_of_reach_in_any_spelling() {
    let data = json!({"responseCode": 200, "responseMessage": "Success",
                      "responseData": {"token": "t-12345678", "apiKey": "k-12345678", "expiry": "3600"}});
    let vendor = Issuer::shaped(move |_| data.clone());
    let secret = canary::secret();
    let origin = vendor.origin();
    let bearerd = Sidecar::ready(&format!(
        "[credentials.hub]\npreset = \"payhub\"\nbase_url = \"{origin}\"\nemail = {{ value = \"me@shop.example\" }}\n\
         password = {{ value = \"{secret}\" }}\n\n\
         [routes.hub]\nupstream = \"{origin}\"\ncredential = \"hub\"\n"
    ));
    let logins = vendor.requests().len();
    for target in [
        "/user/login",
        "/user/login/",
        "/user/login?x=1",
        "/USER/Login",
        "/user//login",
        "//user/login",
        "/user/login;x=1",
        "/user;x/login",
        "/user/%6cogin",
        "/user/%256cogin",
        "/user/login%3fx",
        "/user/login%23x",
        "/user/login%20",
        "/user/login.",
        "/user/login.json",
        "/user/login+",
        "/user/login%c2%a0",
        "/user/login/index",
        "/user/login/index.html",
        "/user/login.php/x",
        "/index.php/user/login",
        "/%EF%BD%95ser/login",
        "/u%c5%bfer/login",
        "/user/./login",
        "/x/../user/login",
        "/user%2flogin",
    ] {
        let answer = bearerd.app().request("POST", target, "", b"{}");
        assert!(matches!(answer.status(), 400 | 403), "{target}: {}", answer.status());
    }
    assert_eq!(vendor.requests().len(), logins, "nothing reached the vendor");
    assert_eq!(bearerd.app().get("/user/loginx").status(), 200);
}

#[test]
fn malformed_requests_are_refused_and_the_upstream_sees_nothing() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let host = app.address();
    for head in [
        "GET /api/x HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
        "GET /api/x HTTP/1.1\r\nHost: u@127.0.0.1\r\n\r\n".to_owned(),
        "GET /api/x HTTP/1.1\r\nHost: \r\n\r\n".to_owned(),
        "GET /api/x HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1.nip.io\r\n\r\n".to_owned(),
        format!("GET http://evil.example/api/x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("TRACE /api/x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /api/x#y HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nOrigin: https://evil.example\r\n\r\n"),
        format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\n\r\n"),
        format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nX: a\r\n b\r\n\r\n"),
        format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\nX : a\r\n\r\n"),
        format!(
            "POST /api/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\nGET /api/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ),
        format!(
            "POST /api/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("POST /api/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!(
            "POST /api/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"
        ),
    ] {
        let mut connection = app.connect();
        connection.send(head.as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status() / 100, 4, "{head}was answered with:\n{}", answer.head());
    }
    let requests = upstream.requests();
    assert!(requests.is_empty(), "{requests:#?}");
}

#[test]
fn a_redirect_is_passed_on_and_points_to_the_listener() {
    let upstream = Upstream::answering(|request| {
        let location = match request.target().as_str() {
            "/own" => format!("http://{}/next?x=1", request.field("host").expect("a host")),
            "/relative" => "/next".to_owned(),
            _ => "https://elsewhere.example/next".to_owned(),
        };
        Reply::with_fields(302, &format!("Location: {location}\r\n"), "")
    });
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    let app = bearerd.app();
    let location = |target| app.get(target).field("location").expect("a location");
    assert_eq!(location("/api/own"), format!("http://{}/api/next?x=1", app.address()));
    assert_eq!(location("/api/relative"), "/api/next");
    assert_eq!(location("/api/other"), "https://elsewhere.example/next");
    assert_eq!(upstream.requests().len(), 3, "no redirect was followed");
}

#[test]
fn the_apps_listener_offers_nothing_of_the_admin() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&fixed(&canary::token(), &upstream));
    for target in ["/live", "/ready", "/metrics", "/v1/credentials", "/.bearerd/v1/credentials"] {
        assert_eq!(bearerd.app().get(target).status(), 404, "{target}");
    }
}

#[test]
fn a_target_in_absolute_form_may_have_no_path() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()).replace("path = \"/api\"\n", ""));
    let host = bearerd.app().address();
    for (target, seen) in [("", "/"), ("?", "/?"), ("?q=/a?b", "/?q=/a?b"), ("/?q", "/?q"), ("//x", "//x")] {
        let request =
            format!("GET http://{host}{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert!(bearerd.app().raw(request.as_bytes()).starts_with("HTTP/1.1 200"), "{target}");
        assert_eq!(upstream.requests().last().map(Message::target).as_deref(), Some(seen));
    }
}

#[test]
fn an_answer_that_is_looked_into_does_not_keep_the_rest_of_its_request_waiting() {
    let (origin, issuer) = (Origin::start(), Issuer::start(3600));
    let refusal = "\n[routes.api.refusal]\njson = { \"/responseCode\" = 403 }\n";
    let bearerd = Sidecar::ready(&(configuration::granted_to(&issuer, &origin.url()) + refusal));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n";
    let mut app = bearerd.app().ask("POST", "/api/x", "Content-Length: 10\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(head);
    app.send("0123456789");
    upstream.expect("0123456789");
    upstream.send("{\"responseCode\": 403}");
    let mut again = origin.accept();
    assert_eq!(again.request().text(), "0123456789");
    again.send(head);
    again.send("{\"responseCode\": 200}");
    assert_eq!(app.answer().text(), "{\"responseCode\": 200}");
}
