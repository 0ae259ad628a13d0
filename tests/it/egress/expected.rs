//! The address that tokens are bound to, and the one that connections leave from.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::support::sidecar::run;
use crate::support::{Issuer, Reply, Setup, Upstream, bearerd, canary};

/// A service that answers with the address that it is asked from.
struct Echo(SocketAddr);

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let seen = stream.peer_addr().expect("an address").ip().to_string();
                let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}\n", seen.len() + 1);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self(address)
    }
}

/// A service that tells what a test says.
fn telling(address: &Arc<Mutex<String>>) -> Upstream {
    let address = Arc::clone(address);
    Upstream::answering(move |_| {
        let address = address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if address.is_empty() { Reply::status(500, "text/plain", "") } else { Reply::text(&address) }
    })
}

/// A credential and a route by one egress.
fn by_egress(egress: &str, issuer: &Issuer, upstream: &Upstream) -> String {
    format!(
        "[egress.office]\n{egress}\n\
         [credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = {{ value = \"{}\" }}\negress = \"office\"\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"api\"\n",
        issuer.url(),
        canary::secret(),
        upstream.origin()
    )
}

#[test]
fn nothing_leaves_from_another_address_than_the_one_that_is_expected_until_it_is_right() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let seen = Arc::new(Mutex::new("203.0.113.10".to_owned()));
    let echo = telling(&seen);
    let egress = format!(
        "expect_address = {{ address = \"203.0.113.10\", url = \"{}/\", every = \"1s\" }}",
        echo.origin()
    );
    let bearerd = Setup::new(&by_egress(&egress, &issuer, &upstream)).start();
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    let state = |state: &str| {
        bearerd.metric(&format!("bearerd_egress_address{{egress=\"office\",state=\"{state}\"}}"))
    };
    bearerd.wait("a check", || (state("expected") == 1).then_some(()));

    "198.51.100.7".clone_into(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    let app = bearerd.app();
    let refused = bearerd.wait("the refusal", || Some(app.get("/api/x")).filter(|it| it.status() != 200));
    let words = "this token is bound to 203.0.113.10, connections leave from 198.51.100.7";
    assert_eq!((refused.status(), refused.json()["code"].as_str()), (503, Some("wrong_address")));
    assert_eq!(refused.json()["detail"], words);
    assert!(refused.field("retry-after").is_some());
    assert_eq!((state("expected"), state("other")), (0, 1));
    let told = bearerd.admin().get("/v1/egress").json();
    let told = &told["egress"][0];
    assert_eq!((&told["name"], &told["state"]), (&"office".into(), &"other".into()), "{told}");
    assert_eq!((&told["address"], &told["error"]), (&"198.51.100.7".into(), &words.into()), "{told}");
    bearerd.log("what is wrong", |line| line["reason"] == words && line["egress"] == "office");
    let sent = (issuer.requests().len(), upstream.requests().len());
    assert_eq!(bearerd.app().get("/api/x").status(), 503);
    let renewal = bearerd.control("POST", "/v1/credentials/api/refresh?wait=true", b"");
    assert_eq!(renewal.json()["outcome"], "transient");
    assert_eq!(bearerd.credential("api")["last_error"]["message"], words);
    assert_eq!((issuer.requests().len(), upstream.requests().len()), sent, "something left");

    "203.0.113.10".clone_into(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    let app = bearerd.app();
    bearerd.wait("the right address", || (app.get("/api/x").status() == 200).then_some(()));
}

#[test]
fn an_echo_that_cannot_be_reached_is_told_and_nothing_breaks() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let seen = Arc::new(Mutex::new(String::new()));
    let echo = telling(&seen);
    let egress = format!(
        "expect_address = {{ address = \"203.0.113.10\", url = \"{}/\", every = \"1s\" }}",
        echo.origin()
    );
    let bearerd = Setup::new(&by_egress(&egress, &issuer, &upstream)).start();
    bearerd.wait_until_ready();
    bearerd.log("that it is not known", |line| {
        line["reason"].as_str().is_some_and(|reason| reason.contains("answered 500"))
    });
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    assert_eq!(bearerd.metric("bearerd_egress_address{egress=\"office\",state=\"unknown\"}"), 1);
    let failed = "bearerd_egress_address_checks_total{egress=\"office\",outcome=\"failed\"}";
    bearerd.wait("more checks", || (bearerd.metric(failed) > 1).then_some(()));
    let told =
        |line: &&serde_json::Value| line["message"].as_str().is_some_and(|it| it.contains("is not known:"));
    assert_eq!(bearerd.logs().iter().filter(told).count(), 1, "it is told once");
}

#[test]
fn nothing_leaves_before_the_first_check_is_over() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let echo = Upstream::answering(|_| Reply::text("198.51.100.7").after(Duration::from_millis(1500)));
    let token = canary::token();
    let configuration = format!(
        "{}[credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         egress = \"office\"\n[routes.fixed]\npath = \"/fixed\"\nupstream = \"{}\"\ncredential = \"fixed\"\n",
        by_egress(
            &format!("expect_address = {{ address = \"203.0.113.10\", url = \"{}/\" }}", echo.origin()),
            &issuer,
            &upstream
        ),
        upstream.origin()
    );
    let bearerd = Setup::new(&configuration).start();
    let refused = bearerd.app().get("/fixed/x");
    assert_eq!((refused.status(), refused.json()["code"].as_str()), (503, Some("wrong_address")));
    assert_eq!((issuer.requests().len(), upstream.requests().len()), (0, 0), "something left");
}

#[test]
fn a_strict_egress_opens_nothing_while_nobody_tells_its_address() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let seen = Arc::new(Mutex::new(String::new()));
    let echo = telling(&seen);
    let egress = format!(
        "expect_address = {{ address = \"203.0.113.10\", url = \"{}/\", every = \"1s\", strict = true }}",
        echo.origin()
    );
    let bearerd = Setup::new(&by_egress(&egress, &issuer, &upstream)).start();
    let failed = "bearerd_egress_address_checks_total{egress=\"office\",outcome=\"failed\"}";
    bearerd.wait("some checks", || (bearerd.metric(failed) > 2).then_some(()));
    assert_eq!((issuer.requests().len(), upstream.requests().len()), (0, 0), "something left");
    "203.0.113.10".clone_into(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    bearerd.wait_until_ready();
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn the_echo_is_asked_by_that_very_egress() {
    let (issuer, upstream, echo) = (Issuer::start(3600), Upstream::start(), Echo::start());
    let egress = format!("source = \"127.0.0.2\"\nexpect_address = {{ url = \"http://{}/\" }}", echo.0);
    let bearerd = Setup::new(&by_egress(&egress, &issuer, &upstream)).start();
    bearerd.wait_until_ready();
    let right = "bearerd_egress_address{egress=\"office\",state=\"expected\"}";
    bearerd.wait("the check", || (bearerd.metric(right) == 1).then_some(()));
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
}

#[test]
fn the_doctor_tells_of_a_wrong_address_and_a_receiver_too() {
    let (issuer, upstream, echo, receiver) =
        (Issuer::start(3600), Upstream::start(), Echo::start(), Upstream::start());
    let egress = format!(
        "expect_address = {{ address = [\"203.0.113.10\", \"203.0.113.11\"], url = \"http://{}/\" }}",
        echo.0
    );
    let configuration = by_egress(&egress, &issuer, &upstream)
        + &format!(
            "[notify.ops]\nwebhook = \"{}/\"\nkey = {{ value = \"a key of sixteen bytes\" }}\nevents = [\"address\"]\n",
            receiver.origin()
        );
    let setup = Setup::new(&configuration);
    let mut doctor = bearerd(&["doctor", "--connect", "--json", "--config"]);
    doctor.arg(setup.write());
    let found = run(doctor, "");
    let words = "this token is bound to 203.0.113.10 or 203.0.113.11, connections leave from 127.0.0.1";
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains(words) && found.contains("\"check\":\"address\""), "{found}");

    let _bearerd = setup.start();
    let told = receiver.wait_for(1);
    let notice: serde_json::Value = serde_json::from_slice(&told[0].body).expect("JSON");
    assert_eq!((&notice["event"], &notice["name"]), (&"address".into(), &"egress.office".into()));
    assert_eq!(notice["message"], words);
}

#[test]
fn a_route_leaves_as_its_token_was_obtained_and_by_no_other_way() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let configuration = by_egress("source = \"127.0.0.2\"", &issuer, &upstream);
    let said = |text: &str| {
        let setup = Setup::new(text);
        let mut check = bearerd(&["check", "--config"]);
        check.arg(setup.write());
        let output = run(check, "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let another = configuration.clone() + "egress = \"other\"\n[egress.other]\nsource = \"127.0.0.3\"\n";
    let (code, words) = said(&another);
    assert!(code == Some(78) && words.contains("obtained by another egress"), "{words}");
    // Nor by one that the credential does not name.
    let only_route = configuration.replace("egress = \"office\"\n", "") + "egress = \"office\"\n";
    let (code, words) = said(&only_route);
    assert!(code == Some(78) && words.contains("say the same `egress` on the credential"), "{words}");
    // Two that differ in what nobody outside sees leave in the same way.
    let alike =
        configuration + "egress = \"alike\"\n[egress.alike]\nsource = \"127.0.0.2\"\nmin_tls = \"1.3\"\n";
    assert_eq!(said(&alike).0, Some(0), "{}", said(&alike).1);
}

#[test]
fn what_a_parent_obtained_from_one_address_is_not_shown_from_another() {
    let (issuer, upstream) = (Issuer::start(3600), Upstream::start());
    let chain = by_egress("source = \"127.0.0.2\"", &issuer, &upstream)
        + &format!(
            "[credentials.child]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
             client_id = \"app\"\nclient_secret = {{ credential = \"api\" }}\n",
            issuer.url()
        );
    let setup = Setup::new(&chain);
    let mut check = bearerd(&["check", "--config"]);
    check.arg(setup.write());
    let output = run(check, "");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && words.contains("is sent by another one here"), "{words}");
}
