//! `bearerd sandbox`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::sidecar::run;
use crate::support::{Client, bearerd};

/// A running sandbox; it is killed when this is dropped.
struct Sandbox {
    process: Child,
    configuration: String,
}

impl Sandbox {
    fn start(faults: &[&str]) -> Self {
        let mut arguments = vec!["sandbox", "--port", "0", "--quiet"];
        for fault in faults {
            arguments.extend(["--fault", fault]);
        }
        let mut command = bearerd(&arguments);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        // The configuration comes in one write; its last line ends the reading.
        let mut configuration = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        while !configuration.ends_with("credential = \"digilocker\"\n") {
            assert_ne!(stdout.read_line(&mut configuration).expect("text"), 0, "{configuration}");
        }
        Self { process, configuration }
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
