//! Several credentials on one request: each is kept fresh by itself, and none is sent dead.

use std::time::Duration;

use serde_json::json;

use crate::support::message::Message;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{Issuer, Reply, Upstream, canary};

/// A session and a person's token, from two issuers, on each request of a route.
struct House {
    session: Issuer,
    person: Issuer,
    upstream: Upstream,
    sidecar: Sidecar,
}

/// The name of what is put together.
const BUNDLE: &str = "session+pass+person.access_token";

fn configuration(session: &Issuer, person: &Issuer, upstream: &Upstream, pass: &str) -> String {
    let credential = |name: &str, issuer: &Issuer, more: &str| {
        format!(
            "[credentials.{name}]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
             client_id = \"me\"\nclient_secret = {{ value = \"{}\" }}\n{more}\n",
            issuer.url(),
            canary::secret(),
        )
    };
    credential("session", session, &format!("secrets = {{ pass = {{ value = \"{pass}\" }} }}"))
        + &credential("person", person, "")
        + &format!(
            "[routes.both]\npath = \"/both\"\nupstream = \"{0}\"\ncredential = \"session\"\n\
             inject = {{ headers = {{ Authorization = \"Bearer {{access_token}}\", X-Person = \
             \"{{person.access_token}}\", X-Pass = \"{{pass}}\" }} }}\n\
             [routes.one]\npath = \"/one\"\nupstream = \"{0}\"\ncredential = \"session\"\n",
            upstream.origin()
        )
}

impl House {
    /// Tokens of the session live an hour, those of the person so many seconds.
    fn start(person: u64, answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let (session, person) = (Issuer::start(3600), Issuer::start(person));
        let upstream = Upstream::answering(answer);
        // What goes on requests is no secret to the upstream.
        let sidecar = Setup::new(&configuration(&session, &person, &upstream, &canary::token())).start();
        sidecar.wait_until_ready();
        Self { session, person, upstream, sidecar }
    }

    /// The pair that a request carries.
    fn pair(request: &Message) -> (String, String) {
        let session = request.field("authorization").expect("a session").replace("Bearer ", "");
        (session, request.field("x-person").expect("a person"))
    }
}

#[test]
fn a_request_carries_the_tokens_of_two_credentials_and_a_secret_of_one() {
    let house = House::start(3600, |_| Reply::text("hello"));
    assert_eq!(house.sidecar.app().get_with("/both/x", "X-Person: mallory\r\n").status(), 200);
    let request = house.upstream.request();
    assert_eq!(House::pair(&request), (house.session.token(), house.person.token()));
    assert!(request.field("x-pass").is_some());
    assert_eq!(house.sidecar.app().get("/one/x").status(), 200);
    let request = house.upstream.wait_for(2).remove(1);
    assert_eq!(request.field("authorization"), Some(format!("Bearer {}", house.session.token())));
    assert_eq!(request.fields("x-person"), [""; 0], "a route that names one carries one");
    let told = house.sidecar.credential(BUNDLE);
    assert_eq!((&told["flow"], &told["state"]), (&json!("static"), &json!("ready")));
}

#[test]
fn a_renewed_part_renews_the_bundle_and_not_the_other_part() {
    let house = House::start(3600, |_| Reply::text("hello"));
    assert_eq!(house.sidecar.control("POST", "/v1/credentials/person/refresh?wait=true", b"").status(), 200);
    house.sidecar.wait_for_generation("person", 2);
    house.sidecar.wait_for_generation(BUNDLE, 2);
    house.sidecar.app().get("/both/x");
    assert_eq!(House::pair(&house.upstream.request()), (house.session.token(), house.person.token()));
    assert_eq!((house.session.granted().len(), house.person.granted().len()), (1, 2));
}

#[test]
fn a_refusal_renews_all_parts_and_the_request_is_sent_once_more_with_both() {
    let first = std::sync::Mutex::new(None);
    let house = House::start(3600, move |request| {
        let pair = House::pair(request);
        let mut first = first.lock().expect("no panic");
        let (session, person) = first.get_or_insert_with(|| pair.clone());
        // The first tokens are dead, and the second one of each will do.
        let is_dead = pair.0 == *session || pair.1 == *person;
        if is_dead { Reply::status(401, "text/plain", "no") } else { Reply::text("hello") }
    });
    let answer = house.sidecar.app().get("/both/x");
    assert_eq!((answer.status(), answer.text()), (200, "hello".to_owned()));
    let requests = house.upstream.requests();
    assert_eq!(requests.len(), 2, "refused, and sent once more");
    assert_eq!(House::pair(&requests[1]), (house.session.token(), house.person.token()));
    assert_eq!((house.session.granted().len(), house.person.granted().len()), (2, 2));
}

#[test]
fn a_part_that_cannot_be_renewed_lets_the_refusal_pass_and_the_rest_stays_in_use() {
    let house = House::start(3600, |_| Reply::status(401, "text/plain", "no"));
    house.session.always(Some(Reply::status(503, "text/plain", "down")));
    house.person.always(Some(Reply::json(401, &json!({ "error": "invalid_client" }))));
    let answer = house.sidecar.app().get("/both/x");
    assert_eq!((answer.status(), answer.text()), (401, "no".to_owned()), "the answer is the upstream's");
    assert_eq!(house.sidecar.app().get("/both/x").status(), 401);
    assert!(house.sidecar.credential(BUNDLE)["state"] != "rejected");
    house.sidecar.wait_for_state("person", "failing");
    house.person.always(None);
    house.sidecar.control("POST", "/v1/credentials/person/refresh?wait=true", b"");
    house.sidecar.app().get("/both/x");
    let last = house.upstream.requests().pop().expect("a request");
    assert_eq!(House::pair(&last).1, house.person.token(), "it heals with its part");
}

#[test]
fn a_bundle_ends_with_the_part_that_ends_first_and_comes_back_with_it() {
    let house = House::start(4, |_| Reply::text("hello"));
    house.person.always(Some(Reply::status(503, "text/plain", "down")));
    let person = house.person.token();
    house.sidecar.wait_for_state(BUNDLE, "expired");
    let before = house.upstream.requests().len();
    let answer = house.sidecar.app().get("/both/x");
    assert_eq!(answer.status(), 503, "{}", answer.head());
    assert_eq!(house.upstream.requests().len(), before, "a dead token is never sent");
    assert_eq!(house.sidecar.app().get("/one/x").status(), 200, "the session is as good as before");
    house.person.always(None);
    house.sidecar.control("POST", "/v1/credentials/person/refresh?wait=true", b"");
    let back = house.sidecar.wait("the bundle", || {
        Some(house.sidecar.app().get("/both/x")).filter(|answer| answer.status() == 200)
    });
    assert_eq!(back.text(), "hello");
    let last = house.upstream.requests().pop().expect("a request");
    assert_ne!(House::pair(&last).1, person);
}

#[test]
fn a_request_waits_for_the_part_that_is_missing() {
    let (session, person) = (Issuer::start(3600), Issuer::start(3600).delayed(Duration::from_secs(1)));
    let upstream = Upstream::start();
    let sidecar = Setup::new(&configuration(&session, &person, &upstream, &canary::token())).start();
    assert_eq!(sidecar.app().get("/both/x").status(), 200);
    assert_eq!(House::pair(&upstream.request()), (session.token(), person.token()));
}

#[test]
fn no_part_of_a_bundle_and_nothing_that_it_was_made_with_comes_back_to_the_app() {
    let house = House::start(3600, |request| {
        let (session, person) = House::pair(request);
        Reply::text(&format!("{session} {person} {}", request.field("x-pass").unwrap_or_default()))
    });
    // The helper looks for canaries.
    let answer = house.sidecar.app().get("/both/x").text();
    assert!(answer.contains("***") && !answer.contains("cnry"), "{answer}");
}
