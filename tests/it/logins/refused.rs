//! Logins that must come to nothing.

use serde_json::{Value, json};

use super::person::Person;
use super::{authorize, callback, code, with};
use crate::support::Sidecar;

/// What a callback with the right code and these changes is answered.
#[track_caller]
fn refused(bearerd: &Sidecar, person: &Person, changes: &Value) -> Value {
    let begun = authorize(bearerd, &json!({"subject": "alice"}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    let mut body = json!(back);
    for (name, value) in changes.as_object().expect("an object") {
        body[name] = value.clone();
    }
    let answer = callback(bearerd, &body);
    assert_ne!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_state_is_of_one_subject_and_one_credential_and_used_once() {
    let person = Person::new();
    let bearerd = code(&person);
    assert_eq!(refused(&bearerd, &person, &json!({"subject": "bob"}))["code"], "state_unknown");
    assert_eq!(refused(&bearerd, &person, &json!({"state": "x"}))["code"], "state_unknown");
    assert_eq!(refused(&bearerd, &person, &json!({"state": null}))["code"], "bad_request");
    assert!(person.requests_to("/token").is_empty(), "none of them cost the code");

    let begun = authorize(&bearerd, &json!({}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    assert_eq!(callback(&bearerd, &json!(back)).status(), 200);
    assert_eq!(callback(&bearerd, &json!(back)).json()["code"], "state_unknown");
    assert_eq!(person.requests_to("/token").len(), 1);
}

#[test]
fn the_issuer_of_an_answer_is_the_one_that_was_asked() {
    let person = Person::new();
    let bearerd = code(&person);
    for iss in [json!("https://evil.example"), json!(format!("{}/", person.origin())), Value::Null] {
        let said = refused(&bearerd, &person, &json!({ "iss": iss }));
        assert_eq!(said["code"], "issuer_mismatch", "{said}");
    }
    assert!(person.requests_to("/token").is_empty(), "no code goes to anybody");
}

#[test]
fn an_issuer_that_promises_nothing_need_not_name_itself() {
    let person = Person::new();
    person.book().metadata.insert("authorization_response_iss_parameter_supported".to_owned(), false.into());
    let bearerd = code(&person);
    let begun = authorize(&bearerd, &json!({}));
    let back = person.consent(begun["url"].as_str().expect("a URL"));
    assert_eq!(callback(&bearerd, &json!({"code": back["code"], "state": back["state"]})).status(), 200);
}

#[test]
fn an_error_of_the_redirect_is_told_in_words() {
    let person = Person::new();
    let bearerd = code(&person);
    let said = refused(&bearerd, &person, &json!({"code": null, "error": "access_denied"}));
    assert_eq!(said["code"], "consent_denied");
    assert!(said["detail"].as_str().expect("text").contains("said no"), "{said}");
    let said = refused(&bearerd, &person, &json!({"code": "wrong"}));
    assert_eq!(said["code"], "issuer_refused");
    let said = refused(&bearerd, &person, &json!({"code": null}));
    assert_eq!(said["code"], "bad_request");
}

#[test]
fn an_id_token_of_another_login_issuer_or_client_is_not_trusted() {
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"iss": "https://evil.example"}),
        json!({"aud": "other"}),
        json!({"exp": 1000}),
    ] {
        let person = Person::new();
        person.book().claims = claims.as_object().expect("an object").clone();
        let bearerd = code(&person);
        assert_eq!(refused(&bearerd, &person, &json!({}))["code"], "id_token_invalid", "{claims}");
        assert_eq!(bearerd.app().get("/api/x").status(), 503);
    }
}

#[test]
fn fewer_scopes_than_were_asked_for_are_warned_about() {
    let person = Person::new();
    person.book().answer.insert("scope".to_owned(), "openid".into());
    let bearerd = code(&person);
    super::log_in(&bearerd, &person);
    let warnings = bearerd.credential("me")["warnings"].to_string();
    assert!(warnings.contains("read") && warnings.contains("grant"), "{warnings}");
}

#[test]
fn logins_are_bounded_in_number() {
    let person = Person::new();
    let setup = with(&person, "grant = \"authorization_code\"").server("max_logins = 3");
    let bearerd = setup.start();
    let begin = |subject: &str| {
        let body = json!({ "subject": subject }).to_string();
        bearerd.control("POST", "/v1/credentials/me/authorize", body.as_bytes())
    };
    for subject in ["a", "b", "c"] {
        assert_eq!(begin(subject).status(), 200);
    }
    let refused = begin("d");
    assert_eq!((refused.status(), &refused.json()["code"]), (503, &Value::from("overloaded")));
    assert!(refused.field("retry-after").is_some());
    assert_eq!(bearerd.metric("bearerd_limited_total{limit=\"max_logins\"}"), 1);
    assert_eq!(bearerd.metric("bearerd_logins"), 3);
}

#[test]
fn logins_take_the_admin_token_and_come_from_no_other_page() {
    let person = Person::new();
    let bearerd = code(&person);
    for path in ["authorize", "callback", "logout"] {
        let path = format!("/v1/credentials/me/{path}");
        assert_eq!(bearerd.admin().post(&path, "{}").status(), 401);
        assert_eq!(
            bearerd.admin().request("POST", &path, "Origin: https://evil.example\r\n", b"").status(),
            403
        );
    }
    let callback = "/oauth/callback?code=a&state=b";
    assert_eq!(bearerd.admin().get(callback).status(), 400);
    assert_eq!(bearerd.admin().get_with(callback, "Sec-Fetch-Mode: no-cors\r\n").status(), 403);
    let twice = bearerd.admin().get("/oauth/callback?code=a&code=b&state=c");
    assert_eq!(twice.status(), 400);
    let unknown = bearerd.control("POST", "/v1/credentials/nobody/authorize", b"{}");
    assert_eq!(unknown.status(), 404);
}

#[test]
fn a_credential_without_a_person_has_no_login() {
    let issuer = crate::support::Issuer::start(3600);
    let bearerd = crate::support::Setup::new(&format!(
        "[credentials.me]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"c\"\nclient_auth = \"none\"\n",
        issuer.url()
    ))
    .start();
    let answer = bearerd.control("POST", "/v1/credentials/me/authorize", b"{}");
    assert_eq!((answer.status(), &answer.json()["code"]), (409, &Value::from("conflict")));
}

#[test]
fn discovered_token_endpoints_are_out_of_reach_for_apps() {
    let person = Person::new();
    let bearerd = with(&person, "grant = \"authorization_code\"").with(|rest| {
        let issuer = person.origin();
        format!("{rest}\n[routes.issuer]\npath = \"/issuer\"\nupstream = \"{issuer}\"\ncredential = \"me\"\n")
    });
    super::log_in(&bearerd, &person);
    let asked = person.requests_to("/token").len();
    bearerd.wait("the denial", || (bearerd.app().post("/issuer/device", "").status() == 403).then_some(()));
    for target in ["/issuer/token", "/issuer/Token/", "/issuer/%74oken", "/issuer/device"] {
        let answer = bearerd.app().post(target, "grant_type=client_credentials");
        assert_eq!((answer.status(), &answer.json()["code"]), (403, &Value::from("not_allowed")), "{target}");
    }
    assert_eq!(person.requests_to("/token").len(), asked);
}
