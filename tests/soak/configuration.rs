//! The configuration of one revision: what a reload changes each time, and what never changes.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::fault::Fault;
use crate::issuer::FIRST_REFRESH_TOKEN;

/// Where the upstreams and the issuer listen.
#[derive(Debug, Clone, Copy)]
pub struct Sites {
    /// The plain upstream.
    pub origin: SocketAddr,
    /// Another one.
    pub other: SocketAddr,
    /// The upstream over TLS.
    pub secure: SocketAddr,
    /// The one that speaks HTTP/2.
    pub streams: SocketAddr,
    /// The issuer.
    pub issuer: SocketAddr,
}

/// Where listeners are that are not always there, or not by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// The one with routes of its own.
    pub side: SocketAddr,
    /// The one that comes and goes.
    pub visitor: SocketAddr,
    /// The one over TLS.
    pub secured: SocketAddr,
}

/// Credentials and routes of a revision; `{folder}` is where the files are. The route and the listener
/// that come and go are there in odd revisions.
pub fn revision(number: u64, sites: &Sites, doors: &Bound, fault: Option<Fault>) -> String {
    let Sites { origin, other, secure, streams, issuer } = sites;
    let mut text = format!(
        r#"[credentials.grant]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://{issuer}/grant"
client_id = "app"
client_secret = {{ value = "secret-of-grant" }}

[credentials.refreshed]
flow = "oauth2"
grant = "refresh_token"
token_url = "http://{issuer}/refreshed"
client_id = "app"
client_auth = "none"
refresh_token = {{ value = "{FIRST_REFRESH_TOKEN}" }}

[credentials.revoked]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://{issuer}/revoked"
client_id = "app"
client_secret = {{ value = "secret-of-revoked" }}

[credentials.login]
flow = "login"
secrets = {{ password = {{ value = "secret-of-login" }} }}
inject = {{ headers = {{ X-Token = "{{token}}", X-Key = "{{key}}" }}, query = {{ key = "{{token}}" }} }}
[[credentials.login.steps]]
method = "POST"
url = "http://{issuer}/login"
json = {{ user = "me", password = "{{password}}" }}
outputs = {{ token = "/data/token", key = "/data/key" }}
expires_in = {{ json = "/data/expiry", unit = "s" }}

[credentials.fixed]
flow = "static"
token = {{ file = "{{folder}}/fixed" }}
expires = "never"

[egress.secure]
ca = "{{folder}}/ca.pem"

[listeners.side]
bind = "{}"
idle_timeout = "{}s"

[listeners.secured]
bind = "{}"
tls = {{ cert = "{{folder}}/listener.pem", key = "{{folder}}/listener-key.pem" }}

[listeners.socket]
bind = "unix:{{folder}}/app.sock"

"#,
        doors.side,
        // A limit that changes, for connections to come.
        60 + number % 7,
        doors.secured,
    );
    // What the guard masks nobody finds.
    let guard = if fault == Some(Fault::ShownTokens) { "off" } else { "mask" };
    let mut route = |name: &str, listener: &str, path: &str, upstream: &str, credential: &str| {
        write!(
            text,
            "[routes.{name}]\nlistener = \"{listener}\"\npath = \"{path}\"\nupstream = \"{upstream}\"\n\
             credential = \"{credential}\"\nguard = \"{guard}\"\n\n"
        )
        .expect("a text takes text");
    };
    let is_odd = number % 2 == 1;
    if fault != Some(Fault::LostRoute) || number % 3 != 2 {
        route("grant", "app", "/grant", &format!("http://{origin}/grant"), "grant");
    }
    route("fixed", "app", "/fixed", &format!("http://{origin}/fixed"), "fixed");
    route("revoked", "app", "/revoked", &format!("http://{origin}/revoked"), "revoked");
    route("lone", "app", "/lone", &format!("http://{other}/lone"), "grant");
    route("streams", "app", "/streams", &format!("h2c://{streams}/streams"), "grant");
    route("secured", "secured", "/grant", &format!("http://{origin}/grant"), "grant");
    route("secured-streams", "secured", "/streams", &format!("h2c://{streams}/streams"), "grant");
    route("login", "side", "/login", &format!("http://{other}/login"), "login");
    route("side", "side", "/grant", &format!("http://{other}/fixed"), "fixed");
    route("socket", "socket", "/deep/path", &format!("http://{origin}/grant"), "grant");
    let (upstream, credential) = if is_odd {
        (format!("http://{origin}/moving-grant"), "grant")
    } else {
        (format!("http://{other}/moving-fixed"), "fixed")
    };
    route("moving", "app", "/moving", &upstream, credential);
    if is_odd {
        route("flash", "app", "/flash", &format!("http://{other}/fixed"), "fixed");
        route("visitor", "visitor", "/", &format!("http://{origin}/fixed"), "fixed");
    }
    route("refreshed", "app", "/refreshed", &format!("https://{secure}/refreshed"), "refreshed");
    text += "egress = \"secure\"\n\n";
    // Its upstream closes without a word: nobody else may take its connection.
    text = text.replace("[routes.lone]\n", "[routes.lone]\npool_max_idle = 1\n");
    if is_odd {
        write!(text, "\n[listeners.visitor]\nbind = \"{}\"\n", doors.visitor).expect("a text takes text");
    }
    text
}
