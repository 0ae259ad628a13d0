//! The audit: the main scenarios at the finest level of logs, with a canary for every secret, and then
//! everything that anybody but root, the issuer and the upstream could see of them is searched.

use std::fs;
use std::path::Path;

use base64::Engine;
use serde_json::json;

use crate::support::message::Message;
use crate::support::sidecar::{ADMIN_TOKEN, Setup, Sidecar};
use crate::support::{Issuer, Reply, Upstream, canary};

/// What can be seen, by the place where.
#[derive(Default)]
struct Evidence(Vec<(String, Vec<u8>)>);

impl Evidence {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn add_answer(&mut self, place: impl Into<String>, answer: &Message) {
        self.add(place, [answer.head.as_slice(), &answer.body].concat());
    }

    /// Each canary that shows, with its place and form.
    fn hits(&self) -> Vec<String> {
        let hits = self.0.iter().flat_map(|(place, bytes)| {
            let hit = move |(canary, form)| format!("{place} shows {canary} ({form})");
            canary::hits(bytes).into_iter().map(hit)
        });
        hits.collect()
    }

    /// What the process and its files show to others of this machine.
    fn add_process(&mut self, sidecar: &Sidecar) {
        let folder = format!("/proc/{}", sidecar.id());
        let mut look = |file: &Path| {
            if let Ok(bytes) = fs::read(file) {
                self.0.push((file.display().to_string(), bytes));
            }
        };
        for name in
            ["environ", "cmdline", "comm", "maps", "status", "mountinfo", "limits", "stat", "wchan", "cgroup"]
        {
            look(&Path::new(&folder).join(name));
        }
        for task in fs::read_dir(format!("{folder}/task")).expect("its threads").flatten() {
            look(&task.path().join("comm"));
        }
        for file in fs::read_dir(format!("{folder}/fd")).expect("its files").flatten() {
            if let Ok(target) = fs::read_link(file.path()) {
                self.add(file.path().display().to_string(), target.into_os_string().into_encoded_bytes());
            }
        }
        for file in fs::read_dir(sidecar.folder()).expect("its folder").flatten() {
            let name = file.file_name().into_string().expect("a name");
            // Those that are secrets themselves, and the configuration, lie there on purpose.
            if name.starts_with("state") {
                self.add(name, fs::read(file.path()).expect("a file"));
            }
        }
    }
}

/// A house with one credential of each kind.
struct House {
    issuer: Issuer,
    rotating: Issuer,
    login: Upstream,
    upstream: Upstream,
    sidecar: Sidecar,
}

impl House {
    fn start(more: impl FnOnce(Setup) -> Setup) -> Self {
        let issuer = Issuer::start(3600);
        let rotating = Issuer::shaped(|token| {
            json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600,
                   "refresh_token": canary::secret(), "scope": "a b"})
        });
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
        let text = format!(
            r#"
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

[credentials.fixed]
flow = "static"
token = {{ value = "{fixed}" }}
expires = "never"
"#,
            issuer = issuer.url(),
            rotating = rotating.url(),
            login = login.origin(),
            fixed = canary::token(),
        );
        let routes: String = ["client", "rotating", "signed", "steps", "fixed"]
            .map(|name| {
                format!(
                    "[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\ncredential = \"{name}\"\n",
                    upstream.origin()
                )
            })
            .concat();
        let setup = Setup::new(&(text + &routes))
            .server("log = \"trace\"\naccess_log = \"all\"")
            .file("store-key", &canary::store_key())
            .file("refresh-token", &canary::secret())
            .file("signing-key", &canary::secret())
            .file("password", &canary::secret())
            .variable("CLIENT_SECRET", &canary::secret());
        let sidecar = more(setup).start();
        sidecar.wait_until_ready();
        Self { issuer, rotating, login, upstream, sidecar }
    }

    /// Lets it live: requests, refusals, renewals, failures, reloads, mistakes, commands.
    fn live(&self, evidence: &mut Evidence) {
        let sidecar = &self.sidecar;
        for name in ["client", "rotating", "signed", "steps", "fixed"] {
            for target in ["", "/refused", "/a?b=c"] {
                evidence.add_answer("an answer to the app", &sidecar.app().get(&format!("/{name}{target}")));
            }
            let renewed = sidecar.control("POST", &format!("/v1/credentials/{name}/refresh?wait=true"), b"");
            evidence.add_answer(format!("a renewal of {name}"), &renewed);
        }
        // An issuer that answers with what it was sent.
        let echo = |request: &Message| {
            let body = [request.head.as_slice(), b"\n", &request.body].concat();
            let told =
                json!({"error": "invalid_client", "error_description": String::from_utf8_lossy(&body)});
            Reply::json(401, &told)
        };
        for issuer in [&self.issuer, &self.rotating] {
            let last = issuer.requests().pop().expect("a request");
            issuer.always(Some(echo(&last)));
        }
        for name in ["client", "rotating", "signed"] {
            let failed =
                sidecar.control("POST", &format!("/v1/credentials/{name}/refresh?wait=true&force=true"), b"");
            evidence.add_answer(format!("a renewal of {name} that fails"), &failed);
            evidence.add_answer("an answer to the app", &sidecar.app().get(&format!("/{name}")));
        }
        for target in ["/nowhere", "/client/../x", "/client/%2e%2e/", "/fixed\\"] {
            evidence.add_answer("an error", &sidecar.app().get(target));
        }
        let output = sidecar.command(&["set", "fixed"], &canary::token());
        evidence.add("set", [output.stdout, output.stderr].concat());

        let path = sidecar.folder().join("bearerd.toml").display().to_string();
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
        let old = fs::read_to_string(&path).expect("the configuration");
        let broken = old
            .replace("expires = \"never\"", "expires = \"nevr\"")
            .replace("alg = \"HS256\"", "alg = HS256");
        fs::write(&path, broken).expect("a file");
        evidence.add_answer("a reload that is rejected", &sidecar.control("POST", "/v1/reload", b""));
        fs::write(&path, old).expect("a file");
        evidence.add_answer("a reload", &sidecar.control("POST", "/v1/reload", b""));
        evidence.add_process(sidecar);
        let logs = sidecar.logs().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(logs.contains("\"TRACE\"") || logs.contains("\"DEBUG\""), "the finest level is on");
        evidence.add("the log", logs);
        assert!(!self.upstream.requests().is_empty() && !self.login.requests().is_empty());
    }
}

#[test]
fn no_secret_shows_anywhere() {
    canary::know(ADMIN_TOKEN);
    let mut evidence = Evidence::default();
    House::start(|setup| setup).live(&mut evidence);
    assert!(evidence.0.len() > 60, "{}", evidence.0.len());
    assert_eq!(evidence.hits(), [""; 0]);
}

#[test]
fn the_audit_finds_a_leak_that_was_planted() {
    let secret = canary::secret();
    let mut evidence = Evidence::default();
    // A variable that the configuration does not name stays where it is.
    let house = House::start(|setup| setup.variable("FORGOTTEN", &secret));
    house.live(&mut evidence);
    let hits = evidence.hits();
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert!(hits[0].contains("/environ") && hits[0].contains(&secret), "{hits:?}");
}

#[test]
fn the_audit_knows_a_secret_in_every_form() {
    let secret = canary::secret();
    for (name, form) in canary::forms(&secret) {
        let mut evidence = Evidence::default();
        evidence.add("a place", format!("before {form} behind"));
        assert!(!evidence.hits().is_empty(), "{name}: {form}");
    }
    for before in ["", "x", "xy", "xyz"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}:behind"));
        assert!(!canary::hits(text.as_bytes()).is_empty(), "{text}");
    }
    assert!(canary::hits(b"cnry-scr-but-another").is_empty());
}
