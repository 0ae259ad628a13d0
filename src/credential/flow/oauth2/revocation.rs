//! Revocation: an issuer is told that a token is not needed any more (RFC 7009).

use crate::credential::flow::classify::{by_status, quote, status_text};
use crate::credential::flow::form::Form;
use crate::credential::flow::oauth2::{OAuth2Flow, client_request, error_of};
use crate::credential::flow::{Exchange, MintError};
use crate::secret::Secret;

/// What a token is, as a hint to the issuer (RFC 7009, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenHint {
    /// What goes on requests.
    AccessToken,
    /// What renews others. With it, an issuer revokes all that came of the same grant.
    RefreshToken,
}

impl TokenHint {
    /// The value of `token_type_hint`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// Tells the issuer. Says whether it was told: one without an endpoint for it cannot be.
pub(in crate::credential::flow) async fn revoke(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    token: &Secret,
    hint: TokenHint,
) -> Result<bool, MintError> {
    let metadata = flow.endpoints.resolve(exchange).await?;
    let Some(url) = &metadata.revocation else { return Ok(false) };
    let mut form = Form::new();
    form.field("token", token.expose());
    form.field("token_type_hint", hint.as_str().as_bytes());
    let answer = exchange.ask(url, client_request(flow, exchange, form, &[])?).await?;
    // A token that is not known is as revoked as can be (section 2.2).
    if answer.status.is_success() {
        return Ok(true);
    }
    let repeats = |error: &String| token.expose_str().is_some_and(|token| error.contains(token));
    let error = error_of(&answer).filter(|error| !repeats(error));
    let error = error.and_then(|error| quote(&error, exchange.inputs));
    let error = error.map(|error| format!(" with the error `{error}`")).unwrap_or_default();
    let message = format!("{} answered {}{error}", url.origin, status_text(answer.status));
    Err(by_status(&answer, exchange.clock.wall(), message))
}
