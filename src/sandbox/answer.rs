//! What a simulator answers.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

/// An answer, and what was off about the request if anything was.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    content_type: &'static str,
    fields: Vec<(&'static str, String)>,
    body: Bytes,
    complaint: Option<String>,
}

impl Answer {
    /// A JSON answer. The status is a number, since one vendor uses some that nobody else does.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// The page that a captive portal or an overloaded gateway shows in place of an answer.
    pub fn html() -> Self {
        let page = "<!doctype html><html><head><title>Sign in</title></head>\
                    <body><h1>Service temporarily unavailable</h1></body></html>\n";
        Self::new(200, "text/html", page.into())
    }

    /// A page for people.
    pub fn page(page: String) -> Self {
        Self::new(200, "text/html; charset=utf-8", page)
    }

    /// A bare status with a line of text.
    pub fn plain(status: StatusCode) -> Self {
        Self::new(status.as_u16(), "text/plain", format!("{status}\n"))
    }

    /// A file.
    pub fn file(content_type: &'static str, content: Vec<u8>) -> Self {
        let empty = Self::new(200, content_type, String::new());
        Self { body: content.into(), ..empty }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }

    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, content_type, fields: Vec::new(), body: body.into(), complaint: None }
    }

    /// Sends a browser elsewhere.
    pub fn redirect(to: &str) -> Self {
        Self::new(302, "text/plain", String::new()).with("location", to.to_owned())
    }

    /// Notes what was off about the request.
    #[must_use]
    pub fn because(mut self, complaint: impl fmt::Display) -> Self {
        self.complaint = Some(complaint.to_string());
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was off about the request, if anything was.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// The answer as it goes over the wire.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.fields {
            fields.extend(HeaderValue::try_from(value).map(|value| (HeaderName::from_static(name), value)));
        }
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
impl Answer {
    /// The body.
    pub(in crate::sandbox) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The fields, as they go over the wire.
    pub(in crate::sandbox) fn headers(&self) -> http::HeaderMap {
        self.clone().into_response().headers().clone()
    }

    /// The body as JSON.
    pub(in crate::sandbox) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }
}
