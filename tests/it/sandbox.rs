//! `bearerd sandbox`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::sidecar::run;
use crate::support::{Client, Setup, Sidecar, bearerd};

/// A running sandbox; it is killed when this is dropped.
struct Sandbox {
    process: Child,
    configuration: String,
}

impl Sandbox {
    fn start(faults: &[&str]) -> Self {
        Self::started(&[], faults, "/public\"\ncredential = \"digilocker\"\n")
    }

    /// One that prints the neighbours, too.
    fn with_neighbours(faults: &[&str]) -> Self {
        Self::started(&["--neighbours"], faults, "\ncredential = \"device\"\n")
    }

    fn started(more: &[&str], faults: &[&str], last_line: &str) -> Self {
        let mut arguments = vec!["sandbox", "--port", "0", "--quiet"];
        arguments.extend(more);
        for fault in faults {
            arguments.extend(["--fault", fault]);
        }
        let mut command = bearerd(&arguments);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        // The configuration comes in one write; its last line ends the reading.
        let mut configuration = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        while !configuration.ends_with(last_line) {
            assert_ne!(stdout.read_line(&mut configuration).expect("text"), 0, "{configuration}");
        }
        Self { process, configuration }
    }

    /// A bearerd with the printed credentials and routes.
    fn proxied(&self) -> Sidecar {
        let (_, rest) = self.configuration.split_once("[credentials").expect("credentials");
        Setup::new(&format!("[credentials{rest}")).start()
    }

    /// A client of the upstream of a route.
    fn vendor(&self, route: &str) -> Client {
        let configuration: toml::Table = self.configuration.parse().expect("a TOML file");
        let upstream = configuration["routes"][route]["upstream"].as_str().expect("a URL");
        let address = upstream.trim_start_matches("http://").trim_end_matches("/public");
        Client::new(address.parse().expect("an address"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_vendor_answers_its_own_error_to_a_request_that_is_off() {
    let sandbox = Sandbox::start(&[]);
    let payhub = sandbox.vendor("payhub");
    let refused = payhub.post("/user/login", r#"{"email":"merchant@shop.example","password":"x"}"#);
    assert_eq!(
        (refused.status(), refused.json()),
        (200, json!({"responseCode": 400, "responseMessage": "Please provide valid details."}))
    );
    let refused = sandbox.vendor("sahamati").post("/iam/v1/user/token/generate", "{}");
    assert_eq!((refused.status(), &refused.json()["errorCode"]), (400, &json!("Bad Request")));
    assert_eq!(sandbox.vendor("digilocker").get("/public/oauth2/1/user").json()["error"], "invalid_token");
}

#[test]
fn a_scripted_fault_strikes_the_vendor_that_it_names() {
    let sandbox = Sandbox::start(&["payhub=html", "digilocker=status:503", "nic-ma=down"]);
    assert!(sandbox.vendor("payhub").post("/user/login", "{}").text().contains("<!doctype html>"));
    assert_eq!(sandbox.vendor("digilocker").get("/public/oauth2/1/user").status(), 503);
    assert_eq!(sandbox.vendor("nic-ma").raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
}

/// One ordinary call of an app to each vendor, through bearerd.
fn call_all(app: Client) {
    let answers = [
        app.get("/nic-ma/api/gram-panchayats"),
        app.get("/sahamati/cr/v2/entityInfo/AA"),
        app.post("/payhub/user/getpayinstatus", r#"{"transaction_id":"PH-1001"}"#),
        app.get("/digilocker/oauth2/1/user"),
    ];
    for answer in answers {
        assert_eq!(answer.status(), 200, "{}\n{}", answer.head(), answer.text());
        assert!(!answer.text().contains("403"), "{}", answer.text());
    }
}

#[test]
fn with_the_printed_configuration_an_app_calls_four_vendors_without_a_credential() {
    let sandbox = Sandbox::start(&[]);
    let bearerd = sandbox.proxied();
    bearerd.wait_until_ready();
    call_all(bearerd.app());
}

/// The neighbours that need no person.
const NEIGHBOURS: [&str; 6] =
    ["zoho", "github-app", "google-service-account", "cashfree-payouts", "abdm", "keycloak"];

#[test]
fn the_neighbours_are_called_without_a_credential_too() {
    let sandbox = Sandbox::with_neighbours(&[]);
    let bearerd = sandbox.proxied();
    for name in NEIGHBOURS {
        bearerd.wait_for_state(name, "ready");
        let answer = bearerd.app().get(&format!("/{name}/data"));
        assert_eq!((answer.status(), &answer.json()["vendor"]), (200, &json!(name)), "{}", answer.text());
    }
    assert_eq!(bearerd.credential("device")["state"], "login_required");
}

#[test]
fn a_token_that_is_bound_to_an_address_is_used_from_there_alone() {
    let mut sandbox = Sandbox::with_neighbours(&[]);
    let bound = "[credentials.cashfree-payouts]\n";
    let egress = "[egress.office]\nsource = \"127.0.0.2\"\n";
    sandbox.configuration = sandbox.configuration.replace(bound, &format!("{bound}egress = \"office\"\n"))
        + egress
        + "[routes.elsewhere]\npath = \"/elsewhere\"\nupstream = \"ORIGIN/cashfree-payouts\"\n\
           credential = \"fixed\"\n\
           [credentials.fixed]\nflow = \"static\"\ntoken = { value = \"not-of-this-vendor\" }\nexpires = \"never\"\n";
    let configuration: toml::Table = sandbox.configuration.parse().expect("a TOML file");
    let upstream = configuration["routes"]["zoho"]["upstream"].as_str().expect("a URL");
    let origin = upstream.trim_end_matches("/zoho").to_owned();
    sandbox.configuration = sandbox.configuration.replace("ORIGIN", &origin);
    let bearerd = sandbox.proxied();
    bearerd.wait_for_state("cashfree-payouts", "ready");
    let answer = bearerd.app().get("/cashfree-payouts/data");
    assert_eq!((answer.status(), &answer.json()["vendor"]), (200, &json!("cashfree-payouts")));
    assert_eq!(bearerd.app().get("/elsewhere/data").json()["subCode"], "403");
}

#[test]
fn a_mailed_token_is_good_from_the_address_of_its_egress_alone() {
    let mut sandbox = Sandbox::start(&["nic-ma=address"]);
    assert_eq!(sandbox.proxied().app().get("/nic-ma/api/gram-panchayats").status(), 403);
    let bound = "[credentials.nic-ma]\n";
    sandbox.configuration = sandbox.configuration.replace(bound, &format!("{bound}egress = \"office\"\n"))
        + "[egress.office]\nsource = \"127.0.0.2\"\n";
    assert_eq!(sandbox.proxied().app().get("/nic-ma/api/gram-panchayats").status(), 200);
}

#[test]
fn an_app_does_not_notice_that_tokens_are_revoked() {
    let sandbox = Sandbox::start(&["payhub=revoke:4s", "digilocker=revoke:4s", "sahamati=revoke:4s"]);
    let bearerd = sandbox.proxied();
    bearerd.wait_until_ready();
    bearerd.wait("a renewal of each", || {
        call_all(bearerd.app());
        let renewed = |credential| bearerd.credential(credential)["generation"] == 2;
        ["payhub", "digilocker", "sahamati"].into_iter().all(renewed).then_some(())
    });
}

#[test]
fn bearerd_comes_up_when_a_vendor_does() {
    let sandbox = Sandbox::start(&["sahamati=down:2s", "payhub=html:2s", "digilocker=status:503:2s"]);
    let bearerd = sandbox.proxied();
    assert_eq!(bearerd.admin().get("/ready").status(), 503);
    bearerd.wait_until_ready();
    call_all(bearerd.app());
}

#[test]
fn the_message_of_a_grace_period_becomes_a_warning() {
    let sandbox = Sandbox::start(&["sahamati=grace"]);
    let bearerd = sandbox.proxied();
    bearerd.wait_until_ready();
    let said = bearerd.credential("sahamati");
    assert!(said["warnings"].to_string().contains("grace"), "{said}");
}

#[test]
fn trouble_behind_a_vendor_passes_and_renews_nothing() {
    let sandbox = Sandbox::start(&[]);
    let bearerd = sandbox.proxied();
    bearerd.wait_until_ready();
    let file = "/digilocker/oauth2/1/file/in.gov.transport-DRVLC-UNREACHABLE";
    assert_eq!(bearerd.app().get(file).status(), 530);
    assert_eq!(bearerd.credential("digilocker")["generation"], 1);
}

#[test]
fn a_wrong_fault_is_a_usage_error_that_lists_what_there_is() {
    for wrong in ["payhub=explode", "paypal=down", "payhub"] {
        let output = run(bearerd(&["sandbox", "--fault", wrong]), "");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{told}");
        for fault in ["down", "slow", "html", "expire", "revoke"] {
            assert!(told.contains(fault), "{fault} is missing:\n{told}");
        }
    }
}
