//! What machines do: a credential of each flow, listeners of each kind, and a receiver of notices.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::evidence::{Evidence, exposed};
use crate::support::http2::Http2App;
use crate::support::message::Message;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::tls::{Authority, Identity, TlsClient};
use crate::support::{Client, Issuer, Origin, Reply, Upstream, canary};

/// The routes of the listener `app`, which are named as their credentials.
const ROUTES: [&str; 6] = ["client", "rotating", "signed", "steps", "fixed", "bound"];

/// A house with one credential of each kind.
pub(super) struct House {
    issuer: Issuer,
    rotating: Issuer,
    bound: Issuer,
    login: Upstream,
    upstream: Upstream,
    origin: Origin,
    receiver: Upstream,
    authority: Authority,
    bearer: String,
    keys: [Identity; 3],
    given: BTreeSet<OsString>,
    sidecar: Sidecar,
}

impl House {
    pub(super) fn start(more: impl FnOnce(Setup) -> Setup) -> Self {
        let issuer = Issuer::start(3600);
        let rotating = Issuer::shaped(|token| {
            json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600,
                   "refresh_token": canary::secret(), "scope": "a b"})
        });
        let bound =
            Issuer::shaped(|token| json!({"access_token": token, "token_type": "DPoP", "expires_in": 3600}));
        let login = Upstream::issuer(|_| Reply::json(200, &json!({"data": {"token": canary::token()}})));
        // The first token is refused, so that a renewal and a replay come with it.
        let first = std::sync::Mutex::new(None);
        let upstream = Upstream::answering(move |request| {
            let token = request.field("authorization");
            let mut first = first.lock().expect("no panic");
            let refused = first.get_or_insert_with(|| token.clone());
            if request.target().starts_with("/refused") && token == *refused {
                return Reply::status(401, "text/plain", "no");
            }
            Reply::text("hello")
        });
        let (origin, receiver, authority) = (Origin::start(), Upstream::start(), Authority::new());
        let (bearer, webhook_key) = (canary::secret(), canary::secret());
        // Of the listener, of the egress, and of bound tokens.
        let keys = [authority.server(), authority.named("client"), authority.named("bound")];
        let text = format!(
            r#"
[listeners.asking]
bind = "127.0.0.1:0"
allow = {{ bearer = {{ file = "bearer" }} }}

[listeners.sealed]
bind = "127.0.0.1:0"
tls = {{ cert = "listener.pem", key = "listener-key.pem" }}

[egress.known]
client_cert = "client.pem"
client_key = "client-key.pem"

[notify.ops]
webhook = "{receiver}/hook"
key = {{ file = "webhook-key" }}

[store]
kind = "file"
path = "state"
key = {{ file = "store-key" }}

[credentials.client]
flow = "oauth2"
grant = "client_credentials"
token_url = "{issuer}"
client_id = "me"
client_secret = {{ env = "CLIENT_SECRET" }}

[credentials.rotating]
flow = "oauth2"
grant = "refresh_token"
token_url = "{rotating}"
client_id = "me"
client_auth = "none"
refresh_token = {{ file = "refresh-token" }}

[credentials.signed]
flow = "oauth2"
grant = "jwt_bearer"
token_url = "{issuer}"
client_id = "me"
client_auth = "none"
assertion = {{ jwt = {{ key = {{ file = "signing-key" }}, alg = "HS256", claims = {{ iss = "me" }} }} }}

[credentials.steps]
flow = "login"
params = {{ base_url = "{login}" }}
secrets = {{ password = {{ command = ["/bin/cat", "{{folder}}/password"] }} }}
inject = {{ headers = {{ Authorization = "Bearer {{token}}" }} }}
[[credentials.steps.steps]]
method = "POST"
url = "{{base_url}}/login"
json = {{ user = "me", password = "{{password}}" }}
outputs = {{ token = "/data/token" }}

[credentials.bound]
flow = "oauth2"
grant = "client_credentials"
token_url = "{bound}"
client_id = "me"
client_secret = {{ file = "bound-secret" }}
egress = "known"
dpop = {{ key = {{ file = "bound-key.pem" }} }}

[credentials.fixed]
flow = "static"
token = {{ value = "{fixed}" }}
expires = "never"
"#,
            issuer = issuer.url(),
            rotating = rotating.url(),
            bound = bound.url(),
            login = login.origin(),
            receiver = receiver.origin(),
            fixed = canary::token(),
        );
        let route = |listener: &str, path: &str, upstream: &str, credential: &str| {
            format!(
                "[routes.{listener}-{path}]\nlistener = \"{listener}\"\npath = \"/{path}\"\n\
                 upstream = \"{upstream}\"\ncredential = \"{credential}\"\n"
            )
        };
        let url = upstream.origin();
        let mut routes: String = ROUTES.map(|name| route("app", name, &url, name)).concat();
        routes += &route("app", "socket", &origin.url(), "client");
        routes += &route("asking", "api", &url, "fixed");
        routes += &route("sealed", "api", &url, "fixed");
        let setup = Setup::new(&(text + &routes))
            .server("log = \"trace\"\naccess_log = \"all\"")
            .file("store-key", &canary::store_key())
            .file("refresh-token", &canary::secret())
            .file("signing-key", &canary::secret())
            .file("password", &canary::secret())
            .file("bound-secret", &canary::secret())
            .file("bearer", &bearer)
            .file("webhook-key", &webhook_key)
            .file("listener.pem", &keys[0].cert)
            .file("listener-key.pem", &keys[0].key)
            .file("client.pem", &keys[1].cert)
            .file("client-key.pem", &keys[1].key)
            .file("bound-key.pem", &keys[2].key)
            .variable("CLIENT_SECRET", &canary::secret());
        let (setup, given) = exposed(setup);
        let sidecar = more(setup).start();
        sidecar.wait_until_ready();
        Self {
            issuer,
            rotating,
            bound,
            login,
            upstream,
            origin,
            receiver,
            authority,
            bearer,
            keys,
            given,
            sidecar,
        }
    }

    /// Lets it live, and die.
    pub(super) fn live(mut self, evidence: &mut Evidence) {
        self.keys.iter().for_each(|identity| evidence.know_key(&identity.key));
        self.renew(evidence);
        self.be_called(evidence);
        self.fail(evidence);
        self.be_asked(evidence);
        self.reload(evidence);
        assert!(!self.upstream.requests().is_empty() && !self.login.requests().is_empty());
        // What the issuer refuses was told.
        self.receiver.wait_for(1);
        evidence.add_process(&self.sidecar, &self.given);
        evidence.add_core(&mut self.sidecar, &self.given);
    }

    pub(super) fn folder(&self) -> &Path {
        self.sidecar.folder()
    }

    fn renew(&self, evidence: &mut Evidence) {
        let sidecar = &self.sidecar;
        for name in ROUTES {
            for target in ["", "/refused", "/a?b=c"] {
                evidence.add_answer("an answer to the app", &sidecar.app().get(&format!("/{name}{target}")));
            }
            let renewed = sidecar.control("POST", &format!("/v1/credentials/{name}/refresh?wait=true"), b"");
            evidence.add_answer(format!("a renewal of {name}"), &renewed);
        }
    }

    /// By HTTP/2, through a tunnel, by TLS, and with a bearer.
    fn be_called(&self, evidence: &mut Evidence) {
        let sidecar = &self.sidecar;
        for name in ROUTES {
            let answer = Http2App::of(sidecar).post(&format!("/{name}/a?b=c"), b"a body").text();
            evidence.add("an answer by HTTP/2", format!("{answer:?}"));
        }
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut app = sidecar.app().ask("GET", "/socket/x", upgrade);
        let mut upstream = self.origin.accept();
        let token = upstream.request().field("authorization").expect("a token");
        upstream
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        evidence.add_answer("the head of a tunnel", &app.head());
        upstream.send(format!("\u{1}{token}!"));
        evidence.add("what came through a tunnel", app.bytes(2 + token.len()));
        drop((app, upstream));

        let sealed = TlsClient::new(sidecar.address("sealed"), &self.authority, None);
        evidence.add_answer("an answer by TLS", &sealed.get("/api/x").expect("an answer"));
        let asking = Client::new(sidecar.address("asking"));
        for bearer in [self.bearer.as_str(), "wrong", &self.bearer[1..]] {
            let answer = asking.get_with("/api/x", &format!("Authorization: Bearer {bearer}\r\n"));
            assert_eq!(answer.status() == 200, bearer == self.bearer, "{}", answer.text());
            evidence.add_answer("an answer to a caller with a bearer", &answer);
        }
    }

    fn fail(&self, evidence: &mut Evidence) {
        let sidecar = &self.sidecar;
        // An issuer that answers with what it was sent.
        let echo = |request: &Message| {
            let body = [request.head.as_slice(), b"\n", &request.body].concat();
            let told =
                json!({"error": "invalid_client", "error_description": String::from_utf8_lossy(&body)});
            Reply::json(401, &told)
        };
        for issuer in [&self.issuer, &self.rotating, &self.bound] {
            let last = issuer.requests().pop().expect("a request");
            issuer.always(Some(echo(&last)));
        }
        for name in ["client", "rotating", "signed", "bound"] {
            let failed =
                sidecar.control("POST", &format!("/v1/credentials/{name}/refresh?wait=true&force=true"), b"");
            evidence.add_answer(format!("a renewal of {name} that fails"), &failed);
            evidence.add_answer("an answer to the app", &sidecar.app().get(&format!("/{name}")));
        }
    }

    fn be_asked(&self, evidence: &mut Evidence) {
        let sidecar = &self.sidecar;
        for target in ["/nowhere", "/client/../x", "/client/%2e%2e/", "/fixed\\"] {
            evidence.add_answer("an error", &sidecar.app().get(target));
        }
        let output = sidecar.command(&["set", "fixed"], &canary::token());
        evidence.add("set", [output.stdout, output.stderr].concat());

        let path = self.configuration();
        for arguments in [
            &["status"][..],
            &["status", "--json"],
            &["check", "--config", &path],
            &["doctor", "--json", "--config", &path],
            &["explain", "--config", &path, "GET", "http://127.0.0.1/client/a"],
            &["store", "list", "--config", &path],
        ] {
            let output = sidecar.command(arguments, "");
            evidence.add(arguments.join(" "), [output.stdout, output.stderr].concat());
        }
        for target in
            ["/", "/metrics", "/ready", "/live", "/v1/credentials", "/v1/credentials/client", "/nowhere"]
        {
            evidence.add_answer(format!("the admin listener's {target}"), &sidecar.admin().get(target));
            evidence
                .add_answer(format!("the admin listener's {target}"), &sidecar.control("GET", target, b""));
        }
        let guess = sidecar.admin().request("POST", "/v1/reload", "Authorization: Bearer wrong\r\n", b"");
        evidence.add_answer("a guess of the admin token", &guess);
    }

    fn reload(&self, evidence: &mut Evidence) {
        let (sidecar, path) = (&self.sidecar, self.configuration());
        let old = fs::read_to_string(&path).expect("the configuration");
        let broken = old
            .replace("expires = \"never\"", "expires = \"nevr\"")
            .replace("alg = \"HS256\"", "alg = HS256");
        fs::write(&path, broken).expect("a file");
        evidence.add_answer("a reload that is rejected", &sidecar.control("POST", "/v1/reload", b""));
        fs::write(&path, old).expect("a file");
        evidence.add_answer("a reload", &sidecar.control("POST", "/v1/reload", b""));
    }

    fn configuration(&self) -> String {
        self.sidecar.folder().join("bearerd.toml").display().to_string()
    }
}
