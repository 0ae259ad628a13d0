//! Why a login came to nothing.

use std::fmt;

/// Why a login came to nothing: for people, without values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentError {
    /// No credential has this name.
    UnknownCredential,
    /// The credential needs no person.
    NotInteractive,
    /// What was asked is wrong.
    BadRequest(String),
    /// The configuration lacks what a login needs.
    Misconfigured(String),
    /// The state is unknown, used up, too old, or another's.
    UnknownState,
    /// The answer came from another issuer than the one that was asked, or nobody can tell.
    IssuerMismatch(String),
    /// The person or the issuer said no.
    Denied(String),
    /// The password was wrong.
    WrongPassword {
        /// How often another may be tried.
        left: u32,
    },
    /// The person did not act in time.
    TooLate,
    /// The issuer refused what it was sent.
    Refused(String),
    /// The issuer's answer cannot be used.
    Unusable(String),
    /// The issuer cannot be asked now.
    Unavailable(String),
    /// The ID token is not what it should be.
    IdToken(String),
    /// There is no room for another login now.
    Full,
    /// The credential was configured anew meanwhile.
    Reconfigured,
    /// Something on this machine is in the way: an input, the store.
    Local(String),
    /// The login was abandoned: whoever it was for logged out.
    Abandoned,
    /// bearerd is ending.
    Ending,
}

impl ConsentError {
    /// The code in answers and in the browser's return.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownCredential => "not_found",
            Self::NotInteractive | Self::Misconfigured(_) | Self::Reconfigured => "conflict",
            Self::BadRequest(_) => "bad_request",
            Self::UnknownState => "state_unknown",
            Self::IssuerMismatch(_) => "issuer_mismatch",
            Self::Denied(_) => "consent_denied",
            Self::WrongPassword { .. } => "wrong_password",
            Self::TooLate | Self::Abandoned => "login_expired",
            Self::Refused(_) | Self::Unusable(_) => "issuer_refused",
            Self::IdToken(_) => "id_token_invalid",
            Self::Unavailable(_) => "issuer_unavailable",
            Self::Full => "overloaded",
            Self::Local(_) | Self::Ending => "unavailable",
        }
    }
}

impl fmt::Display for ConsentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownCredential => "there is no such credential",
            Self::NotInteractive => {
                "nobody logs in to this credential: its grant is neither `authorization_code` nor `device_code`"
            }
            Self::UnknownState => {
                "this login is unknown: it was ended before, took more than 10 minutes, or belongs to somebody else; \
                 begin again"
            }
            Self::WrongPassword { left } => {
                return write!(formatter, "the one-time password is wrong; {left} more may be tried");
            }
            Self::TooLate => "nobody consented in time: begin again",
            Self::Full => "too many logins are under way (`max_logins`): try again in a few minutes",
            Self::Reconfigured => "the credential was configured anew meanwhile: begin again",
            Self::Abandoned => "the login was abandoned, since there was a logout meanwhile",
            Self::Ending => "bearerd is ending",
            Self::BadRequest(message)
            | Self::Misconfigured(message)
            | Self::IssuerMismatch(message)
            | Self::Denied(message)
            | Self::Refused(message)
            | Self::Unusable(message)
            | Self::Unavailable(message)
            | Self::IdToken(message)
            | Self::Local(message) => message,
        })
    }
}

impl std::error::Error for ConsentError {}
