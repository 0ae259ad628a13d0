//! Devices and one-time passwords.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use super::person::Person;
use super::{authorize, callback, with};

#[test]
fn a_device_is_polled_for_until_the_person_has_consented() {
    let person = Person::new();
    person.book().errors = vec!["authorization_pending", "authorization_pending"];
    let bearerd = with(&person, "grant = \"device_code\"").start();
    let begun = authorize(&bearerd, &json!({}));
    assert_eq!(begun["user_code"], "WDJB-MJHT");
    assert_eq!(begun["verification_uri"], format!("{}/d", person.origin()));
    assert_eq!(begun["verification_uri_complete"], format!("{}/d?c=WDJB-MJHT", person.origin()));
    assert_eq!(begun["expires_in"], 300);
    let state = begun["state"].as_str().expect("a state");
    let path = format!("/v1/credentials/me/authorize?state={state}");
    let early = callback(&bearerd, &json!({"code": "x", "state": state}));
    assert_eq!(early.json()["code"], "state_unknown", "a device's login is ended by the device alone");
    let ended = bearerd.wait("the end of the login", || {
        Some(bearerd.admin().get(&path).json()).filter(|said| said["outcome"] != "pending")
    });
    assert_eq!(ended["outcome"], "ok", "{ended}");
    assert_eq!(bearerd.app().get("/api/x").text(), "hello");
    assert_eq!(person.requests_to("/token").len(), 3);
}

#[test]
fn a_refused_device_is_told_to_whoever_waits() {
    let person = Person::new();
    person.book().errors = vec!["authorization_pending", "access_denied"];
    let bearerd = with(&person, "grant = \"device_code\"").start();
    let begun = authorize(&bearerd, &json!({}));
    let path =
        format!("/v1/credentials/me/authorize?wait=true&state={}", begun["state"].as_str().expect("text"));
    let ended = bearerd.admin().get(&path).json();
    assert_eq!((&ended["outcome"], &ended["code"]), (&"failed".into(), &"consent_denied".into()), "{ended}");
}

#[test]
fn login_prints_the_devices_code_and_waits() {
    let person = Person::new();
    person.book().errors = vec!["authorization_pending"];
    let bearerd = with(&person, "grant = \"device_code\"").start();
    let admin = bearerd.address("admin").to_string();
    let output = super::browser::bearerd_login(&admin, &["login", "me"]).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("WDJB-MJHT") && said.contains("/d\n"), "{said}");
}

const OTP: &str = "grant = \"device_code\"\n\
                   otp = { body = \"json\", params = { response_type = \"device_code\" }, asks = { mobile = \"dl_mobile\", \
                   username = \"dl_username\" }, shows = { masked_mobile = \"/masked\" }, field = \"dl_otp\" }";

#[test]
fn a_one_time_password_is_sent_to_whom_the_login_names_and_redeemed() {
    let person = Person::new();
    person.book().otp = Some("123456".to_owned());
    let bearerd = with(&person, OTP).start();
    for wrong in
        [json!({}), json!({"mobile": "1", "username": "2"}), json!({"mobile": ""}), json!({"mobile": []})]
    {
        let answer = bearerd.control("POST", "/v1/credentials/me/authorize", wrong.to_string().as_bytes());
        assert_eq!((answer.status(), &answer.json()["code"]), (400, &Value::from("bad_request")), "{wrong}");
    }
    let begun = authorize(&bearerd, &json!({"mobile": "9876543210"}));
    assert_eq!(begun["masked_mobile"], "XXXXXX1234");
    let request = &person.requests_to("/device")[0];
    assert_eq!(
        request.json(),
        json!({"client_id": "app", "response_type": "device_code", "dl_mobile": "9876543210"})
    );
    let wrong = callback(&bearerd, &json!({"otp": "000000", "state": begun["state"]}));
    assert_eq!((wrong.status(), &wrong.json()["code"]), (400, &Value::from("wrong_password")));
    let right = callback(&bearerd, &json!({"otp": "123456", "state": begun["state"]}));
    assert_eq!(right.status(), 200, "{}", right.text());
    assert_eq!(bearerd.app().get("/api/x").text(), "hello");
}

#[test]
fn three_wrong_passwords_end_a_login() {
    let person = Person::new();
    person.book().otp = Some("123456".to_owned());
    let bearerd = with(&person, OTP).start();
    let begun = authorize(&bearerd, &json!({"mobile": "9876543210"}));
    let codes: Vec<Value> = (0..4)
        .map(|_| callback(&bearerd, &json!({"otp": "1", "state": begun["state"]})).json()["code"].clone())
        .collect();
    assert_eq!(codes, ["wrong_password", "wrong_password", "wrong_password", "state_unknown"]);
    assert_eq!(person.requests_to("/token").len(), 3);
}

#[test]
fn login_asks_for_the_password() {
    let person = Person::new();
    person.book().otp = Some("123456".to_owned());
    let bearerd = with(&person, OTP).start();
    let admin = bearerd.address("admin").to_string();
    let mut process = super::browser::bearerd_login(&admin, &["login", "me", "--with", "mobile=9876543210"])
        .spawn()
        .expect("the binary starts");
    let mut said = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert!(line.contains("XXXXXX1234"), "{line}");
    process.stdin.take().expect("a pipe").write_all(b"123456\n").expect("written");
    assert!(process.wait().expect("it ends").success());
    bearerd.wait_for_state("me", "ready");
}
