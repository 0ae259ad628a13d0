//! Answers whose content has to fit what they say of it.
//!
//! The content passes as it comes. What does not fit is seen with its last byte only, and that one is kept
//! back: an app reads a message that breaks off, never one that is whole.

use std::sync::Arc;

use crate::body::{BodyError, Fill};
use crate::http1::field::is_same_name;
use crate::http1::{AnswerHead, Framing};
use crate::inject::verification::{Check, Verifier};
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::exchange::Exchange;
use crate::route::Route;

/// Looks at the head of an answer, and sees to its content.
pub(super) fn begin(
    exchange: &mut Exchange,
    head: &AnswerHead,
    verifier: &Arc<Verifier>,
) -> Result<(), ProxyError> {
    let (framing, status) = (exchange.framing(), head.status);
    if framing == Framing::NONE || status.is_informational() {
        return Ok(());
    }
    // A part of a content cannot be told from a part of another one.
    if status == http::StatusCode::PARTIAL_CONTENT {
        let part = unverified("the upstream's answer is a part (206), which cannot be verified");
        return if verifier.is_required() { Err(part) } else { Ok(()) };
    }
    let name = verifier.header().as_str().as_bytes();
    let mut said = head.fields.iter().filter(|field| is_same_name(field.name, name));
    let said = match (said.next(), said.next()) {
        (Some(one), None) => one.value,
        (None, _) if !verifier.is_required() || !status.is_success() => return Ok(()),
        (None, _) => return Err(unverified("the upstream's answer does not say what its content comes to")),
        (Some(_), Some(_)) => {
            return Err(unverified("the upstream's answer says twice what its content comes to"));
        }
    };
    let check = verifier.begin(said.trim_ascii());
    let check = check.map_err(|why| unverified("the upstream's answer cannot be verified").because(why))?;
    let left = if let Framing::Length(length) = framing { Some(length) } else { None };
    let route = exchange.route.clone();
    exchange.verify(AnswerCheck { check, route, left, seen: 0, has_failed: false, is_begun: false });
    Ok(())
}

/// What is answered where it shows before the head has gone.
pub(super) fn unfit() -> ProxyError {
    unverified("the upstream's answer does not fit what it says of its content")
}

fn unverified(detail: &'static str) -> ProxyError {
    ProxyError::new(Code::AnswerUnverified, detail)
}

/// Stands at the source of an answer's content.
pub(super) struct AnswerCheck {
    check: Check,
    route: Arc<Route>,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
    /// How many of what is shown were looked at before.
    seen: usize,
    has_failed: bool,
    /// The head has gone to the app.
    is_begun: bool,
}

impl AnswerCheck {
    /// What comes next, if it may pass.
    pub(super) fn pass<'a>(&mut self, fill: Fill<'a>) -> Result<Fill<'a>, BodyError> {
        let is_whole = match &fill {
            Fill::Data(data) => {
                self.check.update(data.get(self.seen..).unwrap_or_default());
                self.seen = self.seen.max(data.len());
                self.left.is_some_and(|left| data.len() as u64 >= left)
            }
            Fill::End(_) => true,
        };
        if is_whole && !self.check.holds() {
            self.has_failed = true;
            return Err(BodyError::Unverified);
        }
        Ok(fill)
    }

    /// So many bytes of what is shown were taken.
    pub(super) fn took(&mut self, count: usize) {
        self.seen = self.seen.saturating_sub(count);
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
    }

    /// The head goes to the app: from now on there is no other answer.
    pub(super) fn begun(&mut self) {
        self.is_begun = true;
    }
}

impl Drop for AnswerCheck {
    fn drop(&mut self) {
        if self.is_begun && self.has_failed {
            let Route { spec, metrics, .. } = &*self.route;
            metrics.refused(Code::AnswerUnverified as usize);
            let code = Code::AnswerUnverified.as_str();
            let credential = spec.credential.as_str();
            tracing::warn!(route = spec.name, credential, code, "answer broken off");
        }
    }
}
