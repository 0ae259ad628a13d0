//! gRPC and HTTP/2 as others speak them, through bearerd.

use std::process::Command;

use serde_json::json;

use crate::apps::{LARGE, stage};
use crate::counterpart::{Counterpart, here, node};
use crate::protocols::{port, python, told};
use crate::support::{Setup, Sidecar, Upstream, configuration};

fn grpc_calls(bearerd: &Sidecar) {
    let got = told(python("grpc_talk.py").arg("client").arg(bearerd.app().address().to_string()));
    assert_eq!(got["told"], json!({"authorized": true, "own": "kept", "binary": [0, 254], "deadline": true}));
    assert_eq!(got["initial"], "first");
    assert_eq!(got["trailing"], json!(["last", [0, 1, 255]]));
    assert_eq!(got["failed"], json!(["NOT_FOUND", "no such thing: ✓", "last"]));
    assert_eq!((&got["large"], &got["count"], &got["gather"]), (&true.into(), &1000.into(), &1000.into()));
    assert_eq!((&got["echo"], &got["at once"]), (&100.into(), &200.into()));
    assert_eq!((&got["deadline"], &got["nobody"]), (&"DEADLINE_EXCEEDED".into(), &"UNIMPLEMENTED".into()));
    assert_eq!((&got["begun"], &got["cancelled"]), (&"begun".into(), &"yes".into()));
}

/// A configuration whose route takes all paths to a URL: gRPC knows no prefix.
fn whole(url: &str) -> String {
    configuration::to(url).replace("path = \"/api\"\n", "")
}

#[test]
fn grpc_of_all_four_kinds_passes_in_plain_http_2() {
    let server = Counterpart::start(python("grpc_talk.py").arg("server"), "port");
    let bearerd = Sidecar::ready(&whole(&format!("h2c://127.0.0.1:{}", port(&server))));
    grpc_calls(&bearerd);
}

#[test]
fn grpc_of_all_four_kinds_passes_behind_tls() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let config = "egress = \"own\"\n[egress.own]\nca = \"{folder}/ca.pem\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    std::fs::write(&key, own.signing_key.serialize_pem()).expect("written");
    std::fs::write(&certificate, own.cert.pem()).expect("written");
    let server = Counterpart::start(python("grpc_talk.py").arg("server").args([&key, &certificate]), "port");
    let url = format!("https://127.0.0.1:{}", port(&server));
    let bearerd = Setup::new(&(whole(&url) + config)).file("ca.pem", &own.cert.pem()).start();
    bearerd.wait_until_ready();
    grpc_calls(&bearerd);
}

#[test]
fn an_app_of_httpx_speaks_http_2_to_an_upstream_of_http_1() {
    let stage = stage();
    let got = told(python("app2.py").arg(&stage.base));
    assert_eq!(got["version"], "HTTP/2");
    let told = |name: &str| {
        assert_eq!(got[name]["authorized"], true, "{name}: {}", got[name]);
        &got[name]
    };
    assert_eq!(told("get")["target"], "/things?q=a+b%26c&page=2");
    assert_eq!(told("post")["method"], "POST");
    let length: usize = (0..100).map(|number| format!("piece {number}\n").len()).sum();
    assert_eq!(told("pieces")["size"], length);
    assert_eq!(told("large")["sum"], (8 << 20) * u64::from(b'x'));
    assert_eq!(told("own")["own"], "kept");
    assert_eq!(got["head"], json!({"status": 200, "length": "1234"}));
    assert_eq!((&got["download"]["size"], &got["many"]), (&LARGE.into(), &300.into()));
}

#[test]
fn an_app_of_node_speaks_http_2_to_an_upstream_of_http_1() {
    let stage = stage();
    let origin = stage.base.trim_end_matches("/api").to_owned();
    let got = told(node("node").arg(here("app2.mjs")).arg(origin));
    assert_eq!((&got["get"]["authorized"], &got["get"]["own"]), (&true.into(), &"kept".into()));
    assert_eq!((&got["post"]["authorized"], &got["post"]["size"]), (&true.into(), &(1 << 20).into()));
    assert_eq!((&got["size"], &got["many"]), (&LARGE.into(), &300.into()));
    assert_eq!((&got["trailers"], &got["after"]), (&"yes".into(), &"/after".into()));
}

#[test]
fn curl_speaks_http_2_with_prior_knowledge() {
    let stage = stage();
    let told = stage.curl_json(&["--http2-prior-knowledge", "-H", "X-Own: kept", "BASE/things?q=1"], b"");
    assert_eq!((&told["target"], &told["own"]), (&"/things?q=1".into(), &"kept".into()));
    let body = vec![b'c'; 3 << 20];
    let told = stage.curl_json(&["--http2-prior-knowledge", "-T", "-", "BASE/upload"], &body);
    assert_eq!((&told["method"], &told["size"]), (&"PUT".into(), &body.len().into()));
    let version = stage.curl(
        &[
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{size_download}",
            "BASE/download",
        ],
        b"",
    );
    assert_eq!(String::from_utf8_lossy(&version), format!("2 {LARGE}"));
}

#[test]
fn h2load_finds_no_request_that_failed() {
    let upstream = Upstream::start();
    let bearerd = Sidecar::ready(&configuration::to(&upstream.origin()));
    let url = format!("http://{}/api/x", bearerd.app().address());
    let output = Command::new("h2load").args(["-n", "5000", "-c", "4", "-m", "50", &url]).output();
    let output = output.expect("h2load is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(said.contains(wanted), "{said}");
    assert!(said.contains("5000 2xx"), "{said}");
    // And in HTTP/1.1.
    let output = Command::new("h2load").args(["--h1", "-n", "5000", "-c", "8", &url]).output();
    let said = String::from_utf8_lossy(&output.expect("h2load runs").stdout).into_owned();
    assert!(said.contains(wanted), "{said}");
}
