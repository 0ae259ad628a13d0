//! Further ways on which something could come out: gRPC, a server that wants a certificate, notices to programs, what
//! foretells and explains, and a process that is told to quit with a dump.

use std::collections::BTreeSet;
use std::ffi::OsString;

use http::{HeaderMap, HeaderValue, Response};
use serde_json::json;

use super::evidence::{Evidence, exposed};
use crate::egress::certificates::echoing;
use crate::support::http2::{Content, Http2App, Http2Origin};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::tls::Authority;
use crate::support::{Issuer, Reply, Upstream, canary};

/// The places that only this scenario looks into, by how their names begin.
pub(super) const PLACES: [&str; 7] = [
    "a gRPC message",
    "the fields of a gRPC answer",
    "the trailers of a gRPC answer",
    "an answer by mutual TLS",
    "a notice to a program",
    "a notice to a server",
    "forecast",
];

/// A bearerd with an upstream that speaks gRPC, one that wants a certificate, and two receivers of notices. Both
/// upstreams show what they were sent.
pub(super) struct Outlets {
    issuer: Issuer,
    receiver: Upstream,
    keys: Vec<String>,
    name: String,
    given: BTreeSet<OsString>,
    sidecar: Sidecar,
}

impl Outlets {
    /// Where a secret is planted, nobody guards the routes, it is the token, and somebody has called the credential
    /// by it.
    pub(super) fn start(planted: Option<&str>) -> Self {
        let (name, guard) = planted.map_or(("plain", "mask"), |planted| (planted, "off"));
        let told = planted.map(str::to_owned);
        let issuer = Issuer::shaped(
            move |token| json!({"access_token": told.as_deref().unwrap_or(token), "token_type": "Bearer", "expires_in": 3600}),
        );
        let receiver = Upstream::start();
        let (authority, callers) = (Authority::new(), Authority::new());
        let caller = callers.named("caller");
        let text = format!(
            r#"
[store]
kind = "file"
path = "state"
key = {{ file = "store-key" }}

[egress.known]
ca = "ca.pem"
client_cert = "caller.pem"
client_key = "caller-key.pem"

[notify.program]
command = ["/bin/sh", "-c", "cat >> {{folder}}/noticed"]

[notify.server]
webhook = "{receiver}/hook"
key = {{ file = "webhook-key" }}

[credentials.{name}]
flow = "oauth2"
grant = "client_credentials"
token_url = "{issuer}"
client_id = "me"
client_secret = {{ file = "client-secret" }}

[routes.calls]
path = "/calls"
upstream = "{calls}"
credential = "{name}"
guard = "{guard}"

[routes.sealed]
path = "/sealed"
upstream = "{sealed}"
credential = "{name}"
egress = "known"
guard = "{guard}"
"#,
            receiver = receiver.origin(),
            issuer = issuer.url(),
            calls = calls(),
            sealed = echoing(&authority, Some(&callers)),
        );
        let setup = Setup::new(&text)
            .server("log = \"trace\"\naccess_log = \"all\"")
            .file("store-key", &canary::store_key())
            .file("webhook-key", &canary::secret())
            .file("client-secret", &canary::secret())
            .file("ca.pem", &authority.pem())
            .file("caller.pem", &caller.cert)
            .file("caller-key.pem", &caller.key);
        let (setup, given) = exposed(setup);
        let sidecar = setup.start();
        sidecar.wait_until_ready();
        Self { issuer, receiver, keys: vec![caller.key], name: name.to_owned(), given, sidecar }
    }

    /// Lets it live, and quit.
    pub(super) fn live(mut self, evidence: &mut Evidence) {
        self.keys.iter().for_each(|key| evidence.know_key(key));
        self.be_called(evidence);
        self.be_told(evidence);
        self.be_asked(evidence);
        evidence.add_process(&self.sidecar, &self.given);
        evidence.add_core_of(rustix::process::Signal::QUIT, &mut self.sidecar, &self.given);
    }

    fn be_called(&self, evidence: &mut Evidence) {
        let call = Http2App::of(&self.sidecar).post("/calls/pkg.Service/Method", b"\0\0\0\0\x01x");
        let (head, content) = call.answer();
        assert_eq!(head.status(), 200);
        evidence.add("the fields of a gRPC answer", format!("{:?}", head.headers()));
        evidence.add("the trailers of a gRPC answer", format!("{:?}", content.trailers));
        evidence.add("a gRPC message", content.body);
        let answer = self.sidecar.app().get("/sealed/x");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        evidence.add_answer("an answer by mutual TLS", &answer);
    }

    /// An issuer that refuses, and says with what, is told to both receivers.
    fn be_told(&self, evidence: &mut Evidence) {
        let last = self.issuer.requests().pop().expect("a request");
        let said = String::from_utf8_lossy(&[last.head.as_slice(), &last.body].concat()).into_owned();
        self.issuer
            .always(Some(Reply::json(401, &json!({"error": "invalid_client", "error_description": said}))));
        let target = format!("/v1/credentials/{}/refresh?wait=true&force=true", self.name);
        evidence.add_answer("a renewal that fails", &self.sidecar.control("POST", &target, b""));
        for notice in self.receiver.wait_for(1) {
            // Its signature is made with the key, and does not show it.
            evidence.add_answer("a notice to a server", &notice);
        }
        let place = self.sidecar.folder().join("noticed");
        let noticed = self.sidecar.wait("a notice to a program", || {
            std::fs::read(&place).ok().filter(|text| text.ends_with(b"\n"))
        });
        evidence.add("a notice to a program", noticed);
    }

    fn be_asked(&self, evidence: &mut Evidence) {
        let path = self.sidecar.folder().join("bearerd.toml").display().to_string();
        for arguments in [
            &["forecast", "--days", "30", "--config", &path][..],
            &["explain", "--config", &path, "GET", "http://127.0.0.1/sealed/x"],
            &["check", "--connect", "--config", &path],
            &["doctor", "--config", &path],
            &["refresh", &self.name],
            &["probe", "ready"],
            &["reload"],
            &["store", "export", "--config", &path],
        ] {
            let output = self.sidecar.command(arguments, "");
            let told = [output.stdout, output.stderr].concat();
            assert!(!told.is_empty() || arguments[0] == "probe", "{arguments:?}");
            evidence.add(arguments.join(" "), told);
        }
    }
}

/// A server of gRPC whose answer has what it was asked with in its fields, its message and its trailers.
fn calls() -> String {
    let origin = Http2Origin::start();
    let url = origin.url();
    origin.answer_all(|request, _| {
        let token = request.headers().get("authorization").cloned();
        let token = token.unwrap_or(HeaderValue::from_static("none"));
        let head = Response::builder().status(200).header("content-type", "application/grpc");
        let head = head.header("x-asked-with", &token).body(()).expect("an answer");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("grpc-message", token.clone());
        let length = u32::try_from(token.len()).expect("a length").to_be_bytes();
        (head, Content { body: [&[0][..], &length, token.as_bytes()].concat(), trailers })
    });
    url
}
