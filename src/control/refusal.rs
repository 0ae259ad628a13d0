//! Why a login was refused, as status and problem document (RFC 9457).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::credential::consent::ConsentError;

/// When to try again where there is no room: the oldest logins end in this time.
const PAUSE: Duration = Duration::from_secs(60);

/// Why a login was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub ConsentError);

impl From<ConsentError> for Refusal {
    fn from(error: ConsentError) -> Self {
        Self(error)
    }
}

impl Refusal {
    /// The status of the answer. It is never a 401: that an upstream alone says.
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            ConsentError::UnknownCredential => StatusCode::NOT_FOUND,
            ConsentError::NotInteractive | ConsentError::Misconfigured(_) | ConsentError::Reconfigured => {
                StatusCode::CONFLICT
            }
            ConsentError::BadRequest(_)
            | ConsentError::UnknownState
            | ConsentError::IssuerMismatch(_)
            | ConsentError::WrongPassword { .. }
            | ConsentError::TooLate
            | ConsentError::Abandoned => StatusCode::BAD_REQUEST,
            ConsentError::Denied(_) => StatusCode::FORBIDDEN,
            ConsentError::Refused(_)
            | ConsentError::Unusable(_)
            | ConsentError::IdToken(_)
            | ConsentError::Unavailable(_) => StatusCode::BAD_GATEWAY,
            ConsentError::Full | ConsentError::Local(_) | ConsentError::Ending => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// A short title, the same at each occurrence.
    pub fn title(&self) -> &'static str {
        match &self.0 {
            ConsentError::UnknownCredential => "There is no such thing here",
            ConsentError::NotInteractive | ConsentError::Misconfigured(_) | ConsentError::Reconfigured => {
                "This credential cannot do that"
            }
            ConsentError::BadRequest(_) => "The request is wrong",
            ConsentError::UnknownState => "This login is not known",
            ConsentError::IssuerMismatch(_) => "Another issuer has answered",
            ConsentError::Denied(_) => "The login was denied",
            ConsentError::WrongPassword { .. } => "The one-time password is wrong",
            ConsentError::TooLate | ConsentError::Abandoned => "The login is over",
            ConsentError::Refused(_) | ConsentError::Unusable(_) => "The issuer refused the login",
            ConsentError::IdToken(_) => "The ID token is not to be trusted",
            ConsentError::Unavailable(_) => "The issuer cannot be asked now",
            ConsentError::Full => "There is no room for another login now",
            ConsentError::Local(_) | ConsentError::Ending => "This machine cannot do that now",
        }
    }

    /// When to try again, in seconds, where that makes sense.
    pub fn retry_after(&self) -> Option<u64> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| PAUSE.as_secs())
    }

    /// The problem document.
    pub fn document(&self) -> Value {
        json!({
            "type": "about:blank",
            "title": self.title(),
            "status": self.status().as_u16(),
            "detail": self.0.to_string(),
            "code": self.0.code(),
        })
    }
}
