//! Whether an answer says that the token is dead.
//!
//! Most say it by status. Some say it inside an answer that looks like a success: then the beginning
//! of a JSON answer is looked into, and no more of it is held than that.

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
    exchange.begin_answer();
    let verdict = |beginning: &[u8], is_last: bool| {
        let beginning = &beginning[..beginning.len().min(refusal.peek)];
        let verdict = pointer::test(beginning, &refusal.json);
        let is_known = verdict != Verdict::Open || is_last || beginning.len() >= refusal.peek;
        is_known.then_some(verdict == Verdict::Holds)
    };
    Box::pin(exchange.peek(verdict)).await
}

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
