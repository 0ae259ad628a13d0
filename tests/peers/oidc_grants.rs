//! oidc-provider by TLS: certificates, proofs of possession, assertions by a shared secret, exchanges of
//! tokens, revocation; and an API that answers only to those whom its tokens are bound to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::counterpart::{Counterpart, here, node};
use crate::support::Sidecar;
use crate::support::sidecar::Setup;
use crate::support::tls::{Authority, Identity, TlsClient};

/// The secret of clients that sign with it.
const SHARED: &str = "a shared secret of at least thirty-two bytes, and of sixty-four for HS512";

struct Provider {
    folder: TempDir,
    authority: Authority,
    client: Identity,
    issuer: String,
    _process: Counterpart,
}

impl Provider {
    fn start(nonces: bool) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
        let (server, client) = (authority.server(), authority.common("client-tls"));
        for (name, content) in [
            ("ca.pem", authority.pem().as_str()),
            ("server.pem", &server.cert),
            ("server-key.pem", &server.key),
            ("subject", "subject-1"),
        ] {
            fs::write(folder.path().join(name), content).expect("a file");
        }
        let mut command = node("node");
        command.arg(here("grants.mjs")).arg(folder.path()).env("DPOP_NONCE", if nonces { "1" } else { "0" });
        let process = Counterpart::start(&mut command, "issuer");
        let greeting: Value = serde_json::from_str(&process.greeting).expect("a line of JSON");
        let issuer = greeting["issuer"].as_str().expect("an issuer").to_owned();
        Self { folder, authority, client, issuer, _process: process }
    }

    fn client(&self) -> TlsClient {
        let port = self.issuer.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        TlsClient::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &self.authority, None)
    }

    fn events(&self) -> Value {
        self.client().get("/events").expect("an answer").json()
    }

    /// A configuration with one credential that knows its issuer by discovery, and a route to the API.
    fn setup(&self, credential: &str, route: &str) -> Setup {
        let issuer = &self.issuer;
        let setup = Setup::new(&format!(
            "[egress.op]\nca = \"{{folder}}/ca.pem\"\n\n\
             [credentials.machine]\nflow = \"oauth2\"\nissuer = \"{issuer}\"\negress = \"op\"\n{credential}\n\
             [routes.api]\nupstream = \"{issuer}\"\ncredential = \"machine\"\n{route}\n"
        ));
        setup
            .file("ca.pem", &self.authority.pem())
            .file("client.pem", &self.client.cert)
            .file("client-key.pem", &self.client.key)
    }
}

/// Calls the API with the machine's token.
#[track_caller]
fn is_served(provider: &Provider, setup: Setup, client_id: &str, bound: bool) -> Sidecar {
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    for body in ["", "{\"a\": 1}"] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let answer = bearerd.app().request(method, "/api/thing?page=2", "", body.as_bytes());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let expected = json!({"client_id": client_id, "path": "/api/thing?page=2", "bound": bound});
        assert_eq!(answer.json(), expected);
    }
    assert_eq!(provider.events()["granted"], 1);
    assert_eq!(bearerd.credential("machine")["generation"], 1, "nothing was renewed meanwhile");
    bearerd
}

const ON_THE_SAME_WAY: &str = "egress = \"op\"";

#[test]
fn client_secret_jwt_with_each_length() {
    let provider = Provider::start(false);
    let credential = |algorithm: &str, secret: &str| {
        format!(
            "grant = \"client_credentials\"\nclient_id = \"client-{algorithm}\"\n\
             client_auth = \"client_secret_jwt\"\n{secret}"
        )
    };
    let setup = provider.setup(&credential("hs256", "client_secret = { env = \"SHARED\" }"), ON_THE_SAME_WAY);
    is_served(&provider, setup.variable("SHARED", SHARED), "client-hs256", false);
    for algorithm in ["HS384", "HS512"] {
        let secret = format!(
            "client_assertion = {{ jwt = {{ key = {{ env = \"SHARED\" }}, alg = \"{algorithm}\" }} }}"
        );
        let client = algorithm.to_lowercase();
        let bearerd = provider.setup(&credential(&client, &secret), ON_THE_SAME_WAY);
        let bearerd = bearerd.variable("SHARED", SHARED).start();
        bearerd.wait_until_ready();
        let answer = bearerd.app().get("/api/x");
        assert_eq!(answer.json()["client_id"], format!("client-{client}"), "{}", answer.text());
    }
    assert_eq!(provider.events()["refused"], json!([]));
}

#[test]
fn a_client_certificate_and_a_token_that_is_bound_to_it() {
    let provider = Provider::start(false);
    let credential = "grant = \"client_credentials\"\nclient_id = \"client-tls\"\nclient_auth = \"tls\"\n\
                      client_cert = \"{folder}/client.pem\"\nclient_key = \"{folder}/client-key.pem\"";
    is_served(&provider, provider.setup(credential, ""), "client-tls", true);
    let events = provider.events();
    let asked = events["hosts"][0].as_str().expect("a host");
    assert!(
        asked.starts_with("127.0.0.1"),
        "clients with a certificate have an endpoint of their own: {asked}"
    );
    // The proof that the API would see another way: there the certificate is not shown.
    let unbound =
        format!("{credential}\ncertificate_bound = false\ntoken_url = \"{}/token\"", provider.issuer);
    let bearerd = provider.setup(&unbound, ON_THE_SAME_WAY).start();
    bearerd.wait_until_ready();
    let answer = bearerd.app().get("/api/thing");
    assert_eq!((answer.status(), &answer.json()["error"]), (401, &json!("of another certificate")));
}

#[test]
fn tokens_that_are_bound_to_a_key_with_and_without_nonces() {
    for nonces in [false, true] {
        let provider = Provider::start(nonces);
        let credential = "grant = \"client_credentials\"\nclient_id = \"client-dpop\"\ndpop = true\n\
                          client_secret = { value = \"dpop secret\" }";
        let bearerd = is_served(&provider, provider.setup(credential, ON_THE_SAME_WAY), "client-dpop", true);
        for _ in 0..20 {
            assert_eq!(bearerd.app().get("/api/again").status(), 200);
        }
        let events = provider.events();
        assert_eq!(events["replayed"], 0);
        let refused = if nonces { json!(["use_dpop_nonce"]) } else { json!([]) };
        assert_eq!(events["refused"], refused);
    }
}

/// oidc-provider takes each assertion once, also the one that came with a proof without its nonce.
#[test]
fn an_assertion_is_signed_anew_for_the_nonce() {
    let provider = Provider::start(true);
    let credential = "grant = \"client_credentials\"\nclient_id = \"client-dpop-hs256\"\ndpop = true\n\
                      client_auth = \"client_secret_jwt\"\nclient_secret = { env = \"SHARED\" }";
    let setup = provider.setup(credential, ON_THE_SAME_WAY).variable("SHARED", SHARED);
    is_served(&provider, setup, "client-dpop-hs256", true);
}

#[test]
fn an_exchange_follows_the_subjects_file() {
    let provider = Provider::start(false);
    let credential = "grant = \"token_exchange\"\nclient_id = \"client-exchange\"\naudience = \"api\"\n\
                      subject_token = { file = \"{folder}/subject\" }";
    let setup = provider.setup(credential, ON_THE_SAME_WAY).file("subject", "subject-1");
    let bearerd = is_served(&provider, setup, "client-exchange", false);
    fs::write(provider.folder.path().join("subject"), "subject-2").expect("a file");
    bearerd.replace_file("subject", "subject-2");
    bearerd.wait_for_generation("machine", 2);
    assert_eq!(bearerd.app().get("/api/thing").status(), 200);
    assert_eq!(provider.events()["refused"], json!([]));
}

#[test]
fn a_token_that_is_revoked_at_the_end_is_dead_for_the_issuer() {
    let provider = Provider::start(false);
    let credential = "grant = \"client_credentials\"\nclient_id = \"client-basic\"\nrevoke_on_exit = true\n\
                      client_secret = { value = \"basic secret\" }";
    let setup = provider.setup(credential, ON_THE_SAME_WAY);
    let mut bearerd = is_served(&provider, setup, "client-basic", false);
    let token = provider.events()["last_token"].as_str().expect("a token").to_owned();
    let is_active = || {
        let fields = "Authorization: Basic Y2xpZW50LWJhc2ljOmJhc2ljK3NlY3JldA==\r\n\
                      Content-Type: application/x-www-form-urlencoded\r\n";
        let mut connection = provider.client().connect().expect("a connection");
        let body = format!("token={token}");
        let answer = connection.request("POST", "/token/introspection", fields, body.as_bytes());
        answer.expect("an answer").json()["active"].clone()
    };
    assert_eq!(is_active(), true);
    bearerd.signal(Signal::TERM);
    assert!(bearerd.wait_for_exit().success());
    assert_eq!(is_active(), false);
}
