//! Answers of the admin listener.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::admin::session::{self, SignInError};
use crate::control;

/// An answer of the admin listener.
pub(super) type Answer = Response<AnswerBody>;

/// The body of an answer: most are whole and small, events go on for as long as somebody reads.
pub(super) enum AnswerBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// Piece by piece.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Pieces(pieces) => pieces.poll_recv(context).map(|piece| Some(Ok(Frame::data(piece?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A `Host` or `Origin` that is not ours, or a caller whose uid is not.
    CallerDenied(&'static str),
    /// A change, or a question for people's names, over TCP while no token is configured.
    NoTokenConfigured,
    /// The same without the token, or with a wrong one.
    Unauthorized,
    /// A change by a session of the console that did not come from its page.
    NotFromThePage,
    /// Too many wrong tokens; another one is looked at after so long.
    TooManyTries(Duration),
    /// Enough streams of events are open.
    TooManyStreams,
    /// The configured token cannot be read.
    TokenUnreadable(String),
    /// Nothing stands at this path, or no credential has this name.
    NotFound(String),
    /// The path has other methods.
    MethodNotAllowed(&'static str),
    /// The request itself is wrong.
    BadRequest(String),
    /// The credential cannot do that.
    Conflict(String),
    /// Not ready: the credentials that are missing, or that it drains.
    NotReady(String),
    /// A login came to nothing.
    Login(control::Refusal),
    /// The body is too long.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The configuration was not taken over, for these reasons.
    InvalidConfiguration(Vec<String>),
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Self::Unauthorized,
            SignInError::TooMany(pause) => Self::TooManyTries(pause),
        }
    }
}

impl Refusal {
    /// Status, code, title and detail, as they stand in the problem document (RFC 9457).
    fn parts(&self) -> (StatusCode, &'static str, &'static str, String) {
        let no_token = "over TCP changes, and the names of subjects, take `[admin] token`, and none is configured: add one, or listen on a Unix socket";
        match self {
            Self::CallerDenied(detail) => {
                (StatusCode::FORBIDDEN, "caller_denied", "This caller may not", (*detail).to_owned())
            }
            Self::NoTokenConfigured => {
                (StatusCode::FORBIDDEN, "no_token_configured", "Changes are off", no_token.to_owned())
            }
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The admin token is missing or wrong",
                "send it as `Authorization: Bearer TOKEN`".to_owned(),
            ),
            Self::NotFromThePage => (
                StatusCode::FORBIDDEN,
                "caller_denied",
                "This did not come from the console's page",
                format!("a change by a session carries what only its page knows, in `{}`", session::PROOF),
            ),
            Self::TooManyTries(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many wrong tokens",
                "wait a little, then sign in with the right one".to_owned(),
            ),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Enough streams of events are open",
                "`[admin] max_event_streams` says how many; `GET /v1/overview` tells the same at once"
                    .to_owned(),
            ),
            Self::TokenUnreadable(detail) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "token_unreadable",
                "The configured admin token cannot be read",
                detail.clone(),
            ),
            Self::NotFound(detail) => {
                (StatusCode::NOT_FOUND, "not_found", "There is no such thing here", detail.clone())
            }
            Self::MethodNotAllowed(methods) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This path has other methods",
                format!("it takes {methods}"),
            ),
            Self::BadRequest(detail) => {
                (StatusCode::BAD_REQUEST, "bad_request", "The request is wrong", detail.clone())
            }
            Self::Conflict(detail) => {
                (StatusCode::CONFLICT, "conflict", "This credential cannot do that", detail.clone())
            }
            Self::NotReady(detail) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", format!("not ready: {detail}"))
            }
            Self::Login(refusal) => {
                (refusal.status(), refusal.0.code(), refusal.title(), refusal.0.to_string())
            }
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is too long",
                format!("at most {} bytes", super::MAX_BODY),
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The body did not come in time",
                format!("{} s are enough", super::BODY_TIMEOUT.as_secs()),
            ),
            Self::InvalidConfiguration(problems) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_configuration",
                "The configuration was not taken over",
                format!("{} found; the old configuration stays in force", count(problems.len(), "problem")),
            ),
        }
    }

    /// The answer that says so.
    pub(super) fn answer(&self) -> Answer {
        let (status, code, title, detail) = self.parts();
        let mut document = json!({
            "type": "about:blank",
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
        });
        if let Self::InvalidConfiguration(problems) = self {
            document["problems"] = json!(problems);
        }
        let mut answer = typed(status, "application/problem+json", document.to_string() + "\n");
        match self {
            Self::Unauthorized => {
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Login(refusal) => {
                if let Some(pause) = refusal.retry_after() {
                    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause));
                }
            }
            Self::MethodNotAllowed(methods) => {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
            }
            Self::TooManyTries(pause) => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause.as_secs() + 1));
            }
            Self::TooManyStreams => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("30"));
            }
            _ => {}
        }
        answer
    }
}

/// `1 problem`, `2 problems`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    // Documents here have text keys and no values that JSON lacks, so they always serialise.
    let text = serde_json::to_string(document).unwrap_or_default() + "\n";
    typed(status, "application/json", text)
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text)
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// A body of the given media type. Nothing here may be kept by a cache or taken for another type.
pub(super) fn typed(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    described(status, media_type, AnswerBody::Whole(Full::new(body.into())))
}

/// Server-sent events.
pub(super) fn events(pieces: mpsc::Receiver<Bytes>) -> Answer {
    described(StatusCode::OK, "text/event-stream", AnswerBody::Pieces(pieces))
}

fn described(status: StatusCode, media_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
