//! The flow `oauth2` (RFC 6749): what its token endpoint is asked for. How a person consents is told
//! by [`crate::credential::consent`].

mod answer;
pub mod client;
pub mod discovery;
pub mod dpop;
pub mod endpoints;
mod error;
pub mod id_token;
pub(in crate::credential::flow) mod key_sets;
pub mod revocation;

use std::sync::Arc;

use crate::credential::Minted;
use crate::credential::consent::ConsentSpec;
use crate::credential::flow::form::Form;
use crate::credential::flow::{Exchange, MintError};
use crate::secret::Secret;
use crate::template::Template;
use crate::upstream::Url;
use crate::upstream::exchange::{Answer, Request};
use endpoints::{Endpoints, Metadata};

pub(in crate::credential) use answer::error_of;
pub use client::ClientAuth;
pub(in crate::credential) use client::client_request;
pub use dpop::DpopSpec;
pub use id_token::IdTokenSpec;
pub use revocation::TokenHint;

/// One OAuth 2 client at one token endpoint. What many clients of one issuer have in common they share.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2Flow {
    /// Which grant.
    pub grant: Grant,
    /// Where it asks.
    pub endpoints: Arc<Endpoints>,
    /// The client identifier; a template, so that it may be a secret too (`{client_id}`).
    pub client_id: Template,
    /// How the client proves who it is.
    pub client_auth: ClientAuth,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// Further form fields of the token request, in their order; a name may stand more than once
    /// (`resource`, RFC 8707).
    pub params: Vec<(String, Template)>,
    /// Further outputs, by JSON pointer (RFC 6901) into the token answer.
    pub outputs: Vec<(String, String)>,
    /// Tokens are bound to a key, where that is wanted.
    pub dpop: Option<DpopSpec>,
    /// How ID tokens are checked.
    pub id_token: Arc<IdTokenSpec>,
    /// The issuer may give another refresh token with each renewal.
    pub rotates: bool,
    /// Errors that mean "the input is wrong", beside those of RFC 6749.
    pub rejected_errors: Vec<String>,
    /// The token is revoked when the process ends.
    pub revoke_on_exit: bool,
    /// How a person is asked, where the grant needs one.
    pub consent: Arc<ConsentSpec>,
}

/// The grants, and the inputs that they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749, section 4.4.
    ClientCredentials,
    /// RFC 6749, section 4.3; inputs `username` and `password`.
    Password,
    /// RFC 6749, section 6; input `refresh_token`.
    RefreshToken,
    /// RFC 7523, section 2.1; input `assertion`.
    JwtBearer,
    /// RFC 8693; inputs `subject_token` and, if there is somebody who acts for the subject,
    /// `actor_token`. Their types stand among the parameters.
    TokenExchange,
    /// RFC 6749, section 4.1: a person consents in a browser, and what is said here of renewal is
    /// that of `RefreshToken`, with the refresh token that the consent brought.
    AuthorizationCode,
    /// RFC 8628: a person consents on another device; renewed as `AuthorizationCode`.
    DeviceCode,
}

impl Grant {
    /// Whether a person has to consent before there is a token.
    pub fn is_interactive(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }

    /// Whether that happens on another device.
    pub fn is_device(self) -> bool {
        self == Self::DeviceCode
    }

    /// Whether renewals use a refresh token, which many issuers take only once.
    pub fn renews_by_refresh_token(self) -> bool {
        self.is_interactive() || self == Self::RefreshToken
    }

    /// The value of `grant_type` of a renewal.
    fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode => "refresh_token",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// The inputs that it takes, which are form fields of the same name.
    fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::ClientCredentials => &[],
            Self::Password => &["username", "password"],
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode => &["refresh_token"],
            Self::JwtBearer => &["assertion"],
            Self::TokenExchange => &["subject_token"],
        }
    }

    /// The inputs that it takes if they are there.
    fn optional_inputs(self) -> &'static [&'static str] {
        match self {
            Self::TokenExchange => &["actor_token"],
            Self::ClientCredentials
            | Self::Password
            | Self::RefreshToken
            | Self::JwtBearer
            | Self::AuthorizationCode
            | Self::DeviceCode => &[],
        }
    }
}

/// What is asked of a token endpoint: a grant, and the fields that are its own.
pub(in crate::credential) struct Asked<'a> {
    /// The value of `grant_type`.
    pub(in crate::credential) grant_type: &'a str,
    /// The grant's fields.
    pub(in crate::credential) fields: Vec<(&'a str, Secret)>,
    /// Why.
    pub(in crate::credential) occasion: Occasion<'a>,
}

/// Why a token endpoint is asked.
#[derive(Clone, Copy)]
pub(in crate::credential) enum Occasion<'a> {
    /// A token is due.
    Renewal,
    /// A person has consented.
    Login {
        /// What the ID token has to repeat, where one was asked for with it.
        nonce: Option<&'a Secret>,
    },
}

/// Renews: asks the token endpoint once for what the credential's grant brings without a person.
pub(super) async fn mint(flow: &OAuth2Flow, exchange: &Exchange<'_>) -> Result<Minted, MintError> {
    let mut fields = Vec::new();
    for name in flow.grant.inputs() {
        fields.push((*name, exchange.input(name)?.clone()));
    }
    for name in flow.grant.optional_inputs() {
        fields.extend(exchange.inputs.values.get(*name).map(|value| (*name, value.clone())));
    }
    let asked = Asked { grant_type: flow.grant.as_str(), fields, occasion: Occasion::Renewal };
    let metadata = flow.endpoints.resolve(exchange).await?;
    id_token::prepare(flow, exchange, &metadata).await?;
    ask(flow, exchange, &metadata, &asked).await
}

/// Asks the token endpoint once.
pub(in crate::credential) async fn ask(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &Metadata,
    asked: &Asked<'_>,
) -> Result<Minted, MintError> {
    let (url, answer) = post(flow, exchange, metadata, asked).await?;
    take(flow, exchange, metadata, asked.occasion, (url, &answer)).await
}

/// Makes tokens of an answer, and checks the ID token among them.
pub(in crate::credential) async fn take(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &Metadata,
    occasion: Occasion<'_>,
    (url, answer): (&Url, &Answer),
) -> Result<Minted, MintError> {
    let mut minted = answer::read(flow, exchange, url, answer)?;
    match id_token::check(flow, exchange, metadata, occasion, &mut minted).await {
        Ok(()) => Ok(minted),
        Err(error) => Err(error.with_successor(minted.rotated)),
    }
}

/// The same, with the answer as it comes; [`take`] makes tokens of it.
pub(in crate::credential) async fn post<'a>(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &'a Metadata,
    asked: &Asked<'_>,
) -> Result<(&'a Url, Answer), MintError> {
    let url = Metadata::needed(metadata.token.as_ref(), "token_endpoint")?;
    let answer = match &flow.dpop {
        None => exchange.ask(url, token_request(flow, exchange, asked)?).await?,
        Some(dpop) => dpop::post(dpop, flow, exchange, url, asked).await?,
    };
    Ok((url, answer))
}

/// The token request (RFC 6749, sections 4.3.2, 4.4.2 and 6; RFC 7523, section 2.1; RFC 8693, section
/// 2.1).
fn token_request(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    asked: &Asked<'_>,
) -> Result<Request, MintError> {
    let mut form = Form::new();
    form.field("grant_type", asked.grant_type.as_bytes());
    for (name, value) in &asked.fields {
        form.field(name, value.expose());
    }
    // What a person consented to may be narrower than what was asked for, and a renewal must not ask
    // for more (RFC 6749, section 6).
    if !flow.grant.is_interactive() && !flow.scopes.is_empty() {
        form.field("scope", flow.scopes.join(" ").as_bytes());
    }
    client_request(flow, exchange, form, &flow.params)
}

#[cfg(test)]
mod tests;
