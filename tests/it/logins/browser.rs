//! Authorization codes, as they ought to go.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::person::{Person, fields};
use super::{authorize, callback, code, log_in, with};
use crate::support::bearerd;

#[test]
fn a_person_consents_once_and_the_app_never_sees_a_token() {
    let person = Person::new();
    let bearerd = code(&person);
    let before = bearerd.app().get("/api/x");
    assert_eq!((before.status(), &before.json()["code"]), (503, &Value::from("login_required")));
    assert_eq!(bearerd.credential("me")["state"], "login_required");
    assert_eq!(bearerd.admin().get("/ready").status(), 200, "readiness does without a person");

    log_in(&bearerd, &person);
    bearerd.wait_for_state("me", "ready");
    assert_eq!(bearerd.app().get("/api/x").text(), "hello");
    let form = person.requests_to("/token")[0].form();
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["client_id"], "app");
}

#[test]
fn a_consent_is_renewed_by_its_refresh_token_which_rotates() {
    let person = Person::new();
    let bearerd = code(&person);
    log_in(&bearerd, &person);
    for generation in 2..5 {
        let answer = bearerd.control("POST", "/v1/credentials/me/refresh?wait=true", b"");
        assert_eq!(answer.json()["outcome"], "ok", "{}", answer.text());
        bearerd.wait_for_generation("me", generation);
        assert_eq!(bearerd.app().get("/api/x").text(), "hello");
    }
    let forms: Vec<_> =
        person.requests_to("/token").iter().map(crate::support::message::Message::form).collect();
    assert!(
        forms[1..].iter().all(|form| form["grant_type"] == "refresh_token" && !form.contains_key("scope"))
    );
}

#[test]
fn the_browser_comes_back_to_the_admin_listener_and_is_shown_a_plain_page() {
    let person = Person::new();
    let bearerd = code(&person);
    let begun = authorize(&bearerd, &json!({}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&back).finish();
    let come_back = || {
        let fields = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
        bearerd.admin().get_with(&format!("/oauth/callback?{query}"), fields)
    };
    let head = bearerd.admin().head("HEAD", &format!("/oauth/callback?{query}"), "Connection: close\r\n", 0);
    let answer = bearerd.admin().raw(&head);
    assert!(answer.starts_with("HTTP/1.1 405 "), "a look ahead uses nothing up: {answer}");
    let page = come_back();
    assert_eq!(
        (page.status(), page.field("content-type").as_deref()),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.field("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.field("referrer-policy").as_deref(), Some("no-referrer"));
    assert_eq!(page.field("cache-control").as_deref(), Some("no-store"));
    assert!(!page.text().contains("<script") && !page.text().contains("http"), "{}", page.text());
    bearerd.wait_for_state("me", "ready");

    let again = come_back();
    assert_eq!(again.status(), 400, "a state is used once");
    assert_eq!(person.requests_to("/token").len(), 1);
}

#[test]
fn a_browser_is_sent_on_to_where_the_login_was_begun_from() {
    let person = Person::new();
    let setup = with(&person, "grant = \"authorization_code\"\nreturn_to = [\"https://app.example/done\"]");
    let bearerd = setup.start();
    for (return_to, error, location) in [
        ("https://app.example/done?x=1", None, "https://app.example/done?x=1"),
        ("http://localhost:3000/", None, "http://localhost:3000/"),
        ("/", Some("access_denied"), "/?error=consent_denied"),
    ] {
        let begun = authorize(&bearerd, &json!({"return_to": return_to}));
        let mut back = person.consent(begun["url"].as_str().expect("a URL"));
        if let Some(error) = error {
            back.remove("code");
            back.insert("error".to_owned(), error.to_owned());
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&back).finish();
        let answer = bearerd.admin().get(&format!("/oauth/callback?{query}"));
        assert_eq!((answer.status(), answer.field("location").as_deref()), (303, Some(location)));
    }
    for elsewhere in ["https://evil.example/", "//evil.example", "https://app.example/donex", "javascript:1"]
    {
        let body = json!({"return_to": elsewhere}).to_string();
        let answer = bearerd.control("POST", "/v1/credentials/me/authorize", body.as_bytes());
        assert_eq!(
            (answer.status(), &answer.json()["code"]),
            (400, &Value::from("bad_request")),
            "{elsewhere}"
        );
    }
}

#[test]
fn requests_are_pushed_where_the_issuer_offers_it() {
    let person = Person::new();
    let endpoint = format!("{}/par", person.origin());
    person.book().metadata.insert("pushed_authorization_request_endpoint".to_owned(), endpoint.into());
    let bearerd = with(
        &person,
        "grant = \"authorization_code\"\nauthorization_params = { purpose = \"kyc\" }\nscopes = [\"read\"]",
    )
    .start();
    let begun = authorize(&bearerd, &json!({}));
    let url = begun["url"].as_str().expect("a URL");
    assert_eq!(fields(url.split_once('?').expect("a query").1).len(), 2, "{url}");
    let pushed = person.requests_to("/par")[0].form();
    assert_eq!((pushed["purpose"].as_str(), pushed["scope"].as_str()), ("kyc", "read"));
    assert!(pushed.contains_key("client_id"), "it is a parameter, however the client proves who it is");
    assert!(!pushed.contains_key("nonce"), "nonces are for ID tokens");
    let back = person.consent(url);
    assert_eq!(
        callback(&bearerd, &json!({"code": back["code"], "state": back["state"], "iss": back["iss"]}))
            .status(),
        200
    );
}

#[test]
fn every_user_has_tokens_of_its_own() {
    let person = Person::new();
    let bearerd = with(
        &person,
        "grant = \"authorization_code\"\nauthorize_accepts = [\"login_hint\"]\nredirect_uri = \"https://app.example/cb\"",
    )
    .start();
    for subject in ["alice", "bob/1"] {
        let begun = authorize(&bearerd, &json!({"subject": subject, "params": {"login_hint": subject}}));
        let (request, redirect_uri) = person.visit(begun["url"].as_str().expect("a URL"));
        assert_eq!(
            (request["login_hint"].as_str(), redirect_uri.as_str()),
            (subject, "https://app.example/cb")
        );
        let back = person.consent(begun["url"].as_str().expect("a URL"));
        let mut body = json!(back);
        body["subject"] = subject.into();
        let answer = callback(&bearerd, &body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!((&answer.json()["subject"], &answer.json()["state"]), (&subject.into(), &"ready".into()));
    }
    let listed =
        |query: &str| bearerd.control("GET", &format!("/v1/credentials/me/subjects{query}"), b"").json();
    let names = |listed: &Value| -> Vec<String> {
        let subjects = listed["subjects"].as_array().expect("a list").iter();
        subjects.map(|subject| subject["subject"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&listed("")), ["alice", "bob/1"]);
    let first = listed("?limit=1");
    assert_eq!((names(&first), &first["next"]), (vec!["alice".to_owned()], &"alice".into()));
    assert_eq!(names(&listed("?after=alice")), ["bob/1"]);
    assert_eq!(bearerd.credential("me")["state"], "login_required", "nobody logged the credential itself in");

    assert_eq!(bearerd.control("DELETE", "/v1/credentials/me/subjects/bob%2F1", b"").status(), 202);
    assert_eq!(names(&listed("")), ["alice"]);
    let logout = json!({"subject": "alice"}).to_string();
    assert_eq!(bearerd.control("POST", "/v1/credentials/me/logout", logout.as_bytes()).status(), 202);
    assert!(names(&listed("")).is_empty());
}

#[test]
fn a_code_is_bound_to_the_key_of_the_tokens() {
    let person = Person::new();
    person.book().answer.insert("token_type".to_owned(), "DPoP".into());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem();
    let dpop = "grant = \"authorization_code\"\ndpop = { key = { file = \"dpop.pem\" } }";
    let bearerd = with(&person, dpop).file("dpop.pem", &key).start();
    let begun = authorize(&bearerd, &json!({}));
    let url = begun["url"].as_str().expect("a URL").to_owned();
    let (request, _) = person.visit(&url);
    let back = person.consent(&url);
    assert_eq!(callback(&bearerd, &json!(back)).status(), 200);
    let proof = person.requests_to("/token")[0].field("dpop").expect("a proof");
    let header =
        BASE64_URL_SAFE_NO_PAD.decode(proof.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    // Its members in the order of their names (RFC 7638, section 3).
    let jwk = &header["jwk"];
    let jwk = format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]);
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
    assert_eq!(request["dpop_jkt"], BASE64_URL_SAFE_NO_PAD.encode(thumbprint));
}

#[test]
fn the_names_of_subjects_are_told_over_tcp_to_whoever_shows_the_token() {
    let person = Person::new();
    let bearerd = code(&person);
    let begun = authorize(&bearerd, &json!({"subject": "+91 98765 43210"}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    assert_eq!(callback(&bearerd, &json!(back)).status(), 200);
    let list = "/v1/credentials/me/subjects";
    let refused = bearerd.admin().get(list);
    assert_eq!((refused.status(), &refused.json()["code"]), (401, &Value::from("unauthorized")));
    let wrong = bearerd.admin().get_with(list, "Authorization: Bearer wrong\r\n");
    assert_eq!(wrong.status(), 401);
    for open in ["/v1/credentials", "/v1/credentials/me", "/v1/overview", "/metrics"] {
        let answer = bearerd.admin().get(open);
        assert_eq!(answer.status(), 200);
        assert!(!answer.text().contains("98765"), "{open}");
    }
    assert!(bearerd.control("GET", list, b"").text().contains("98765"));
}

#[test]
fn login_prints_the_url_and_takes_what_a_person_pastes() {
    let person = Person::new();
    let bearerd = code(&person);
    let admin = bearerd.address("admin").to_string();
    let mut command = bearerd_login(&admin, &["login", "me", "--no-browser"]);
    let mut process = command.spawn().expect("the binary starts");
    let mut said = std::io::BufReader::new(process.stderr.take().expect("a pipe"));
    let url = loop {
        let mut line = String::new();
        assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).expect("a line"), 0, "it ended");
        if line.trim().starts_with("http") {
            break line.trim().to_owned();
        }
    };
    let back = person.consent(&url);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&back).finish();
    let pasted = format!("http://127.0.0.1/oauth/callback?{query}\n");
    std::io::Write::write_all(&mut process.stdin.take().expect("a pipe"), pasted.as_bytes())
        .expect("written");
    assert!(process.wait().expect("it ends").success());
    bearerd.wait_for_state("me", "ready");

    let output = bearerd_login(&admin, &["logout", "me"]).output().expect("the binary runs");
    assert!(output.status.success());
    bearerd.wait_for_state("me", "revoked");
    assert_eq!(bearerd.app().get("/api/x").json()["code"], "login_required");
}

pub fn bearerd_login(admin: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = bearerd(arguments);
    command.args(["--admin", admin]).env("BEARERD_ADMIN_TOKEN", crate::support::sidecar::ADMIN_TOKEN);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}
