//! nginx and HAProxy as origins: what they make of a request that came through bearerd is what they make
//! of the same request without it, but for the documented changes.
//!
//! ```text
//! app ──────────────▶ origin ──▶ recorder
//! app ──▶ bearerd ──▶ origin ──▶ recorder
//! ```

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::message::Message;
use crate::support::wire::Wire;
use crate::support::{Reply, Sidecar, Upstream, configuration};

/// Fields that bearerd, or the origin by what bearerd is to it, changes or takes away: `X-Hop` is named
/// in `Connection`.
const CHANGED: [&str; 8] =
    ["authorization", "host", "via", "x-forwarded-for", "connection", "te", "keep-alive", "x-hop"];

/// A running origin before a recorder.
struct Origin {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn start(program: &str, arguments: &[&str], configuration: &str) -> Origin {
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let file = folder.path().join("configuration");
    let place = |text: &str| {
        text.replace("FOLDER", &folder.path().display().to_string()).replace("ADDRESS", &address.to_string())
    };
    fs::write(&file, place(configuration)).expect("written");
    let process = Command::new(program)
        .args(arguments.iter().map(|argument| place(argument)))
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let origin = Origin { process, address, _folder: folder };
    let is_up = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        TcpStream::connect(address).is_ok()
    });
    assert!(is_up, "{program} does not listen");
    origin
}

fn nginx(recorder: &Upstream) -> Origin {
    let address = recorder.address();
    start(
        Path::new("/usr/sbin/nginx").to_str().filter(|path| Path::new(path).exists()).unwrap_or("nginx"),
        &["-p", "FOLDER", "-e", "FOLDER/error.log", "-c"],
        &format!(
            "daemon off; master_process off; pid FOLDER/pid;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;\n\
             fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;\n\
             server {{ listen ADDRESS; merge_slashes off; client_max_body_size 0;\n\
             location / {{ proxy_pass http://{address}; proxy_http_version 1.1; proxy_set_header Host $host;\n\
             proxy_set_header Connection \"\"; proxy_request_buffering off; proxy_buffering off; }} }} }}\n"
        ),
    )
}

fn haproxy(recorder: &Upstream) -> Origin {
    let address = recorder.address();
    let program = if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
    start(
        program,
        &["-db", "-f"],
        &format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             frontend app\n bind ADDRESS\n default_backend recorder\nbackend recorder\n server one {address}\n"
        ),
    )
}

/// Requests that an app might send, each of its own kind; `BASE` stands for the path's beginning.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = [
        "GET BASE/ HTTP/1.1\r\n",
        "GET BASE/a/b/c?d=e&f=%20+%2B&g HTTP/1.1\r\n",
        "GET BASE/a%2Bb;c=d//e/~f/%C3%A4?? HTTP/1.1\r\n",
        "GET BASE/a:b@c!$&'()*,=-._ HTTP/1.1\r\n",
        "HEAD BASE/head HTTP/1.1\r\n",
        "OPTIONS BASE/options HTTP/1.1\r\n",
        "DELETE BASE/delete HTTP/1.1\r\n",
        "PROPFIND BASE/dav HTTP/1.1\r\nDepth: 1\r\n",
        "GET BASE/fields HTTP/1.1\r\nX-A: 1\r\nx-b: two words\r\nX-A: 2\r\nX-Empty:\r\nX-Spaces:   padded \t \r\n",
        "GET BASE/latin HTTP/1.1\r\nX-Quoted: \"a, b\\\"c\"; q=0.5\r\nAccept: text/html;q=0.8, */*;q=0.1\r\n",
        "GET BASE/cookies HTTP/1.1\r\nCookie: a=1; b=\"2\"; c=3=4\r\n",
        "GET BASE/conditional HTTP/1.1\r\nIf-None-Match: \"a\", W/\"b\"\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\nRange: bytes=0-1,5-\r\n",
        "GET BASE/hop HTTP/1.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Kept: 1\r\n",
        "POST BASE/empty HTTP/1.1\r\nContent-Length: 0\r\n",
    ]
    .iter()
    .map(|head| format!("{head}\r\n").into_bytes())
    .collect();
    let smuggled = "GET BASE/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for method in ["POST", "PUT", "PATCH", "GET", "DELETE"] {
        for body in [
            "{\"a\": 1}".to_owned(),
            "x".repeat(70_000),
            smuggled.replace("BASE", ""),
            "\r\n\r\n0\r\n\r\n".into(),
        ] {
            let length = body.len();
            corpus.push(
                format!("{method} BASE/sized HTTP/1.1\r\nContent-Type: a/b\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(),
            );
            corpus.push(
                format!(
                    "{method} BASE/chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                     1;x=y\r\n{}\r\n{:X}\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n",
                    &body[..1],
                    length - 1,
                    &body[1..]
                )
                .into_bytes(),
            );
        }
    }
    corpus
}

/// The corpus as it is sent to a server, each request with its Host.
fn addressed(request: &[u8], base: &str, host: SocketAddr) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\r\n").expect("a request line") + 2;
    let line = String::from_utf8_lossy(&request[..end]).replace("BASE", base);
    [line.as_bytes(), format!("Host: {host}\r\n").as_bytes(), &request[end..]].concat()
}

/// What is the same whichever way a request went.
fn essence(request: &Message) -> (String, Vec<(String, String)>, Vec<u8>) {
    let head = request.head();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut fields: Vec<_> = fields
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        // How a body is delimited may change; that it is the same is seen from the body itself.
        .filter(|(name, _)| {
            !CHANGED.contains(&name.as_str()) && name != "transfer-encoding" && name != "content-length"
        })
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    (request.start_line(), fields, request.body.clone())
}

/// Sends the corpus, one request after the other on as few connections as the server allows, and reads
/// each answer.
fn send_all(address: SocketAddr, base: &str) {
    let mut wire = Wire::connect(address);
    for request in corpus() {
        let request = addressed(&request, base, address);
        wire.send(&request);
        let is_head = request.starts_with(b"HEAD");
        let answer = if is_head { wire.head() } else { wire.answer() };
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&request[..request.len().min(300)]));
        if answer.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("close")) {
            wire = Wire::connect(address);
        }
    }
}

#[track_caller]
fn compare(origin_before: impl Fn(&Upstream) -> Origin) {
    let recorder = Upstream::answering(|request| {
        if request.method() == "HEAD" {
            Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec())
        } else {
            Reply::text("hello")
        }
    });
    let origin = origin_before(&recorder);
    let count = corpus().len();
    send_all(origin.address, "");
    let direct = recorder.requests();
    assert_eq!(direct.len(), count);
    // The guard asks for the identity coding.
    let to = configuration::to(&format!("http://{}", origin.address));
    let bearerd = Sidecar::ready(&format!("{to}guard = \"off\"\n"));
    send_all(bearerd.app().address(), "/api");
    let through = recorder.requests().split_off(count);
    assert_eq!(through.len(), count, "as many requests came as were sent");
    for (direct, through) in direct.iter().zip(&through) {
        assert_eq!(essence(through), essence(direct));
        assert!(through.field("authorization").is_some_and(|value| value.starts_with("Bearer ")));
    }
    // And all of it at once, one request behind the other.
    let app = bearerd.app().address();
    let mut wire = Wire::connect(app);
    let mut sender = wire.sender();
    let sending = std::thread::spawn(move || {
        for request in corpus() {
            std::io::Write::write_all(&mut sender, &addressed(&request, "/api", app)).expect("taken");
        }
    });
    for request in corpus() {
        let answer = if request.starts_with(b"HEAD") { wire.head() } else { wire.answer() };
        assert_eq!(answer.status(), 200);
    }
    sending.join().expect("all is sent");
    let pipelined = recorder.requests().split_off(2 * count);
    assert_eq!(pipelined.len(), count);
    for (direct, pipelined) in direct.iter().zip(&pipelined) {
        assert_eq!(essence(pipelined), essence(direct));
    }
}

#[test]
fn nginx_sees_the_same_requests_through_bearerd_as_without() {
    compare(nginx);
}

#[test]
fn haproxy_sees_the_same_requests_through_bearerd_as_without() {
    compare(haproxy);
}
