use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderName, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Condition, ExpiryRule, Extract, HttpStep, JsonTemplate, LoginFlow, Step, StepBody, TimeFormat};
use crate::credential::flow::testing::{NOW, class, mint, mint_within, only_request, output};
use crate::credential::flow::{Flow, MintError};
use crate::credential::{Lifetime, Minted};
use crate::template::Template;
use crate::upstream::testing::{Reply, Server};

mod forms;

const INPUTS: [(&str, &str); 3] =
    [("email", "me@example"), ("password", "p\"w\\ &=/?#\u{e9}"), ("user.access_token", "parent-token")];

fn template(text: &str) -> Template {
    Template::parse(text).expect(text)
}

/// A step that asks nothing of its answer.
fn step(server: &Server, path: &str) -> HttpStep {
    HttpStep {
        method: Method::POST,
        url: Some(template(&format!("{}{path}", server.url("/").origin))),
        submit: None,
        follows: false,
        headers: Vec::new(),
        query: Vec::new(),
        body: StepBody::Empty,
        success: Condition::default(),
        reject: Condition::default(),
        outputs: Vec::new(),
        expiry: Vec::new(),
        warn: None,
    }
}

fn json_output(name: &str, pointer: &str) -> (String, Extract) {
    (name.to_owned(), Extract::Json(pointer.to_owned()))
}

async fn run(steps: Vec<HttpStep>) -> Result<Minted, MintError> {
    let steps = steps.into_iter().map(Step::Http).collect();
    mint(Flow::Login(Box::new(LoginFlow { steps })), &INPUTS).await
}

/// What comes of one answer to a step that `change` completes.
async fn answered(reply: Reply, change: impl FnOnce(&mut HttpStep)) -> Result<Minted, MintError> {
    let server = Server::start([reply]).await;
    let mut step = step(&server, "/login");
    change(&mut step);
    run(vec![step]).await
}

#[tokio::test]
async fn a_json_body_keeps_its_order_and_escapes_its_values() {
    let server = Server::start([Reply::json("{}")]).await;
    let mut step = step(&server, "/user/login");
    let text = |text| JsonTemplate::Text(template(text));
    step.body = StepBody::Json(JsonTemplate::Object(vec![
        ("password".to_owned(), text("{password}")),
        ("emailId".to_owned(), text("{email}")),
        ("days".to_owned(), JsonTemplate::Plain(json!(180))),
        ("a\"b".to_owned(), JsonTemplate::Array(vec![text("x"), JsonTemplate::Plain(Value::Null)])),
    ]));
    run(vec![step]).await.expect("a success");
    let (head, body) = only_request(server).await;
    assert_eq!(head[0], "POST /user/login HTTP/1.1");
    assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
    assert_eq!(
        body,
        "{\"password\":\"p\\\"w\\\\ &=/?#\u{e9}\",\"emailId\":\"me@example\",\"days\":180,\"a\\\"b\":[\"x\",null]}"
    );
}

#[tokio::test]
async fn a_form_body_keeps_its_order_and_encodes_its_values() {
    let server = Server::start([Reply::json("{}")]).await;
    let mut step = step(&server, "/login");
    step.body = StepBody::Form(vec![
        ("username".to_owned(), template("{email}")),
        ("password".to_owned(), template("{password}")),
    ]);
    run(vec![step]).await.expect("a success");
    let (head, body) = only_request(server).await;
    assert!(head.contains(&"content-type: application/x-www-form-urlencoded".to_owned()), "{head:?}");
    assert_eq!(body, "username=me%40example&password=p%22w%5C+%26%3D%2F%3F%23%C3%A9");
}

#[tokio::test]
async fn a_raw_body_headers_and_query_are_sent_as_their_templates_say() {
    let server = Server::start([Reply::json("{}")]).await;
    let mut step = step(&server, "/v1/{email}/login?x=1");
    step.method = Method::PUT;
    step.headers = vec![
        (HeaderName::from_static("content-type"), template("text/xml")),
        (HeaderName::from_static("accept"), template("text/xml")),
        (HeaderName::from_static("authorization"), template("Bearer {user.access_token}")),
        (HeaderName::from_static("request-id"), template("{uuid}")),
        (HeaderName::from_static("timestamp"), template("{now}")),
    ];
    step.query = vec![("q r".to_owned(), template("{password}"))];
    step.body = StepBody::Raw(template("<a>{email}</a>"));
    run(vec![step]).await.expect("a success");
    let (head, body) = only_request(server).await;
    // A value never breaks out of its part of the URL.
    assert_eq!(head[0], "PUT /v1/me%40example/login?x=1&q%20r=p%22w%5C%20%26%3D%2F%3F%23%C3%A9 HTTP/1.1");
    let field = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).expect(name);
    assert_eq!((field("content-type: "), field("accept: ")), ("text/xml", "text/xml"));
    assert_eq!(field("authorization: "), "Bearer parent-token");
    assert_eq!(
        (field("request-id: ").len(), field("timestamp: ").len()),
        (36, "2023-11-14T22:13:20.000Z".len())
    );
    assert!(field("timestamp: ").starts_with("2023-11-14T22:13:2"), "{head:?}");
    assert_eq!(body, "<a>me@example</a>");
}

#[tokio::test]
async fn a_get_has_no_body_and_no_length() {
    let server = Server::start([Reply::json("{}")]).await;
    let step = HttpStep { method: Method::GET, ..step(&server, "/") };
    run(vec![step]).await.expect("a success");
    let (head, body) = only_request(server).await;
    assert!(body.is_empty() && !head.iter().any(|line| line.starts_with("content-")), "{head:?}");
}

#[tokio::test]
async fn a_value_with_a_line_break_never_reaches_a_header() {
    let server = Server::start([Reply::json(r#"{"t": "a"}"#)]).await;
    let mut step = step(&server, "/");
    step.headers = vec![(HeaderName::from_static("x-a"), template("{bad}"))];
    let flow = Flow::Login(Box::new(LoginFlow { steps: vec![Step::Http(step)] }));
    let error = mint(flow, &[("bad", "a\r\nx-b: c")]).await.expect_err("a line break");
    assert!(class(&error).1.contains("`x-a`") && class(&error).0 == "stubborn");
    assert!(server.requests().await.is_empty());
}

#[tokio::test]
async fn outputs_come_from_every_part_of_an_answer() {
    let reply = Reply::answer(
        "200 OK\r\nx-id: 42\r\nset-cookie: SID=abc; Path=/\r\nset-cookie: T=1",
        r#"{"data": {"token": "t-1", "n": 7}, "html": "code 123456."}"#,
    );
    let minted = answered(reply, |step| {
        step.outputs = vec![
            json_output("token", "/data/token"),
            json_output("number", "/data/n"),
            ("id".to_owned(), Extract::Header(HeaderName::from_static("x-id"))),
            ("sid".to_owned(), Extract::Cookie("SID".to_owned())),
            ("otp".to_owned(), Extract::Regex(r"code (\d+)".to_owned())),
            ("all".to_owned(), Extract::Regex(r"code \d+".to_owned())),
        ];
    })
    .await
    .expect("a success");
    let found = ["token", "number", "id", "sid", "otp", "all"].map(|name| output(&minted, name));
    assert_eq!(found, ["t-1", "7", "42", "abc", "123456", "code 123456"]);
    assert_eq!(minted.lifetime, None);
}

#[tokio::test]
async fn an_output_that_is_missing_or_of_no_use_is_transient_and_named() {
    for (extract, body, named) in [
        (Extract::Json("/data/token".to_owned()), r#"{"data": {}}"#, "`/data/token`"),
        (Extract::Json("/token".to_owned()), r#"{"token": null}"#, "`/token`"),
        (Extract::Json("/token".to_owned()), r#"{"token": {"a": 1}}"#, "`/token`"),
        (Extract::Json("/token".to_owned()), r#"{"token": true}"#, "`/token`"),
        (Extract::Json("/token".to_owned()), r#"{"token": ""}"#, "is empty"),
        (Extract::Json("/token".to_owned()), r#"{"token": "a\nb"}"#, "control characters"),
        (Extract::Json("/token".to_owned()), "<html>", "not JSON"),
        (Extract::Json("/token".to_owned()), "", "not JSON"),
        (Extract::Header(HeaderName::from_static("x-id")), "{}", "`x-id`"),
        (Extract::Cookie("SID".to_owned()), "{}", "`SID`"),
        (Extract::Regex(r"code (\d+)".to_owned()), "{}", "matches"),
    ] {
        let error =
            answered(Reply::json(body), |step| step.outputs = vec![("token".to_owned(), extract)]).await;
        let error = error.expect_err(named);
        let (class, message) = class(&error);
        assert!(class == "transient" && message.contains(named) && message.contains("`token`"), "{message}");
    }
}

#[tokio::test]
async fn later_steps_see_the_outputs_and_cookies_of_earlier_ones() {
    let server = Server::start([
        Reply::answer("200 OK\r\nset-cookie: SID=abc; HttpOnly", r#"{"csrf": "c/1"}"#),
        Reply::json(r#"{"token": "t-1", "email": "other"}"#),
    ])
    .await;
    let mut first = step(&server, "/start");
    first.outputs = vec![json_output("csrf", "/csrf")];
    let mut second = step(&server, "/finish/{csrf}");
    second.body = StepBody::Form(vec![("csrf".to_owned(), template("{csrf}"))]);
    second.outputs = vec![json_output("token", "/token")];
    let minted = run(vec![first, second]).await.expect("a success");
    assert_eq!((output(&minted, "csrf"), output(&minted, "token")), ("c/1", "t-1"));
    let requests = server.requests().await;
    assert!(!requests[0].contains("cookie:"), "{}", requests[0]);
    assert!(requests[1].starts_with("POST /finish/c%2F1 HTTP/1.1\r\n"), "{}", requests[1]);
    assert!(
        requests[1].contains("\r\ncookie: SID=abc\r\n") && requests[1].ends_with("csrf=c%2F1"),
        "{}",
        requests[1]
    );
}

#[tokio::test]
async fn a_failure_names_its_step_and_ends_the_login() {
    let server = Server::start([Reply::json("{}"), Reply::answer("503 Service Unavailable", "")]).await;
    let steps = vec![step(&server, "/1"), step(&server, "/2"), step(&server, "/3")];
    let error = run(steps).await.expect_err("the second step fails");
    assert!(class(&error).1.starts_with("step 2 of 3 (http://127.0.0.1:"), "{error:?}");
    assert_eq!(server.requests().await.len(), 2);
}

fn code_is(values: &[Value]) -> Condition {
    Condition { json: vec![("/responseCode".to_owned(), values.to_vec())], ..Condition::default() }
}

#[tokio::test]
async fn success_and_rejection_read_the_body_where_numbers_and_texts_are_equal() {
    for (status, body, expected) in [
        ("200 OK", r#"{"responseCode": 200}"#, None),
        ("200 OK", r#"{"responseCode": "200"}"#, None),
        ("200 OK", r#"{"responseCode": 405}"#, Some("rejected")),
        ("200 OK", r#"{"responseCode": "404"}"#, Some("rejected")),
        ("400 Bad Request", r#"{"responseCode": 405}"#, Some("rejected")),
        ("200 OK", r#"{"responseCode": 500}"#, Some("transient")),
        ("200 OK", r#"{"responseCode": 400}"#, Some("transient")),
        ("200 OK", "{}", Some("transient")),
        ("200 OK", "<html>", Some("transient")),
        ("200 OK", "", Some("transient")),
        ("500 Internal Server Error", r#"{"responseCode": 200}"#, Some("transient")),
        ("401 Unauthorized", r#"{"responseCode": 200}"#, Some("rejected")),
        ("403 Forbidden", "", Some("stubborn")),
    ] {
        let outcome = answered(Reply::answer(status, body), |step| {
            step.success = code_is(&[json!(200)]);
            step.reject = code_is(&[json!(404), json!(405)]);
        })
        .await;
        let outcome = outcome.as_ref().err().map(|error| class(error).0);
        assert_eq!(outcome, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn without_conditions_any_2xx_succeeds_and_the_status_tells_the_rest() {
    for (status, expected) in [
        ("202 Accepted", None),
        ("204 No Content", None),
        ("302 Found", Some("stubborn")),
        ("400 Bad Request", Some("stubborn")),
        ("401 Unauthorized", Some("rejected")),
        ("404 Not Found", Some("stubborn")),
        ("408 Request Timeout", Some("transient")),
        ("429 Too Many Requests", Some("transient")),
        ("500 Internal Server Error", Some("transient")),
    ] {
        let outcome = answered(Reply::raw(&format!("HTTP/1.1 {status}\r\n\r\n")), |_| {}).await;
        assert_eq!(outcome.as_ref().err().map(|error| class(error).0), expected, "{status}");
    }
}

#[tokio::test]
async fn configured_statuses_decide_first() {
    let only = |status: u16| Condition { status: vec![status], ..Condition::default() };
    let outcome = answered(Reply::answer("201 Created", "{}"), |step| step.success = only(200)).await;
    assert_eq!(class(&outcome.expect_err("201")).0, "transient");
    let outcome = answered(Reply::answer("404 Not Found", "{}"), |step| step.success = only(404)).await;
    outcome.expect("404 is what success asks for");
    let outcome = answered(Reply::answer("403 Forbidden", "{}"), |step| step.reject = only(403)).await;
    assert_eq!(class(&outcome.expect_err("403")).0, "rejected");
    let reply = Reply::answer("429 Too Many Requests\r\nretry-after: 30", "");
    let Err(MintError::Transient { retry_after, .. }) = answered(reply, |_| {}).await else { panic!("429") };
    assert_eq!(retry_after, Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn messages_name_the_code_of_the_issuer_and_never_a_value() {
    let body = r#"{"errorcode": "Unauthorized", "errorMsg": "me@example has expired"}"#;
    let error = answered(Reply::answer("401 Unauthorized", body), |_| {}).await.expect_err("401");
    let message = class(&error).1;
    assert!(message.contains("`Unauthorized`") && !message.contains("me@example"), "{message}");
    let body = r#"{"responseCode": "me@example"}"#;
    let error = answered(Reply::json(body), |step| step.success = code_is(&[json!(200)])).await;
    let error = error.expect_err("no success");
    assert!(
        !class(&error).1.contains("me@example") && class(&error).1.contains("/responseCode"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_end_is_read_in_every_form() {
    let token = format!("e30.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp": 1700003600}"#));
    let end = NOW + SignedDuration::from_hours(1);
    let body = format!(
        r#"{{"token": "{token}", "left": "3600", "left_ms": 3600000, "s": 1700003600, "ms": 1700003600000,
            "iso": "2023-11-14T23:13:20Z", "local": "2023-11-15 04:43:20", "null": null}}"#
    );
    let at = |pointer: &str, format: TimeFormat| ExpiryRule::At { pointer: pointer.to_owned(), format };
    let within = |pointer: &str, unit| ExpiryRule::In { pointer: pointer.to_owned(), unit };
    let length = Some(Lifetime::For(Duration::from_secs(3600)));
    let until = Some(Lifetime::Until(end));
    let pattern = TimeFormat::Pattern { pattern: "%Y-%m-%d %H:%M:%S".to_owned(), offset: 5 * 3600 + 1800 };
    for (rule, expected) in [
        (within("/left", Duration::from_secs(1)), length),
        (within("/left_ms", Duration::from_millis(1)), length),
        (at("/s", TimeFormat::EpochSeconds), until),
        (at("/ms", TimeFormat::EpochSeconds), until),
        (at("/ms", TimeFormat::EpochMilliseconds), until),
        (at("/iso", TimeFormat::Rfc3339 { offset: 0 }), until),
        (at("/local", pattern), until),
        (ExpiryRule::Jwt { output: "token".to_owned() }, until),
        (ExpiryRule::Fixed(Duration::from_secs(60)), Some(Lifetime::For(Duration::from_secs(60)))),
        // Where the answer does not say, its token does.
        (within("/null", Duration::from_secs(1)), until),
    ] {
        let shown = format!("{rule:?}");
        let minted = answered(Reply::json(&body), |step| {
            step.outputs = vec![json_output("token", "/token")];
            step.expiry = vec![rule];
        })
        .await;
        assert_eq!(minted.expect("a success").lifetime, expected, "{shown}");
    }
}

#[tokio::test]
async fn an_end_that_cannot_be_read_is_told_unless_a_token_tells_its_own() {
    let token = format!("e30.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp": 1700003600}"#));
    for (token, told) in [("opaque", 1), (token.as_str(), 0)] {
        let body = format!(r#"{{"token": "{token}", "until": 1700003600000}}"#);
        let minted = answered(Reply::json(&body), |step| {
            step.outputs = vec![json_output("token", "/token"), json_output("until", "/until")];
            let format = TimeFormat::Rfc3339 { offset: 0 };
            step.expiry = vec![ExpiryRule::Told { output: "until".to_owned(), format }];
        })
        .await
        .expect("a success");
        assert_eq!(minted.warnings.len(), told, "{:?}", minted.warnings);
        for warning in minted.warnings {
            // An output is a text, whatever it was in the answer.
            assert_eq!(
                warning,
                "`until` is not a time in `rfc3339`, but a text like `9999999999999`; it looks like \
                 `format = \"epoch_ms\"`"
            );
        }
    }
}

#[tokio::test]
async fn without_any_rule_the_first_of_the_tokens_to_end_tells() {
    let token = |end: i64| format!("e30.{}.s", BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"exp": {end}}}"#)));
    let body =
        format!(r#"{{"a": "{}", "b": "{}", "c": "opaque"}}"#, token(1_700_002_000), token(1_700_001_000));
    let minted = answered(Reply::json(&body), |step| {
        step.outputs = ["a", "b", "c"].map(|name| json_output(name, &format!("/{name}"))).to_vec();
    })
    .await
    .expect("a success");
    assert_eq!(minted.lifetime, Timestamp::from_second(1_700_001_000).map(Lifetime::Until).ok());
}

#[tokio::test]
async fn a_text_worth_a_warning_is_passed_on_without_values() {
    for (said, warned) in [
        (
            r#""the secret is within the\ngrace period""#,
            Some("the issuer says: the secret is within thegrace period"),
        ),
        (r#""your token is t-12345""#, None),
        ("null", None),
        (r#""""#, None),
    ] {
        let body = format!(r#"{{"token": "t-12345", "message": {said}}}"#);
        let minted = answered(Reply::json(&body), |step| {
            step.outputs = vec![json_output("token", "/token")];
            step.warn = Some("/message".to_owned());
        })
        .await
        .expect("a success");
        assert_eq!(minted.warnings.first().map(String::as_str), warned);
    }
}

#[tokio::test]
async fn the_deadline_covers_all_steps_together() {
    let server = Server::start([Reply::json("{}"), Reply::Drip]).await;
    let steps = vec![Step::Http(step(&server, "/1")), Step::Http(step(&server, "/2"))];
    let flow = Flow::Login(Box::new(LoginFlow { steps }));
    let error = mint_within(Duration::from_millis(300), flow, &INPUTS).await.expect_err("it drips");
    assert_eq!(class(&error).0, "unanswered");
}
