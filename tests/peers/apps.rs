//! curl and Python's requests as apps, with an upstream that tells what it received.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::counterpart::{here, peers};
use crate::support::message::Message;
use crate::support::sidecar::Setup;
use crate::support::{Reply, Sidecar, Upstream, canary};

/// The size of a download.
pub const LARGE: usize = 32 << 20;

/// An API and a bearerd before it.
pub struct Stage {
    bearerd: Sidecar,
    /// The URL of the route.
    pub base: String,
}

/// A stage whose API tells what it received.
pub fn stage() -> Stage {
    let token = canary::token();
    let expected = format!("Bearer {token}");
    let api = Upstream::answering(move |request| answer(request, &expected));
    let setup = Setup::new(&format!(
        "[credentials.api]\nflow = \"static\"\ntoken = {{ file = \"{{folder}}/token\" }}\nexpires = \"never\"\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"api\"\n",
        api.origin()
    ));
    let bearerd = setup.file("token", &token).start();
    bearerd.wait_until_ready();
    Stage::before(bearerd)
}

/// Tells what came: but what the proxy put on, of which it only tells whether it is right.
fn answer(request: &Message, expected: &str) -> Reply {
    let authorized = request.fields("authorization") == [expected];
    if request.target() == "/download" {
        return Reply::status(200, "application/octet-stream", &download());
    }
    if request.target() == "/trailers" {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
                      2\r\nok\r\n0\r\nX-Late: yes\r\n\r\n";
        return Reply::Bytes(answer.into());
    }
    let body = &request.body;
    let told = json!({
        "authorized": authorized,
        "method": request.method(),
        "target": request.target(),
        "size": body.len(),
        "sum": body.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
        "start": String::from_utf8_lossy(&body[..body.len().min(60)]),
        "type": request.field("content-type"),
        "own": request.field("x-own"),
        "expect": request.field("expect"),
    });
    if request.method() == "HEAD" {
        return Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec());
    }
    Reply::json(200, &told)
}

fn download() -> String {
    "0123456789abcdef".repeat(LARGE / 16)
}

impl Stage {
    /// A stage with a bearerd whose route is `/api`.
    pub fn before(bearerd: Sidecar) -> Self {
        let base = format!("http://{}/api", bearerd.app().address());
        Self { bearerd, base }
    }

    /// Runs curl, which may need patience but no configuration of this machine.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let arguments = arguments.iter().map(|argument| argument.replace("BASE", &self.base));
        let mut command = Command::new("curl");
        command
            .args(["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60"])
            .args(arguments);
        let mut curl = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("curl is installed");
        let mut stdin = curl.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = curl.wait_with_output().expect("an end");
        // curl may end before it has read all.
        let _ = writer.join().expect("no panic");
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {talk}");
        canary::assert_unseen(&output.stdout, "what curl received");
        canary::assert_unseen(&output.stderr, "what curl saw");
        [output.stdout, output.stderr].concat()
    }

    /// The same, where the API tells what it received: that must have been authorized.
    #[track_caller]
    pub fn curl_json(&self, arguments: &[&str], input: &[u8]) -> Value {
        let said = self.curl(arguments, input);
        let told: Value = serde_json::from_slice(&said)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said)));
        assert_eq!(told["authorized"], true, "{told}");
        told
    }
}

#[test]
fn curl_gets_with_no_credential_of_its_own_and_on_one_connection() {
    let stage = stage();
    let told = stage.curl_json(&["BASE/things?q=a%20b&page=2"], b"");
    assert_eq!((&told["method"], &told["target"]), (&"GET".into(), &"/things?q=a%20b&page=2".into()));
    let counts = stage
        .curl(&["-o", "/dev/null", "-w", "%{num_connects} ", "BASE/1", "-o", "/dev/null", "BASE/2"], b"");
    assert_eq!(String::from_utf8_lossy(&counts).trim(), "1 0", "connections are kept alive");
}

#[test]
fn curls_own_credentials_never_pass() {
    let stage = stage();
    for own in
        [vec!["-u", "user:password"], vec!["--oauth2-bearer", "own"], vec!["-H", "authorization: Digest own"]]
    {
        let arguments: Vec<_> = own.into_iter().chain(["-H", "X-Own: kept", "BASE/own"]).collect();
        assert_eq!(stage.curl_json(&arguments, b"")["own"], "kept");
    }
}

#[test]
fn curl_posts_forms_and_uploads_in_chunks() {
    let stage = stage();
    let told = stage.curl_json(&["-d", "a=1&b=2", "BASE/form"], b"");
    assert_eq!((&told["method"], &told["start"]), (&"POST".into(), &"a=1&b=2".into()));
    assert_eq!(told["type"], "application/x-www-form-urlencoded");
    let told = stage
        .curl_json(&["-T", "-", "-H", "Transfer-Encoding: chunked", "BASE/upload"], &vec![b'c'; 300_000]);
    assert_eq!((&told["method"], &told["size"]), (&"PUT".into(), &300_000.into()));
    assert_eq!(told["sum"], 300_000 * u64::from(b'c'));
}

#[test]
fn curl_asks_before_it_sends_a_large_body_and_is_told_to_go_on() {
    let stage = stage();
    let body = vec![b'x'; 4 << 20];
    let sent = ["--data-binary", "@-", "-H", "Expect: 100-continue", "--expect100-timeout", "30"];
    let said = stage.curl(&[&sent[..], &["-v", "BASE/large"]].concat(), &body);
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("HTTP/1.1 100 Continue"), "{said}");
    let told = stage.curl_json(&[&sent[..], &["BASE/large"]].concat(), &body);
    assert_eq!(told["size"], body.len());
}

#[test]
fn curl_sees_the_head_alone_and_the_whole_of_a_large_answer() {
    let stage = stage();
    let head = String::from_utf8_lossy(&stage.curl(&["-I", "BASE/things"], b"")).into_owned();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-length: 1234"),
        "{head}"
    );
    assert_eq!(stage.curl(&["BASE/download"], b""), download().as_bytes());
    // Two answers on one connection: the first one's end was seen exactly.
    let counts =
        stage.curl(&["-o", "/dev/null", "-w", "%{num_connects} ", "BASE/download", "-I", "BASE/things"], b"");
    assert!(String::from_utf8_lossy(&counts).contains("1 "), "{}", String::from_utf8_lossy(&counts));
}

#[test]
fn an_app_written_with_requests_works_unchanged() {
    let stage = stage();
    let mut command = Command::new(peers().join("python/bin/python"));
    command.arg(here("app.py")).arg(&stage.base);
    let output = command.output().expect("python is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    canary::assert_unseen(&output.stdout, "what the app got");
    let got: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");

    let told = |name: &str| {
        assert_eq!(got[name]["authorized"], true, "{name}: {}", got[name]);
        &got[name]
    };
    assert_eq!(told("get")["target"], "/things?q=a+b%26c&page=2");
    assert_eq!(told("post")["start"], r#"{"name": "\u00e4rger"}"#);
    assert_eq!(told("form")["start"], "a=1&b=2+3");
    assert_eq!(
        told("chunked")["size"],
        (0..100).map(|number| format!("piece {number}\n").len()).sum::<usize>()
    );
    assert!(told("multipart")["size"].as_u64() > Some(70_000));
    assert_eq!(told("large")["sum"], (8 << 20) * u64::from(b'x'));
    assert_eq!(
        (&told("delete")["method"], &told("options")["method"]),
        (&"DELETE".into(), &"OPTIONS".into())
    );
    assert_eq!(got["head"], json!({"status": 200, "length": "1234", "body": 0}));
    assert_eq!(told("own")["own"], "kept");
    assert_eq!(told("close")["method"], "GET");
    assert_eq!(got["download"]["size"], LARGE);
    drop(stage.bearerd);
}

#[test]
fn curl_has_the_answer_to_an_upload_that_nobody_wants() {
    let stage = stage();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for size in [1000, 100_000, 1_000_000] {
            let url = stage.base.replace("/api", "/nowhere");
            let arguments = [version, "-H", "Expect:", "-w", " %{http_code}", "--data-binary", "@-", &url];
            let said = String::from_utf8(stage.curl(&arguments, &vec![b'x'; size])).expect("text");
            assert!(said.contains("no_route") && said.contains(" 404"), "{version}, {size}: {said}");
        }
    }
}
