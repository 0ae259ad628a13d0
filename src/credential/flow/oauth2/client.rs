//! How the client proves who it is, at every endpoint of an issuer that asks (RFC 6749, section 2.3;
//! RFC 7521, section 4.2; RFC 8705, section 2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use crate::credential::flow::form::{FORM, Form, encode};
use crate::credential::flow::oauth2::OAuth2Flow;
use crate::credential::flow::{Exchange, MintError, secret_header};
use crate::secret::SecretBuffer;
use crate::template::Template;
use crate::upstream::exchange::Request;

/// The `client_assertion_type` of RFC 7523, section 2.2.
const JWT_ASSERTION: &[u8] = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`; input `client_secret`.
    Basic,
    /// In the form; input `client_secret`.
    Post,
    /// A signed assertion: `private_key_jwt` or, signed by the shared secret, `client_secret_jwt`;
    /// input `client_assertion`.
    Assertion,
    /// The certificate of the egress (RFC 8705, section 2).
    Tls,
    /// A public client.
    None,
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
    authenticate(flow, exchange, &mut headers, &mut form)?;
    for (name, value) in params {
        form.field(name, &exchange.render(value)?);
    }
    Ok(Request { method: Method::POST, headers, body: Some(form.finish()) })
}

/// Shows who the client is, in exactly one way.
fn authenticate(
    flow: &OAuth2Flow,
    exchange: &Exchange<'_>,
    headers: &mut HeaderMap,
    form: &mut Form,
) -> Result<(), MintError> {
    let client_id = exchange.render(&flow.client_id)?;
    match flow.client_auth {
        ClientAuth::Basic => {
            let secret = exchange.input("client_secret")?;
            headers.insert(AUTHORIZATION, basic(&client_id, secret.expose())?);
        }
        ClientAuth::Post => {
            form.field("client_id", &client_id);
            form.field("client_secret", exchange.input("client_secret")?.expose());
        }
        ClientAuth::Assertion => {
            // RFC 7521, section 4.2, lets the identifier stand beside the assertion, and some
            // issuers ask for it.
            form.field("client_id", &client_id);
            form.field("client_assertion_type", JWT_ASSERTION);
            form.field("client_assertion", exchange.input("client_assertion")?.expose());
        }
        // A grant such as a signed assertion may name its client by itself.
        ClientAuth::None if client_id.is_empty() => {}
        // The identifier tells by which client the certificate is to be judged.
        ClientAuth::Tls | ClientAuth::None => form.field("client_id", &client_id),
    }
    Ok(())
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
