//! One request to an issuer on a connection of its own, and its whole answer.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::secret::Secret;
use crate::upstream::Url;
use crate::upstream::connect::{ConnectError, Connector};

/// What is asked of an issuer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Header fields; `host` and `content-length` are added, `accept` and `user-agent` where they
    /// are missing.
    pub headers: HeaderMap,
    /// The body; `None` sends none.
    pub body: Option<Secret>,
}

/// How long an exchange may take, and how much it may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the connection to stand.
    pub connect: Duration,
    /// For the whole exchange.
    pub whole: Duration,
    /// Bytes of the answer's body.
    pub body: usize,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body as it came, no coding removed.
    pub body: Secret,
}

/// Why there is no answer. The message is for people and names the origin only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeError {
    /// What happened.
    pub message: String,
    /// Whether any byte of the request may have left: the issuer may have acted on it.
    pub sent: bool,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ExchangeError {}

impl From<ConnectError> for ExchangeError {
    fn from(error: ConnectError) -> Self {
        Self { message: error.to_string(), sent: false }
    }
}

/// Sends `request` and waits for the whole answer.
pub async fn exchange(
    connector: &Connector,
    url: &Url,
    request: Request,
    limits: Limits,
) -> Result<Answer, ExchangeError> {
    let _ = request;
    connector.connect(&url.origin, limits.connect).await?;
    Err(ExchangeError { message: "the exchange is not built yet".to_owned(), sent: true })
}
