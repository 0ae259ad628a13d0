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
    let verdict = |beginning: &[u8], is_last: bool| {
        let beginning = &beginning[..beginning.len().min(peek)];
        let verdict = pointer::test(beginning, tests);
        let is_known = verdict != Verdict::Open || is_last || beginning.len() >= peek;
        is_known.then_some(verdict == Verdict::Holds)
    };
    Box::pin(exchange.peek(verdict)).await
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
