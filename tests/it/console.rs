//! The console's side of the admin listener: the page, sessions, the overview and events. What the
//! page does with them in a browser is told by `tests/peers/console.rs`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use bearerd::clock::Clock;
use serde_json::{Value, json};

use crate::support::message::Message;
use crate::support::sidecar::{ADMIN_TOKEN, Setup};
use crate::support::wire::Wire;
use crate::support::{Client, Issuer, Reply, Sidecar, bearerd, canary};

/// Two credentials, the second of which is made with an output of the first, and a route.
fn chained(issuer: &Issuer) -> String {
    let (secret, url) = (canary::secret(), issuer.url());
    let credential = |name: &str, secret: &str| {
        format!(
            "[credentials.{name}]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{url}\"\n\
             client_id = \"me\"\nclient_secret = {secret}\n\n"
        )
    };
    credential("user", &format!("{{ value = \"{secret}\" }}"))
        + &credential("entity", "{ credential = \"user\", output = \"access_token\" }")
        + "[routes.api]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"entity\"\n"
}

/// What the page of a signed-in person sends with a change.
struct Session {
    cookie: String,
    proof: String,
}

impl Session {
    #[track_caller]
    fn open(admin: &Client) -> Self {
        let answer = sign_in(admin, ADMIN_TOKEN);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let cookie = answer.field("set-cookie").expect("a cookie");
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/v1", "Max-Age=3600"] {
            assert!(cookie.split("; ").any(|part| part == attribute), "{attribute}: {cookie}");
        }
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let document = answer.json();
        assert_eq!(document["expires_in"], 3600);
        Self { cookie, proof: document["proof"].as_str().expect("a text").to_owned() }
    }

    fn cookie(&self) -> String {
        format!("Cookie: theme=dark; {}\r\n", self.cookie)
    }

    fn proof(&self) -> String {
        format!("X-Bearerd-Session: {}\r\n", self.proof)
    }
}

fn sign_in(admin: &Client, token: &str) -> Message {
    admin.request("POST", "/v1/session", &format!("Authorization: Bearer {token}\r\n"), b"")
}

#[test]
fn the_page_runs_nothing_but_its_own_script_and_stands_in_no_frame() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let page = sidecar.admin().get("/");
    assert_eq!(
        (page.status(), page.field("content-type").as_deref()),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.field("content-security-policy").expect("a policy");
    let directives: Vec<&str> = policy.split("; ").collect();
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]
    {
        assert!(directives.contains(&directive), "{directive}: {policy}");
    }
    assert!(!policy.contains("unsafe-") && !policy.contains('*'), "{policy}");
    for (field, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.field(field).as_deref(), Some(value), "{field}");
    }
}

#[test]
fn a_session_takes_the_cookie_and_what_only_the_page_knows() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let admin = sidecar.admin();
    let session = Session::open(&admin);
    let (cookie, proof) = (session.cookie(), session.proof());
    let refresh = |fields: &str| admin.request("POST", "/v1/credentials/user/refresh", fields, b"").status();
    assert_eq!(refresh(&(cookie.clone() + &proof)), 202);
    assert_eq!(refresh(&cookie), 403, "a page of another origin could send as much");
    assert_eq!(refresh(&proof), 401);
    assert_eq!(refresh(&(cookie.clone() + "X-Bearerd-Session: guessed\r\n")), 403);
    let other = Session::open(&admin);
    assert_eq!(refresh(&(cookie.clone() + &other.proof())), 403, "the proof of another session");
    for foreign in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: same-site\r\n"] {
        assert_eq!(refresh(&(cookie.clone() + &proof + foreign)), 403, "{foreign}");
    }
    let wrong = "Authorization: Bearer wrong\r\n";
    assert_eq!(refresh(&(cookie.clone() + &proof + wrong)), 401, "a wrong token is wrong in any company");
}

#[test]
fn a_session_is_told_of_itself_until_it_signs_out() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let admin = sidecar.admin();
    let nobody = json!({ "access": "token", "expires_in": null });
    assert_eq!(admin.get("/v1/session").json(), nobody);
    let session = Session::open(&admin);
    let both = session.cookie() + &session.proof();
    let told = admin.get_with("/v1/session", &both).json();
    assert!((3500..=3600).contains(&told["expires_in"].as_u64().expect("a time")), "{told}");
    assert_eq!(
        admin.get_with("/v1/session", &session.cookie()).json(),
        nobody,
        "the proof is never told again"
    );
    assert_eq!(sidecar.metric("bearerd_console_sessions"), 1);
    let gone = admin.request("DELETE", "/v1/session", &both, b"");
    assert_eq!(gone.status(), 204);
    assert!(gone.field("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(admin.request("POST", "/v1/reload", &both, b"").status(), 401);
    assert_eq!(sidecar.metric("bearerd_console_sessions"), 0);
}

#[test]
fn wrong_tokens_at_the_sign_in_are_limited_and_the_token_itself_goes_on_working() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let admin = sidecar.admin();
    for _ in 0..5 {
        assert_eq!(sign_in(&admin, "wrong").status(), 401);
    }
    let refused = sign_in(&admin, ADMIN_TOKEN);
    assert_eq!((refused.status(), &refused.json()["code"]), (429, &json!("rate_limited")));
    let pause: u64 = refused.field("retry-after").and_then(|pause| pause.parse().ok()).expect("seconds");
    assert!((1..=11).contains(&pause), "{pause}");
    assert_eq!(sidecar.control("POST", "/v1/credentials/user/refresh", b"").status(), 202);
    assert_eq!(sidecar.metric("bearerd_console_sign_ins_total{outcome=\"rejected\"}"), 5);
    assert_eq!(sidecar.metric("bearerd_console_sign_ins_total{outcome=\"limited\"}"), 1);
}

#[test]
fn a_session_lasts_as_long_as_configured() {
    let issuer = Issuer::start(3600);
    let sidecar = Setup::new(&chained(&issuer)).admin("session_lifetime = \"5m\"").start();
    assert_eq!(sign_in(&sidecar.admin(), ADMIN_TOKEN).json()["expires_in"], 300);
}

#[test]
fn over_the_unix_socket_nothing_is_asked_for_but_pages_of_others_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, file) = (folder.path().join("admin.sock"), folder.path().join("bearerd.toml"));
    let text = format!(
        "[admin]\nlisten = \"unix:{}\"\n[listeners.app]\nbind = \"127.0.0.1:0\"\n{}",
        socket.display(),
        chained(&Issuer::start(3600))
    );
    std::fs::write(&file, text).expect("a file");
    let mut process = bearerd(&["run", "--config"]);
    let mut process = process.arg(&file).stderr(std::process::Stdio::null()).spawn().expect("the binary");
    let ask = |method: &str, target: &str, fields: &str| {
        let mut stream = UnixStream::connect(&socket).ok()?;
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let up = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ask("GET", "/live", "").is_some()
    });
    assert!(up, "it listens");
    let answer = |method: &str, target: &str, fields: &str| ask(method, target, fields).expect("an answer");
    assert!(answer("GET", "/v1/session", "").contains("\"access\":\"open\""));
    assert!(answer("POST", "/v1/session", "").starts_with("HTTP/1.1 409"));
    let refresh = "/v1/credentials/user/refresh";
    assert!(answer("POST", refresh, "").starts_with("HTTP/1.1 202"));
    assert!(answer("POST", refresh, "Origin: http://localhost\r\n").starts_with("HTTP/1.1 202"));
    assert!(answer("POST", refresh, "Origin: https://evil.example\r\n").starts_with("HTTP/1.1 403"));
    assert!(answer("GET", "/", "Sec-Fetch-Site: cross-site\r\n").starts_with("HTTP/1.1 403"));
    process.kill().expect("it runs");
    process.wait().expect("an end");
}

#[test]
fn the_overview_tells_of_chains_actions_advice_and_routes() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(&chained(&issuer));
    assert_eq!(sidecar.app().get("/").status(), 502);
    issuer.always(Some(Reply::json(401, &json!({ "error": "invalid_client" }))));
    // The parent is renewed first, and rejected too: then the rejection stands.
    let refreshed = sidecar.control("POST", "/v1/credentials/entity/refresh?wait=true", b"");
    assert_eq!(refreshed.json(), json!({ "outcome": "rejected" }));
    let entity = sidecar.admin().get("/v1/overview").json()["credentials"][0].clone();
    assert_eq!((&entity["name"], &entity["state"]), (&json!("entity"), &json!("failing")));
    assert_eq!((&entity["uses"], &entity["routes"]), (&json!(["user"]), &json!(["api"])));
    assert_eq!(entity["actions"], json!({ "renew": true, "log_in": null, "log_out": false }));
    assert!(entity["advice"].as_str().expect("advice").contains("at its source"), "{entity}");
    let overview = sidecar.admin().get("/v1/overview").json();
    assert_eq!(overview["credentials"][1]["used_by"], json!(["entity"]));
    let route = &overview["routes"][0];
    assert_eq!((&route["name"], &route["path"]), (&json!("api"), &json!("/")));
    assert_eq!(route["requests"], json!([0, 0, 0, 0, 1]));
    assert_eq!(route["errors"], json!({ "upstream_connect": 1 }));
    assert_eq!(overview["draining"], false);
}

/// A stream of events.
struct Events(Wire);

impl Events {
    #[track_caller]
    fn open(admin: &Client) -> Self {
        let mut wire = admin.ask("GET", "/v1/events", "");
        let head = wire.head();
        assert_eq!((head.status(), head.field("content-type").as_deref()), (200, Some("text/event-stream")));
        Self(wire)
    }

    /// The next event: its name and its data.
    #[track_caller]
    fn next(&mut self) -> (String, Value) {
        let text = String::from_utf8(self.0.chunk()).expect("text");
        let (name, data) =
            text.strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: ")).expect(&text);
        let data = data.strip_suffix("\n\n").expect("an end of the event");
        (name.to_owned(), serde_json::from_str(data).expect("JSON in one line"))
    }
}

#[test]
fn events_begin_with_everything_and_go_on_with_changes() {
    let issuer = Issuer::start(3600);
    let sidecar = Sidecar::ready(&chained(&issuer));
    let mut events = Events::open(&sidecar.admin());
    let (name, everything) = events.next();
    assert_eq!((name.as_str(), everything["credentials"].as_array().map(Vec::len)), ("snapshot", Some(2)));
    assert_eq!(everything["routes"].as_array().map(Vec::len), Some(1));
    sidecar.app().get("/");
    let (name, change) = events.next();
    assert_eq!((name.as_str(), &change["credentials"]), ("change", &json!([])));
    assert_eq!(change["routes"][0]["requests"], json!([0, 0, 0, 0, 1]));
    sidecar.control("POST", "/v1/credentials/entity/refresh?wait=true", b"");
    let (name, change) = events.next();
    assert_eq!((name.as_str(), &change["routes"]), ("change", &json!([])));
    assert_eq!(change["credentials"][0]["name"], "entity");
    assert_eq!(change["credentials"][0]["generation"], 2);
    // Another configuration is another whole.
    let rest = chained(&issuer).replace("[routes.api]", "[routes.other]");
    sidecar.rewrite(&rest);
    assert_eq!(sidecar.control("POST", "/v1/reload", b"").status(), 200);
    let whole = loop {
        let (name, event) = events.next();
        if name == "snapshot" {
            break event;
        }
    };
    assert_eq!(whole["routes"][0]["name"], "other");
}

#[test]
fn however_much_happens_an_event_comes_once_a_second() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let mut events = Events::open(&sidecar.admin());
    events.next();
    let begun = Clock::instant();
    let mut wanted = 0;
    while begun.elapsed().as_millis() < 2500 {
        assert_eq!(sidecar.app().get("/").status(), 502);
        wanted += 1;
    }
    let mut seen = 0;
    loop {
        seen += 1;
        if events.next().1["routes"][0]["requests"][4] == wanted {
            break;
        }
    }
    assert!(wanted > 20 && seen <= 4, "{seen} events of {wanted} requests");
}

#[test]
fn there_are_so_many_streams_of_events_and_no_more() {
    let issuer = Issuer::start(3600);
    let sidecar = Setup::new(&chained(&issuer)).admin("max_event_streams = 2").start();
    let admin = sidecar.admin();
    let (first, mut second) = (Events::open(&admin), Events::open(&admin));
    let refused = admin.get("/v1/events");
    assert_eq!((refused.status(), &refused.json()["code"]), (503, &json!("overloaded")));
    assert!(refused.field("retry-after").is_some());
    assert_eq!(sidecar.metric("bearerd_event_streams"), 2);
    assert_eq!(sidecar.metric("bearerd_limited_total{limit=\"max_event_streams\"}"), 1);
    assert_eq!(second.next().0, "snapshot", "those that are open go on");
    drop(first);
    sidecar.wait("a place", || (sidecar.metric("bearerd_event_streams") == 1).then_some(()));
    Events::open(&admin);
}

#[test]
fn a_silent_stream_says_that_it_lives() {
    let sidecar = Sidecar::ready(&chained(&Issuer::start(3600)));
    let mut events = Events::open(&sidecar.admin());
    events.next();
    let begun = Clock::instant();
    loop {
        let text = String::from_utf8(events.0.chunk()).expect("text");
        if text.starts_with(": ") {
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "only {text}");
    }
    assert!(begun.elapsed().as_secs() >= 14);
}
