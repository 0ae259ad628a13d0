//! Pieces of configuration that many tests begin with.

use super::{Issuer, Upstream};

/// A credential `key` with a fixed token, on a route `/api` to `upstream`.
pub fn fixed(token: &str, upstream: &Upstream) -> String {
    format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n{}",
        route("key", upstream)
    )
}

/// A credential `api` by client credentials, on a route `/api` to `upstream`. Lines in `more` are
/// added to the credential.
pub fn granted(issuer: &Issuer, secret: &str, upstream: &Upstream, more: &str) -> String {
    format!(
        "[credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{secret}\" }}\n{more}\n\n{}",
        issuer.url(),
        route("api", upstream)
    )
}

/// A route `/api` to `upstream` with a credential; it ends the text, so that lines can follow.
pub fn route(credential: &str, upstream: &Upstream) -> String {
    format!(
        "[routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"{credential}\"\n",
        upstream.origin()
    )
}
