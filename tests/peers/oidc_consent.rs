//! oidc-provider before people: each grant with a person, through its own pages, without a browser.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::counterpart::{Counterpart, here, node};
use crate::support::message::Message;
use crate::support::sidecar::Setup;
use crate::support::{Client, Sidecar};

struct Provider {
    issuer: String,
    _process: Counterpart,
}

impl Provider {
    fn start(pushes: bool) -> Self {
        let mut command = node("node");
        command.arg(here("consent.mjs")).env("NO_PAR", if pushes { "0" } else { "1" });
        let process = Counterpart::start(&mut command, "issuer");
        let greeting: Value = serde_json::from_str(&process.greeting).expect("a line of JSON");
        let issuer = greeting["issuer"].as_str().expect("an issuer").to_owned();
        Self { issuer, _process: process }
    }

    /// A bearerd with one credential, and a route to the API.
    fn setup(&self, credential: &str) -> Setup {
        self.setup_with(credential, "")
    }

    /// The same with a store, say.
    fn setup_with(&self, credential: &str, more: &str) -> Setup {
        let issuer = &self.issuer;
        Setup::new(&format!(
            "[credentials.person]\nflow = \"oauth2\"\nissuer = \"{issuer}\"\nclient_auth = \"none\"\n\
             scopes = [\"openid\", \"offline_access\", \"api:read\"]\n{credential}\n\
             [routes.api]\nupstream = \"{issuer}\"\ncredential = \"person\"\n{more}"
        ))
    }

    fn client(&self) -> Client {
        let address = self.issuer.strip_prefix("http://").expect("plain HTTP on loopback");
        Client::new(address.parse().expect("an address"))
    }

    fn events(&self) -> Value {
        self.client().get("/events").json()
    }
}

/// A browser with a person before it, who says yes to everything the provider asks.
struct Browser<'a> {
    provider: &'a Provider,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(provider: &'a Provider) -> Self {
        Self { provider, cookies: BTreeMap::new() }
    }

    /// One request to the provider; its cookies are kept.
    #[track_caller]
    fn ask(&mut self, target: &str, form: Option<&BTreeMap<String, String>>) -> Message {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut fields = format!("Cookie: {}\r\n", cookies.join("; "));
        let body =
            form.map(|form| form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
        if body.is_some() {
            fields += "Content-Type: application/x-www-form-urlencoded\r\n";
        }
        let method = if body.is_some() { "POST" } else { "GET" };
        let answer =
            self.provider.client().request(method, target, &fields, body.unwrap_or_default().as_bytes());
        for cookie in answer.fields("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Goes through pages, forms and redirects; where the provider sends the browser away to, or its last
    /// page.
    #[track_caller]
    fn consent(&mut self, url: &str, typed: &[(&str, &str)]) -> Result<String, String> {
        let mut answer = self.ask(self.target(url).expect("a page of the provider"), None);
        for _ in 0..20 {
            if let Some(location) = answer.field("location") {
                match self.target(&location) {
                    Some(target) => answer = self.ask(target, None),
                    None => return Ok(location),
                }
                continue;
            }
            let page = answer.text();
            let Some((action, mut form)) = form(&page) else { return Err(page) };
            for (name, value) in typed.iter().chain(&[("login", "alice"), ("password", "any")]) {
                if page.contains(&format!("name=\"{name}\"")) {
                    form.insert((*name).to_owned(), (*value).to_owned());
                }
            }
            if page.contains("name=\"confirm\"") || page.contains("device_user_code") {
                form.insert("confirm".to_owned(), "yes".to_owned());
            }
            let target = self.target(&action).unwrap_or(&action).to_owned();
            answer = self.ask(&target, Some(&form));
        }
        panic!("the provider asks without end: {}", answer.text());
    }

    /// The target of a URL of the provider; `None` of anything else.
    fn target<'u>(&self, url: &'u str) -> Option<&'u str> {
        if url.starts_with('/') { Some(url) } else { url.strip_prefix(&self.provider.issuer) }
    }
}

/// The form of a page: where it leads, and its hidden fields.
fn form(page: &str) -> Option<(String, BTreeMap<String, String>)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&amp;", "&"))
    };
    let tag = page.split("<form").nth(1)?.split('>').next()?;
    let action = attribute(tag, "action")?;
    let hidden = page.split("<input").skip(1).filter_map(|input| {
        let input = input.split('>').next()?;
        let is_hidden = input.contains("type=\"hidden\"");
        is_hidden.then(|| Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default())))?
    });
    Some((action, hidden.collect()))
}

#[track_caller]
fn authorize(bearerd: &Sidecar, body: &Value) -> Value {
    let answer = bearerd.control("POST", "/v1/credentials/person/authorize", body.to_string().as_bytes());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// Logs in, and comes back to the admin listener.
#[track_caller]
fn log_in(bearerd: &Sidecar, provider: &Provider) -> String {
    let begun = authorize(bearerd, &json!({}));
    let url = begun["url"].as_str().expect("a URL").to_owned();
    let location = Browser::new(provider).consent(&url, &[]).expect("the browser is sent back");
    let admin = format!("http://{}", bearerd.address("admin"));
    let target = location.strip_prefix(&admin).unwrap_or_else(|| panic!("back to {admin}: {location}"));
    let page = bearerd.admin().get(target);
    assert_eq!(page.status(), 200, "{}", page.text());
    bearerd.wait_for_state("person", "ready");
    url
}

const CODE: &str = "grant = \"authorization_code\"\nclient_id = \"browser\"";

#[track_caller]
fn is_served(bearerd: &Sidecar) {
    let answer = bearerd.app().get("/api/thing");
    assert_eq!(
        (answer.status(), &answer.json()["subject"]),
        (200, &Value::from("alice")),
        "{}",
        answer.text()
    );
}

#[test]
fn an_authorization_code_with_pkce_and_a_refresh_token_that_rotates() {
    let provider = Provider::start(false);
    let bearerd = provider.setup(CODE).start();
    assert_eq!(bearerd.app().get("/api/thing").json()["code"], "login_required");
    let url = log_in(&bearerd, &provider);
    assert!(url.contains("code_challenge_method=S256") && url.contains("nonce="), "{url}");
    is_served(&bearerd);
    for generation in 2..5 {
        let answer = bearerd.control("POST", "/v1/credentials/person/refresh?wait=true", b"");
        assert_eq!(answer.json()["outcome"], "ok", "{}", answer.text());
        bearerd.wait_for_generation("person", generation);
        is_served(&bearerd);
    }
    let events = provider.events();
    assert_eq!((&events["granted"], &events["grants_revoked"]), (&4.into(), &0.into()), "{events}");
    assert_eq!(events["refused"], json!([]));
}

#[test]
fn requests_are_pushed_since_the_provider_offers_it() {
    let provider = Provider::start(true);
    let bearerd = provider.setup(CODE).start();
    let url = log_in(&bearerd, &provider);
    assert!(url.contains("request_uri=") && !url.contains("code_challenge"), "{url}");
    is_served(&bearerd);
}

#[test]
fn a_device_that_a_person_confirms() {
    let provider = Provider::start(false);
    let bearerd = provider.setup("grant = \"device_code\"\nclient_id = \"device\"").start();
    let begun = authorize(&bearerd, &json!({}));
    let page = begun["verification_uri"].as_str().expect("a URI");
    let code = begun["user_code"].as_str().expect("a code");
    let last = Browser::new(&provider).consent(page, &[("user_code", code)]);
    assert!(last.is_err(), "a device's page ends where it is");
    let state = begun["state"].as_str().expect("a state");
    let path = format!("/v1/credentials/person/authorize?wait=true&state={state}");
    let ended = bearerd.wait("the end of the login", || {
        Some(bearerd.admin().get(&path).json()).filter(|said| said["outcome"] != "pending")
    });
    assert_eq!(ended["outcome"], "ok", "{ended}: {last:?}");
    is_served(&bearerd);
    let answer = bearerd.control("POST", "/v1/credentials/person/refresh?wait=true", b"");
    assert_eq!(answer.json()["outcome"], "ok", "{}", answer.text());
}

#[test]
fn what_a_person_consented_to_survives_a_restart() {
    let provider = Provider::start(false);
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!(
        "[store]\nkind = \"file\"\npath = \"{}/state\"\nkey = {{ file = \"{{folder}}/key\" }}\n",
        folder.path().display()
    );
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let setup = || provider.setup_with(CODE, &store).file("key", key);
    let mut first = setup().start();
    log_in(&first, &provider);
    first.control("POST", "/v1/quit", b"");
    first.wait_for_exit();
    let second = setup().start();
    second.wait_for_state("person", "ready");
    is_served(&second);
    assert_eq!(provider.events()["granted"], 1, "the token itself was kept");
    let answer = second.control("POST", "/v1/credentials/person/refresh?wait=true", b"");
    assert_eq!(answer.json()["outcome"], "ok", "{}", answer.text());
    is_served(&second);
}
