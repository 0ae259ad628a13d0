//! What an accepted file means.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bearerd::config::{Environment, find, load, load_text};
use bearerd::credential::flow::fixed::Expires;
use bearerd::credential::flow::oauth2::ClientAuth;
use bearerd::credential::input::Claim;
use bearerd::credential::{Flow, Source};
use bearerd::secret::Secret;
use bearerd::server::{Address, Bind};

use super::{accepted, around, around_route, environment, mistakes, warnings};

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = accepted(&around_route("upstream = \"https://api.example\"\ncredential = \"c\"\n")).config;
    assert_eq!(config.server.drain, Duration::from_secs(25));
    assert_eq!(config.server.issuer_concurrency, 32);
    assert_eq!(config.server.log.filter, "info");
    assert!(!config.server.watch && !config.server.log.json && config.server.workers >= 1);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9180");
    assert!(config.admin.token.is_none() && !config.admin.allow_quit);
    let credential = &config.credentials[0];
    assert_eq!(credential.times.default_lifetime, Duration::from_secs(3600));
    assert!(credential.times.renew_before.is_none() && !credential.optional && !credential.retry_ambiguous);
    let Flow::Static(flow) = &credential.flow else { panic!("{credential:?}") };
    assert_eq!(flow.expires, Expires::Unsaid);
    let route = &config.routes[0];
    assert_eq!((&*route.listener, &*route.path, &route.host), ("app", "/", &None));
    assert_eq!(route.wait, Duration::from_secs(5));
    assert_eq!((route.refusal.status.as_slice(), route.refusal.peek), ([401].as_slice(), 4096));
    assert_eq!(route.limits.connect_timeout, Duration::from_secs(5));
    assert_eq!(route.limits.answer_timeout, Duration::from_secs(60));
    assert_eq!(route.limits.stall_timeout, Duration::from_secs(300));
    assert_eq!((route.limits.replay_body, route.limits.max_body), (65_536, None));
    let pool = route.limits.pool;
    assert_eq!((pool.idle_timeout, pool.max_age), (Duration::from_secs(60), Duration::from_secs(900)));
    assert_eq!(pool.max_idle, 1024);
    assert_eq!(route.injection.headers[0].0, "authorization");
    assert!(route.allow.is_empty() && !route.encoded_slash && route.rate.is_none());
}

#[test]
fn environment_secrets_are_read_at_once_and_lose_one_newline() {
    let credential = &accepted(&around(
        "[credentials.c]\npreset = \"basic\"\nusername = { env = \"EMAIL\" }\npassword = { env = \"PASSWORD\" }\n",
    ))
    .config
    .credentials[0];
    assert_eq!(credential.inputs.get("password"), Some(&Source::Value(Secret::from("c4n4ry-password"))));
    assert_eq!(
        credential.inputs.get("username"),
        Some(&Source::Value(Secret::from("c4n4ry-me@example.com")))
    );
}

#[test]
fn references_become_sources() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("bearerd.toml"),
        around(
            r#"
[credentials.c]
flow = "static"
token = { file = "token" }
[credentials.c.secrets]
systemd = { systemd = "name" }
command = { command = ["pass", "show"], timeout = "3s" }
chain = { credential = "parent" }
value = { value = "c4n4ry\n" }
[credentials.parent]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "p"
client_secret = { env = "SECRET" }
"#,
        ),
    )
    .expect("a file");
    let loaded = load(&folder.path().join("bearerd.toml"), &environment()).expect("a configuration");
    let names: Vec<_> = loaded.config.credentials.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["parent", "c"], "parents come first");
    let inputs = &loaded.config.credentials[1].inputs;
    assert_eq!(
        inputs.get("token"),
        Some(&Source::File(folder.path().join("token").into())),
        "from the file's folder"
    );
    assert_eq!(inputs.get("systemd"), Some(&Source::File(Path::new("/nonexistent/credentials/name").into())));
    let argv = vec!["pass".to_owned(), "show".to_owned()];
    assert_eq!(inputs.get("command"), Some(&Source::Command { argv, timeout: Duration::from_secs(3) }));
    let output = "access_token".to_owned();
    assert_eq!(inputs.get("chain"), Some(&Source::Output { credential: "parent".into(), output }));
    assert_eq!(inputs.get("value"), Some(&Source::Value(Secret::from("c4n4ry"))));
    let warnings: Vec<_> = loaded.warnings.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("token does not exist"), "{warnings:?}");
    assert!(warnings[2].contains("stands in the configuration itself"), "{warnings:?}");
}

#[test]
fn a_secret_that_others_can_read_is_warned_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "x").expect("a file");
    let file = around(&format!(
        "[credentials.c]\nflow = \"static\"\ntoken = {{ file = \"{}\" }}\n",
        token.display()
    ));
    for (mode, warned) in [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)] {
        fs::set_permissions(&token, fs::Permissions::from_mode(mode)).expect("a mode");
        assert_eq!(warnings(&file).len(), warned, "{mode:o}");
    }
}

#[test]
fn the_nearest_injection_and_refusal_win_as_a_whole() {
    let text = |credential: &str, route: &str| {
        format!(
            "[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.c]\npreset = \"payhub\"\n\
             email = {{ env = \"EMAIL\" }}\npassword = {{ env = \"PASSWORD\" }}\n{credential}\n\
             [routes.r]\nupstream = \"https://server.payhub.link\"\ncredential = \"c\"\n{route}\n"
        )
    };
    let route = |credential: &str, route: &str| accepted(&text(credential, route)).config.routes.remove(0);
    let names = |route: &bearerd::route::RouteSpec| {
        route.injection.headers.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    let of_preset = route("", "");
    assert_eq!(names(&of_preset), ["token", "apikey"]);
    assert_eq!(of_preset.refusal.json.len(), 1);
    let of_credential = route("inject = { headers = { x = \"{token}\" } }\nrefusal = { status = [403] }", "");
    assert_eq!(names(&of_credential), ["x"]);
    assert_eq!(
        (of_credential.refusal.status.as_slice(), of_credential.refusal.json.len()),
        ([403].as_slice(), 0)
    );
    let of_route = route(
        "inject = { headers = { x = \"{token}\" } }",
        "inject = { query = { key = \"{api_key}\" } }\nrefusal = { except = [530] }",
    );
    assert_eq!((names(&of_route).len(), of_route.injection.query.len()), (0, 1));
    assert_eq!((&of_route.refusal.status, &of_route.refusal.except), (&vec![401], &vec![530]));
}

#[test]
fn token_endpoints_of_all_credentials_are_denied_on_routes_to_the_same_server() {
    let config = accepted(
        r#"
[listeners.app]
bind = "127.0.0.1:0"
[credentials.a]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://API.example:443/v1//Token/;x"
client_id = "a"
client_secret = { env = "SECRET" }
token_endpoints = ["https://api.example/v1/revoke"]
[credentials.b]
flow = "login"
inject = { headers = { x = "{t}" } }
[[credentials.b.steps]]
url = "https://api.example/login?x={uuid}"
outputs = { t = "/t" }
[routes.same]
path = "/same"
upstream = "https://api.example/v1"
credential = "a"
[routes.other]
path = "/other"
upstream = "https://api.example:8443/v1"
credential = "b"
"#,
    )
    .config;
    assert_eq!(*config.routes[0].denied, ["/login", "/v1/revoke", "/v1/token"]);
    assert_eq!(*config.routes[1].denied, [""; 0], "another port is another server");
}

#[test]
fn a_client_assertion_is_filled_from_what_is_known() {
    let claims = |secret: &str| {
        let credential = accepted(&around(&format!(
            "[credentials.c]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\n\
             token_url = \"https://issuer.example/token\"\nclient_id = \"me\"\n\
             client_auth = \"private_key_jwt\"\n{secret}\n"
        )))
        .config
        .credentials
        .remove(0);
        let Some(Source::Jwt(assertion)) = credential.inputs.get("client_assertion") else {
            panic!("{credential:?}")
        };
        assert_eq!(assertion.lifetime, Duration::from_secs(60));
        assert!(!credential.inputs.contains_key("client_secret"));
        let text = |name: &str| match &assertion.claims[name] {
            Claim::Text(template) => template.as_text().expect("plain").to_owned(),
            Claim::Json(value) => value.to_string(),
            Claim::Now => "now".to_owned(),
        };
        (text("iss"), text("sub"), text("aud"))
    };
    let expected = |aud: &str| ("me".to_owned(), "me".to_owned(), aud.to_owned());
    let url = "https://issuer.example/token";
    assert_eq!(claims("client_assertion = { jwt = { key = { env = \"SECRET\" } } }"), expected(url));
    assert_eq!(claims("client_secret = { env = \"SECRET\" }"), expected(url), "a key alone will do");
    let own = "client_secret = { jwt = { key = { env = \"SECRET\" }, claims = { aud = \"https://aud\" } } }";
    assert_eq!(claims(own), expected("https://aud"));
}

#[test]
fn an_assertion_grant_needs_no_client() {
    let config = accepted(&around(
        r#"
[credentials.c]
flow = "oauth2"
grant = "jwt_bearer"
token_url = "https://issuer.example/token"
assertion = { jwt = { key = { env = "SECRET" }, claims = { iss = "me", scope = ["a"] } } }
"#,
    ))
    .config;
    let Flow::OAuth2(flow) = &config.credentials[0].flow else { panic!("{config:?}") };
    assert_eq!((flow.client_auth, flow.client_id.as_text()), (ClientAuth::None, Some("")));
}

#[test]
fn plain_http_and_remote_listeners_are_warned_about_where_they_are_permitted() {
    let warnings = warnings(
        r#"
[listeners.app]
bind = "0.0.0.0:0"
allow_remote = true
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://issuer.example/token"
client_id = "c"
client_secret = { env = "SECRET" }
allow_plaintext = true
[routes.local]
upstream = "http://127.0.0.1:1"
credential = "c"
[routes.plain]
path = "/plain"
upstream = "http://api.example"
credential = "c"
allow_plaintext = true
"#,
    );
    let [remote, issuer, upstream] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(remote.contains("not a loopback address"), "{remote}");
    assert!(issuer.contains("http://issuer.example over plain HTTP"), "{issuer}");
    assert!(upstream.contains("http://api.example over plain HTTP"), "{upstream}");
}

#[test]
fn a_rotating_grant_without_a_durable_store_is_warned_about() {
    let loaded = accepted(&around(
        r#"
[credentials.c]
flow = "oauth2"
grant = "refresh_token"
token_url = "https://issuer.example/token"
client_id = "c"
client_secret = { env = "SECRET" }
refresh_token = { env = "SECRET" }
"#,
    ));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].message.contains("no durable store"), "{:?}", loaded.warnings);
}

#[test]
fn a_password_without_a_durable_store_is_a_matter_of_check() {
    let loaded = accepted(&around(
        r#"
[credentials.c]
flow = "oauth2"
grant = "password"
token_url = "https://issuer.example/token"
client_id = "c"
client_auth = "none"
username = "me"
password = { env = "PASSWORD" }
"#,
    ));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.hints.len(), 1);
}

#[test]
fn present_behaviour_may_be_said() {
    accepted(&around_route(
        "upstream = \"https://a.example\"\ncredential = \"c\"\nguard = \"off\"\nallow_token_answers = true\n\
         [store]\nkind = \"memory\"\n",
    ));
}

#[test]
fn listeners_may_be_unix_sockets_with_callers() {
    let config = accepted(
        "[listeners.a]\nbind = \"unix:/run/a.sock\"\nallow = { uids = [1001, 0] }\n\
         [listeners.b]\nbind = \"[::1]:0\"\nhosts = [\"Api.Local\"]\nmax_head = 8192\nidle_timeout = \"0\"\n",
    )
    .config;
    assert_eq!(config.listeners[0].bind, Bind::To(Address::Unix("/run/a.sock".into())));
    assert_eq!(config.listeners[0].allow.as_ref().expect("a rule").uids, [1001, 0]);
    assert_eq!(config.listeners[1].hosts, ["api.local"]);
    assert_eq!(config.listeners[1].limits.max_head, 8192);
    assert!(config.listeners[1].limits.idle_timeout.is_zero());
}

#[test]
fn the_configuration_is_found_in_the_usual_places() {
    let named = find(Some(Path::new("/a/b.toml")), &Environment::default());
    assert_eq!(named.expect("it is named"), Path::new("/a/b.toml"));
    let environment: Environment = [("BEARERD_CONFIG", "/c/d.toml")].into_iter().collect();
    assert_eq!(find(None, &environment).expect("it is named"), Path::new("/c/d.toml"));
    assert_eq!(find(Some(Path::new("e")), &environment).expect("it is named"), Path::new("e"));
}

#[test]
fn a_missing_file_is_named() {
    let problems =
        load(Path::new("/nonexistent/bearerd.toml"), &Environment::default()).expect_err("not there");
    assert_eq!(
        problems.to_string(),
        "error: the configuration /nonexistent/bearerd.toml cannot be read: there is no such file"
    );
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bearerd.toml");
    fs::write(&path, b"[server]\n# \xff\n").expect("a file");
    let told = load(&path, &Environment::default()).expect_err("not text").to_string();
    assert!(told.contains("it is not UTF-8 at ") && told.ends_with("bearerd.toml:2:3"), "{told}");
}

#[test]
fn equal_files_make_equal_configurations() {
    let text = include_str!("../../../config.example.toml");
    let config = || load_text("example", text, &environment()).expect("a configuration").config;
    assert_eq!(config(), config());
}

#[test]
fn a_thousand_credentials_and_mistakes_are_read_in_no_time() {
    let mut text = "[listeners.app]\nbind = \"127.0.0.1:0\"\n".to_owned();
    for number in 0..1000 {
        writeln!(
            text,
            "[credentials.c{number}]\nflow = \"static\"\ntoken = {{ env = \"SECRET\" }}\n\
             [routes.r{number}]\npath = \"/r{number}\"\nupstream = \"https://a.example\"\n\
             credential = \"c{number}\""
        )
        .expect("a text takes all");
    }
    assert_eq!(accepted(&text).config.routes.len(), 1000);
    let wrong = text.replace("flow = ", "folw = ").replace("upstream = ", "upstraem = ");
    assert!(mistakes(&wrong).lines().count() >= 1000);
}
