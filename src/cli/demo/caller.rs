//! The app of the demo: a plain HTTP client that knows nothing of credentials.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::sandbox::Tour;

/// The app.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    address: SocketAddr,
}

/// What the app got.
#[derive(Debug, Clone)]
pub(super) struct Got {
    /// The status.
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Caller {
    /// An app that was told where to call.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Makes the ordinary call of a tour.
    pub(super) async fn make(self, tour: &Tour) -> io::Result<Got> {
        self.send(tour.method.clone(), tour.app_path, tour.body).await
    }

    /// Sends a request with a JSON body, or with none if it is empty.
    pub(super) async fn send(self, method: Method, path: &str, body: &'static str) -> io::Result<Got> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in self.fields(body) {
            request = request.header(name, value);
        }
        let request = request.body(Full::<Bytes>::from(body)).map_err(io::Error::other)?;
        let stream = TokioIo::new(TcpStream::connect(self.address).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        Ok(Got { status: head.status, headers: head.headers, body })
    }

    /// All fields that the app sends: none of them is a credential.
    pub(super) fn fields(self, body: &str) -> Vec<(header::HeaderName, String)> {
        let mut fields = vec![(header::HOST, self.address.to_string())];
        if !body.is_empty() {
            fields.push((header::CONTENT_TYPE, "application/json".into()));
        }
        fields
    }
}

impl Got {
    /// Whether the vendor gave what was asked for; some say only inside HTTP 200 that they did not.
    pub(super) fn is_success(&self) -> bool {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        self.status == StatusCode::OK && body.get("responseCode").is_none_or(|code| *code == 200)
    }

    /// Whether a value stands anywhere in the answer.
    pub(super) fn shows(&self, value: &str) -> bool {
        let within = |bytes: &[u8]| memchr::memmem::find(bytes, value.as_bytes()).is_some();
        within(&self.body) || self.headers.values().any(|field| within(field.as_bytes()))
    }

    /// Status and the beginning of the body, on one line.
    pub(super) fn summary(&self) -> String {
        const WIDTH: usize = 60;
        let body = String::from_utf8_lossy(&self.body);
        let line: String = body.chars().filter(|character| !character.is_control()).take(WIDTH).collect();
        let rest = if body.chars().count() > WIDTH { "…" } else { "" };
        format!("{} {line}{rest}", self.status.as_u16())
    }
}
