//! Whether an answer says that the token is dead.
//!
//! Most say it by status. Some say it inside an answer that looks like a success: then the beginning
//! of a JSON answer is looked into, and no more of it is held than that.

use http::Method;
use serde_json::Value;

use crate::http1::{AnswerHead, Kind};
use crate::proxy::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::pointer::{self, Verdict};
use crate::route::Refusal;

/// Whether the upstream refused the token. Where the beginning of the body has to be looked into, it
/// waits for that much.
pub async fn judge(exchange: &mut Exchange, head: &AnswerHead) -> Result<bool, ProxyError> {
    if let Some(is_refused) = by_head(&exchange.route.refusal, head) {
        return Ok(is_refused);
    }
    let refusal = exchange.route.refusal.clone();
    look(exchange, &refusal.json, refusal.peek).await
}

/// Whether a refused request may be sent once more: for some, the answer has to prove that nothing was done.
pub async fn may_repeat(
    exchange: &mut Exchange,
    head: &AnswerHead,
    method: &Method,
    path: &str,
) -> Result<bool, ProxyError> {
    let refusal = exchange.route.refusal.clone();
    match &refusal.proof {
        Some(proof) if proof.is_needed(method, path) => {
            Ok(is_json(head) && look(exchange, &proof.json, refusal.peek).await?)
        }
        _ => Ok(true),
    }
}

/// Whether one of the tests holds for the beginning of the answer.
async fn look(exchange: &mut Exchange, tests: &[Test], peek: usize) -> Result<bool, ProxyError> {
    exchange.begin_answer();
    Box::pin(exchange.peek(|beginning, is_last| verdict(tests, peek, beginning, is_last))).await
}

/// Whether one of the tests holds, as soon as that is known: what is behind the first `peek` bytes is no matter.
fn verdict(tests: &[Test], peek: usize, beginning: &[u8], is_last: bool) -> Option<bool> {
    let seen = &beginning[..beginning.len().min(peek)];
    match pointer::test(seen, tests) {
        Verdict::Holds => Some(true),
        Verdict::Fails => Some(false),
        Verdict::Open => (is_last || seen.len() == peek).then_some(false),
    }
}

/// A pointer, and the values that it may point at.
type Test = (String, Vec<Value>);

/// Whether the head alone says that the token is dead; `None` if the body has to be looked into.
fn by_head(refusal: &Refusal, head: &AnswerHead) -> Option<bool> {
    let status = head.status.as_u16();
    if refusal.except.contains(&status) {
        Some(false)
    } else if refusal.status.contains(&status) {
        Some(true)
    } else if refusal.json.is_empty() || !is_json(head) {
        Some(false)
    } else {
        None
    }
}

/// A JSON answer in plain bytes.
fn is_json(head: &AnswerHead) -> bool {
    let coding = head.fields.get(Kind::ContentEncoding);
    let is_plain = coding.is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
    let kind = head.fields.get(Kind::ContentType).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    is_plain && (kind == b"application/json" || kind == b"text/json" || kind.ends_with(b"+json"))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::{by_head, is_json, verdict};
    use crate::http1::AnswerHead;
    use crate::route::Refusal;

    fn head(status: u16, fields: &[(&str, &str)]) -> AnswerHead {
        let mut head = AnswerHead::default();
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head.status = StatusCode::from_u16(status).expect("a status");
        head
    }

    #[test]
    fn a_status_decides_and_one_that_is_excepted_never_refuses() {
        let refusal = Refusal {
            status: vec![401, 419, 403],
            except: vec![403],
            json: vec![("/code".into(), vec![json!(401)])],
            ..Refusal::default()
        };
        let json = [("content-type", "application/json")];
        for (status, expected) in [(401, Some(true)), (419, Some(true)), (403, Some(false)), (200, None)] {
            assert_eq!(by_head(&refusal, &head(status, &json)), expected, "{status}");
        }
        assert_eq!(by_head(&refusal, &head(200, &[])), Some(false), "no JSON has no value to look for");
        let by_status = Refusal { json: Vec::new(), ..refusal };
        assert_eq!(by_head(&by_status, &head(200, &json)), Some(false), "nothing is looked for");
    }

    #[test]
    fn json_is_looked_into_by_its_media_type_and_only_in_plain_bytes() {
        for (kind, coding, expected) in [
            ("application/json", None, true),
            ("Application/JSON ; charset=utf-8", None, true),
            ("text/json", None, true),
            ("application/problem+json", None, true),
            ("application/json", Some("Identity"), true),
            ("application/json", Some("gzip"), false),
            ("application/jsonp", None, false),
            ("text/html", None, false),
            ("text/html;a=+json", None, false),
            ("", None, false),
        ] {
            let coding = coding.map(|coding| ("content-encoding", coding));
            let fields: Vec<_> = [("content-type", kind)].into_iter().chain(coding).collect();
            assert_eq!(is_json(&head(200, &fields)), expected, "{kind} {coding:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_body_decides_as_soon_as_it_can_and_at_the_latest_when_enough_was_seen() {
        let tests = [("/code".to_owned(), vec![json!(401)])];
        let refuses = br#"{"code":401,"#;
        for (beginning, peek, is_last, expected) in [
            (&refuses[..], 64, false, Some(true)),
            (br#"{"code":200,"#, 64, false, Some(false)),
            (br#"{"a":[1,"#, 64, false, None),
            (br#"{"a":[1,"#, 64, true, Some(false)),
            (br#"{"a":[1,"#, 8, false, Some(false)),
            (br#"{"a":[1,"#, 9, false, None),
            // What stands behind is not looked at, though it came.
            (refuses, 11, false, Some(false)),
            (refuses, 12, false, Some(true)),
        ] {
            let text = beginning.escape_ascii();
            assert_eq!(verdict(&tests, peek, beginning, is_last), expected, "{text} {peek} {is_last}");
        }
    }
}
