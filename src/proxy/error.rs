//! Errors that bearerd answers with: one table from code to status, title and RFC 9209 type.
//!
//! What the app reads (RFC 9457) says what it can do; what the log reads says what happened inside.
//! A 401 is never among them: that is always the upstream's own.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response, StatusCode};

use crate::credential::State;
use crate::credential::slot::Unavailable;
use crate::route::RouteSpec;

/// What went wrong, as `code` names it in answers and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No route takes this host and path.
    NoRoute,
    /// Two servers could read the path in two ways.
    PathAmbiguous,
    /// The route does not allow this, or it leads to a token endpoint.
    NotAllowed,
    /// The caller may not call: another user, another site, a host that is not the listener's.
    CallerDenied,
    /// There is no usable token, and none came in time.
    CredentialUnavailable,
    /// The issuer refused the input.
    CredentialRejected,
    /// A person must log in.
    LoginRequired,
    /// No connection to the upstream.
    UpstreamConnect,
    /// No TLS with the upstream.
    UpstreamTls,
    /// The upstream broke off, or does not speak HTTP.
    UpstreamProtocol,
    /// The upstream did not take the connection, or did not answer, in time.
    UpstreamTimeout,
    /// The request came through this bearerd before.
    Loop,
    /// The request body is longer than the route takes.
    TooLarge,
    /// The request head is longer than the listener takes.
    HeadTooLarge,
    /// There is no room for another request.
    Overloaded,
    /// The request is malformed.
    BadRequest,
    /// CONNECT, TRACE or an unknown form of target.
    MethodNotAllowed,
    /// The request came too slowly.
    RequestTimeout,
    /// The request target is longer than the listener takes.
    TargetTooLong,
    /// More requests than the route's `rate`.
    RateLimited,
    /// The request does not say for whom it is.
    SubjectMissing,
    /// The answer holds a secret, or a token, or nobody can tell.
    LeakBlocked,
    /// Connections leave from another address than the one that the token is bound to.
    WrongAddress,
    /// Something is put into the body, and it is of a type or coding for which nobody can.
    BodyUnsupported,
    /// The answer does not fit what it says of its content.
    AnswerUnverified,
}

/// One line of the table.
struct Line {
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    /// The error type of RFC 9209, section 2.3.
    kind: &'static str,
}

impl Code {
    /// All codes, in the order of the table.
    pub const ALL: [Self; 25] = [
        Self::NoRoute,
        Self::PathAmbiguous,
        Self::NotAllowed,
        Self::CallerDenied,
        Self::CredentialUnavailable,
        Self::CredentialRejected,
        Self::LoginRequired,
        Self::UpstreamConnect,
        Self::UpstreamTls,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
        Self::Loop,
        Self::TooLarge,
        Self::HeadTooLarge,
        Self::Overloaded,
        Self::BadRequest,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TargetTooLong,
        Self::RateLimited,
        Self::SubjectMissing,
        Self::LeakBlocked,
        Self::WrongAddress,
        Self::BodyUnsupported,
        Self::AnswerUnverified,
    ];

    const fn line(self) -> Line {
        let (name, status, title, kind) = match self {
            Self::NoRoute => {
                ("no_route", StatusCode::NOT_FOUND, "No route takes this request", "destination_not_found")
            }
            Self::PathAmbiguous => (
                "path_ambiguous",
                StatusCode::BAD_REQUEST,
                "The path can be read in two ways",
                "http_request_error",
            ),
            Self::NotAllowed => {
                ("not_allowed", StatusCode::FORBIDDEN, "The route does not allow this", "http_request_denied")
            }
            Self::CallerDenied => {
                ("caller_denied", StatusCode::FORBIDDEN, "This caller may not call", "http_request_denied")
            }
            Self::CredentialUnavailable => (
                "credential_unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "There is no usable token now",
                "proxy_internal_response",
            ),
            Self::CredentialRejected => (
                "credential_rejected",
                StatusCode::SERVICE_UNAVAILABLE,
                "The issuer refused the credential's input",
                "proxy_configuration_error",
            ),
            Self::LoginRequired => (
                "login_required",
                StatusCode::SERVICE_UNAVAILABLE,
                "A person must log in",
                "proxy_configuration_error",
            ),
            Self::UpstreamConnect => (
                "upstream_connect",
                StatusCode::BAD_GATEWAY,
                "The upstream cannot be reached",
                "destination_unavailable",
            ),
            Self::UpstreamTls => (
                "upstream_tls",
                StatusCode::BAD_GATEWAY,
                "There is no trusted connection to the upstream",
                "tls_protocol_error",
            ),
            Self::UpstreamProtocol => (
                "upstream_protocol",
                StatusCode::BAD_GATEWAY,
                "The upstream did not answer in HTTP",
                "http_protocol_error",
            ),
            Self::UpstreamTimeout => (
                "upstream_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "The upstream did not answer in time",
                "http_response_timeout",
            ),
            Self::Loop => {
                ("loop", StatusCode::LOOP_DETECTED, "The request goes in a circle", "proxy_loop_detected")
            }
            Self::TooLarge => (
                "too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request body is too large",
                "http_request_error",
            ),
            Self::HeadTooLarge => (
                "too_large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request head is too large",
                "http_request_error",
            ),
            Self::Overloaded => (
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "There is no room for this request now",
                "connection_limit_reached",
            ),
            Self::BadRequest => {
                ("bad_request", StatusCode::BAD_REQUEST, "The request is malformed", "http_request_error")
            }
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "This method is not forwarded",
                "http_request_error",
            ),
            Self::RequestTimeout => (
                "request_timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The request came too slowly",
                "http_request_error",
            ),
            Self::TargetTooLong => (
                "target_too_long",
                StatusCode::URI_TOO_LONG,
                "The request target is too long",
                "http_request_error",
            ),
            Self::RateLimited => {
                ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests", "http_request_denied")
            }
            Self::SubjectMissing => (
                "subject_missing",
                StatusCode::BAD_REQUEST,
                "The request does not say for whom it is",
                "http_request_error",
            ),
            Self::LeakBlocked => (
                "leak_blocked",
                StatusCode::BAD_GATEWAY,
                "The answer would show a secret",
                "http_response_incomplete",
            ),
            Self::WrongAddress => (
                "wrong_address",
                StatusCode::SERVICE_UNAVAILABLE,
                "Connections leave from an address that the token is not bound to",
                "proxy_configuration_error",
            ),
            Self::BodyUnsupported => (
                "body_unsupported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Nothing can be put into a body of this kind",
                "http_request_error",
            ),
            Self::AnswerUnverified => (
                "answer_unverified",
                StatusCode::BAD_GATEWAY,
                "The answer does not fit its digest",
                "http_response_incomplete",
            ),
        };
        Line { name, status, title, kind }
    }

    /// The code in answers and metrics; head and body that are too large share one.
    pub fn as_str(self) -> &'static str {
        self.line().name
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        self.line().status
    }

    /// A short title for people, the same at each occurrence.
    pub fn title(self) -> &'static str {
        self.line().title
    }

    /// The error type of RFC 9209, section 2.3.
    pub fn kind(self) -> &'static str {
        self.line().kind
    }
}

/// An error that bearerd answers with.
#[derive(Debug, Clone)]
pub struct ProxyError {
    /// What went wrong.
    pub code: Code,
    /// What the app may know about this occurrence.
    pub detail: Cow<'static, str>,
    /// What only the log may know: hosts, addresses, the system's words.
    pub cause: Option<String>,
    /// When to try again, for 503 and 429.
    pub retry_after: Option<Duration>,
    /// The connection to the app is closed after the answer.
    pub close: bool,
    /// Whose token is missing, where the route has subjects.
    pub subject: Option<Box<str>>,
    /// The error type of RFC 9209, where it is more exact than the code's own.
    kind: Option<&'static str>,
}

/// Whether waiting helps.
fn without_a_token(why: &Unavailable) -> String {
    match why.retry_after {
        Some(pause) if !why.running => {
            let pause = Duration::from_secs(pause.as_secs().max(1));
            format!("there is no usable token; the next try to obtain one is in {pause:?}")
        }
        _ => "there is no usable token; it is being obtained".to_owned(),
    }
}

/// How a person may log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// Where the app may send its user's browser; it counts for 10 minutes.
    pub url: Option<String>,
    /// Where the app asks for the link to send its user to, on a listener with `control = true`.
    pub path: Option<String>,
}

impl ProxyError {
    /// An error with what the app may know about it.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { code, detail, cause: None, retry_after: None, close: false, subject: None, kind: None }
    }

    /// There is no token, for this reason.
    pub fn unavailable(why: &Unavailable) -> Self {
        let (code, detail): (_, Cow<'static, str>) = match why.state {
            State::Rejected => (
                Code::CredentialRejected,
                "the issuer refused the credential's input; `bearerd status` says what to do".into(),
            ),
            State::LoginRequired => {
                (Code::LoginRequired, "a person must log in; `bearerd status` says where".into())
            }
            State::Revoked => {
                let detail = "there was a logout; `bearerd login` brings a new token, or `bearerd refresh` \
                              where nobody has to log in";
                (Code::LoginRequired, detail.into())
            }
            _ => (Code::CredentialUnavailable, without_a_token(why).into()),
        };
        let error = Self { retry_after: why.retry_after, ..Self::new(code, detail) };
        Self { cause: why.last_error.clone(), ..error }
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Says the error type of RFC 9209, section 2.3, where it is more exact than the code's own.
    #[must_use]
    pub fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Says whose token is missing.
    #[must_use]
    pub fn of_subject(mut self, subject: Option<&str>) -> Self {
        self.subject = subject.map(Into::into);
        self
    }

    /// Closes the connection to the app after the answer: its framing is not to be trusted, or the
    /// rest of the request is not worth reading.
    #[must_use]
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }
}

impl ProxyError {
    /// The answer's head and body: a problem document (RFC 9457) and `Proxy-Status` (RFC 9209).
    pub fn response(&self, route: Option<&RouteSpec>, login: Option<&Login>) -> Response<Bytes> {
        let code = self.code.as_str();
        let mut document = serde_json::json!({
            "type": format!("urn:bearerd:error:{code}"),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": self.detail,
            "code": code,
        });
        if let Some(route) = route {
            document["route"] = (&*route.name).into();
            document["credential"] = route.credential.as_str().into();
        }
        if let Some(subject) = &self.subject {
            document["subject"] = (**subject).into();
        }
        if let Some(login) = login {
            for (name, value) in [("login", &login.path), ("login_url", &login.url)] {
                if let Some(value) = value {
                    document[name] = value.as_str().into();
                }
            }
        }
        let mut response = Response::new(Bytes::from(document.to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let status = format!("bearerd; error={}; details=\"{code}\"", self.kind.unwrap_or(self.code.kind()));
        if let Ok(value) = HeaderValue::try_from(status) {
            headers.insert(HeaderName::from_static("proxy-status"), value);
        }
        if let Some(pause) = self.pause() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(pause));
        }
        if self.code == Code::MethodNotAllowed {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whole seconds until the next try; always said with 503 and 429.
    fn pause(&self) -> Option<u64> {
        let is_pausing =
            matches!(self.code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let seconds = self.retry_after.map(|pause| pause.as_secs_f64().ceil().max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hours at most")]
        let seconds = seconds.map(|seconds| seconds as u64);
        is_pausing.then(|| seconds.unwrap_or(DEFAULT_PAUSE))
    }
}

/// `Retry-After` in seconds where nobody knows when to try again: a person has to act first.
const DEFAULT_PAUSE: u64 = 30;

impl fmt::Display for ProxyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(formatter, " ({cause})"))
    }
}

impl std::error::Error for ProxyError {}
