//! The flow `oauth2` (RFC 6749): its grants that need no person.

use crate::template::Template;
use crate::upstream::Url;

/// One OAuth 2 client at one token endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2Flow {
    /// Which grant.
    pub grant: Grant,
    /// The token endpoint.
    pub token_url: Url,
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
}

/// The grants that need no person, and the inputs that they take.
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
