//! Whether an answer says that the token is dead.
//!
//! Most say it by status. Some say it inside an answer that looks like a success: then the beginning
//! of a JSON answer is looked into, and no more of it is held than that.

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use crate::body::Source;
use crate::http1::{AnswerHead, Kind};
use crate::proxy::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::pointer::{self, Verdict};
use crate::route::Refusal;

/// An answer of which nothing has gone to the app yet.
pub(super) trait Pending {
    /// What the route takes for a refusal.
    fn refusal(&self) -> &Arc<Refusal>;

    /// Shows `judge` the beginning of the content, as far as it has come, and whether that is all, until it knows.
    async fn look(&mut self, judge: impl FnMut(&[u8], bool) -> Option<bool>) -> Result<bool, ProxyError>;
}

/// The answer of an exchange, and who sends the rest of its request.
pub(super) struct Answered<'a, S> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) caller: &'a mut S,
}

impl<S: Source> Pending for Answered<'_, S> {
    fn refusal(&self) -> &Arc<Refusal> {
        &self.exchange.route.refusal
    }

    async fn look(&mut self, judge: impl FnMut(&[u8], bool) -> Option<bool>) -> Result<bool, ProxyError> {
        self.exchange.begin_answer();
        Box::pin(self.exchange.peek(self.caller, judge)).await
    }
}

/// Whether the upstream refused the token. Where the beginning of the body has to be looked into, it
/// waits for that much.
pub(super) async fn judge(answer: &mut impl Pending, head: &AnswerHead) -> Result<bool, ProxyError> {
    if let Some(is_refused) = by_head(answer.refusal(), head) {
        return Ok(is_refused);
    }
    let refusal = Arc::clone(answer.refusal());
    answer.look(|beginning, is_last| verdict(&refusal.json, refusal.peek, beginning, is_last)).await
}

/// Whether a refused request may be sent once more: for some, the answer has to prove that nothing was done.
pub(super) async fn may_repeat(
    answer: &mut impl Pending,
    head: &AnswerHead,
    method: &Method,
    path: &str,
) -> Result<bool, ProxyError> {
    let refusal = Arc::clone(answer.refusal());
    let Some(proof) = refusal.proof.as_ref().filter(|proof| proof.is_needed(method, path)) else {
        return Ok(true);
    };
    if !is_json(head) {
        return Ok(false);
    }
    answer.look(|beginning, is_last| verdict(&proof.json, refusal.peek, beginning, is_last)).await
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
    use std::sync::Arc;

    use http::{Method, StatusCode};
    use serde_json::json;

    use super::{Pending, by_head, is_json, judge, may_repeat, verdict};
    use crate::http1::AnswerHead;
    use crate::proxy::ProxyError;
    use crate::route::{AllowRule, Proof, Refusal};

    /// An answer whose content comes in two pieces.
    struct Told {
        refusal: Arc<Refusal>,
        content: &'static str,
        is_seen: bool,
    }

    impl Pending for Told {
        fn refusal(&self) -> &Arc<Refusal> {
            &self.refusal
        }

        async fn look(
            &mut self,
            mut judge: impl FnMut(&[u8], bool) -> Option<bool>,
        ) -> Result<bool, ProxyError> {
            self.is_seen = true;
            let content = self.content.as_bytes();
            let verdict = judge(&content[..content.len() / 2], false).or_else(|| judge(content, true));
            Ok(verdict.expect("what has come to its end is known"))
        }
    }

    const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
    const TEXT: [(&str, &str); 1] = [("content-type", "text/plain")];

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

    #[tokio::test]
    async fn content_refuses_where_the_head_leaves_it_open_and_is_not_waited_for_where_it_does_not() {
        let refusal =
            Arc::new(Refusal { json: vec![("/code".into(), vec![json!(401)])], ..Refusal::default() });
        for (status, fields, content, expected, is_seen) in [
            (200, JSON, r#"{"data":[1,2,3],"code":401}"#, true, true),
            (200, JSON, r#"{"data":[1,2,3],"code":200}"#, false, true),
            (200, JSON, r#"{"data":[1,2,3]}"#, false, true),
            (200, TEXT, r#"{"data":[1,2,3],"code":401}"#, false, false),
            (401, JSON, r#"{"data":[1,2,3],"code":200}"#, true, false),
        ] {
            let mut told = Told { refusal: Arc::clone(&refusal), content, is_seen: false };
            let refuses = judge(&mut told, &head(status, &fields)).await.expect("it came");
            assert_eq!((refuses, told.is_seen), (expected, is_seen), "{status} {fields:?} {content}");
        }
    }

    #[tokio::test]
    async fn a_refused_request_is_repeated_but_for_those_that_need_a_proof_which_only_json_gives() {
        let rule = AllowRule { method: Some(Method::POST), pattern: "/pay".into() };
        let proof = Proof { requests: vec![rule], json: vec![("/done".into(), vec![json!(false)])] };
        let with_proof = Arc::new(Refusal { proof: Some(proof), ..Refusal::default() });
        let without = Arc::new(Refusal::default());
        let (proves, says_nothing) = (r#"{"why":"the token is dead","done":false}"#, r#"{"done":true}"#);
        for (refusal, method, path, fields, content, expected, is_seen) in [
            (&with_proof, Method::POST, "/pay", JSON, proves, true, true),
            (&with_proof, Method::POST, "/pay", JSON, says_nothing, false, true),
            (&with_proof, Method::POST, "/pay", TEXT, proves, false, false),
            (&with_proof, Method::POST, "/see", TEXT, says_nothing, true, false),
            (&with_proof, Method::GET, "/pay", TEXT, says_nothing, true, false),
            (&without, Method::POST, "/pay", JSON, says_nothing, true, false),
        ] {
            let mut told = Told { refusal: Arc::clone(refusal), content, is_seen: false };
            let repeats = may_repeat(&mut told, &head(401, &fields), &method, path).await.expect("it came");
            assert_eq!((repeats, told.is_seen), (expected, is_seen), "{method} {path} {fields:?} {content}");
        }
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
