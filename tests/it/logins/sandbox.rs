//! The sandbox's DigiLocker, from the consent to the first file.

use std::sync::mpsc;
use std::thread;

use bearerd::clock::Clock;
use bearerd::sandbox::{Sandbox, Vendor, digilocker};
use serde_json::{Value, json};

use crate::support::{Client, Setup, Sidecar};

/// The simulators, on a thread of their own, and a bearerd before them.
struct House {
    sandbox: Sandbox,
    bearerd: Sidecar,
}

impl House {
    fn new(grant: &str) -> Self {
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let sandbox = Sandbox::start(0, &[], &Clock::system()).await.expect("free ports");
                sender.send(sandbox).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        let sandbox = started.recv().expect("the sandbox starts");
        let origin = sandbox.station(Vendor::Digilocker).origin();
        let (client_id, secret) = (digilocker::CLIENT_ID, digilocker::CLIENT_SECRET);
        let bearerd = Setup::new(&format!(
            "[credentials.me]\npreset = \"digilocker\"\nbase_url = \"{origin}/public\"\n{grant}\n\
             client_id = \"{client_id}\"\nclient_secret = {{ value = \"{secret}\" }}\n\
             [routes.api]\nupstream = \"{origin}/public\"\ncredential = \"me\"\n"
        ))
        .start();
        Self { sandbox, bearerd }
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let path = format!("/v1/credentials/me/{path}");
        let answer = self.bearerd.control("POST", &path, body.to_string().as_bytes());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    #[track_caller]
    fn is_served(&self) {
        let answer = self.bearerd.app().get("/oauth2/2/files/issued");
        assert_eq!((answer.status(), &answer.json()["items"][0]["doctype"]), (200, &"PANCR".into()));
        assert_eq!(self.sandbox.complaints(), Vec::<String>::new(), "the vendor has nothing to complain of");
    }
}

#[test]
fn a_person_consents_on_the_page_and_the_first_file_is_there() {
    let house = House::new("dl_flow = \"signup\"\npurpose = \"kyc\"");
    let begun = house.ask("authorize", &json!({}));
    let url = begun["url"].as_str().expect("a URL");
    assert!(url.contains("dl_flow=signup") && url.contains("purpose=kyc"), "{url}");
    let station = house.sandbox.station(Vendor::Digilocker);
    let page = Client::new(station.address()).get(url.strip_prefix(&station.origin()).expect("its page"));
    let page = page.text();
    let link = page.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let link = link.replace("&amp;", "&");
    let back =
        link.strip_prefix(&format!("http://{}", house.bearerd.address("admin"))).expect("back to bearerd");
    assert_eq!(house.bearerd.admin().get(back).status(), 200);
    house.is_served();
    let renewed = house.bearerd.control("POST", "/v1/credentials/me/refresh?wait=true", b"");
    assert_eq!(renewed.json()["outcome"], "ok");
    house.is_served();
}

#[test]
fn a_person_types_the_password_that_came_by_sms() {
    let house = House::new("grant = \"device_code\"");
    let begun = house.ask("authorize", &json!({"mobile": "9876543210"}));
    assert_eq!((&begun["masked_mobile"], &begun["expires_in"]), (&"XXXXXX3210".into(), &600.into()));
    let ended = house.ask("callback", &json!({"otp": digilocker::OTP, "state": begun["state"]}));
    assert_eq!(ended["state"], "ready");
    house.is_served();
}

/// A bearerd with the sandbox's own configuration, before it.
fn whole_house() -> House {
    let (sender, started) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let sandbox = Sandbox::start(0, &[], &Clock::system()).await.expect("free ports");
            sender.send(sandbox).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    let sandbox = started.recv().expect("the sandbox starts");
    let configuration = sandbox.configuration("127.0.0.1:0", "127.0.0.1:0");
    let (_, rest) = configuration.split_once("[credentials").expect("credentials");
    let bearerd = Setup::new(&format!("[credentials{rest}")).start();
    House { sandbox, bearerd }
}

#[test]
fn a_file_is_put_with_a_digest_that_the_app_cannot_make_and_fetched_with_one_that_it_cannot_check() {
    let house = whole_house();
    house.bearerd.wait_for_state("digilocker", "ready");
    let app = house.bearerd.app();
    let file: Vec<u8> = (0..9_000_000_u32).map(|at| (at % 253) as u8).collect();
    let fields = "path: certificates/degree.png\r\nContent-Type: image/png\r\nhmac: forged\r\n";
    let answer = app.request("POST", "/digilocker/oauth2/1/file/upload", fields, &file);
    assert_eq!(
        (answer.status(), answer.json()["size"].as_str()),
        (200, Some("9000000")),
        "{}",
        answer.text()
    );
    assert_eq!(house.sandbox.complaints(), Vec::<String>::new());

    let fetched = app.get("/digilocker/oauth2/1/file/in.gov.pan-PANCR-ABCPK1234D");
    assert_eq!((fetched.status(), fetched.body.len()), (200, 96 * 1024));
    let mut broken =
        app.ask("GET", "/digilocker/oauth2/1/file/in.gov.pan-PANCR-TAMPERED", "Connection: close\r\n");
    let (read, _) = broken.rest_in_bytes();
    assert!(read.starts_with(b"HTTP/1.1 502 ") || read.len() < 96 * 1024, "{}", read.len());
    let counted = "bearerd_errors_total{route=\"digilocker\",code=\"answer_unverified\"}";
    assert_eq!(house.bearerd.metric(counted), 1);
}

#[test]
fn a_partner_asks_in_its_own_name_as_a_form_as_json_and_with_nothing_at_all() {
    let house = whole_house();
    house.bearerd.wait_for_state("digilocker-partner", "ready");
    let app = house.bearerd.app();
    let (form, json) =
        ("Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: application/json\r\n");
    for (call, fields, body) in [
        ("pull/issuers", "", ""),
        ("pull/doctype", form, "orgid=001891&clientid=forged"),
        ("pull/parameters", form, "orgid=001891&doctype=PANCR"),
        ("pull/parameters", json, r#"{"orgid":"001891","doctype":"PANCR","ts":"1","hmac":"forged"}"#),
    ] {
        let target = format!("/digilocker-partner/oauth2/1/{call}");
        let answer = app.request("POST", &target, fields, body.as_bytes());
        assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
    }
    assert_eq!(house.sandbox.complaints(), Vec::<String>::new());
}
