//! How connections to upstreams leave.

mod addresses;
pub(crate) mod certificates;
mod expected;
mod proxies;
mod shortage;
mod sockets;
mod truncation;

/// A credential with a fixed token, and a route `/api` to `upstream`, which ends the text.
fn to(upstream: &str, token: &str) -> String {
    format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{upstream}\"\ncredential = \"key\"\n"
    )
}
