use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::endpoints::Endpoints;
use super::{ClientAuth, Grant, OAuth2Flow};
use crate::credential::flow::testing::{class, mint, mint_within, only_request, output};
use crate::credential::flow::{Flow, MintError};
use crate::credential::{Lifetime, Minted};
use crate::secret::Secret;
use crate::template::Template;
use crate::upstream::testing::{Reply, Server};

const GOOD: &str = r#"{"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600}"#;

/// Every input that any grant or client authentication takes.
const INPUTS: [(&str, &str); 7] = [
    ("client_secret", "s:e%c r+et\u{e9}"),
    ("client_assertion", "h.c.s"),
    ("username", "me@example"),
    ("password", "hunter2 &="),
    ("refresh_token", "rt-1"),
    ("assertion", "a.b.c"),
    ("subject_token", "s.u.b"),
];

fn flow(server: &Server, grant: Grant, client_auth: ClientAuth) -> OAuth2Flow {
    OAuth2Flow {
        grant,
        endpoints: Endpoints::of_token(server.url("/oauth/token?tenant=a")).into(),
        client_id: Template::text("my client:1"),
        client_auth,
        scopes: Vec::new(),
        params: Vec::new(),
        outputs: Vec::new(),
        dpop: None,
        id_token: Arc::default(),
        rotates: true,
        rejected_errors: Vec::new(),
        revoke_on_exit: false,
        consent: Arc::default(),
    }
}

async fn run(flow: OAuth2Flow) -> Result<Minted, MintError> {
    mint(Flow::OAuth2(Box::new(flow)), &INPUTS).await
}

/// What comes of one answer to a refresh.
async fn answered(reply: Reply) -> Result<Minted, MintError> {
    let server = Server::start([reply]).await;
    let flow = flow(&server, Grant::RefreshToken, ClientAuth::Post);
    mint_within(Duration::from_secs(5), Flow::OAuth2(Box::new(flow)), &INPUTS).await
}

async fn accepted(body: &str) -> Minted {
    answered(Reply::json(body)).await.expect(body)
}

#[tokio::test]
async fn the_token_request_is_a_form_with_nothing_that_was_not_asked_for() {
    let server = Server::start([Reply::json(GOOD)]).await;
    let authority = server.authority();
    run(flow(&server, Grant::ClientCredentials, ClientAuth::Post)).await.expect("a token");
    let (head, body) = only_request(server).await;
    assert_eq!(
        head,
        [
            "POST /oauth/token?tenant=a HTTP/1.1".to_owned(),
            format!("host: {authority}"),
            "accept: application/json".to_owned(),
            concat!("user-agent: bearerd/", env!("CARGO_PKG_VERSION")).to_owned(),
            "content-type: application/x-www-form-urlencoded".to_owned(),
            format!("content-length: {}", body.len()),
        ]
    );
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=my+client%3A1&client_secret=s%3Ae%25c+r%2Bet%C3%A9"
    );
}

#[tokio::test]
async fn each_client_authentication_is_sent_alone_and_as_its_rfc_says() {
    for (client_auth, form) in [
        (ClientAuth::Basic, ""),
        (ClientAuth::Post, "&client_id=my+client%3A1&client_secret=s%3Ae%25c+r%2Bet%C3%A9"),
        (
            ClientAuth::Assertion,
            "&client_id=my+client%3A1&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3A\
             jwt-bearer&client_assertion=h.c.s",
        ),
        (ClientAuth::Tls, "&client_id=my+client%3A1"),
        (ClientAuth::None, "&client_id=my+client%3A1"),
    ] {
        let server = Server::start([Reply::json(GOOD)]).await;
        run(flow(&server, Grant::ClientCredentials, client_auth)).await.expect("a token");
        let (head, body) = only_request(server).await;
        assert_eq!(body, format!("grant_type=client_credentials{form}"));
        let authorization = head.iter().find_map(|line| line.strip_prefix("authorization: "));
        // RFC 6749, section 2.3.1: both parts in the encoding of forms, before base64.
        let basic = format!("Basic {}", BASE64_STANDARD.encode("my+client%3A1:s%3Ae%25c+r%2Bet%C3%A9"));
        assert_eq!(authorization, (client_auth == ClientAuth::Basic).then_some(basic.as_str()));
    }
}

#[tokio::test]
async fn each_grant_brings_its_own_fields_then_scopes_and_parameters() {
    for (grant, form) in [
        (Grant::ClientCredentials, "grant_type=client_credentials"),
        (Grant::Password, "grant_type=password&username=me%40example&password=hunter2+%26%3D"),
        (Grant::RefreshToken, "grant_type=refresh_token&refresh_token=rt-1"),
        (
            Grant::JwtBearer,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c",
        ),
        (
            Grant::TokenExchange,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=s.u.b",
        ),
    ] {
        let server = Server::start([Reply::json(GOOD)]).await;
        let mut flow = flow(&server, grant, ClientAuth::Basic);
        flow.scopes = vec!["read".to_owned(), "write".to_owned()];
        flow.params =
            vec![("audience".to_owned(), Template::parse("https://{username}").expect("a template"))];
        run(flow).await.expect("a token");
        let (_, body) = only_request(server).await;
        assert_eq!(body, format!("{form}&scope=read+write&audience=https%3A%2F%2Fme%40example"));
    }
}

#[tokio::test]
async fn an_exchange_sends_who_acts_if_somebody_does_and_each_target_in_a_field_of_its_own() {
    let server = Server::start([Reply::json(GOOD)]).await;
    let mut flow = flow(&server, Grant::TokenExchange, ClientAuth::None);
    flow.params = ["https://a", "https://b"].map(|of| ("resource".to_owned(), Template::text(of))).to_vec();
    let inputs = [("subject_token", "s"), ("actor_token", "a")];
    mint(Flow::OAuth2(Box::new(flow)), &inputs).await.expect("a token");
    let (_, body) = only_request(server).await;
    let fields = "&subject_token=s&actor_token=a&client_id=my+client%3A1&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb";
    assert!(body.ends_with(fields), "{body}");
}

#[tokio::test]
async fn what_an_exchange_brings_may_be_no_access_token_but_none_that_renews_others() {
    let exchanged = async |member: &str, requested: &str| {
        let body = format!(r#"{{"access_token": "t", {member}}}"#);
        let server = Server::start([Reply::json(&body)]).await;
        let mut flow = flow(&server, Grant::TokenExchange, ClientAuth::None);
        flow.params = vec![("requested_token_type".to_owned(), Template::text(requested))];
        run(flow).await
    };
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    exchanged(r#""token_type": "N_A""#, "").await.expect("a token");
    exchanged(&format!(r#""issued_token_type": "{refresh}""#), refresh).await.expect("a token");
    let error = exchanged(&format!(r#""issued_token_type": "{refresh}""#), "").await.expect_err("no token");
    assert_eq!(class(&error).0, "stubborn");
    let error = exchanged(r#""token_type": "mac""#, "").await.expect_err("no token");
    assert_eq!(class(&error).0, "stubborn");
}

#[tokio::test]
async fn fewer_scopes_than_asked_for_are_warned_about() {
    for (granted, warnings) in [
        (r#", "scope": "read""#, 1),
        (r#", "scope": "write read more""#, 0),
        (r#", "scope": "read,write""#, 0),
        (r#", "scope": """#, 0),
        ("", 0),
    ] {
        let server = Server::start([Reply::json(&format!(r#"{{"access_token": "t"{granted}}}"#))]).await;
        let mut flow = flow(&server, Grant::ClientCredentials, ClientAuth::None);
        flow.scopes = vec!["read".to_owned(), "write".to_owned()];
        let minted = run(flow).await.expect("a token");
        assert_eq!(minted.warnings.len(), warnings, "{granted}: {:?}", minted.warnings);
        assert!(minted.warnings.iter().all(|warning| warning.ends_with("the scope write")), "{granted}");
    }
}

#[tokio::test]
async fn a_public_client_without_a_name_sends_none() {
    let server = Server::start([Reply::json(GOOD)]).await;
    let mut flow = flow(&server, Grant::JwtBearer, ClientAuth::None);
    flow.client_id = Template::text("");
    run(flow).await.expect("a token");
    assert!(!only_request(server).await.1.contains("client_id"));
}

#[tokio::test]
async fn a_good_answer_gives_the_token_its_lifetime_and_the_named_outputs() {
    let server = Server::start([Reply::answer(
        "201 Created",
        r#"{"access_token": "at~+/=", "id_token": "i.d.t", "expires_in": "1800", "instance": {"url": "https://x"}, "n": 5}"#,
    )])
    .await;
    let mut flow = flow(&server, Grant::ClientCredentials, ClientAuth::Basic);
    let outputs = [("instance_url", "/instance/url"), ("n", "/n"), ("gone", "/gone")];
    flow.outputs = outputs.map(|(name, pointer)| (name.to_owned(), pointer.to_owned())).to_vec();
    let minted = run(flow).await.expect("a token");
    assert_eq!(minted.lifetime, Some(Lifetime::For(Duration::from_secs(1800))));
    assert_eq!((output(&minted, "access_token"), output(&minted, "id_token")), ("at~+/=", "i.d.t"));
    assert_eq!((output(&minted, "instance_url"), output(&minted, "n")), ("https://x", "5"));
    assert_eq!(minted.warnings.len(), 1, "{:?}", minted.warnings);
    assert!(minted.warnings[0].contains("`/gone`"));
}

#[tokio::test]
async fn a_lifetime_that_is_not_said_comes_from_the_token_or_stays_open() {
    let token = format!("e30.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp": 1700001000}"#));
    let end = Timestamp::from_second(1_700_001_000).map(Lifetime::Until).ok();
    for expires_in in ["", r#", "expires_in": null"#, r#", "expires_in": "soon""#] {
        let minted = accepted(&format!(r#"{{"access_token": "{token}"{expires_in}}}"#)).await;
        assert_eq!(minted.lifetime, end, "{expires_in}");
        assert_eq!(accepted(&format!(r#"{{"access_token": "opaque"{expires_in}}}"#)).await.lifetime, None);
    }
    let said = accepted(&format!(r#"{{"access_token": "{token}", "expires_in": 5.5}}"#)).await;
    assert_eq!(said.lifetime, Some(Lifetime::For(Duration::from_millis(5500))));
}

#[tokio::test]
async fn a_lifetime_that_is_said_and_cannot_be_read_is_told_without_its_value() {
    let unread =
        accepted(r#"{"access_token": "opaque", "expires_in": "one hour", "refresh_expires_in": [9]}"#).await;
    assert_eq!(
        unread.warnings,
        [
            "`expires_in` in the token answer is not a number of seconds, but a text like `aaa aaaa`",
            "`refresh_expires_in` in the token answer is not a number of seconds, but a list",
        ]
    );
    let token = format!("e30.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp": 1700001000}"#));
    let told = accepted(&format!(r#"{{"access_token": "{token}", "expires_in": "one hour"}}"#)).await;
    assert_eq!(told.warnings, [""; 0], "the token tells its end");
}

#[tokio::test]
async fn a_new_refresh_token_rotates_and_anything_else_keeps_the_old_one() {
    let rotated = |minted: Minted| (minted.rotated, minted.warnings.len());
    let with = |member: &str| format!(r#"{{"access_token": "at-1"{member}}}"#);
    let new = accepted(&with(r#", "refresh_token": "rt-2""#)).await;
    assert_eq!(rotated(new), (Some(Secret::from("rt-2")), 0));
    assert_eq!(rotated(accepted(&with("")).await), (None, 0));
    assert_eq!(rotated(accepted(&with(r#", "refresh_token": "rt-1""#)).await), (None, 0));
    for absent in ["\"\"", "null", "5", "\"a b\"", "[\"rt-2\"]"] {
        let minted = accepted(&with(&format!(r#", "refresh_token": {absent}"#))).await;
        assert_eq!(rotated(minted), (None, 1), "{absent}");
    }
}

#[tokio::test]
async fn other_grants_do_not_take_up_a_refresh_token() {
    let server = Server::start([Reply::json(r#"{"access_token": "a", "refresh_token": "rt-2"}"#)]).await;
    let minted = run(flow(&server, Grant::Password, ClientAuth::None)).await.expect("a token");
    assert_eq!((minted.rotated, minted.outputs.len()), (None, 1));
}

#[tokio::test]
async fn only_bearer_tokens_are_used() {
    for member in ["", r#", "token_type": "bEARER""#, r#", "token_type": null"#, r#", "token_type": """#] {
        accepted(&format!(r#"{{"access_token": "at-1"{member}}}"#)).await;
    }
    for kind in ["\"N_A\"", "\"mac\"", "\"DPoP\"", "\"Bearer x\"", "7"] {
        let body = format!(r#"{{"access_token": "at-1", "token_type": {kind}}}"#);
        let error = answered(Reply::json(&body)).await.expect_err(kind);
        let (class, message) = class(&error);
        assert!(class == "stubborn" && message.contains("only bearer tokens"), "{message}");
    }
}

#[tokio::test]
async fn an_answer_without_a_usable_token_is_tried_again() {
    let long = format!(r#"{{"access_token": "{}"}}"#, "a".repeat(16 * 1024 + 1));
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "\"at-1\"",
        "<!doctype html><title>Log in</title>",
        r#"{"access_token": null}"#,
        r#"{"access_token": ""}"#,
        r#"{"access_token": 5}"#,
        r#"{"access_token": {"token": "a"}}"#,
        r#"{"access_token": "a b"}"#,
        r#"{"access_token": "a\r\nx: y"}"#,
        r#"{"access_token": "a\u0000"}"#,
        r#"{"access_token": "caf\u00e9"}"#,
        r#"{"accessToken": "at-1"}"#,
        r#"{"access_token": "at-1""#,
        &long,
    ] {
        let error = answered(Reply::json(body)).await.expect_err(body);
        assert_eq!(class(&error).0, "transient", "{body}: {error:?}");
    }
    let error = answered(Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")).await.expect_err("no content");
    assert_eq!(class(&error).0, "transient");
}

#[tokio::test]
async fn errors_are_told_apart_by_their_exact_code_and_by_the_status() {
    let error = |code: &str| format!(r#"{{"error": "{code}", "error_description": "invalid_grant"}}"#);
    let mut rows = Vec::new();
    for code in
        ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"]
    {
        for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "200 OK"] {
            let class = if code == "invalid_grant" { "withdrawn" } else { "rejected" };
            rows.push((status, error(code), class));
        }
    }
    for (status, body, expected) in [
        ("401 Unauthorized", String::new(), "rejected"),
        ("401 Unauthorized", "<html>".to_owned(), "rejected"),
        ("401 Unauthorized", error("anything"), "rejected"),
        ("400 Bad Request", error("invalid_request"), "stubborn"),
        ("400 Bad Request", error("xinvalid_grant"), "stubborn"),
        ("400 Bad Request", error("Invalid_Grant"), "stubborn"),
        ("400 Bad Request", r#"{"error_description": "invalid_grant: expired"}"#.to_owned(), "withdrawn"),
        ("400 Bad Request", r#"{"message": "not an invalid_grant"}"#.to_owned(), "stubborn"),
        ("200 OK", r#"{"message": "invalid_client: unknown"}"#.to_owned(), "rejected"),
        ("400 Bad Request", String::new(), "stubborn"),
        ("403 Forbidden", "<html>".to_owned(), "stubborn"),
        ("404 Not Found", "{}".to_owned(), "stubborn"),
        ("302 Found\r\nlocation: /login", String::new(), "stubborn"),
        ("307 Temporary Redirect\r\nlocation: /login", String::new(), "stubborn"),
        ("200 OK", error("invalid_code"), "stubborn"),
        ("200 OK", error("server_error"), "transient"),
        ("500 Internal Server Error", error("server_error"), "transient"),
        ("500 Internal Server Error", "<html>".to_owned(), "transient"),
        ("502 Bad Gateway", String::new(), "transient"),
        ("503 Service Unavailable", String::new(), "transient"),
        ("504 Gateway Timeout", String::new(), "transient"),
        ("530 Partner", String::new(), "transient"),
        ("408 Request Timeout", String::new(), "transient"),
        ("429 Too Many Requests", error("slow_down"), "transient"),
    ] {
        rows.push((status, body, expected));
    }
    for (status, body, expected) in rows {
        let error = answered(Reply::answer(status, &body)).await.expect_err(status);
        assert_eq!(class(&error).0, expected, "{status} {body}: {error:?}");
    }
}

#[tokio::test]
async fn an_error_that_says_nothing_does_not_spoil_a_success() {
    for error in ["null", "\"\"", "false"] {
        accepted(&format!(r#"{{"error": {error}, "access_token": "at-1"}}"#)).await;
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_within_an_hour() {
    for (field, seconds) in [("7", Some(7)), ("99999999", Some(3600)), ("soon", None)] {
        for status in ["503 Service Unavailable", "429 Too Many Requests"] {
            let error = answered(Reply::answer(&format!("{status}\r\nretry-after: {field}"), "")).await;
            let Err(MintError::Transient { retry_after, .. }) = error else { panic!("{error:?}") };
            assert_eq!(retry_after, seconds.map(Duration::from_secs), "{field}");
        }
    }
}

#[tokio::test]
async fn messages_quote_the_code_alone_and_never_a_value() {
    for (body, quoted) in [
        (r#"{"error": "invalid_grant", "error_description": "rt-1 of me@example"}"#, "`invalid_grant`"),
        (r#"{"error": "no such token: rt-1"}"#, "(not shown)"),
        (r#"{"error": "x\u001b[31m\r\nforged line"}"#, "`x[31mforged line`"),
        (r#"{"error": {"message": "rt-1"}}"#, "`an object`"),
    ] {
        let error = answered(Reply::answer("400 Bad Request", body)).await.expect_err(body);
        let message = class(&error).1;
        assert!(message.contains(quoted) && message.contains("400 Bad Request"), "{message}");
        assert!(!message.contains("rt-1") && !message.contains(char::is_control), "{message}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_unanswered_and_a_lost_connection_is_not() {
    for reply in [Reply::Reset, Reply::raw(""), Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")]
    {
        let error = answered(reply).await.expect_err("the answer is lost");
        assert_eq!(class(&error).0, "unanswered");
    }
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(1024 * 1024 + 1));
    let error = answered(Reply::raw(&large)).await.expect_err("too large");
    assert_eq!(class(&error).0, "unanswered");

    let server = Server::start([Reply::Hang]).await;
    let hanging = flow(&server, Grant::RefreshToken, ClientAuth::Post);
    let limit = Duration::from_millis(200);
    let error = mint_within(limit, Flow::OAuth2(Box::new(hanging)), &INPUTS).await.expect_err("no answer");
    assert_eq!(class(&error).0, "unanswered");

    let server = Server::start([]).await;
    let closed = flow(&server, Grant::RefreshToken, ClientAuth::Post);
    server.requests().await;
    let error = run(closed).await.expect_err("nobody listens");
    assert_eq!(class(&error).0, "transient");
}
