//! What people read when a file is wrong.

use super::{around, around_route, mistakes, refused};

#[test]
fn a_mistake_is_drawn_at_its_place_with_every_value_hidden() {
    let told = refused(
        r#"
[listeners.app]
bind = "127.0.0.1:8080"

[credentials.payhub]
preset = "payhub"
email = { env = "EMAIL" }
pasword = { value = "c4n4ry-1" } # c4n4ry-2

[routes.payhub]
upstraem = "https://c4n4ry@server.payhub.link"
credential = "payhb"
"#,
    );
    insta::assert_snapshot!(told, @r#"
    error: there is no key `pasword` here
     --> bearerd.toml:8:1
      |
    8 | pasword = { value = "…" }
      | ^^^^^^^ did you mean `password`?

    error: there is no key `upstraem` here
      --> bearerd.toml:11:1
       |
    11 | upstraem = "…"
       | ^^^^^^^^ did you mean `upstream`?

    error: there is no credential of this name
      --> bearerd.toml:12:14
       |
    12 | credential = "…"
       |              ^^^ did you mean `payhub`?
    "#);
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_run() {
    let told = mistakes(
        r#"
[server]
wrkers = 2
drain = 25
access_log = "error"
[admin]
listen = "0.0.0.0:9180"
[listeners.app]
bind = "0.0.0.0:8080"
tls = { cert = "x" }
[listeners.b]
bind = "nonsense"
max_head = "64K"
[egress.out]
source = "here"
proxy = "http://proxy"
[credentials.payhub]
preset = "payhub"
emial = { env = "EMAIL" }
password = "c4n4ry-in-plain"
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
token = { value = "c4n4ry-value", file = "/x" }
steps = []
[routes.one]
path = "/one"
upstream = "https://a.example"
credential = "nobody"
egress = "uot"
inject = { headers = { "X Y" = "{token}" } }
[routes.two]
listener = "app"
upstream = "htps://a.example"
[routes.three]
listener = "app"
path = "/a/../b"
upstream = "http://a.example"
credential = "payhub"
inject = { headers = { x = "{tokn}", Host = "a" } }
allow = ["get /x"]
guard = "masc"
"#,
    );
    insta::assert_snapshot!(told, @r#"
    3:1 there is no key `wrkers` here (did you mean `workers`?)
    4:9 this is not a duration with its unit, such as "30s", "15m" or "180d"
    5:14 this is not one of `off`, `errors` and `all` (did you mean `errors`?)
    7:10 this is not a loopback address: everyone who reaches it could use the credentials (bind to 127.0.0.1, or say `allow_remote = true` where the network keeps others out)
    9:8 this is not a loopback address: everyone who reaches it could use the credentials (bind to 127.0.0.1, let callers show certificates (`tls.client_ca`), or say `allow_remote = true` where the network keeps others out)
    10:1 `key` is missing: the private key of the certificate
    12:8 this is not an address to listen on (such as "127.0.0.1:8080", "[::1]:8080" or "unix:/run/bearerd/app.sock")
    13:12 this is not a size in bytes, such as 4096, "64KiB" or "4MiB"
    15:10 this is not an address (such as "203.0.113.10", without a port)
    19:1 there is no key `emial` here (did you mean `email`?)
    20:12 a secret is given by reference, not as a text (such as { file = "/run/secrets/name" } or { env = "NAME" })
    22:10 there is no preset of this name (did you mean `payhub`?)
    23:14 these credentials wait for each other: a -> b -> a
    28:38 the credential `a` has no such output: it has `token` (did you mean `token`?)
    29:14 `authorization_url` is missing: a browser is sent there; an `issuer` tells it too
    31:9 no durable store keeps what a person consents to (after a restart everybody has to log in again: `[store] kind = "file"` keeps it)
    32:13 http://issuer.example is plain HTTP: everyone on the way could read the secrets (use https://, or say `allow_plaintext = true` if the issuer has nothing else)
    34:25 this secret is empty
    37:1 a secret comes from one place, not from `file` and `value`
    38:1 `steps` belongs to the flow `login`, and this is `static`
    39:9 `listener` is missing: there are several
    42:14 there is no credential of this name (there is `payhub`, `typo`, `a`, `b`, `c` and `d`)
    43:10 there is no egress of this name (did you mean `out`?)
    44:24 this is not the name of a header field
    45:9 `credential` is missing: a route injects one; without it nothing is forwarded
    47:12 a URL here starts with `https://` or `http://`
    50:8 the path has a dot segment
    51:12 http://a.example is plain HTTP: everyone on the way could read the token (use https://, or say `allow_plaintext = true` if the upstream has nothing else)
    53:28 the template names `tokn`, which is no output (did you mean `token`?)
    53:38 `host` belongs to the connection, and bearerd makes it itself
    54:10 this is not a method such as `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` and `OPTIONS` (did you mean `GET`?)
    55:9 this is not one of `mask`, `block` and `off` (did you mean `mask`?)
    "#);
}

#[test]
fn a_file_that_is_not_toml_is_told_without_a_word_of_its_values() {
    let told = refused(
        r#"
[credentials.c]
flow = "static
token = { value = "c4n4ry" }
password = c4n4ry
key = """
c4n4ry-of-a-key==
[routes.r]
"#,
    );
    insta::assert_snapshot!(told, @r#"
    error: this is not TOML: invalid basic string, expected `"`
     --> bearerd.toml:3:15
      |
    3 | flow = …
      | ^^^^^^^^

    error: this is not TOML: string values must be quoted, expected literal string
     --> bearerd.toml:5:12
      |
    5 | password = …
      | ^^^^^^^^^^^^

    error: this is not TOML: invalid multi-line basic string, expected `"`
     --> bearerd.toml:9:1
      |
    9 | …
      | ^
    "#);
}

#[test]
fn a_key_that_is_there_twice_is_told() {
    insta::assert_snapshot!(refused("[server]\ndrain = \"1s\"\ndrain = \"2s\"\n"), @r#"
    error: this is not TOML: duplicate key
     --> bearerd.toml:3:1
      |
    3 | drain = …
      | ^^^^^^^^^
    "#);
}

#[test]
fn circles_of_credentials_are_named_in_full() {
    let told = mistakes(
        r#"
[credentials.a]
flow = "static"
token = { credential = "b" }
[credentials.b]
flow = "static"
token = { credential = "c" }
[credentials.c]
flow = "oauth2"
grant = "jwt_bearer"
token_url = "https://issuer.example/token"
assertion = { jwt = { key = { credential = "a" } } }
[credentials.self]
flow = "login"
[[credentials.self.steps]]
url = "https://issuer.example/login"
headers = { Authorization = "Bearer {self.token}" }
outputs = { token = "/token" }
"#,
    );
    insta::assert_snapshot!(told, @r#"
    1:1 there is no route: no request will be forwarded
    2:14 these credentials wait for each other: a -> b -> c -> a
    13:14 these credentials wait for each other: self -> self
    "#);
}

#[test]
fn secret_references_say_exactly_one_place() {
    let told = mistakes(
        r#"
[credentials.a]
flow = "static"
token = {}
[credentials.b]
flow = "static"
token = { env = "SECRET", timeout = "1s" }
[credentials.c]
flow = "static"
token = { env = "NOT_THERE" }
[credentials.d]
flow = "static"
token = { systemd = "../x" }
[credentials.e]
flow = "static"
token = { command = [] }
[credentials.f]
flow = "static"
token = { credential = "pair" }
[credentials.pair]
flow = "static"
secrets = { one = { env = "SECRET" }, two = { env = "SECRET" } }
[credentials.g]
flow = "static"
token = { jwt = { alg = "RS257", key = { env = "SECRET" }, claims = { sub = "{nobody}" } } }
[credentials.h]
flow = "static"
token = { fiel = "/x" }
[credentials.i]
flow = "static"
token = { file = "/" }
[credentials.j]
flow = "static"
token = { value = "" }
"#,
    );
    insta::assert_snapshot!(told, @r#"
    1:1 there is no route: no request will be forwarded
    4:1 this reference does not say where the secret is (say one of `file`, `env`, `systemd`, `command`, `credential`, `secret`, `jwt` and `value`)
    7:37 `timeout` is for `command`
    10:17 the environment has no variable of this name
    13:21 this is not the name of a credential of systemd
    16:11 `command` names no program
    19:24 say which `output` of `pair` is meant: it has `one` and `two`
    25:25 this is not one of the algorithms `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512`, `EdDSA`, `HS256`, `HS384`, `HS512` and `Ed25519` (did you mean `RS256`?)
    25:77 the template names `nobody`, which has no value (names are `uuid`, `now`, `now_s` and `now_ms`)
    28:11 there is no key `fiel` here (did you mean `file`?)
    31:18 this is a folder, not a file
    34:19 this secret stands in the configuration itself (a file, the environment or systemd keeps it apart)
    34:19 this secret is empty
    "#);
}

#[test]
fn what_a_flow_needs_is_told() {
    let told = mistakes(
        r#"
[credentials.a]
flow = "oauth2"
[credentials.b]
flow = "oauth2"
grant = "password"
token_url = "https://issuer.example/token?x={client_id}"
client_id = "b"
client_auth = "none"
client_secret = { env = "SECRET" }
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_id = "c"
client_auth = "private_key_jwt"
[credentials.d]
flow = "login"
[credentials.e]
flow = "static"
expires = "nevr"
[credentials.f]
flow = "static"
token = { env = "SECRET" }
expires = { at = "2026-12-31 00:00" }
[credentials.g]
optional = true
[credentials.h]
flow = "statik"
[credentials.i]
preset = "digilocker"
client_id = "i"
client_secret = { env = "SECRET" }
grant = "authorization_code"
refresh_token = { env = "SECRET" }
[credentials.j]
preset = "sahamati-user"
environment = "prod"
username = { env = "EMAIL" }
password = { env = "PASSWORD" }
"#,
    );
    insta::assert_snapshot!(told, @r#"
    1:1 there is no route: no request will be forwarded
    2:14 `token_url` is missing: tokens come from there; an `issuer` tells it too
    2:14 `grant` is missing: `authorization_code`, `device_code`, `client_credentials`, `refresh_token`, `password`, `jwt_bearer` or `token_exchange`
    2:14 `client_secret` is missing: the client shows it; a public client says `client_auth = "none"`
    2:14 `client_id` is missing: the issuer knows the client by it
    4:14 `username` is missing: this grant takes a user's name
    4:14 `password` is missing: this grant takes it
    7:13 the template names `client_id`, which has no value (names are `uuid`, `now`, `now_s` and `now_ms`)
    10:1 `client_secret` is not used with this `client_auth`
    11:14 `client_assertion` is missing: such as { jwt = { key = { file = "key.pem" } } }
    17:14 `steps` is missing: a login has at least one step
    19:14 `token` is missing: this flow has a token that somebody else made
    21:11 this is not `jwt`, `never`, { after = "180d" } or { at = "2026-12-31T00:00:00Z" } (did you mean `never`?)
    25:18 this is not a time with its zone (RFC 3339) (such as "2026-12-31T00:00:00+05:30")
    26:14 `flow` is missing: a credential has a `flow` (`static`, `oauth2` or `login`) or a `preset`
    29:8 this is not one of `static`, `oauth2` and `login` (did you mean `static`?)
    34:9 no durable store keeps what a person consents to (after a restart everybody has to log in again: `[store] kind = "file"` keeps it)
    38:15 this is not one of the environments `production`, `uat` and `sandbox` (did you mean `production`?)
    "#);
}

#[test]
fn steps_of_a_login_are_checked() {
    let told = mistakes(&around(
        r#"
[credentials.c]
flow = "login"
params = { base_url = "https://issuer.example" }
secrets = { password = { env = "PASSWORD" }, host = { env = "SECRET" } }
[[credentials.c.steps]]
url = "https://{host}/login"
method = "post"
headers = { "Content-Length" = "1", x = "a\r\nb" }
form = { a = "{pasword}", b = "{later}" }
body = "x"
success = { status = [20], json = { responseCode = 200 } }
outputs = { password = "/x", one = "token", two = { regex = "x" }, three = { json = "/x", header = "y" }, four = { css = "input" } }
expires_in = { json = "/ttl", unit = "fortnights" }
expires_at = { jwt = "tokn" }
[[credentials.c.steps]]
url = "{base_url}/{nobody.token}"
json = { a = [{ b = "{" }] }
outputs = { later = "/x" }
expires_at = { json = "/end", format = "rfc", zone = "IST" }
warn = "message"
[[credentials.c.steps]]
mail = { from = "x" }
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    11:1 a step has one body: `form`, `json` or `body`
    12:7 scheme and host of a URL are plain text or plain parameters (a URL that a secret or an answer could move would take the secrets along)
    13:10 this is not a method such as `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` and `OPTIONS` (did you mean `POST`?)
    14:13 `content-length` belongs to the connection, and bearerd makes it itself
    14:41 a field cannot hold line breaks or control characters
    17:23 a status is from 100 to 999
    17:37 this is not a JSON pointer (RFC 6901) (such as "/responseCode")
    18:13 `password` is an output here and an input of the same credential
    18:36 this is not a JSON pointer (RFC 6901) (such as "/data/token")
    18:61 the pattern has one group: what is taken (such as "code (\\d+)")
    18:68 an output is at one place: `json`, `header`, `cookie`, `regex` or `css`
    20:1 a step says `expires_in` or `expires_at`, not both
    20:22 there is no such output: the steps have `password`, `one`, `two`, `three`, `four` and `later`
    22:7 there is no credential of this name (there is `c`)
    23:21 this is not a template: a name, `credential.output` or a function is wanted here (at character 2) (placeholders are written {name}, braces themselves {{ and }})
    25:40 this is neither a pattern with `%` nor one of `rfc3339`, `epoch_s` and `epoch_ms` (did you mean `rfc3339`?)
    25:54 this is not an offset from UTC (such as "+05:30" or "UTC")
    26:8 this is not a JSON pointer (RFC 6901) (such as "/data/token")
    27:1 `outputs` is missing: they say what is taken from the message
    28:1 `mailbox` is missing: it says where the message comes
    28:17 this is not the address of a sender (such as "token@portal.example", without a name and brackets)
    "#);
}

#[test]
fn routes_are_checked() {
    let told = mistakes(
        r#"
[listeners.app]
bind = "127.0.0.1:8080"
[listeners.other]
bind = "127.0.0.1:8080"
allow = { uids = [1], gids = [1] }
hosts = ["http://x"]
[listeners.admin]
bind = "127.0.0.1:9180"
[credentials.c]
flow = "static"
token = { env = "SECRET" }
[credentials.login]
flow = "login"
[[credentials.login.steps]]
url = "https://issuer.example/login"
outputs = { key = "/key" }
[routes.a]
listener = "app"
path = "/x/"
upstream = "https://a.example"
credential = "c"
[routes.b]
listener = "app"
path = "/x"
upstream = "https://b.example"
credential = "c"
[routes.c]
listener = "ap"
upstream = "https://b.example?x=1"
credential = "login"
[routes.d]
listener = "app"
path = "d"
upstream = "unix:@x"
credential = "c"
allow = []
timeout = "1s"
answer_timeout = "2s"
[routes.e]
listener = "app"
path = "/.bearerd/x"
host = "*.example"
upstream = "https://user:c4n4ry@b.example"
credential = "c"
allow = ["GET x", "/ok", "GET /a?b"]
inject = { headers = { X-Key = "{token}", x_key = "{token}" }, query = { "" = "{token}" }, cookies = { a = "x; {token}" } }
refusal = { status = [401], json = { code = 1 }, peek = "4GiB" }
[routes.f]
listener = "app"
path = "/f"
upstream = "https://b.example"
credential = "c"
inject = {}
subject = { header = "X" }
"#,
    );
    insta::assert_snapshot!(told, @r#"
    6:23 over TCP the kernel tells a caller's user alone: this is for Unix sockets (`uids` works on loopback too)
    7:10 this is not the name of a host (such as "api.localhost": no scheme, no port, no pattern)
    9:8 the admin listener is bound to this address too (`listen` under [admin] moves it)
    23:9 the routes `a` and `b` shadow each other: both take /x on `app` (they differ by `listener`, `host` or `path`)
    28:9 nothing is injected: `login` has no rule of its own (such as inject = { headers = { Authorization = "Bearer {key}" } })
    29:12 there is no listener of this name (did you mean `app`?)
    30:12 an upstream has no query
    34:8 a path starts with `/`
    35:12 abstract sockets have no owner and no mode: name one in the file system
    37:1 an empty list allows nothing (without `allow` everything but token endpoints is allowed)
    38:1 `timeout` and `answer_timeout` are the same: one is enough
    42:8 `/.bearerd` is kept for bearerd itself
    43:8 this is not the name of a host (such as "api.localhost": no scheme, no port, no pattern)
    44:12 a URL here has no user information (`@`)
    46:10 this is not a method and a path, or a path alone (such as "GET /user/*"; `*` stays in a segment, `**` crosses)
    46:26 this is not a method and a path, or a path alone (such as "GET /user/*"; `*` stays in a segment, `**` crosses)
    47:43 this field is injected twice: letter case, `-` and `_` do not count
    47:74 this name cannot be injected
    47:108 a cookie cannot hold spaces, quotes, commas, semicolons or backslashes
    48:38 this is not a JSON pointer (RFC 6901) (such as "/responseCode")
    48:57 at most "1MiB" of an answer is looked at
    54:1 this injects nothing (without `inject` the credential's rule counts)
    55:1 `c` has one token for all: only a credential to which people log in has subjects (an `oauth2` flow with the grant `authorization_code` or `device_code`)
    "#);
}

#[test]
fn what_this_version_does_not_build_is_told_as_such() {
    let told = mistakes(&around_route(
        r#"
upstream = "http://localhost:1"
credential = "c"
guard = "block"
allow_token_answers = false
[store]
kind = "shared"
[listeners.fd]
bind = "unix:/run/app.sock"
[egress.e]
client_cert = "x"
[credentials.o]
flow = "oauth2"
issuer = "https://issuer.example"
grant = "client_credentials"
token_url = "https://issuer.example/token"
client_auth = "none"
client_id = "x"
subject = { header = "X" }
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    6:9 `listener` is missing: there are several
    13:8 `shared` is not available in this version
    16:9 `client_key` is missing: the private key of `client_cert`
    25:1 `subject` is not available in this version
    "#);
}

#[test]
fn plain_http_is_refused_beyond_loopback() {
    let told = mistakes(&around(
        r#"
[credentials.c]
flow = "login"
base_url = "http://issuer.example"
[[credentials.c.steps]]
url = "{base_url}/login"
outputs = { token = "/token" }
[credentials.c.inject]
headers = { Authorization = "Bearer {token}" }
[routes.plain]
path = "/plain"
upstream = "http://api.example"
credential = "c"
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    9:12 http://issuer.example is plain HTTP: everyone on the way could read the secrets (use https://, or say `allow_plaintext = true` if the issuer has nothing else)
    17:12 http://api.example is plain HTTP: everyone on the way could read the token (use https://, or say `allow_plaintext = true` if the upstream has nothing else)
    "#);
}

#[test]
fn one_mistake_is_told_once() {
    let told = mistakes(&around(
        r#"
[credentials.c]
flow = "static"
token = "c4n4ry-in-plain"
[listeners.b]
bind = 8080
[routes.s]
listener = "b"
path = "/s"
upstream = ["https://a.example"]
credential = "c"
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    3:9 `listener` is missing: there are several
    9:9 a secret is given by reference, not as a text (such as { file = "/run/secrets/name" } or { env = "NAME" })
    11:8 a text in quotes is wanted here, not a number
    15:1 a text in quotes is wanted here, not a list
    "#);
}

#[test]
fn a_subject_is_told_in_one_way_that_nothing_else_means() {
    let credential = "[listeners.app]\nbind = \"127.0.0.1:0\"\n[credentials.c]\nflow = \"oauth2\"\n\
         grant = \"authorization_code\"\nauthorization_url = \"https://issuer.example/authorize\"\n\
         token_url = \"https://issuer.example/token\"\nclient_id = \"x\"\nclient_auth = \"none\"\n\
         redirect_uri = \"http://127.0.0.1:9180/oauth/callback\"\n\
         [routes.r]\nupstream = \"https://api.example\"\ncredential = \"c\"\n";
    for (subject, mistake) in [
        ("{}", "a subject is told by `header` or by `path`"),
        ("{ header = \"X-S\", path = 1 }", "a subject is told by `header` or by `path`"),
        ("{ header = \"a b\" }", "this is not the name of a header field"),
        ("{ header = \"X_S\" }", "servers read `_` and `-` as one: a name with `-` is clearer"),
        ("{ header = \"Cookie\" }", "this field has a meaning of its own in HTTP"),
        ("{ header = \"authorization\" }", "this field has a meaning of its own in HTTP"),
        ("{ path = 0 }", "a segment is counted from 1 to 32"),
        ("{ path = 33 }", "a segment is counted from 1 to 32"),
        ("{ query = \"s\" }", "there is no key `query` here"),
    ] {
        let told = mistakes(&format!("{credential}subject = {subject}\n"));
        assert!(told.contains(mistake), "{subject}: {told}");
    }
}
