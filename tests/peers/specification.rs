//! Prism plays the vendor from the vendor's own OpenAPI file, and refuses what that file forbids.

use std::io::BufReader;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::counterpart::{Counterpart, here, node};
use crate::support::message::Message;
use crate::support::sidecar::Setup;
use crate::support::{Client, Reply, Upstream, canary};

/// Prism with a specification from `data/`.
struct Prism {
    address: SocketAddr,
    _process: Counterpart,
}

impl Prism {
    fn start(specification: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut command = node("prism");
        command.args(["mock", "--errors", "--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.arg(here("data").join(specification));
        Self { address, _process: Counterpart::start(&mut command, "Prism is listening") }
    }
}

/// Hands a request on to Prism, byte for byte.
fn ask(prism: SocketAddr, request: &Message) -> Message {
    let mut stream = TcpStream::connect(prism).expect("Prism listens");
    stream.write_all(&[request.head.as_slice(), &request.body].concat()).expect("a sent request");
    Message::read(&mut BufReader::new(stream), true).expect("an answer").expect("an answer")
}

#[test]
fn each_request_of_the_sahamati_presets_is_accepted_by_the_vendors_own_specification() {
    let prism = Prism::start("sahamati-iam.openapi.yaml");
    let (answers, token) = (Arc::<Mutex<Vec<(String, u16, String)>>>::default(), canary::token());
    let vendor = {
        let (prism, answers, token) = (prism.address, Arc::clone(&answers), token.clone());
        Upstream::answering(move |request| {
            let answer = ask(prism, request);
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push((request.target(), answer.status(), answer.text()));
            // The specification's examples hold an empty token and a date in the past; both are made
            // usable, and nothing else is touched.
            let mut body = answer.json();
            if body.get("accessToken").is_some() {
                body["accessToken"] = token.clone().into();
            }
            if body.get("expiresOn").is_some() {
                body["expiresOn"] = 4_000_000_000_u64.into();
            }
            Reply::json(answer.status(), &body)
        })
    };
    let api = Upstream::start();
    let setup = Setup::new(&format!(
        r#"
        [credentials.user]
        preset = "sahamati-user"
        base_url = "{vendor}"
        username = {{ value = "admin@aa.example" }}
        password = {{ file = "{{folder}}/password" }}

        [credentials.secret]
        preset = "sahamati-secret"
        base_url = "{vendor}"
        entity_id = "AA-1"
        user = {{ credential = "user" }}

        [credentials.entity]
        preset = "sahamati-entity"
        base_url = "{vendor}"
        entity_id = "AA-1"
        secret = {{ credential = "secret" }}

        [routes.registry]
        upstream = "{api}"
        credential = "entity"
        "#,
        vendor = vendor.origin(),
        api = api.origin()
    ));
    // Every character that a form must encode.
    let bearerd = setup.file("password", "p&=+% ;ä\"'#/\\").start();
    bearerd.wait_until_ready();

    assert_eq!(bearerd.app().get("/entityInfo/AA").status(), 200);
    assert_eq!(api.request().field("authorization"), Some(format!("Bearer {token}")));
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let asked: Vec<_> = answers.iter().map(|(target, status, _)| (target.as_str(), *status)).collect();
    let accepted =
        [("/user/token/generate", 200), ("/entity/secret/read", 200), ("/entity/token/generate", 200)];
    assert_eq!(asked, accepted, "{answers:#?}");
}

/// The proof that the test above would see a request that breaks the specification.
#[test]
fn the_specification_refuses_what_it_does_not_know() {
    let prism = Prism::start("sahamati-iam.openapi.yaml");
    let client = Client::new(prism.address);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let ask = |target, fields, body: &str| client.request("POST", target, fields, body.as_bytes()).status();
    assert_eq!(ask("/entity/token/generate", form, "id=AA-1&secret=s"), 200);
    assert_eq!(ask("/entity/token/generate", form, "id=AA-1"), 400);
    assert_ne!(ask("/entity/token/generate", "Content-Type: application/json\r\n", "{}"), 200);
    assert_ne!(
        ask("/entity/secret/read", "Content-Type: application/json\r\n", r#"{"entityId":"AA-1"}"#),
        200
    );
}
