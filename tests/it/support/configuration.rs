//! Pieces of configuration that many tests begin with.

use super::{Issuer, Upstream, canary};

/// A credential `key` with a fixed token that nothing else knows, on a route `/api` to a URL.
pub fn to(url: &str) -> String {
    key(&canary::token()) + &route_to("key", url)
}

/// A credential `key` with a fixed token, on a route `/api` to `upstream`.
pub fn fixed(token: &str, upstream: &Upstream) -> String {
    key(token) + &route("key", upstream)
}

fn key(token: &str) -> String {
    format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n"
    )
}

/// A credential `api` by client credentials, on a route `/api` to `upstream`. Lines in `more` are
/// added to the credential.
pub fn granted(issuer: &Issuer, secret: &str, upstream: &Upstream, more: &str) -> String {
    grant(issuer, secret, more) + &route("api", upstream)
}

/// The same, to a URL.
pub fn granted_to(issuer: &Issuer, url: &str) -> String {
    grant(issuer, &canary::secret(), "") + &route_to("api", url)
}

fn grant(issuer: &Issuer, secret: &str, more: &str) -> String {
    format!(
        "[credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{secret}\" }}\n{more}\n\n",
        issuer.url(),
    )
}

/// A route `/api` to `upstream` with a credential; it ends the text, so that lines can follow.
pub fn route(credential: &str, upstream: &Upstream) -> String {
    route_to(credential, &upstream.origin())
}

/// A route `/api` to a URL with a credential; it ends the text, so that lines can follow.
pub fn route_to(credential: &str, url: &str) -> String {
    format!("[routes.api]\npath = \"/api\"\nupstream = \"{url}\"\ncredential = \"{credential}\"\n")
}
