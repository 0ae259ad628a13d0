use super::Template;
use crate::clock::Clock;
use crate::secret::Secret;

fn render(template: &str) -> String {
    let values = |name: &str| match name {
        "user" => Some(Secret::from("Aladdin")),
        "password" => Some(Secret::from("open sesame")),
        "parent.token" => Some(Secret::from("t1")),
        _ => None,
    };
    let template = Template::parse(template).expect(template);
    String::from_utf8(template.render(&values, &Clock::system()).expect("values").to_vec()).expect("text")
}

#[test]
fn names_functions_and_braces_are_rendered() {
    assert_eq!(render("Bearer {parent.token}"), "Bearer t1");
    assert_eq!(render(r#"Basic {base64(user, ":", password)}"#), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(render(r#"{{"a": "{user}"}}"#), r#"{"a": "Aladdin"}"#);
    // RFC 4231, test case 2, and FIPS 180-2, appendix B.1.
    assert_eq!(
        render(r#"{hmac_sha256("Jefe", "what do ya want ", "for nothing?")}"#),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(render(r#"{base64(sha256("abc"))}"#), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    assert_eq!(render("{uuid}").len(), 36);
    let now = render("{now}");
    assert!(now.len() == "2024-07-16T11:33:34.509Z".len() && now.ends_with('Z'), "{now}");
}

#[test]
fn documents_and_pem_are_taken_apart() {
    let document = r#"{"a": {"b": "text"}, "n": 7, "list": []}"#;
    let pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
    let values = |name: &str| match name {
        "document" => Some(Secret::from(document)),
        "pem" => Some(Secret::from(pem)),
        _ => Some(Secret::from("neither")),
    };
    let render = |template: &str| {
        let rendered = Template::parse(template).expect(template).render(&values, &Clock::system());
        rendered.map(|text| String::from_utf8_lossy(&text).into_owned()).map_err(|why| why.to_string())
    };
    assert_eq!(render(r#"{json(document, "/a/b")} {json(document, "/n")}"#).as_deref(), Ok("text 7"));
    assert!(render(r#"{json(document, "/c")}"#).is_err_and(|why| why.contains("nothing at its pointer")));
    assert!(render(r#"{json(document, "/list")}"#).is_err());
    assert!(render(r#"{json(other, "/c")}"#).is_err_and(|why| why.contains("is not JSON")));
    assert_eq!(render("{der(pem)}").as_deref(), Ok("abc"));
    assert_eq!(render("{hex(sha256(der(pem)))}"), render(r#"{sha256("abc")}"#));
    assert!(render("{der(other)}").is_err_and(|why| why.contains("is not PEM")));
    assert!(render(r#"{rsa_oaep(pem, "x")}"#).is_err_and(|why| why.contains("RSA public key")));
    assert!(!Template::parse(r#"{rsa_oaep(pem, "x")}"#).expect("a template").is_stable());
}

#[test]
fn mistakes_are_told_with_their_place() {
    let error = |text| Template::parse(text).expect_err(text).to_string();
    assert_eq!(error("a{b"), "`}` is missing (at character 4)");
    assert!(error("a}").starts_with("a `}` without its `{`"));
    assert!(error("{}").contains("a name"));
    assert!(error("{a.b.c}").contains("a name"));
    assert!(error("{md5(a)}").contains("no function `md5`"));
}

#[test]
fn a_name_without_a_value_is_named() {
    let template = Template::parse("{base64(nobody)}").expect("a template");
    let missing = template.render(&|_| None, &Clock::system()).expect_err("no value");
    assert_eq!(missing.to_string(), "`nobody` has no value");
    assert_eq!(template.names(), ["nobody"]);
}

#[test]
fn parameters_are_bound_at_load() {
    let template = Template::parse("{base_url}/login?{user}").expect("a template");
    let bound = template.bind(&|name| (name == "base_url").then(|| "https://a".to_owned()));
    assert_eq!(bound.literal_prefix(), "https://a/login?");
    assert_eq!(bound.names(), ["user"]);
    assert!(bound.is_stable() && !Template::parse("{now_s}").expect("a template").is_stable());
}
