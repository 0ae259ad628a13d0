//! The rules of the file, seen from outside.

use crate::config::{Environment, Loaded, load_text};

fn environment() -> Environment {
    [
        ("PAYHUB_EMAIL", "me@example.com"),
        ("PAYHUB_PASSWORD", "canary-password\n"),
        ("CLIENT_SECRET", "canary-secret"),
        ("EMPTY", "\n"),
    ]
    .into_iter()
    .collect()
}

fn accepted(text: &str) -> Loaded {
    match load_text("bearerd.toml", text, &environment()) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

fn refused(text: &str) -> String {
    let problems = load_text("bearerd.toml", text, &environment()).expect_err("it is wrong");
    let told = problems.to_string();
    assert!(!told.contains("canary"), "a secret is told:\n{told}");
    told
}

#[test]
fn the_example_of_the_contract_is_accepted() {
    let loaded = accepted(
        r#"
        [listeners.app]
        bind = "127.0.0.1:8080"
        [credentials.payhub]
        preset = "payhub"
        email = { env = "PAYHUB_EMAIL" }
        password = { env = "PAYHUB_PASSWORD" }
        [routes.payhub]
        path = "/payhub"
        upstream = "https://server.payhub.link"
        credential = "payhub"
        allow = ["POST /user/*", "GET /health"]
        "#,
    );
    let route = &loaded.config.routes[0];
    assert_eq!(route.denied, ["/user/login"]);
}

#[test]
fn a_broken_file() {
    let told = refused(
        r#"
[server]
wrkers = 2
drain = 25
access_log = "error"
[listeners.app]
bind = "0.0.0.0:8080"
tls = { cert = "x" }
[listeners.b]
bind = "nonsense"
max_head = "64K"
[credentials.payhub]
preset = "payhub"
emial = { env = "PAYHUB_EMAIL" }
password = "canary-in-plain" # canary comment
[credentials.typo]
preset = "payhbu"
[credentials.a]
flow = "static"
token = { credential = "b" }
[credentials.b]
flow = "static"
token = { credential = "a", output = "tokn" }
[credentials.c]
flow = "oauth2"
grant = "authorization_code"
token_url = "http://issuer.example/token"
client_id = "c"
client_secret = { env = "EMPTY" }
[credentials.d]
flow = "static"
token = { value = "canary-value", file = "/x" }
steps = []
[routes.one]
path = "/one"
upstream = "https://a.example"
credential = "payhb"
inject = { headers = { "X Y" = "{token}" } }
[routes.two]
listener = "app"
upstream = "htps://a.example"
[routes.three]
listener = "app"
path = "/a/../b"
upstream = "http://a.example"
credential = "payhub"
inject = { headers = { x = "{tokn}\r\nEvil: 1" } }
guard = "mask"
"#,
    );
    assert_eq!(told.matches("error: ").count(), 25, "{told}");
}
