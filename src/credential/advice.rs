//! What a person can do about a credential, in words: docs/states-and-errors.md in one sentence each.

use crate::credential::{CredentialSpec, ErrorClass, State, Status};

/// What to do; `None` if all is well, or bearerd is at it.
pub fn advice(status: &Status, spec: &CredentialSpec) -> Option<&'static str> {
    let by_person = spec.flow.is_interactive();
    let class = status.last_error.as_ref().map(|error| error.class);
    Some(match (status.state, class) {
        (_, Some(ErrorClass::Refused)) => {
            "The upstream does not take this token, and it cannot renew itself. Replace it at its source, or \
             by `bearerd set`."
        }
        (State::LoginRequired, _) if by_person => "A person has to log in.",
        (State::LoginRequired, Some(ErrorClass::Ambiguous)) => {
            "An answer was lost that may have used up the refresh token. Give it a new one at its source."
        }
        (State::LoginRequired, _) => "Give it a new refresh token at its source.",
        (State::Revoked, _) if by_person => "Logged out. Log in to use it again.",
        (State::Revoked, _) => "The grant was given up. It needs a new one at its source.",
        (State::Rejected, _) => {
            "Correct the password, secret or refresh token at its source: that starts a new try by itself. \
             Renewing tries the same again, three times at most."
        }
        (State::Failing, Some(ErrorClass::Rejected)) if by_person => {
            "The token is good until its end, then requests fail. Log in again before."
        }
        (State::Failing, Some(ErrorClass::Rejected)) => {
            "The token is good until its end, then requests fail. Correct the password, secret or refresh \
             token at its source before: that starts a new try by itself."
        }
        (State::Failing, Some(ErrorClass::Ambiguous)) if spec.rotation.is_some() => {
            "Nothing yet: an answer was lost that may have brought another value, which is read again by itself."
        }
        (State::Failing, Some(ErrorClass::Ambiguous)) if by_person => {
            "An answer was lost that may have used up the refresh token. Log in again before the end."
        }
        (State::Failing, Some(ErrorClass::Ambiguous)) => {
            "An answer was lost that may have used up the refresh token. Give it a new one at its source \
             before the end."
        }
        (State::Failing, _) => {
            "Nothing yet: the token is good until its end, and the issuer is asked again by itself."
        }
        (State::Expired, _) if !spec.is_renewable() => {
            "It cannot renew itself. Replace it at its source, or by `bearerd set`."
        }
        (State::Expired, _) => {
            "Requests fail. The issuer is asked again by itself; see whether it can be reached from here. \
             Renewing asks at once."
        }
        (State::Pending, Some(_)) => {
            "There is no token yet, and requests wait or fail. The issuer is asked again by itself; renewing \
             asks at once."
        }
        _ => return None,
    })
}
