//! Listeners: where they may be, and what their TLS is made of.

use std::fs;

use bearerd::certificate::KeySource;
use bearerd::server::Bind;
use tempfile::TempDir;

use super::{accepted, mistakes, warnings};
use crate::support::tls::Authority;

/// A folder with the files of a certificate, and a listener around them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
        let (server, other, ended) = (authority.server(), authority.server(), authority.ended());
        for (name, content) in [
            ("cert.pem", &server.cert),
            ("key.pem", &server.key),
            ("ca.pem", &authority.pem()),
            ("other-key.pem", &other.key),
            ("ended.pem", &ended.cert),
            ("ended-key.pem", &ended.key),
            ("empty.pem", &String::new()),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
        }
        Self(folder)
    }

    /// A whole file whose listener has these lines; `{f}` stands for the folder.
    fn listener(&self, lines: &str) -> String {
        let lines = lines.replace("{f}", &self.0.path().display().to_string());
        format!(
            "[listeners.app]\n{lines}\n[credentials.c]\nflow = \"static\"\nexpires = \"never\"\n\
             token = {{ env = \"SECRET\" }}\n[routes.r]\nupstream = \"https://api.example\"\nlistener = \"app\"\ncredential = \"c\"\n"
        )
    }

    #[track_caller]
    fn mistakes(&self, lines: &str) -> String {
        mistakes(&self.listener(lines)).replace(&self.0.path().display().to_string(), "{f}")
    }
}

#[test]
fn a_listener_beyond_loopback_asks_for_certificates_or_says_that_it_may() {
    let files = Files::new();
    let tls = "tls = { cert = \"{f}/cert.pem\", key = \"{f}/key.pem\" }";
    let mutual = "tls = { cert = \"{f}/cert.pem\", key = \"{f}/key.pem\", client_ca = \"{f}/ca.pem\" }";
    for bind in ["0.0.0.0:8443", "[::]:8443", "10.0.0.5:8443", "[2001:db8::1]:8443"] {
        let bind = format!("bind = \"{bind}\"");
        for lines in [bind.clone(), format!("{bind}\n{tls}")] {
            let told = files.mistakes(&lines);
            assert!(told.contains("not a loopback address") && told.contains("`tls.client_ca`"), "{told}");
            let warned = warnings(&files.listener(&format!("{lines}\nallow_remote = true")));
            assert!(warned[0].contains("not a loopback address"), "{warned:?}");
        }
        assert!(warnings(&files.listener(&format!("{bind}\n{mutual}"))).is_empty());
    }
    for bind in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:8080"] {
        assert!(warnings(&files.listener(&format!("bind = \"{bind}\"\n{tls}"))).is_empty());
    }
}

#[test]
fn a_key_is_a_path_or_a_reference_that_asks_nobody() {
    let files = Files::new();
    let key =
        |key: &str| format!("bind = \"127.0.0.1:0\"\ntls = {{ cert = \"{{f}}/cert.pem\", key = {key} }}");
    let file = KeySource::File(files.0.path().join("key.pem"));
    for path in ["\"{f}/key.pem\"", "{ file = \"{f}/key.pem\" }"] {
        let config = accepted(&files.listener(&key(path))).config;
        assert_eq!(config.listeners[0].tls.as_ref().expect("TLS").key, file);
    }
    insta::assert_snapshot!(files.mistakes(&key("{ command = [\"pass\", \"key\"] }")), @"3:44 this secret is wanted before anything is obtained (say one of `file`, `systemd` and `env`)");
    insta::assert_snapshot!(files.mistakes(&key("{ env = \"SECRET\" }")), @"3:44 the key holds no private key in PEM form");
    insta::assert_snapshot!(files.mistakes(&key("\"{f}/missing.pem\"")), @"3:50 the file {f}/missing.pem does not exist");
    insta::assert_snapshot!(files.mistakes(&key("\"{f}/other-key.pem\"")), @"3:50 the private key is not that of the certificate in {f}/cert.pem");
    insta::assert_snapshot!(files.mistakes(&key("7")), @"3:50 a text or a table is wanted here, not a number");
}

#[test]
fn a_certificate_that_has_ended_is_warned_about() {
    let lines = "bind = \"127.0.0.1:0\"\ntls = { cert = \"{f}/ended.pem\", key = \"{f}/ended-key.pem\" }";
    let warned = warnings(&Files::new().listener(lines));
    assert_eq!(warned, ["this certificate ended at 2002-01-01T00:00:00Z: no caller will take it"]);
}

#[test]
fn mistakes_of_tls_are_told_where_they_are() {
    let files = Files::new();
    let tls = |lines: &str| format!("bind = \"127.0.0.1:0\"\n[listeners.app.tls]\n{lines}");
    insta::assert_snapshot!(files.mistakes(&tls("")), @r"
    3:16 `cert` is missing: a PEM file with the certificate that the listener shows
    3:16 `key` is missing: the private key of the certificate
    ");
    insta::assert_snapshot!(files.mistakes(&tls("cret = \"x\"\nkey = \"{f}/key.pem\"")), @"4:1 there is no key `cret` here (did you mean `cert`?)");
    insta::assert_snapshot!(files.mistakes(&tls(
        "cert = \"{f}/empty.pem\"\nkey = \"{f}/key.pem\"\nclient_ca = \"{f}/gone.pem\"\nallow_names = []"
    )), @r"
    4:8 the file {f}/empty.pem holds no certificate in PEM form
    6:13 the file {f}/gone.pem does not exist
    7:1 an empty list lets nobody call
    ");
    insta::assert_snapshot!(files.mistakes(&tls(
        "cert = \"{f}/cert.pem\"\nkey = \"{f}/key.pem\"\nallow_names = [\"app\", \"*.internal\", \"\"]"
    )), @r#"
    6:1 names are looked for in callers' certificates, which nobody has to show without `client_ca`
    6:23 a name is compared as a whole: it is not empty and has no `*` (such as "app.internal" or "spiffe://cluster/ns/shop/sa/app")
    6:37 a name is compared as a whole: it is not empty and has no `*` (such as "app.internal" or "spiffe://cluster/ns/shop/sa/app")
    "#);
    insta::assert_snapshot!(files.mistakes(
        "bind = \"unix:/run/a.sock\"\ntls = { cert = \"{f}/cert.pem\", key = \"{f}/key.pem\" }"
    ), @"3:1 a Unix socket does not speak `tls`: it knows its callers by their uid (`allow = { uids = [..] }` says who may call)");
}

#[test]
fn rules_over_callers_ask_for_what_can_be_known_of_them() {
    let files = Files::new();
    let allow = |bind: &str, rule: &str| files.mistakes(&format!("bind = \"{bind}\"\nallow = {{ {rule} }}"));
    insta::assert_snapshot!(allow("127.0.0.1:0", "gids = [1], cgroups = [\"/a\"], names = [\"a\"]"), @r#"
    3:11 over TCP the kernel tells a caller's user alone: this is for Unix sockets (`uids` works on loopback too)
    3:23 over TCP the kernel tells a caller's user alone: this is for Unix sockets (`uids` works on loopback too)
    3:41 names are looked for in callers' certificates, which nobody has to show without `tls.client_ca` (`client_ca` under `tls` is a file of the authorities that callers' certificates are of)
    "#);
    insta::assert_snapshot!(allow("unix:/run/a.sock", "uids = [], names = [\"a\"], cgroups = [\"a\", \"/\", \"/a//b\"]"), @r#"
    3:11 an empty list lets nobody call
    3:22 names stand in certificates, which a Unix socket does not ask for (`uids`, `gids` and `cgroups` tell callers apart there)
    3:48 a control group is a path below the root, such as "/system.slice/app.service"
    3:53 a control group is a path below the root, such as "/system.slice/app.service"
    3:58 the path of a control group has no empty segments
    "#);
    insta::assert_snapshot!(allow("0.0.0.0:1\"\nallow_remote = true #", "uids = [1]"), @r#"
    2:8 everyone who reaches this address may call: it is not a loopback address (`allow_remote` permits it)
    4:11 users of other machines are not known here: this is for loopback and Unix sockets (`tls.client_ca` and `names` tell callers on other machines apart)
    "#);
    insta::assert_snapshot!(allow("127.0.0.1:0", "subjects = [\"a\"], bearer = []"), @r#"
    3:11 a listener has no subjects: this is for `callers` of a route
    3:29 an empty list lets nobody call
    "#);
    insta::assert_snapshot!(allow("127.0.0.1:0", "bearer = { command = [\"x\"] }, service_accounts = { accounts = [\"shop\"] }"), @r#"
    3:11 this secret is wanted before anything is obtained (say one of `file`, `systemd` and `env`)
    3:41 `issuer` is missing: who signs the tokens: their `iss`
    3:41 `audience` is missing: whom the tokens are for: one of their `aud`
    3:41 `jwks` is missing: a URL or a file of the keys that sign the tokens
    3:74 this is not NAMESPACE/NAME (such as "shop/app"; `*` stands for any namespace, or for any name)
    "#);
    let accounts = "issuer = \"x\", audience = \"y\", accounts = [\"a/b\"]";
    insta::assert_snapshot!(allow("127.0.0.1:0", &format!("service_accounts = {{ {accounts}, jwks = \"http://a.example/k\" }}")), @r#"3:89 keys are asked for over https: whoever changes them on the way could be any caller"#);
    insta::assert_snapshot!(allow("127.0.0.1:0", &format!("service_accounts = {{ {accounts}, jwks = \"gone.json\", egress = \"no\" }}")), @r#"
    3:89 the file gone.json does not exist
    3:111 there is no egress of this name (the file has no egress at all)
    "#);
    let route = |rule: &str| mistakes(&(files.listener("bind = \"127.0.0.1:0\"") + "callers = " + rule));
    insta::assert_snapshot!(route("[]"), @r#"11:1 an empty list lets nobody call (without `callers` whoever may call the listener may call the route)"#);
    insta::assert_snapshot!(route("{}"), @r#"11:1 this takes every caller (such as { uids = [1001] })"#);
    insta::assert_snapshot!(route("[{ uids = [1] }, { gids = [1], subjects = [\"a\"] }]"), @r#"
    11:30 over TCP the kernel tells a caller's user alone: this is for Unix sockets (`uids` works on loopback too)
    11:42 the route has no subjects: requests do not say for whom they are (`subject` of the route says where they do)
    "#);
    let warned =
        warnings(&files.listener("bind = \"127.0.0.1:0\"\nallow = { bearer = { env = \"SECRET\" } }"));
    assert_eq!(warned, ["this bearer has less than 16 bytes: it can be guessed"]);
}

#[test]
fn an_inherited_socket_is_named_once() {
    let files = Files::new();
    let config = accepted(&files.listener("bind = \"fd:app\"")).config;
    assert_eq!(config.listeners[0].bind, Bind::Inherited("app".into()));
    let others = "\n[listeners.same]\nbind = \"fd:app\"\n[listeners.none]\nbind = \"fd:\"\n\
                  [listeners.two]\nbind = \"fd:a:b\"\n[admin]\nlisten = \"fd:admin\"";
    insta::assert_snapshot!(files.mistakes(&format!("bind = \"fd:app\"{others}")), @r#"
    4:8 the listener `app` is bound to this address too
    6:8 this names no inherited socket (such as "fd:app", for `FileDescriptorName=app` in the socket unit)
    8:8 this names no inherited socket (such as "fd:app", for `FileDescriptorName=app` in the socket unit)
    10:10 the admin listener binds its address itself (such as "127.0.0.1:9180" or "unix:/run/bearerd/admin.sock")
    "#);
}
