//! WebSockets, and the older and rarer parts of HTTP/1, as others speak them through bearerd.

use std::process::Command;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::apps::Stage;
use crate::counterpart::{Counterpart, here, peers};
use crate::support::{Reply, Sidecar, Upstream, canary, configuration};

/// One of the scripts beside these tests.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(peers().join("python/bin/python"));
    command.arg(here(script));
    command
}

/// The port that a server says.
pub fn port(server: &Counterpart) -> u16 {
    let said = server.greeting.rsplit(' ').next().map(u16::from_str);
    said.and_then(Result::ok).expect("a port")
}

/// Runs an app to its end and reads the line of JSON that it prints.
#[track_caller]
pub fn told(command: &mut Command) -> Value {
    let output = command.output().expect("the app starts");
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {talk}");
    canary::assert_unseen(&output.stdout, "what the app got");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

#[test]
fn web_sockets_carry_large_and_many_messages_and_their_closing() {
    let server = Counterpart::start(python("socket_talk.py").arg("server"), "port");
    let bearerd = Sidecar::ready(&configuration::to(&format!("http://127.0.0.1:{}", port(&server))));
    let url = format!("ws://{}/api", bearerd.app().address());
    let got = told(python("socket_talk.py").arg("client").arg(url));
    assert_eq!((&got["greeting"], &got["text"]), (&"authorized".into(), &"text ✓".into()));
    for (what, last) in [
        ("large", json!(true)),
        ("many", json!(true)),
        ("ping", json!(true)),
        ("compressed", json!(true)),
        ("at once", json!(true)),
        ("last", json!("last")),
        ("closed", json!([4001, "that was all"])),
    ] {
        assert_eq!(got[what], last, "{what}");
    }
}

#[test]
fn curl_speaks_http_1_0_and_asks_for_ranges_and_sees_trailers() {
    let api = Upstream::answering(|request| {
        match request.target().as_str() {
        "/range" => {
            let range = request.field("range").unwrap_or_default();
            Reply::with_fields(206, "Content-Range: bytes 2-5/10\r\n", &range)
        }
        _ => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n5\r\nhello\r\n0\r\nX-Late: yes\r\n\r\n"
                .to_vec(),
        ),
    }
    });
    let bearerd = Sidecar::ready(&configuration::to(&api.origin()));
    let stage = Stage::before(bearerd);
    assert_eq!(stage.curl(&["--http1.0", "BASE/x"], b""), b"hello");
    assert_eq!(stage.curl(&["-r", "2-5", "BASE/range"], b""), b"bytes=2-5");
    let seen = stage.curl(&["-D", "-", "-H", "TE: trailers", "BASE/x"], b"");
    let seen = String::from_utf8_lossy(&seen).to_lowercase();
    assert!(seen.contains("hello") && seen.contains("x-late: yes"), "{seen}");
}
