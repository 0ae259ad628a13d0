//! What is wrong with an egress, and with what leaves by it.

use bearerd::upstream::EgressLimits;

use super::{accepted, around, around_route, mistakes};

#[test]
fn egresses_are_checked() {
    let told = mistakes(&around(
        r#"
[egress.a]
proxy = "https://proxy.example"
proxy_user = "us:er"
proxy_password = { value = "c4n4ry" }
[egress.b]
proxy = "http://c4n4ry:c4n4ry@proxy.example:3128"
[egress.c]
proxy = "http://proxy.example/path"
proxy_user = "me"
[egress.d]
proxy = "proxy.example:3128"
[egress.e]
proxy_user = "me"
proxy_password = { command = ["true"] }
[egress.f]
proxy = "http://localhost:3128"
proxy_user = "me"
proxy_password = { command = ["true"] }
[egress.g]
ca = "nowhere/ca.pem"
client_key = "nowhere/key.pem"
[egress.h]
client_cert = "nowhere/cert.pem"
client_key = { value = "c4n4ry" }
expect_address = "203.0.113.10"
[egress.i]
proxy = "http://proxy.example"
proxy_user = "me"
proxy_password = { file = "nowhere/password" }
[egress.proxied]
proxy = "http://proxy.example"
[credentials.k]
flow = "static"
token = { env = "SECRET" }
[routes.socket]
path = "/socket"
upstream = "unix:/run/api.sock"
credential = "k"
egress = "proxied"
[routes.loopback]
path = "/loopback"
upstream = "http://127.0.0.1:1"
credential = "k"
egress = "proxied"
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    5:14 there is no credential of this name (there is `k`)
    8:9 a proxy is spoken to in plain text here (such as "http://proxy.internal:3128"; `proxy_user` and `proxy_password` say who bearerd is)
    9:14 a user's name is not empty and has no colon
    12:9 a URL here has no user information (`@`) (such as "http://proxy.internal:3128"; `proxy_user` and `proxy_password` say who bearerd is)
    13:9 `proxy_password` is missing: a user without a password
    14:9 a proxy has no path (such as "http://proxy.internal:3128"; `proxy_user` and `proxy_password` say who bearerd is)
    17:9 a URL here is absolute: `https://host/path` (such as "http://proxy.internal:3128"; `proxy_user` and `proxy_password` say who bearerd is)
    19:1 `proxy_user` belongs to `proxy`
    20:1 `proxy_password` belongs to `proxy`
    24:1 this secret is wanted before anything is obtained (say one of `file`, `systemd` and `env`)
    25:9 `client_cert` is missing: the certificate of `client_key`
    26:6 the file nowhere/ca.pem does not exist
    29:15 the file nowhere/cert.pem does not exist
    30:24 this secret stands in the configuration itself (a file, the environment or systemd keeps it apart)
    31:18 a table is wanted here, not a text
    33:9 the password of the proxy is sent to http://proxy.example over plain HTTP (whoever is on the way to the proxy can read it)
    35:1 the file nowhere/password does not exist
    45:10 connections to a Unix socket do not leave the machine: they have no egress
    48:12 http://127.0.0.1:1 is plain HTTP: everyone on the way could read the token (use https://, or say `allow_plaintext = true` if the upstream has nothing else)
    "#);
}

#[test]
fn limits_of_an_egress_have_defaults_and_ranges() {
    let with = |more: &str| {
        around_route(&format!("upstream = \"https://a.example\"\ncredential = \"c\"\n[egress.a]\n{more}\n"))
    };
    let limits = |more: &str| accepted(&with(more)).config.egress[0].limits;
    assert_eq!(limits(""), EgressLimits { lookups: 16, tls_servers: 32 });
    let said = EgressLimits { lookups: 1, tls_servers: 10_000 };
    assert_eq!(limits("max_lookups = 1\nmax_tls_servers = 10000\n"), said);
    for (wrong, range) in [
        ("max_lookups = 0", "`max_lookups` is from 1 to 64"),
        ("max_lookups = 65", "`max_lookups` is from 1 to 64"),
        ("max_tls_servers = 0", "`max_tls_servers` is from 1 to 10000"),
    ] {
        let told = mistakes(&with(wrong));
        assert!(told.contains(range), "{told}");
    }
}
