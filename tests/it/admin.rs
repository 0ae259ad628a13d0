//! The admin listener: who may ask, what is told, and what can be changed.

use serde_json::{Value, json};

use crate::support::sidecar::{Setup, run};
use crate::support::{Client, Issuer, Reply, Sidecar, bearerd, canary};

/// A credential that an issuer grants, and a route that uses it.
fn granted(issuer: &Issuer) -> String {
    let secret = canary::secret();
    format!(
        "[credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"me\"\nclient_secret = {{ value = \"{secret}\" }}\n\n\
         [routes.api]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"api\"\n",
        issuer.url()
    )
}

/// A static credential, and a route that uses it.
fn fixed() -> String {
    let token = canary::token();
    format!(
        "[credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n\
         [routes.fixed]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"fixed\"\n"
    )
}

#[test]
fn credentials_are_told_in_states_and_times_only() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(&granted(&issuer));
    let all = sidecar.admin().get("/v1/credentials");
    assert_eq!(all.field("content-type").as_deref(), Some("application/json"));
    let all = all.json();
    let one = &all["credentials"][0];
    let keys: Vec<&String> = one.as_object().expect("an object").keys().collect();
    let wanted = [
        "expires_at",
        "flow",
        "generation",
        "last_error",
        "name",
        "obtained_at",
        "renew_at",
        "state",
        "subjects",
        "warnings",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(
        (&one["name"], &one["flow"], &one["state"]),
        (&json!("api"), &json!("oauth2"), &json!("ready"))
    );
    assert_eq!(
        (&one["generation"], &one["last_error"], &one["subjects"]),
        (&json!(1), &Value::Null, &json!(0))
    );
    let time =
        |key: &str| one[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect(key);
    let lifetime = time("expires_at").duration_since(time("obtained_at")).as_secs();
    let pause = time("renew_at").duration_since(time("obtained_at")).as_secs();
    assert_eq!(lifetime, 3600);
    assert!((2519..=2881).contains(&pause), "renewal lies between 70 % and 80 %: {pause}");
    assert_eq!(sidecar.credential("api"), *one);
    assert_eq!(sidecar.admin().get("/v1/credentials/nobody").status(), 404);
}

#[test]
fn changes_over_tcp_want_the_token() {
    let sidecar = Sidecar::ready(&fixed());
    let admin = sidecar.admin();
    for (method, path) in [
        ("POST", "/v1/credentials/fixed/refresh"),
        ("PUT", "/v1/credentials/fixed/token"),
        ("POST", "/v1/reload"),
        ("POST", "/v1/quit"),
    ] {
        for fields in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic YTpi\r\n"] {
            let answer = admin.request(method, path, fields, b"x");
            assert_eq!(answer.status(), 401, "{method} {path} {fields}");
            assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
        }
    }
    assert_eq!(sidecar.credential("fixed")["generation"], 1, "nothing was changed");
}

#[test]
fn a_foreign_host_or_origin_is_refused_but_probes_take_any() {
    let sidecar = Sidecar::ready(&fixed());
    let ask = |target: &str, host: &str, fields: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        let answer = sidecar.admin().raw(head.as_bytes());
        answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
    };
    for target in ["/", "/v1/credentials", "/v1/credentials/fixed"] {
        assert_eq!(ask(target, "localhost", ""), 200);
        assert_eq!(ask(target, "evil.example", ""), 403);
        assert_eq!(ask(target, "localhost", "Origin: http://evil.example\r\n"), 403);
        assert_eq!(ask(target, "localhost", "Sec-Fetch-Site: cross-site\r\n"), 403);
    }
    for target in ["/live", "/ready", "/metrics"] {
        assert_eq!(ask(target, "10.0.0.7:9180", ""), 200, "{target}");
    }
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let sidecar = Sidecar::ready(&fixed());
    let admin = sidecar.admin();
    assert_eq!(admin.get("/v2").status(), 404);
    let wrong = admin.request("DELETE", "/v1/credentials", "", b"");
    assert_eq!((wrong.status(), wrong.field("allow").as_deref()), (405, Some("GET, HEAD")));
    let wrong = admin.get("/v1/reload");
    assert_eq!((wrong.status(), wrong.field("allow").as_deref()), (405, Some("POST")));
    assert!(admin.get("/").text().contains("/v1/credentials"));
}

#[test]
fn it_is_ready_once_every_credential_in_use_was_obtained() {
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::status(503, "text/plain", "down")));
    let sidecar = Setup::new(&granted(&issuer)).start();
    issuer.wait_for(1);
    let answer = sidecar.admin().get("/ready");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("`api`"), "{}", answer.text());
    assert_eq!(sidecar.admin().get("/live").status(), 200);
    // The first exchange has ended: the refresh below is another one.
    sidecar.wait("an error", || (!sidecar.credential("api")["last_error"].is_null()).then_some(()));
    issuer.always(None);
    let answer = sidecar.control("POST", "/v1/credentials/api/refresh?wait=true", b"");
    assert_eq!((answer.status(), answer.json()), (200, json!({ "outcome": "ok" })));
    assert_eq!(sidecar.admin().get("/ready").status(), 200);
}

#[test]
fn a_refresh_renews_at_once_and_tells_the_outcome() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(&granted(&issuer));
    let refresh = |query: &str| sidecar.control("POST", &format!("/v1/credentials/api/refresh{query}"), b"");
    assert_eq!(refresh("").status(), 202);
    sidecar.wait_for_generation("api", 2);
    issuer.always(Some(Reply::json(503, &json!({}))));
    assert_eq!(refresh("?wait=true").json(), json!({ "outcome": "transient" }));
    assert_eq!(sidecar.credential("api")["state"], "failing");
    issuer.always(Some(Reply::json(401, &json!({ "error": "invalid_client" }))));
    assert_eq!(refresh("?wait=true").json(), json!({ "outcome": "rejected" }));
    assert_eq!(sidecar.credential("api")["last_error"]["class"], "rejected");
    issuer.always(None);
    assert_eq!(refresh("?wait=true&force=true").json(), json!({ "outcome": "ok" }));
    assert_eq!(refresh("?wait=maybe").status(), 400);
    assert_eq!(sidecar.control("POST", "/v1/credentials/nobody/refresh", b"").status(), 404);
}

#[test]
fn only_a_static_token_can_be_set() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(
        &(fixed() + &granted(&issuer).replace("[routes.api]\n", "[routes.api]\npath = \"/api\"\n")),
    );
    let token = canary::token();
    let set = |name: &str, body: &str| {
        sidecar.control("PUT", &format!("/v1/credentials/{name}/token"), body.as_bytes()).status()
    };
    assert_eq!(set("fixed", &format!("{token}\n")), 204);
    assert_eq!(sidecar.credential("fixed")["generation"], 2);
    assert_eq!(set("fixed", ""), 400);
    assert_eq!(set("fixed", "\n"), 400);
    assert_eq!(set("fixed", "line\nbreak"), 400);
    assert_eq!(set("fixed", &"x".repeat(65 * 1024)), 413);
    assert_eq!(set("api", &token), 409);
    assert_eq!(set("nobody", &token), 404);
    assert_eq!(sidecar.credential("fixed")["generation"], 2);
}

#[test]
fn the_metrics_are_those_of_the_table() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(&granted(&issuer));
    assert_eq!(sidecar.app().get("/").status(), 502);
    let text = sidecar.admin().get("/metrics").text();
    for sample in [
        "bearerd_requests_total{route=\"api\",status=\"5xx\"} 1",
        "bearerd_request_duration_seconds_count{route=\"api\",status=\"5xx\"} 1",
        "bearerd_errors_total{route=\"api\",code=\"upstream_connect\"} 1",
        "bearerd_injections_total{route=\"api\",credential=\"api\"} 0",
        "bearerd_replays_total{route=\"api\"} 0",
        "bearerd_credential_generation{credential=\"api\"} 1",
        "bearerd_credential_state{credential=\"api\",state=\"ready\"} 1",
        "bearerd_credential_state{credential=\"api\",state=\"login_required\"} 0",
        "bearerd_renewals_total{credential=\"api\",outcome=\"ok\"} 1",
        "bearerd_renewal_duration_seconds_count{credential=\"api\",outcome=\"ok\"} 1",
        "bearerd_reloads_total{outcome=\"ok\"} 0",
        "bearerd_connections{listener=\"app\"} ",
        "bearerd_upstream_connections{route=\"api\"} 0",
        "bearerd_credential_expires_timestamp_seconds{credential=\"api\"} ",
        "bearerd_credential_renew_timestamp_seconds{credential=\"api\"} ",
        "bearerd_build_info{version=\"",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(sample)), "{sample}\n{text}");
    }
}

#[test]
fn without_a_configured_token_changes_are_off_and_quit_may_be_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join("bearerd.toml");
    let text = format!(
        "[server]\nlog_format = \"json\"\n[admin]\nlisten = \"unix:{0}/admin.sock\"\nallow_quit = true\n\
         [listeners.app]\nbind = \"127.0.0.1:0\"\n{1}",
        folder.path().display(),
        fixed()
    );
    std::fs::write(&configuration, text).expect("a file");
    let mut process = bearerd(&["run", "--config"]);
    let mut process =
        process.arg(&configuration).stderr(std::process::Stdio::null()).spawn().expect("the binary");
    let admin = format!("unix:{}/admin.sock", folder.path().display());
    let ask = |arguments: &[&str]| {
        let mut command = bearerd(arguments);
        command.env("BEARERD_ADMIN", &admin);
        run(command, "")
    };
    let ready = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ask(&["probe", "ready"]).status.success()
    });
    assert!(ready, "it is ready");
    assert!(ask(&["refresh", "fixed"]).status.success(), "a Unix socket wants no token");
    assert!(ask(&["quit"]).status.success());
    assert!(process.wait().expect("an end").success());
    assert_eq!(ask(&["probe", "live"]).status.code(), Some(69));
}

#[test]
fn slow_and_oversized_requests_do_not_hold_the_listener() {
    let sidecar = Sidecar::ready(&fixed());
    let admin: Client = sidecar.admin();
    let long = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert!(admin.raw(long.as_bytes()).starts_with("HTTP/1.1 431"), "a head over 32 KiB");
    let waiting: Vec<_> = (0..20).map(|_| admin.connect()).collect();
    assert_eq!(admin.get("/live").status(), 200);
    drop(waiting);
}
