//! A sidecar, and a bearerd on the host whose address the vendor knows: two processes in a row.

use std::io::{BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::support::message::Message;
use crate::support::tls::{Authority, Identity, TlsClient};
use crate::support::{Issuer, Setup, Sidecar, canary};

/// The address of the sidecar, the one of the host that the vendor knows.
const SIDECAR: &str = "127.0.0.2";
const WHITELISTED: &str = "127.0.0.3";

/// A vendor that answers calls from one address, and notes what came from where.
struct Vendor {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<(IpAddr, Message)>>>,
}

impl Vendor {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&calls);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                thread::spawn(move || {
                    let from = stream.peer_addr().expect("an address").ip();
                    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                    while let Ok(Some(request)) = Message::read(&mut reader, false) {
                        let status = if from.to_string() == WHITELISTED { "200 OK" } else { "403 Forbidden" };
                        noted.lock().unwrap_or_else(PoisonError::into_inner).push((from, request));
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello");
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, calls }
    }

    fn calls(&self) -> Vec<(IpAddr, Message)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Both bearerds, and all that they talk to.
struct Hops {
    authority: Authority,
    vendor: Vendor,
    issuer: Issuer,
    hop_token: String,
    host: Sidecar,
}

impl Hops {
    fn start() -> Self {
        let (authority, vendor, issuer) = (Authority::new(), Vendor::start(), Issuer::start(3600));
        let (hop_token, server) = (canary::token(), authority.server());
        let host = format!(
            "[listeners.hops]\nbind = \"127.0.0.1:0\"\n\
             allow = {{ names = [\"shop.internal\"], bearer = {{ file = \"hop-token\" }} }}\n\
             tls = {{ cert = \"{{folder}}/cert.pem\", key = \"{{folder}}/key.pem\", client_ca = \"{{folder}}/ca.pem\" }}\n\
             [egress.whitelisted]\nsource = \"{WHITELISTED}\"\n\
             [credentials.vendor]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
             client_id = \"shop\"\nclient_secret = {{ value = \"{}\" }}\negress = \"whitelisted\"\n\
             [routes.vendor]\nlistener = \"hops\"\npath = \"/vendor\"\nupstream = \"http://{}\"\n\
             credential = \"vendor\"\nremove = [\"X-Hop\"]\n",
            issuer.url(),
            canary::secret(),
            vendor.address
        );
        let host = Setup::new(&host)
            .file("cert.pem", &server.cert)
            .file("key.pem", &server.key)
            .file("ca.pem", &authority.pem())
            .file("hop-token", &hop_token)
            .start();
        host.wait_until_ready();
        Self { authority, vendor, issuer, hop_token, host }
    }

    /// A sidecar that shows a certificate, if it has one.
    fn sidecar(&self, identity: Option<&Identity>) -> Sidecar {
        let shows = "client_cert = \"{folder}/cert.pem\"\nclient_key = \"{folder}/key.pem\"\n";
        let configuration = format!(
            "[egress.host]\nsource = \"{SIDECAR}\"\nca = \"{{folder}}/ca.pem\"\n{}\
             [credentials.hop]\nflow = \"static\"\ntoken = {{ file = \"hop-token\" }}\nexpires = \"never\"\n\
             [routes.host]\nupstream = \"https://{}\"\ncredential = \"hop\"\negress = \"host\"\n\
             inject = {{ headers = {{ Authorization = \"Bearer {{token}}\", X-Hop = \"{{token}}\" }} }}\n",
            if identity.is_some() { shows } else { "" },
            self.host.address("hops")
        );
        let mut setup = Setup::new(&configuration)
            .file("ca.pem", &self.authority.pem())
            .file("hop-token", &self.hop_token);
        if let Some(identity) = identity {
            setup = setup.file("cert.pem", &identity.cert).file("key.pem", &identity.key);
        }
        let sidecar = setup.start();
        sidecar.wait_until_ready();
        sidecar
    }
}

#[test]
fn a_call_leaves_from_the_whitelisted_address_with_the_vendors_token_and_nothing_of_the_first_hop() {
    let hops = Hops::start();
    let sidecar = hops.sidecar(Some(&hops.authority.named("shop.internal")));
    for _ in 0..3 {
        let answer = sidecar.app().get("/vendor/accounts/7");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    let answer = sidecar.app().post("/vendor/payments", &"x".repeat(300_000));
    assert_eq!(answer.status(), 200);
    let calls = hops.vendor.calls();
    assert_eq!(calls.len(), 4);
    for (from, request) in &calls {
        assert_eq!(from.to_string(), WHITELISTED);
        assert_eq!(request.fields("authorization"), [format!("Bearer {}", hops.issuer.token())]);
        assert_eq!(request.field("x-hop"), None);
        let whole = String::from_utf8_lossy(&[request.head.as_slice(), &request.body].concat()).into_owned();
        assert!(!whole.contains(&hops.hop_token), "the hop token came through: {}", request.head());
        assert_eq!(request.fields("via").len(), 2);
    }
    assert_eq!(calls[0].1.target(), "/accounts/7");
    assert_eq!(hops.issuer.requests().len(), 1, "the vendor's secret is used by the host alone");
}

#[test]
fn nobody_passes_without_a_certificate_of_the_authority_and_a_name_that_is_known() {
    let hops = Hops::start();
    let sidecar = hops.sidecar(None);
    let answer = sidecar.app().get("/vendor/accounts/7");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("upstream_tls")));
    sidecar
        .log("why", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("client certificate")));

    let sidecar = hops.sidecar(Some(&Authority::called("another").named("shop.internal")));
    assert_eq!(sidecar.app().get("/vendor/accounts/7").json()["code"], "upstream_tls");

    let sidecar = hops.sidecar(Some(&hops.authority.named("other.internal")));
    let answer = sidecar.app().get("/vendor/accounts/7");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (403, Some("caller_denied")));

    // Nor does a certificate alone.
    let right = hops.authority.named("shop.internal");
    let caller = TlsClient::new(hops.host.address("hops"), &hops.authority, Some(&right));
    let answer = caller.get("/vendor/accounts/7").expect("an answer");
    assert_eq!(answer.status(), 403);
    assert!(hops.vendor.calls().is_empty());
}

#[test]
fn what_the_host_says_passes_the_sidecar_and_names_the_hop() {
    let hops = Hops::start();
    let sidecar = hops.sidecar(Some(&hops.authority.named("shop.internal")));
    let answer = sidecar.app().get("/elsewhere");
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (404, Some("no_route")));
    drop(hops.host);
    let answer = sidecar.app().get("/vendor/accounts/7");
    assert_eq!((answer.status(), answer.json()["route"].as_str()), (502, Some("host")));
}
