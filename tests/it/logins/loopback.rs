//! `bearerd login` where no browser can come back to bearerd: it waits for it by itself (RFC 8252).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr};

use serde_json::json;

use super::browser::bearerd_login;
use super::person::{Fields, Person};
use super::with;
use crate::support::{Client, Setup, bearerd};

const CODE: &str = "grant = \"authorization_code\"\nscopes = [\"openid\"]\n";

/// A `bearerd login` under way, and the URL that it printed.
struct Login {
    process: Child,
    said: BufReader<ChildStderr>,
    url: String,
}

impl Login {
    fn begin(admin: &str) -> Self {
        let mut process =
            bearerd_login(admin, &["login", "me", "--no-browser"]).spawn().expect("the binary starts");
        let mut said = BufReader::new(process.stderr.take().expect("a pipe"));
        let url = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it ended");
            if line.trim().starts_with("http") {
                break line.trim().to_owned();
            }
        };
        Self { process, said, url }
    }

    /// Consents, and lets the browser follow the redirect; the status and the page that it sees.
    #[track_caller]
    fn follow(&self, person: &Person, change: impl FnOnce(&mut Fields)) -> (u16, String) {
        let mut back = person.consent(&self.url);
        change(&mut back);
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&back).finish();
        let redirect_uri = self.redirect_uri();
        let rest = redirect_uri.strip_prefix("http://").expect("a loopback URI");
        let (address, path) = rest.split_once('/').expect("a path");
        let address: SocketAddr = address.replace("localhost", "127.0.0.1").parse().expect("an address");
        let page = Client::new(address).get(&format!("/{path}?{query}"));
        (page.status(), page.text())
    }

    fn redirect_uri(&self) -> String {
        super::person::fields(self.url.split_once('?').expect("a query").1)
            .remove("redirect_uri")
            .expect("a URI")
    }

    #[track_caller]
    fn succeeds(mut self) {
        let ended = self.process.wait().expect("it ends");
        let said: Vec<_> = self.said.lines().map_while(Result::ok).collect();
        assert!(ended.success(), "{said:?}");
    }
}

/// The admin listener is a Unix socket.
fn on_a_socket(person: &Person, credential: &str) -> (Setup, String) {
    let setup = with(person, credential).admin("listen = \"unix:{folder}/admin.sock\"");
    let admin = format!("unix:{}/admin.sock", setup.folder().display());
    (setup, admin)
}

#[test]
fn a_login_waits_for_the_browser_itself_where_the_admin_listener_is_a_unix_socket() {
    let person = Person::new();
    let (setup, admin) = on_a_socket(&person, CODE);
    let sidecar = setup.start();
    let login = Login::begin(&admin);
    let (status, page) = login.follow(&person, |_| ());
    assert!(status == 200 && page.contains("You are logged in"), "{status} {page}");
    let port = login.redirect_uri();
    login.succeeds();
    assert_eq!(person.requests_to("/token")[0].form()["redirect_uri"], port);
    assert_eq!(sidecar.app().get("/api/x").text(), "hello");
}

#[test]
fn a_loopback_redirect_uri_without_a_port_gets_one_and_another_ports_is_listened_at() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for (registered, with_port) in [
        ("http://127.0.0.1/back".to_owned(), false),
        (format!("http://localhost:{}/back", free.port()), true),
    ] {
        let person = Person::new();
        let sidecar = with(&person, &format!("{CODE}redirect_uri = \"{registered}\"")).start();
        let login = Login::begin(&sidecar.address("admin").to_string());
        let used = login.redirect_uri();
        assert_eq!(used == registered, with_port, "{used}");
        assert!(used.ends_with("/back"), "{used}");
        let (status, page) = login.follow(&person, |_| ());
        assert_eq!(status, 200, "{page}");
        login.succeeds();
    }
}

#[test]
fn an_answer_with_another_state_is_shown_the_door_and_the_login_goes_on() {
    let person = Person::new();
    let (setup, admin) = on_a_socket(&person, CODE);
    let _sidecar = setup.start();
    let login = Login::begin(&admin);
    let stranger = |back: &mut Fields| drop(back.insert("state".to_owned(), "x".repeat(43)));
    assert_eq!(login.follow(&person, stranger).0, 404);
    assert_eq!(login.follow(&person, |back| drop(back.remove("state"))).0, 404);
    assert!(person.requests_to("/token").is_empty());
    assert_eq!(login.follow(&person, |_| ()).0, 200);
    login.succeeds();
}

#[test]
fn an_issuers_no_is_told_in_the_browser_and_on_the_terminal() {
    let person = Person::new();
    let (setup, admin) = on_a_socket(&person, CODE);
    let _sidecar = setup.start();
    let mut login = Login::begin(&admin);
    let (status, page) = login.follow(&person, |back| {
        back.remove("code");
        back.insert("error".to_owned(), "access_denied".to_owned());
    });
    assert!(status == 400 && page.contains("said no"), "{page}");
    assert_eq!(login.process.wait().expect("it ends").code(), Some(69));
}

#[test]
fn check_tells_of_a_login_to_which_no_browser_can_come_back() {
    let person = Person::new();
    for (redirect_uri, warned) in [("", true), ("redirect_uri = \"https://app.example/cb\"", false)] {
        let (setup, _) = on_a_socket(&person, &format!("{CODE}{redirect_uri}"));
        let mut check = bearerd(&["check", "--config"]);
        let output = check.arg(setup.write()).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), said.contains("no browser comes back")),
            (Some(0), warned),
            "{said}"
        );
    }
}

#[test]
fn a_port_to_come_back_to_is_a_number_and_is_told_only_to_those_who_ask_for_one() {
    let person = Person::new();
    let sidecar = super::code(&person);
    let begun = super::authorize(&sidecar, &json!({"loopback_port": 7}));
    assert_eq!(begun["redirect_uri"], format!("http://{}/oauth/callback", sidecar.address("admin")));
    assert_eq!(super::authorize(&sidecar, &json!({}))["redirect_uri"], json!(null));
    for wrong in [json!(0), json!(65536), json!("7"), json!(-1), json!([])] {
        let body = json!({ "loopback_port": wrong }).to_string();
        let refused = sidecar.control("POST", "/v1/credentials/me/authorize", body.as_bytes());
        assert_eq!((refused.status(), &refused.json()["code"]), (400, &json!("bad_request")), "{wrong}");
    }
}
