//! A request as a simulator received it, read strictly.
//!
//! The readers return what is off as text; each vendor wraps that in its own error answer. Values
//! are never part of such a text, since they may be passwords.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use serde_json::{Map, Value};

/// A whole request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// All fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The address that it came from.
    pub from: IpAddr,
}

impl Received {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The only value of a field.
    pub fn field(&self, name: &str) -> Result<&str, String> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_err(|_| format!("field `{name}` is not plain text")),
            (None, _) => Err(format!("field `{name}` is missing")),
            (Some(_), Some(_)) => Err(format!("field `{name}` was sent more than once")),
        }
    }

    /// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
    pub fn bearer(&self) -> Result<&str, String> {
        self.field("authorization")?
            .strip_prefix("Bearer ")
            .ok_or_else(|| String::from("`Authorization` does not start with `Bearer `"))
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get(header::COOKIE)?.to_str().ok()?;
        cookies.split("; ").find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Refuses an `Authorization` field where none belongs.
    pub fn without_authorization(&self) -> Result<(), String> {
        if self.headers.contains_key(header::AUTHORIZATION) {
            return Err("`Authorization` does not belong on this request".into());
        }
        Ok(())
    }

    /// A JSON object with all of the `required` and, beside them, at most the `optional` members.
    pub fn json(&self, required: &[&str], optional: &[&str]) -> Result<Map<String, Value>, String> {
        self.has_media_type("application/json")?;
        let Ok(Value::Object(members)) = serde_json::from_slice(&self.body) else {
            return Err("the body is not a JSON object".into());
        };
        names_are(members.keys().map(String::as_str), required, optional)?;
        Ok(members)
    }

    /// Form fields: all of the `required`, at most the `optional` beside them, each one once.
    pub fn form(&self, required: &[&str], optional: &[&str]) -> Result<BTreeMap<String, String>, String> {
        self.has_media_type("application/x-www-form-urlencoded")?;
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&self.body).into_owned() {
            if fields.insert(name.clone(), value).is_some() {
                return Err(format!("`{name}` was sent more than once"));
            }
        }
        names_are(fields.keys().map(String::as_str), required, optional)?;
        Ok(fields)
    }

    fn has_media_type(&self, expected: &str) -> Result<(), String> {
        if self.target.query().is_some() {
            return Err("this endpoint takes no query".into());
        }
        let sent = self.field("content-type")?;
        let (media_type, parameter) = sent.split_once(';').unwrap_or((sent, "charset=utf-8"));
        if media_type.eq_ignore_ascii_case(expected) && parameter.trim().eq_ignore_ascii_case("charset=utf-8")
        {
            return Ok(());
        }
        Err(format!("`Content-Type` is not `{expected}`"))
    }
}

fn names_are<'a>(
    sent: impl Iterator<Item = &'a str>,
    required: &[&str],
    optional: &[&str],
) -> Result<(), String> {
    let mut missing: Vec<&str> = required.to_vec();
    for name in sent {
        missing.retain(|required| *required != name);
        if !required.contains(&name) && !optional.contains(&name) {
            return Err(format!("`{name}` does not belong in the body"));
        }
    }
    match missing.first() {
        Some(name) => Err(format!("`{name}` is missing in the body")),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, HeaderName};
    use serde_json::Value;

    use super::Received;

    /// A request to build on.
    pub(in crate::sandbox) fn request(method: &str, target: &str) -> Received {
        Received {
            method: method.parse().expect("a method"),
            target: target.parse().expect("a target"),
            headers: HeaderMap::new(),
            body: Vec::new().into(),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    impl Received {
        pub(in crate::sandbox) fn with(mut self, name: &'static str, value: &str) -> Self {
            self.headers.append(HeaderName::from_static(name), value.parse().expect("a field value"));
            self
        }

        pub(in crate::sandbox) fn with_bearer(self, token: &Value) -> Self {
            self.with("authorization", &format!("Bearer {}", token.as_str().expect("a token")))
        }

        pub(in crate::sandbox) fn posting_form(self, body: &str) -> Self {
            self.holding("application/x-www-form-urlencoded", body)
        }

        pub(in crate::sandbox) fn posting_json(self, body: &Value) -> Self {
            self.holding("application/json", &body.to_string())
        }

        fn holding(mut self, media_type: &str, body: &str) -> Self {
            self.body = body.to_owned().into();
            self.with("content-type", media_type)
        }
    }

    fn posted(media_type: &'static str, body: &'static str) -> Received {
        request("POST", "/login").holding(media_type, body)
    }

    #[test]
    fn a_form_has_exactly_the_named_fields_each_once() {
        let form =
            |body| posted("application/x-www-form-urlencoded", body).form(&["id", "secret"], &["scope"]);
        assert_eq!(form("id=a&secret=b%26c").expect("whole")["secret"], "b&c");
        assert!(form("id=a&secret=b&scope=").is_ok());
        assert_eq!(form("id=a"), Err("`secret` is missing in the body".into()));
        assert_eq!(form("id=a&secret=b&id=c"), Err("`id` was sent more than once".into()));
        assert_eq!(
            form("id=a&secret=b&grant_type=x"),
            Err("`grant_type` does not belong in the body".into())
        );
    }

    #[test]
    fn a_json_body_is_an_object_of_the_right_media_type() {
        let json = |content_type, body| posted(content_type, body).json(&["id"], &[]);
        assert!(json("application/json", r#"{"id":1}"#).is_ok());
        assert!(json("application/json; charset=UTF-8", r#"{"id":1}"#).is_ok());
        assert_eq!(json("application/json", "[1]"), Err("the body is not a JSON object".into()));
        for wrong in ["text/plain", "application/json; charset=latin1", "application/jsonp"] {
            assert_eq!(
                json(wrong, r#"{"id":1}"#),
                Err("`Content-Type` is not `application/json`".into()),
                "{wrong}"
            );
        }
    }
}
