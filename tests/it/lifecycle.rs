//! The life of credentials, as an app and an issuer see it.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::configuration::{fixed, granted, route};
use crate::support::message::Message;
use crate::support::{Issuer, Reply, Setup, Sidecar, Upstream, canary};

#[test]
fn two_hundred_requests_at_the_start_share_one_exchange() {
    let issuer = Issuer::start(3600).delayed(Duration::from_millis(500));
    let upstream = Upstream::start();
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    let app = bearerd.app();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(move || assert_eq!(app.get("/api/x").status(), 200));
        }
    });
    assert_eq!(issuer.requests().len(), 1);
    let token = Some(format!("Bearer {}", issuer.token()));
    assert!(upstream.requests().iter().all(|seen| seen.field("authorization") == token));
}

#[test]
fn an_exchange_is_what_its_flow_says() {
    let (issuer, upstream, secret) = (Issuer::start(3600), Upstream::start(), canary::secret());
    let _bearerd = Sidecar::ready(&granted(
        &issuer,
        &secret,
        &upstream,
        "client_auth = \"post\"\nscopes = [\"read\", \"write\"]\nparams = { audience = \"x&y\" }",
    ));
    let request = issuer.requests().remove(0);
    assert_eq!(request.start_line(), "POST /token HTTP/1.1");
    assert_eq!(request.field("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    let expected = [
        ("audience", "x&y"),
        ("client_id", "app"),
        ("client_secret", &secret),
        ("grant_type", "client_credentials"),
        ("scope", "read write"),
    ];
    let form = request.form();
    let sent: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(sent, expected);
    assert_eq!(request.field("authorization"), None);
}

#[test]
fn a_token_is_renewed_before_its_end_and_no_request_notices() {
    let (issuer, upstream) = (Issuer::start(4), Upstream::start());
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    let app = bearerd.app();
    while issuer.granted().len() < 3 {
        assert_eq!(app.get("/api/x").status(), 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    bearerd.wait_for_generation("api", 3);
    app.get("/api/x");
    let last = upstream.requests().pop().and_then(|seen| seen.field("authorization"));
    assert_eq!(last, Some(format!("Bearer {}", issuer.token())));
}

#[test]
fn while_the_token_is_valid_an_issuer_that_is_down_fails_no_request() {
    let (issuer, upstream) = (Issuer::start(6), Upstream::start());
    let bearerd = Sidecar::ready(&granted(&issuer, &canary::secret(), &upstream, ""));
    issuer.always(Some(Reply::Reset));
    let app = bearerd.app();
    let mut answered = 0;
    while bearerd.credential("api")["state"] != "expired" {
        let answer = app.get("/api/x");
        if answer.status() != 200 {
            // The end may pass between the question and the request.
            bearerd.wait_for_state("api", "expired");
            break;
        }
        answered += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(answered > 5, "{answered}");
    assert!(issuer.requests().len() > 1, "renewal was tried");
    issuer.always(None);
    bearerd.wait_for_state("api", "ready");
}

#[test]
fn an_answer_that_is_no_token_is_tried_again() {
    let upstream = Upstream::start();
    for wrong in [
        Reply::status(200, "text/html", "<!doctype html><h1>Sign in</h1>"),
        Reply::status(200, "application/json", ""),
        Reply::json(200, &json!({"access_token": ""})),
        Reply::json(200, &json!({"access_token": null, "token_type": "Bearer"})),
        Reply::json(200, &json!(["access_token"])),
        Reply::status(429, "text/plain", "slow down"),
        Reply::Reset,
        Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into()),
    ] {
        let described = format!("{wrong:?}");
        let issuer = Issuer::start(3600).then(wrong);
        let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
        bearerd.wait_until_ready();
        assert_eq!(issuer.requests().len(), 2, "{described}");
    }
}

#[test]
fn a_file_that_is_swapped_by_a_symlink_is_picked_up() {
    let (old, new) = (canary::token(), canary::token());
    let upstream = Upstream::start();
    // A Kubernetes volume: `token` points through `..data` into a folder of its own.
    let setup = Setup::new(&format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ file = \"{{folder}}/token\" }}\nexpires = \"never\"\n\n{}",
        route("key", &upstream)
    ));
    let folder = setup.folder().to_owned();
    for (version, token) in [("..v1", &old), ("..v2", &new)] {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        std::fs::write(folder.join(version).join("token"), format!("{token}\n")).expect("a file");
    }
    symlink("..v1", folder.join("..data")).expect("a link");
    symlink("..data/token", folder.join("token")).expect("a link");

    let bearerd = setup.start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    symlink("..v2", folder.join("..data_tmp")).expect("a link");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a swap");
    bearerd.wait_for_generation("key", 2);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    let seen: Vec<_> = upstream.requests().iter().filter_map(|seen| seen.field("authorization")).collect();
    assert_eq!(seen, [format!("Bearer {old}"), format!("Bearer {new}")]);
}

#[test]
fn a_rejected_input_is_tried_again_when_its_file_changes() {
    let (wrong, right) = (canary::secret(), canary::secret());
    let expected = right.clone();
    let upstream = Upstream::start();
    let issuer = Issuer::judging(3600, move |request| {
        let refused = Reply::json(401, &json!({"error": "invalid_client"}));
        if request.form().get("client_secret") == Some(&expected) { None } else { Some(refused) }
    });
    let config = granted(&issuer, "x", &upstream, "client_auth = \"post\"")
        .replace("{ value = \"x\" }", "{ file = \"{folder}/secret\" }");
    let bearerd = Setup::new(&config).file("secret", &wrong).start();
    bearerd.wait_for_state("api", "rejected");
    bearerd.replace_file("secret", &right);
    bearerd.wait_for_state("api", "ready");
    assert_eq!(issuer.requests().len(), 2);
}

#[test]
fn each_refresh_uses_the_refresh_token_that_the_last_one_brought() {
    let upstream = Upstream::start();
    let rotated = std::sync::Mutex::new(Vec::new());
    let rotated = std::sync::Arc::new(rotated);
    let given = std::sync::Arc::clone(&rotated);
    let issuer = Issuer::shaped(move |token| {
        let next = canary::secret();
        given.lock().expect("a list").push(next.clone());
        json!({"access_token": token, "token_type": "bearer", "expires_in": 3, "refresh_token": next})
    });
    let seed = canary::secret();
    let config =
        granted(&issuer, &canary::secret(), &upstream, &format!("refresh_token = {{ value = \"{seed}\" }}"))
            .replace("client_credentials", "refresh_token");
    let bearerd = Sidecar::ready(&config);
    let requests = issuer.wait_for(3);
    let shown: Vec<_> =
        requests.iter().filter_map(|request| request.form().remove("refresh_token")).collect();
    let given = rotated.lock().expect("a list").clone();
    assert_eq!(shown[..3], [seed, given[0].clone(), given[1].clone()]);
    drop(bearerd);
}

#[test]
fn a_refresh_whose_answer_was_lost_is_not_repeated() {
    let upstream = Upstream::start();
    let issuer = Issuer::start(3600).then(Reply::Reset);
    let config = granted(
        &issuer,
        &canary::secret(),
        &upstream,
        &format!("refresh_token = {{ value = \"{}\" }}", canary::secret()),
    )
    .replace("client_credentials", "refresh_token");
    let bearerd = Setup::new(&config).start();
    let said = bearerd.wait_for_state("api", "login_required");
    assert_eq!(said["last_error"]["class"], "ambiguous");
    assert_eq!(bearerd.app().get("/api/x").json()["code"], "login_required");
    // Longer than the longest first pause of a transient failure.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn a_chain_is_obtained_in_order_and_carries_the_parents_output() {
    let upstream = Upstream::start();
    let (parent, child) = (Issuer::start(3600), Issuer::start(3600));
    let secret = canary::secret();
    let bearerd = Sidecar::ready(&format!(
        "[credentials.parent]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{secret}\" }}\n\n{}",
        parent.url(),
        granted(&child, "x", &upstream, "client_auth = \"post\"")
            .replace("{ value = \"x\" }", "{ credential = \"parent\", output = \"access_token\" }")
    ));
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(child.requests()[0].form()["client_secret"], parent.token());
    assert_eq!((parent.requests().len(), child.requests().len()), (1, 1));
    // A new parent's token is a new input of the child.
    assert_eq!(bearerd.control("POST", "/v1/credentials/parent/refresh?wait=true", b"").status(), 200);
    let again = child.wait_for(2);
    assert_eq!(again[1].form()["client_secret"], parent.token());
}

#[test]
fn a_login_reads_what_its_steps_say() {
    let (token, key) = (canary::token(), canary::token());
    let answer = json!({"responseCode": 200, "responseMessage": "Success",
                        "responseData": {"token": token, "apiKey": key, "expiry": "2901"}});
    let issuer = Issuer::shaped(move |_| answer.clone());
    let upstream = Upstream::start();
    let password = canary::secret();
    let bearerd = Sidecar::ready(&format!(
        "[credentials.hub]\npreset = \"payhub\"\nbase_url = \"{}\"\nemail = {{ value = \"me@shop.example\" }}\n\
         password = {{ value = \"{password}\" }}\n\n{}",
        issuer.origin(),
        route("hub", &upstream)
    ));
    let login = issuer.requests().remove(0);
    assert_eq!(
        (login.start_line().as_str(), login.json()),
        ("POST /user/login HTTP/1.1", json!({"emailId": "me@shop.example", "password": password}))
    );
    assert_eq!(bearerd.app().get_with("/api/x", "Token: mine\r\nAPIKEY: mine\r\n").status(), 200);
    let seen = upstream.request();
    assert_eq!((seen.field("token"), seen.field("apikey")), (Some(token), Some(key)));
    let said = bearerd.credential("hub");
    let seconds = |name: &str| said[name].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let (Some(obtained), Some(expires)) = (seconds("obtained_at"), seconds("expires_at")) else {
        panic!("times are missing: {said}");
    };
    assert!((2900..=2902).contains(&expires.duration_since(obtained).as_secs()), "{said}");
}

#[test]
fn a_wrong_password_inside_http_200_is_tried_once() {
    let upstream = Upstream::start();
    let issuer = Issuer::start(3600);
    issuer.always(Some(Reply::json(
        200,
        &json!({"responseCode": 405, "responseMessage": "Please provide valid password"}),
    )));
    let password = canary::secret();
    let bearerd = Setup::new(&format!(
        "[credentials.hub]\npreset = \"payhub\"\nbase_url = \"{}\"\nemail = {{ value = \"me@shop.example\" }}\n\
         password = {{ value = \"{password}\" }}\n\n{}",
        issuer.origin(),
        route("hub", &upstream)
    ))
    .start();
    bearerd.wait_for_state("hub", "rejected");
    assert_eq!(bearerd.app().get("/api/x").json()["code"], "credential_rejected");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn a_client_that_goes_away_does_not_stop_a_renewal() {
    let issuer = Issuer::start(3600).delayed(Duration::from_millis(600));
    let upstream = Upstream::start();
    let bearerd = Setup::new(&granted(&issuer, &canary::secret(), &upstream, "")).start();
    let app = bearerd.app();
    issuer.wait_for(1);
    let mut connection = app.connect();
    connection.send(app.head("GET", "/api/x", "", 0));
    drop(connection);
    bearerd.wait_until_ready();
    assert_eq!(app.get("/api/x").status(), 200);
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn credentials_never_meet_on_a_request() {
    let tokens = [canary::token(), canary::token()];
    let upstreams = [Upstream::start(), Upstream::start()];
    let config: String = tokens
        .iter()
        .zip(&upstreams)
        .zip(["a", "b"])
        .map(|((token, upstream), name)| {
            format!(
                "[credentials.{name}]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
                 [routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\ncredential = \"{name}\"\n",
                upstream.origin()
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let bearerd = Sidecar::ready(&config);
    let app = bearerd.app();
    let failures = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let failures = &failures;
            scope.spawn(move || {
                for _ in 0..50 {
                    let answer = app.get(if turn % 2 == 0 { "/a/x" } else { "/b/x" });
                    failures.fetch_add(usize::from(answer.status() != 200), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(failures.into_inner(), 0);
    for (token, upstream) in tokens.iter().zip(&upstreams) {
        let only = |seen: &Message| seen.fields("authorization") == [format!("Bearer {token}")];
        assert_eq!(upstream.requests().len(), 200);
        assert!(upstream.requests().iter().all(only));
    }
}

#[test]
fn a_secret_of_the_environment_is_read_at_the_start() {
    let (issuer, upstream, secret) = (Issuer::start(3600), Upstream::start(), canary::secret());
    let config = granted(&issuer, "x", &upstream, "client_auth = \"post\"")
        .replace("{ value = \"x\" }", "{ env = \"CLIENT_SECRET\" }");
    let bearerd = Setup::new(&config).variable("CLIENT_SECRET", &secret).start();
    bearerd.wait_until_ready();
    assert_eq!(issuer.requests()[0].form()["client_secret"], secret);
}

#[test]
fn set_replaces_a_static_token_from_standard_input() {
    let (upstream, old, new) = (Upstream::start(), canary::token(), canary::token());
    let sidecar = Sidecar::ready(&fixed(&old, &upstream));
    let told = sidecar.command(&["set", "key"], &format!("{new}\n"));
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    assert_eq!(sidecar.app().get("/api/x").status(), 200);
    assert_eq!(upstream.request().field("authorization"), Some(format!("Bearer {new}")));
    assert_ne!(sidecar.command(&["set", "key"], "\n").status.code(), Some(0), "empty is an error");
}
