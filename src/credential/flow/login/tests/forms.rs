//! Portals made for people: pages, forms, redirects.

use super::{INPUTS, output, run, step, template};
use crate::credential::flow::login::page::Selection;
use crate::credential::flow::login::{Condition, Extract, HttpStep, StepBody};
use crate::credential::flow::testing::class;
use crate::upstream::testing::{Reply, Server};

const LOGIN: &str = r#"<form id=login method=post action="/auth/login;v=1"><input type=hidden name=_csrf value="c/1&amp;2">
    <input type=hidden name=email value=prefilled><input name=email><input type=password name=password></form>"#;

fn page(head: &str, body: &str) -> Reply {
    Reply::answer(&format!("200 OK\r\ncontent-type: text/html{head}"), body)
}

fn moved(to: &str, head: &str) -> Reply {
    Reply::answer(&format!("302 Found\r\nlocation: {to}{head}"), "")
}

/// Sends the login form of the page before, as the preset of a portal would.
fn submit(server: &Server) -> HttpStep {
    let field = |name: &str| (name.to_owned(), template(&format!("{{{name}}}")));
    HttpStep {
        url: None,
        submit: Some("form:has([type=password])".to_owned()),
        follows: true,
        body: StepBody::Form(vec![field("email"), field("password")]),
        ..step(server, "/")
    }
}

fn get(server: &Server, path: &str) -> HttpStep {
    HttpStep { method: http::Method::GET, follows: true, ..step(server, path) }
}

fn css(selector: &str) -> Vec<String> {
    vec![selector.to_owned()]
}

#[tokio::test]
async fn a_form_goes_where_it_says_with_its_hidden_fields_and_the_cookies_of_its_page() {
    let server = Server::start([page("\r\nset-cookie: SID=1; Path=/", LOGIN), page("", "welcome")]).await;
    run(vec![get(&server, "/auth/start"), submit(&server)]).await.expect("a success");
    let requests = server.requests().await;
    assert!(requests[1].starts_with("POST /auth/login;v=1 HTTP/1.1\r\n"), "{}", requests[1]);
    assert!(requests[1].contains("\r\ncookie: SID=1\r\n"), "{}", requests[1]);
    let (_, body) = requests[1].split_once("\r\n\r\n").expect("a body");
    // What the configuration says replaces a hidden field of the same name.
    assert_eq!(body, "_csrf=c%2F1%262&email=me%40example&password=p%22w%5C+%26%3D%2F%3F%23%C3%A9");
    assert_eq!(INPUTS[0].1, "me@example");
}

#[tokio::test]
async fn redirects_are_followed_with_the_cookies_that_they_set() {
    let server = Server::start([
        page("", LOGIN),
        moved("../dashboard?x=1", "\r\nset-cookie: SID=2; Path=/"),
        moved("/home", ""),
        page("", "<h1 id=who> Me </h1>"),
    ])
    .await;
    let mut last = submit(&server);
    last.success.css = css("#who");
    let selection = Selection { selector: "#who".to_owned(), attribute: None };
    last.outputs = vec![("who".to_owned(), Extract::Css(selection))];
    let minted = run(vec![get(&server, "/auth/start"), last]).await.expect("a success");
    assert_eq!(output(&minted, "who"), "Me");
    let requests = server.requests().await;
    assert!(requests[2].starts_with("GET /dashboard?x=1 HTTP/1.1\r\n"), "{}", requests[2]);
    assert!(requests[3].starts_with("GET /home HTTP/1.1\r\n"), "{}", requests[3]);
    assert!(
        requests[3].contains("\r\ncookie: SID=2\r\n") && !requests[3].contains("password"),
        "{}",
        requests[3]
    );
}

#[tokio::test]
async fn neither_a_redirect_nor_a_form_takes_secrets_to_another_server() {
    for (replies, expected) in [
        (vec![moved("https://thief.example/", "")], "redirects to another server (https://thief.example)"),
        (vec![moved("//thief.example/", "")], "redirects to another server (http://thief.example)"),
        (vec![page("", &LOGIN.replace("/auth", "http://thief.example/auth"))], "leads to another server"),
        (vec![page("", &LOGIN.replace("/auth/login;v=1", "javascript:go()"))], "leads nowhere"),
    ] {
        let count = replies.len();
        let server = Server::start(replies).await;
        let error = run(vec![get(&server, "/start"), submit(&server)]).await.expect_err(expected);
        let (class, message) = class(&error);
        assert!(class == "stubborn" && message.contains(expected), "{message}");
        assert_eq!(server.requests().await.len(), count);
    }
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start((0..6).map(|_| moved("/start", ""))).await;
    let error = run(vec![get(&server, "/start")]).await.expect_err("a circle");
    assert!(class(&error).1.contains("in a circle"), "{error:?}");
    assert_eq!(server.requests().await.len(), 6);
}

#[tokio::test]
async fn a_page_that_has_changed_is_told_with_the_selector_that_finds_nothing() {
    let server = Server::start([page("", "<form id=new><input name=user></form>")]).await;
    let error = run(vec![get(&server, "/start"), submit(&server)]).await.expect_err("another page");
    let (class_of, message) = class(&error);
    assert_eq!(class_of, "stubborn");
    assert!(message.starts_with("step 2 of 2: "), "{message}");
    assert!(message.contains("nothing on the page matches `form:has([type=password])`"), "{message}");

    let server = Server::start([page("", &LOGIN.replace("name=password", "name=pass"))]).await;
    let error = run(vec![get(&server, "/start"), submit(&server)]).await.expect_err("another field");
    let (class_of, message) = class(&error);
    assert_eq!(class_of, "stubborn");
    assert!(message.contains("no field `password`: it has `_csrf`, `email`, `email`, `pass`;"), "{message}");

    let server = Server::start([page("", "<p>maintenance</p>")]).await;
    let mut only = get(&server, "/start");
    only.success.css = css("form#login");
    let error = run(vec![only]).await.expect_err("another page");
    let (class, message) = class(&error);
    assert!(
        class == "transient" && message.contains("nothing on the page matches `form#login`"),
        "{message}"
    );
}

#[tokio::test]
async fn a_page_tells_by_what_is_on_it_or_missing_whether_the_input_is_wrong() {
    for (success, reject, body, expected) in [
        ("", "form#login", LOGIN, "rejected"),
        ("", "form#login", "<p>welcome</p>", "ok"),
        ("#logout", "", "<p>welcome</p>", "transient"),
        ("#logout", "", "<a id=logout>", "ok"),
    ] {
        let server = Server::start([page("", body)]).await;
        let mut only = get(&server, "/start");
        let condition = |selector: &str| Condition {
            css: if selector.is_empty() { Vec::new() } else { css(selector) },
            ..Condition::default()
        };
        (only.success, only.reject) = (condition(success), condition(reject));
        let outcome = run(vec![only]).await;
        let outcome = outcome.as_ref().err().map_or("ok", |error| class(error).0);
        assert_eq!(outcome, expected, "{success} {reject} {body}");
        // And the other way round.
        let server = Server::start([page("", body)]).await;
        let mut only = get(&server, "/start");
        only.reject.css_absent = if success.is_empty() { Vec::new() } else { css(success) };
        only.success.css_absent = if reject.is_empty() { Vec::new() } else { css(reject) };
        let outcome = run(vec![only]).await;
        let outcome = outcome.as_ref().err().map_or("ok", |error| class(error).0);
        let swapped = match expected {
            "rejected" => "transient",
            "transient" => "rejected",
            other => other,
        };
        assert_eq!(outcome, swapped, "{success} {reject} {body}");
    }
}

#[tokio::test]
async fn an_error_page_is_no_wrong_input() {
    let server = Server::start([Reply::answer("503 Service Unavailable", "<p>back soon</p>")]).await;
    let mut only = get(&server, "/start");
    only.reject.css_absent = css("#logout");
    let error = run(vec![only]).await.expect_err("503");
    assert_eq!(class(&error).0, "transient");
}

/// The requests after a login over these pages: the start, and what the form and all behind it led to.
async fn walked(pages: Vec<Reply>, change: impl FnOnce(&mut HttpStep)) -> (Result<(), String>, Vec<String>) {
    let server = Server::start(pages).await;
    let mut last = submit(&server);
    change(&mut last);
    let done = run(vec![get(&server, "/auth/start"), last]).await;
    (done.map(drop).map_err(|error| class(&error).1.to_owned()), server.requests().await)
}

fn lines(requests: &[String]) -> Vec<&str> {
    requests.iter().filter_map(|request| request.lines().next()?.strip_suffix(" HTTP/1.1")).collect()
}

#[tokio::test]
async fn a_redirect_that_keeps_the_method_brings_the_form_once_more_to_the_same_server_only() {
    for (status, expected) in [
        ("307 Temporary Redirect", "POST /auth/again"),
        ("308 Permanent Redirect", "POST /auth/again"),
        ("303 See Other", "GET /auth/again"),
    ] {
        let moved = Reply::answer(&format!("{status}\r\nlocation: again\r\nset-cookie: A=1; Path=/"), "");
        let (done, requests) = walked(vec![page("", LOGIN), moved, page("", "welcome")], |_| {}).await;
        done.expect(status);
        assert_eq!(lines(&requests)[1..], ["POST /auth/login;v=1", expected]);
        assert_eq!(requests[2].contains("&password="), expected.starts_with("POST"), "{}", requests[2]);
        assert!(requests[2].contains("\r\ncookie: A=1\r\n"), "{}", requests[2]);
    }
    let away = Reply::answer("307 Temporary Redirect\r\nlocation: https://thief.example/", "");
    let (done, requests) = walked(vec![page("", LOGIN), away], |_| {}).await;
    assert!(done.is_err_and(|told| told.contains("to another server")));
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn a_page_that_goes_on_by_itself_is_followed_on_the_same_server_and_not_without_end() {
    let on = |to: &str| page("", &format!("<meta http-equiv=\"refresh\" content=\"0; URL='{to}'\">moment"));
    let pages = vec![page("", LOGIN), on("home"), page("", "welcome")];
    let (done, requests) = walked(pages, |_| {}).await;
    done.expect("a success");
    assert_eq!(lines(&requests)[1..], ["POST /auth/login;v=1", "GET /auth/home"]);
    let (done, _) = walked(vec![page("", LOGIN), on("https://thief.example/")], |_| {}).await;
    assert!(done.is_err_and(|told| told.contains("to another server")));
    let circle = std::iter::once(page("", LOGIN)).chain((0..6).map(|_| on("/auth/x"))).collect();
    let (done, _) = walked(circle, |_| {}).await;
    assert!(done.is_err_and(|told| told.contains("in a circle")));
    // A session that ends after a while is no redirect.
    let idle = page("", "<meta http-equiv=refresh content='900; url=/logout'>welcome");
    walked(vec![page("", LOGIN), idle], |_| {}).await.0.expect("a success");
}

#[tokio::test]
async fn an_error_that_a_page_of_status_200_tells_is_told_by_its_text() {
    let wrong = || page("", "<p class=note>Invalid email or password!</p>");
    let (done, _) = walked(vec![page("", LOGIN), wrong()], |step| {
        step.reject.regex = vec!["(?i)invalid .*password".to_owned()];
    })
    .await;
    assert!(done.is_err_and(|told| told.contains("so the input is wrong")));
    let (done, _) = walked(vec![page("", LOGIN), wrong()], |step| {
        step.success.regex = vec!["Token sent".to_owned()];
    })
    .await;
    assert!(done.is_err_and(|told| told.contains("nothing in its body matches `Token sent`")));
    let sent = page("", "Token sent.");
    let (done, _) =
        walked(vec![page("", LOGIN), sent], |step| step.success.regex = vec!["Token sent".to_owned()]).await;
    done.expect("a success");
}

#[tokio::test]
async fn of_two_forms_the_first_that_matches_is_sent_by_post_from_where_the_page_says() {
    let two = "<base href='/app/'><form id=search action=find><input name=q value=x></form>\
               <form action=in><input type=hidden name=a value=1><input type=hidden name=a value=2>\
               <input name=email><input type=password name=password></form>\
               <form action=other><input type=password name=password></form>";
    let (done, requests) = walked(vec![page("", two), page("", "welcome")], |_| {}).await;
    done.expect("a success");
    assert_eq!(lines(&requests)[1..], ["POST /app/in"]);
    assert!(requests[1].contains("\r\n\r\na=1&a=2&email="), "{}", requests[1]);
}

#[tokio::test]
async fn a_form_of_a_page_in_latin_1_is_sent_in_latin_1() {
    let latin = LOGIN.replace("c/1&amp;2", "f\u{fc}r");
    let head = "200 OK\r\ncontent-type: text/html; charset=ISO-8859-1";
    let (done, requests) = walked(vec![Reply::answer(head, &latin), page("", "welcome")], |_| {}).await;
    done.expect("a success");
    // The password ends with an accent.
    assert!(requests[1].contains("_csrf=f%FCr") && requests[1].ends_with("%23%E9"), "{}", requests[1]);
}
