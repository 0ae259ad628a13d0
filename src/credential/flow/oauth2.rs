//! The flow `oauth2` (RFC 6749): what its token endpoint is asked for. How a person consents is told
//! by [`crate::credential::consent`].

mod answer;
pub mod discovery;
pub mod endpoints;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use crate::credential::Minted;
use crate::credential::consent::ConsentSpec;
use crate::credential::flow::form::{FORM, Form, encode};
use crate::credential::flow::{Exchange, MintError, secret_header};
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;
use crate::upstream::exchange::Request;
use endpoints::{Endpoints, Metadata};

/// The `client_assertion_type` of RFC 7523, section 2.2.
const JWT_ASSERTION: &[u8] = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// One OAuth 2 client at one token endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2Flow {
    /// Which grant.
    pub grant: Grant,
    /// Where it asks.
    pub endpoints: Endpoints,
    /// The client identifier; a template, so that it may be a secret too (`{client_id}`).
    pub client_id: Template,
    /// How the client proves who it is.
    pub client_auth: ClientAuth,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// Further form fields of the token request.
    pub params: Vec<(String, Template)>,
    /// Further outputs, by JSON pointer (RFC 6901) into the token answer.
    pub outputs: Vec<(String, String)>,
    /// How a person is asked, where the grant needs one.
    pub consent: ConsentSpec,
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
        }
    }

    /// The inputs that it takes, which are form fields of the same name.
    fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::ClientCredentials => &[],
            Self::Password => &["username", "password"],
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode => &["refresh_token"],
            Self::JwtBearer => &["assertion"],
        }
    }
}

/// How the client proves who it is (RFC 6749, section 2.3; RFC 7523, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`; input `client_secret`.
    Basic,
    /// In the form; input `client_secret`.
    Post,
    /// A signed assertion; input `client_assertion`.
    PrivateKeyJwt,
    /// A public client.
    None,
}

/// What is asked of a token endpoint: a grant, and the fields that are its own.
pub(in crate::credential) struct Asked<'a> {
    /// The value of `grant_type`.
    pub(in crate::credential) grant_type: &'a str,
    /// The grant's fields.
    pub(in crate::credential) fields: Vec<(&'a str, Secret)>,
    /// Whether the configured scopes are sent.
    pub(in crate::credential) scopes: bool,
}

/// Renews: asks the token endpoint once for what the credential's grant brings without a person.
pub(super) async fn mint(flow: &OAuth2Flow, exchange: &Exchange<'_>) -> Result<Minted, MintError> {
    let mut fields = Vec::new();
    for name in flow.grant.inputs() {
        fields.push((*name, exchange.input(name)?.clone()));
    }
    // What a person consented to may be narrower than what was asked for, and a renewal must not ask
    // for more (RFC 6749, section 6).
    let asked = Asked { grant_type: flow.grant.as_str(), fields, scopes: !flow.grant.is_interactive() };
    let metadata = flow.endpoints.resolve(exchange).await?;
    ask(flow, exchange, &metadata, &asked).await
}

/// Asks the token endpoint once.
pub(in crate::credential) async fn ask(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    metadata: &Metadata,
    asked: &Asked<'_>,
) -> Result<Minted, MintError> {
    let url = Metadata::needed(metadata.token.as_ref(), "token_endpoint")?;
    let mut form = Form::new();
    form.field("grant_type", asked.grant_type.as_bytes());
    for (name, value) in &asked.fields {
        form.field(name, value.expose());
    }
    if asked.scopes && !flow.scopes.is_empty() {
        form.field("scope", flow.scopes.join(" ").as_bytes());
    }
    let request = client_request(flow, exchange, form, &flow.params)?;
    let answer = exchange.ask(url, request).await?;
    answer::read(flow, exchange, url, &answer)
}

/// A form to an endpoint that wants to know the client: the token endpoint (RFC 6749, section 2.3), and
/// those that authenticate it in the same way. There is exactly one way of client authentication.
pub(in crate::credential) fn client_request(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    mut form: Form,
    params: &[(String, Template)],
) -> Result<Request, MintError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    let input = |name: &str| exchange.inputs.values.get(name).cloned();
    let client_id = flow.client_id.render(&input, &exchange.clock)?;
    match flow.client_auth {
        ClientAuth::Basic => {
            let secret = exchange.input("client_secret")?;
            headers.insert(AUTHORIZATION, basic(&client_id, secret.expose())?);
        }
        ClientAuth::Post => {
            form.field("client_id", &client_id);
            form.field("client_secret", exchange.input("client_secret")?.expose());
        }
        ClientAuth::PrivateKeyJwt => {
            // RFC 7521, section 4.2, lets the identifier stand beside the assertion, and some
            // issuers ask for it.
            form.field("client_id", &client_id);
            form.field("client_assertion_type", JWT_ASSERTION);
            form.field("client_assertion", exchange.input("client_assertion")?.expose());
        }
        // A grant such as a signed assertion may name its client by itself.
        ClientAuth::None if client_id.is_empty() => {}
        ClientAuth::None => form.field("client_id", &client_id),
    }
    for (name, value) in params {
        form.field(name, &value.render(&input, &exchange.clock)?);
    }
    Ok(Request { method: Method::POST, headers, body: Some(form.finish()) })
}

/// HTTP Basic at a token endpoint: both parts in the encoding of forms first (RFC 6749, section
/// 2.3.1), so that a colon in the identifier does no harm.
fn basic(client_id: &[u8], client_secret: &[u8]) -> Result<HeaderValue, MintError> {
    let mut pair = SecretBuffer::default();
    encode(client_id, &mut pair);
    pair.push(b":");
    encode(client_secret, &mut pair);
    let mut value = SecretBuffer::default();
    value.push(b"Basic ");
    value.push(Zeroizing::new(BASE64_STANDARD.encode(pair.expose())).as_bytes());
    secret_header(value).map_err(|_| MintError::Stubborn {
        message: "the client's identifier and secret make no header value".to_owned(),
    })
}

#[cfg(test)]
mod tests;
