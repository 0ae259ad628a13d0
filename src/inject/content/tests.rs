use bytes::Bytes;
use http::HeaderName;
use serde_json::json;

use super::{Content, Description, Unfit};
use crate::clock::Clock;
use crate::inject::{BodyForm, BodyValue, Injection};
use crate::named::Named;
use crate::secret::Secret;
use crate::template::Template;

fn template(text: &str) -> Template {
    Template::parse(text).expect(text).over_message(&|_| false)
}

/// Puts `clientid` and `n` in.
fn injection() -> Injection {
    let body = vec![
        ("clientid".to_owned(), BodyValue::Text(template("{id}"))),
        ("n".to_owned(), BodyValue::Literal(json!(7))),
    ];
    Injection { body, ..Injection::default() }
}

fn values() -> Named<Secret> {
    [("id", Secret::from("A \"1\"&")), ("key", Secret::from("k"))].into()
}

fn read(sent: &[u8], kind: &str, injection: &Injection) -> Result<Content, Unfit> {
    let types = if kind.is_empty() { Vec::new() } else { vec![kind.as_bytes()] };
    let description = Description { types, is_encoded: false, has_meaning: true };
    Content::read(Bytes::copy_from_slice(sent), &description, injection)
}

fn sent_by(injection: &Injection, sent: &str, kind: &str) -> String {
    let content = read(sent.as_bytes(), kind, injection).expect(sent);
    let prepared = injection.prepare(&values(), &Clock::system()).expect("it renders");
    let rendered = prepared.dynamic(Some(&content)).expect("it puts something in").expect("it renders");
    String::from_utf8(rendered.content.expect("content").to_vec()).expect("text")
}

fn put(sent: &str, kind: &str) -> String {
    sent_by(&injection(), sent, kind)
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn members_are_put_in_and_no_other_byte_changes() {
    let own = r#""clientid":"A \"1\"&","n":7"#;
    for (sent, kept) in [
        ("{}", "{OWN}"),
        (" \r\n{ } ", " \r\n{OWN } "),
        (r#"{"a":1}"#, r#"{OWN,"a":1}"#),
        (
            "{ \"a\" : [1, {\"clientid\":\"x\"}] ,\n \"b\":-1.50e3 }\n",
            "{OWN, \"a\" : [1, {\"clientid\":\"x\"}] ,\n \"b\":-1.50e3 }\n",
        ),
        (r#"{"a":"\u0041\/}","é":null}"#, r#"{OWN,"a":"\u0041\/}","é":null}"#),
    ] {
        assert_eq!(put(sent, JSON), kept.replace("OWN", own), "{sent}");
    }
}

#[test]
fn what_the_app_sends_by_an_injected_name_is_taken_out_in_any_spelling() {
    let own = r#""clientid":"A \"1\"&","n":7"#;
    for (sent, kept) in [
        (r#"{"clientid":"x"}"#, "{OWN}"),
        (r#"{"clientid":{"a":[1]},"a":1,"clientid":2}"#, r#"{OWN,"a":1}"#),
        (r#"{"a":1,"CLIENTID":[],"b":2}"#, r#"{OWN,"a":1,"b":2}"#),
        (r#"{"a":1 , "client\u0069d":"}" , "b":2}"#, r#"{OWN,"a":1 , "b":2}"#),
        (r#"{"N":1,"clientid\u0000x":1,"clıentid":2,"a":1}"#, r#"{OWN,"a":1}"#),
        (r#"{"clientid" : true}"#, "{OWN}"),
    ] {
        assert_eq!(put(sent, JSON), kept.replace("OWN", own), "{sent}");
    }
}

#[test]
fn fields_of_forms_likewise() {
    let own = "clientid=A%20%221%22%26&n=7";
    for (sent, kept) in [
        ("", "OWN"),
        ("a=1", "a=1&OWN"),
        ("a=%20+b&&c", "a=%20+b&&c&OWN"),
        ("clientid=x&a=1&clientid=y", "a=1&OWN"),
        ("%63lientid=x&a=1", "a=1&OWN"),
        ("a=1&ClientID[]=x&+clientid=y&clientid%00=z", "a=1&OWN"),
        ("a=1;clientid=x&b=2", "b=2&OWN"),
        ("a=clientid", "a=clientid&OWN"),
    ] {
        assert_eq!(put(sent, FORM), kept.replace("OWN", own), "{sent}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for sent in [
        "[]",
        "1",
        "{",
        "{} {}",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "// x\n{}",
        "\u{feff}{}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        r#"{"\ud800":1}"#,
    ] {
        assert!(matches!(read(sent.as_bytes(), JSON, &injection()), Err(Unfit::Malformed(_))), "{sent}");
    }
    assert!(matches!(read(b"{\"a\":\"\xff\"}", JSON, &injection()), Err(Unfit::Malformed(_))));
    for kind in
        ["", "text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "*/*"]
    {
        assert!(matches!(read(b"{}", kind, &injection()), Err(Unfit::Kind(_))), "{kind}");
    }
    for kind in ["application/json; charset=\"UTF-8\"", "Application/LD+JSON", "text/json"] {
        assert!(read(b"{}", kind, &injection()).is_ok(), "{kind}");
    }
    let encoded = Description { types: vec![JSON.as_bytes()], is_encoded: true, has_meaning: true };
    assert!(matches!(Content::read(Bytes::new(), &encoded, &injection()), Err(Unfit::Kind(_))));
}

#[test]
fn an_empty_body_becomes_what_its_type_or_the_configuration_says() {
    let form = Injection { empty_body: BodyForm::Form, ..injection() };
    assert!(sent_by(&form, "", "").starts_with("clientid="));
    assert!(sent_by(&form, "", JSON).starts_with("{\"clientid\""));
    assert!(put("", "").starts_with('{'));
    let made = |injection: &Injection, kind| read(b"", kind, injection).expect("read").made_type();
    assert_eq!(made(&form, "").expect("made"), FORM);
    assert_eq!(made(&injection(), "").expect("made"), JSON);
    assert_eq!(made(&form, FORM), None);
    // A method that gives a content no meaning is left without one.
    let get = Description { types: Vec::new(), is_encoded: false, has_meaning: false };
    assert!(!Content::read(Bytes::new(), &get, &injection()).expect("read").takes_fields());
}

#[test]
fn a_digest_is_made_of_the_members_and_of_what_is_sent() {
    let headers = vec![(HeaderName::from_static("whole"), template("{sha256(body)}"))];
    let body =
        vec![("h".to_owned(), BodyValue::Text(template("{sha256(key, body.org, body.n, body.none)}")))];
    let injection = Injection { headers, body, ..Injection::default() };
    for (sent, kind) in [(r#"{"org":"o\u00e9","n":12}"#, JSON), ("org=o%c3%a9&n=12", FORM)] {
        let content = read(sent.as_bytes(), kind, &injection).expect(sent);
        let prepared = injection.prepare(&values(), &Clock::system()).expect("it renders");
        let rendered = prepared.dynamic(Some(&content)).expect("dynamic").expect("it renders");
        let whole = rendered.content.expect("content");
        let digest = |bytes: &[u8]| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        assert!(String::from_utf8_lossy(&whole).contains(&digest("koé12".as_bytes())), "{whole:?}");
        assert_eq!(rendered.headers[0].1, digest(&whole));
    }
    let twice = read(br#"{"org":1,"org":2}"#, JSON, &injection);
    assert!(matches!(twice, Err(Unfit::Malformed(_))));
    assert!(matches!(read(b"org=1&org=2", FORM, &injection), Err(Unfit::Malformed(_))));
}
