//! The JSON body of an issuer's answer.

use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::secret::Secret;

/// A parsed body, whose texts are wiped when it goes: they are tokens.
pub(in crate::credential) struct Json(Value);

impl Json {
    /// Parses a body; `None` if it is not JSON. A byte order mark before it is let pass (RFC 8259,
    /// section 8.1).
    pub(in crate::credential) fn parse(body: &Secret) -> Option<Self> {
        let bytes = body.expose();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        serde_json::from_slice(bytes).ok().map(Self)
    }

    /// The value at a JSON pointer (RFC 6901); null counts as nothing.
    pub(in crate::credential) fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The member of the top object, null or not.
    pub(in crate::credential) fn member(&self, name: &str) -> Option<&Value> {
        self.0.as_object()?.get(name)
    }

    /// The members of the top object.
    pub(super) fn members(&self) -> Option<&Map<String, Value>> {
        self.0.as_object()
    }

    /// Whether the top value is an object.
    pub(in crate::credential) fn is_object(&self) -> bool {
        self.0.is_object()
    }

    /// The error code that issuers of many habits put at the top of an answer, for messages only.
    pub(in crate::credential) fn error_code(&self) -> Option<String> {
        const NAMES: [&str; 6] = ["error", "errorcode", "error_code", "code", "responsecode", "status"];
        let members = self.0.as_object()?;
        NAMES.iter().find_map(|name| {
            let (_, value) = members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name))?;
            scalar_text(value)
        })
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text, number or boolean as text; nothing else.
pub(in crate::credential) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether two values mean the same: issuers write `200` and `"200"` as they please.
pub(in crate::credential) fn means_same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (Value::String(_), _) | (_, Value::String(_)) => {
            scalar_text(found).is_some_and(|found| scalar_text(wanted).as_ref() == Some(&found))
        }
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Json, means_same};
    use crate::secret::Secret;

    #[test]
    fn numbers_and_their_texts_mean_the_same() {
        assert!(means_same(&json!(200), &json!("200")) && means_same(&json!("200"), &json!(200)));
        assert!(means_same(&json!(200.0), &json!(200)) && means_same(&json!("true"), &json!(true)));
        assert!(!means_same(&json!(200), &json!(201)) && !means_same(&json!("x"), &json!(null)));
        assert!(!means_same(&json!([]), &json!("")));
    }

    #[test]
    fn error_codes_are_found_in_every_letter_case() {
        let code = |body: &str| Json::parse(&Secret::from(body)).expect("JSON").error_code();
        assert_eq!(code(r#"{"ErrorCode": "Unauthorized"}"#).as_deref(), Some("Unauthorized"));
        assert_eq!(code(r#"{"responseCode": 405, "x": 1}"#).as_deref(), Some("405"));
        assert_eq!(code(r#"{"message": "no"}"#), None);
        assert_eq!(code("[1]"), None);
    }

    #[test]
    fn a_byte_order_mark_is_let_pass() {
        assert!(Json::parse(&Secret::new(b"\xef\xbb\xbf{}".as_slice())).is_some_and(|json| json.is_object()));
        assert!(Json::parse(&Secret::from("<html>")).is_none());
    }
}
