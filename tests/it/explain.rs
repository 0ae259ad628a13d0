//! `bearerd explain`: the fate of a request, told without any network.

use std::fs;

use crate::support::sidecar::run;
use crate::support::{bearerd, canary};

/// A configuration whose upstreams and issuer do not exist.
fn explain(method: &str, url: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bearerd.toml");
    let (token, secret) = (canary::token(), canary::secret());
    let configuration = format!(
        "[listeners.app]\nbind = \"127.0.0.1:8080\"\n[listeners.other]\nbind = \"127.0.0.1:8081\"\n\
         [credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         [credentials.granted]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\n\
         token_url = \"https://api.invalid/oauth/token\"\nclient_id = \"me\"\nclient_secret = {{ value = \"{secret}\" }}\n\
         [routes.board]\nlistener = \"app\"\npath = \"/board\"\nupstream = \"https://board.invalid/v2\"\n\
         credential = \"fixed\"\nallow = [\"GET /notes/*\"]\n\
         inject = {{ headers = {{ x-key = \"Key {{token}}\" }}, query = {{ key = \"{{token}}\" }} }}\n\
         [routes.api]\nlistener = \"app\"\npath = \"/api\"\nupstream = \"https://api.invalid\"\ncredential = \"granted\"\n"
    );
    fs::write(&file, configuration).expect("a file");
    let mut command = bearerd(&["explain", method, url, "--config"]);
    command.arg(&file);
    let output = run(command, "");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_request_that_passes_is_told_with_route_policy_credential_injection_and_target() {
    let (code, text) = explain("GET", "http://127.0.0.1:8080/board/notes/7?key=mine&a=%20b");
    assert_eq!(code, Some(0), "{text}");
    insta::assert_snapshot!(text, @r"
    listener    app (127.0.0.1:8080)
    route       board (path /board)
    allows      `GET /notes/*`
    credential  fixed (static)
    injects     header x-key: Key [token]
    injects     query parameter key=[token]
    forwarded   GET https://board.invalid/v2/notes/7?a=%20b
    ");
}

#[test]
fn what_functions_make_is_told_by_their_names_and_without_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bearerd.toml");
    let (user, password) = (canary::secret(), canary::secret());
    let configuration = format!(
        "[listeners.app]\nbind = \"127.0.0.1:8080\"\n\
         [credentials.fixed]\nflow = \"static\"\nexpires = \"never\"\n\
         secrets = {{ user = {{ value = \"{user}\" }}, password = {{ value = \"{password}\" }} }}\n\
         [routes.board]\nupstream = \"https://board.invalid\"\ncredential = \"fixed\"\n\
         [routes.board.inject.headers]\n\
         authorization = 'Basic {{base64(user, \":c4nary-text\", password)}}'\n\
         x-both = \"{{user}}-c4nary-text-{{password}}\"\n\
         x-fixed = \"c4nary-text\"\n\
         x-request = \"{{uuid}}\"\n\
         x-signature = '{{base64(hmac_sha256(password, now_ms, body))}}'\n"
    );
    fs::write(&file, configuration).expect("a file");
    let mut command = bearerd(&["explain", "POST", "http://127.0.0.1:8080/x", "--config"]);
    command.arg(&file);
    let output = run(command, "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let injects: String =
        text.lines().filter(|line| line.starts_with("injects")).map(|line| line.to_owned() + "\n").collect();
    insta::assert_snapshot!(injects, @r"
    injects     header authorization: Basic base64([user], .., [password])
    injects     header x-both: [user]..[password]
    injects     header x-fixed: [a fixed value]
    injects     header x-request: [uuid]
    injects     header x-signature: base64(hmac_sha256([password], [now_ms], [body]))
    ");
}

#[test]
fn the_rules_over_callers_that_a_request_meets_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bearerd.toml");
    let (token, bearer) = (canary::token(), canary::secret());
    let configuration = format!(
        "[listeners.app]\nbind = \"127.0.0.1:8080\"\nallow = {{ uids = [1001, 1002], bearer = {{ value = \"{bearer}\" }} }}\n\
         [credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         [routes.board]\nupstream = \"https://board.invalid\"\ncredential = \"fixed\"\n\
         callers = [{{ uids = [1001] }}, {{ bearer = {{ value = \"{bearer}\" }} }}]\n"
    );
    fs::write(&file, configuration).expect("a file");
    let mut command = bearerd(&["explain", "GET", "http://127.0.0.1:8080/x", "--config"]);
    command.arg(&file);
    let output = run(command, "");
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(String::from_utf8(output.stdout).expect("text"), @r"
    listener    app (127.0.0.1:8080)
    takes       callers of uid 1001 or 1002 with a bearer
    route       board (path /)
    takes       callers of uid 1001, or callers with a bearer
    allows      everything
    credential  fixed (static)
    injects     header authorization: Bearer [token]
    forwarded   GET https://board.invalid/x
    ");
}

#[test]
fn a_request_that_does_not_pass_ends_with_1_and_the_reason() {
    for (method, url, reason) in [
        ("GET", "http://127.0.0.1:8080/nowhere", "404 no_route"),
        ("GET", "http://127.0.0.1:8080/boards", "404 no_route"),
        ("POST", "http://127.0.0.1:8080/board/notes/7", "403 not_allowed"),
        ("GET", "http://127.0.0.1:8080/board/notes/7/8", "403 not_allowed"),
        ("POST", "http://127.0.0.1:8080/api/oauth/token", "403 not_allowed"),
        ("POST", "http://127.0.0.1:8080/api/OAuth//t%6fken/", "403 not_allowed"),
        ("GET", "http://127.0.0.1:8080/board/../api", "400 path_ambiguous"),
        ("GET", "http://127.0.0.1:8080/api/a%2fb", "400 path_ambiguous"),
        ("CONNECT", "http://127.0.0.1:8080/api", "405 method_not_allowed"),
        ("get", "http://127.0.0.1:8080/api", "405 method_not_allowed"),
        ("GET", "http://evil.invalid:8080/api", "403 caller_denied"),
        ("GET", "http://127.0.0.1:8081/api", "404 no_route"),
        ("GET", "http://127.0.0.1:9999/api", "no listener"),
    ] {
        let (code, text) = explain(method, url);
        assert_eq!(code, Some(1), "{method} {url}\n{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("refused") && last.contains(reason), "{method} {url}\n{text}");
    }
}

#[test]
fn a_mistaken_url_ends_with_64() {
    for url in ["/api", "ftp://127.0.0.1:8080/api", "127.0.0.1:8080/api"] {
        let output = run(bearerd(&["explain", "GET", url, "--config", "/nowhere"]), "");
        assert_eq!(output.status.code(), Some(64), "{url}");
    }
}

#[test]
fn a_url_says_whether_the_listener_speaks_tls() {
    let (code, text) = explain("GET", "https://127.0.0.1:8080/board/notes/7");
    assert_eq!(code, Some(1));
    assert_eq!(text, "refused     no listener of this configuration speaks TLS on 127.0.0.1:8080\n");
}
