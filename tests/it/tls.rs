//! Listeners that speak TLS: who may call, and certificates that change under load.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bearerd::clock::Clock;
use rustix::process::Signal;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::configuration::fixed;
use crate::support::tls::{Authority, Identity, TlsClient, TlsConnection};
use crate::support::{Reply, Setup, Sidecar, Upstream, canary};

/// One version of TLS at a time.
static VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS13], &[&TLS12]];

/// `tls` of the listener `app`, from the files that [`with`] writes.
const SHOWS: &str = "tls = { cert = \"{folder}/cert.pem\", key = \"{folder}/key.pem\" }";
const ASKS: &str =
    "tls = { cert = \"{folder}/cert.pem\", key = \"{folder}/key.pem\", client_ca = \"{folder}/ca.pem\" }";

/// A setup whose listener has lines of its own, the same route as everywhere, and the files of a
/// certificate.
fn with(lines: &str, upstream: &Upstream, authority: &Authority, identity: &Identity) -> Setup {
    Setup::new(&format!("{lines}\n{}", fixed(&canary::token(), upstream)))
        .file("cert.pem", &identity.cert)
        .file("key.pem", &identity.key)
        .file("ca.pem", &authority.pem())
}

fn ready(setup: Setup) -> Sidecar {
    let bearerd = setup.start();
    bearerd.wait_until_ready();
    bearerd
}

/// Replaces the pair: between the two files there is none that fits.
fn replace(bearerd: &Sidecar, identity: &Identity) {
    bearerd.replace_file("cert.pem", &identity.cert);
    bearerd.replace_file("key.pem", &identity.key);
}

fn metric(bearerd: &Sidecar, name: &str) -> u64 {
    let metrics = bearerd.admin().get("/metrics").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not among\n{metrics}"))
}

#[test]
fn apps_call_by_tls_1_3_and_by_tls_1_2() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    for versions in VERSIONS {
        let client = TlsClient::speaking(versions, bearerd.address("app"), &authority, None);
        let mut connection = client.connect().expect("a handshake");
        assert_eq!(connection.protocol().as_deref(), Some("http/1.1"));
        for _ in 0..2 {
            assert_eq!(connection.get("/api/x", "").expect("an answer").status(), 200);
        }
    }
    assert_eq!(upstream.wait_for(4)[3].fields("authorization").len(), 1);
}

#[test]
fn a_caller_that_offers_other_protocols_only_is_told_in_the_handshake() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    client.offering(&["smtp"]).connect().err().expect("no protocol in common");
    let mut silent = client.offering(&[]).connect().expect("whoever offers nothing speaks HTTP/1.1");
    assert_eq!(silent.get("/api/x", "").expect("an answer").status(), 200);
}

#[test]
fn with_client_ca_exactly_callers_with_a_certificate_of_that_authority_call() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let (impostor, stranger) = (Authority::new(), Authority::called("another"));
    let bearerd = ready(with(ASKS, &upstream, &authority, &authority.server()));
    let client = |identity: Option<&Identity>, versions| {
        TlsClient::speaking(versions, bearerd.address("app"), &authority, identity)
    };
    for versions in VERSIONS {
        let others = [impostor.named("app"), stranger.named("app"), authority.ended()];
        for refused in others.map(Some).into_iter().chain([None]) {
            assert!(client(refused.as_ref(), versions).get("/api/x").is_err());
        }
    }
    assert_eq!(upstream.requests().len(), 0);
    bearerd.wait("handshakes that failed", || {
        (metric(&bearerd, "bearerd_failed_handshakes_total{listener=\"app\"}") == 8).then_some(())
    });
    // Of many for one reason one is told.
    for reason in ["showed no certificate", "of no authority in `client_ca`", "has ended"] {
        bearerd.log(reason, |line| line["reason"].as_str().is_some_and(|told| told.contains(reason)));
    }
    let friend = authority.named("app");
    for versions in VERSIONS {
        let answer = client(Some(&friend), versions).get("/api/x").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
}

#[test]
fn with_allow_names_a_certificate_has_one_of_them() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let names = "ca.pem\", allow_names = [\"App.internal\", \"spiffe://mesh/app\", \"old app\"]";
    let lines = ASKS.replace("ca.pem\"", names);
    let bearerd = ready(with(&lines, &upstream, &authority, &authority.server()));
    let spiffe = |id: &str| {
        let id = rcgen::SanType::URI(id.try_into().expect("a URI"));
        authority.issue(|of| of.subject_alt_names = vec![id])
    };
    let get = |identity: &Identity| {
        let client = TlsClient::new(bearerd.address("app"), &authority, Some(identity));
        client.get("/api/x").expect("an answer")
    };
    for allowed in [authority.named("app.internal"), spiffe("spiffe://mesh/app"), authority.common("old app")]
    {
        assert_eq!(get(&allowed).status(), 200);
    }
    for denied in [
        authority.named("other.internal"),
        authority.named("internal"),
        spiffe("spiffe://mesh/App"),
        spiffe("spiffe://mesh/app/x"),
        authority.common("new app"),
        // Where there is an alternative name, the common one does not count.
        authority.issue(|of| {
            of.subject_alt_names = vec![rcgen::SanType::DnsName("other".try_into().expect("a name"))];
            of.distinguished_name.push(rcgen::DnType::CommonName, "old app");
        }),
    ] {
        let answer = get(&denied);
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.json()["code"], "caller_denied");
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
    }
    assert_eq!(upstream.requests().len(), 3);
    bearerd.log("whom it denied", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.contains("other.internal"))
    });
}

#[test]
fn with_names_in_allow_a_certificate_has_one_among_its_alternative_names() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let lines = format!("{ASKS}\nallow = {{ names = [\"App.internal\", \"spiffe://mesh/app\"] }}");
    let bearerd = ready(with(&lines, &upstream, &authority, &authority.server()));
    let spiffe = |id: &str| {
        let id = rcgen::SanType::URI(id.try_into().expect("a URI"));
        authority.issue(|of| of.subject_alt_names = vec![id])
    };
    let get = |identity: &Identity| {
        let client = TlsClient::new(bearerd.address("app"), &authority, Some(identity));
        client.get("/api/x").expect("an answer").status()
    };
    for allowed in [authority.named("app.internal"), spiffe("spiffe://mesh/app")] {
        assert_eq!(get(&allowed), 200);
    }
    for denied in [
        authority.named("other.internal"),
        spiffe("spiffe://mesh/App"),
        spiffe("spiffe://mesh/app/x"),
        // A common name is none of them.
        authority.common("app.internal"),
        // Nor does a URI stand for a DNS name.
        spiffe("app.internal"),
    ] {
        assert_eq!(get(&denied), 403);
    }
    assert_eq!(upstream.requests().len(), 2);
    bearerd.log("whom it denied", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.contains("other.internal"))
    });
}

#[test]
fn plain_http_on_a_tls_listener_is_told_what_to_do_and_noise_ends() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let bearerd = ready(with(ASKS, &upstream, &authority, &authority.server()));
    let answer = bearerd.app().get("/api/x");
    assert_eq!((answer.status(), &answer.json()["code"]), (400, &"bad_request".into()));
    assert!(answer.text().contains("https://"), "{answer:?}");
    // Something that begins as a handshake does, something else, and nothing at all.
    let mut noise = bearerd.app().raw(b"\x16\x03\x01\x00\x05hello");
    assert!(!noise.starts_with("HTTP/"), "{noise}");
    noise = bearerd.app().raw(b"\x00\x01\x02\x03\r\n\r\n");
    assert!(!noise.contains(" 200 "), "{noise}");
    bearerd.app().connect().finish();
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_slow_handshake_ends_with_head_timeout_and_holds_nobody_up() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let lines = format!("head_timeout = \"500ms\"\n{SHOWS}");
    let bearerd = ready(with(&lines, &upstream, &authority, &authority.server()));
    let slow: Vec<_> = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
        .into_iter()
        .map(|begun| {
            let mut connection = bearerd.app().connect();
            connection.send(begun);
            connection
        })
        .collect();
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    assert_eq!(client.get("/api/x").expect("an answer").status(), 200);
    for mut connection in slow {
        connection.rest();
    }
    assert_eq!(metric(&bearerd, "bearerd_limited_total{limit=\"head_timeout\"}"), 3);
}

#[test]
fn sessions_resume_until_other_callers_are_let_in() {
    let (upstream, authority, next) = (Upstream::start(), Authority::new(), Authority::new());
    let server = authority.server();
    let bearerd = ready(with(ASKS, &upstream, &authority, &server));
    let client = TlsClient::new(bearerd.address("app"), &authority, Some(&authority.named("app")));
    let is_resumed = || {
        let mut connection = client.connect()?;
        connection.get("/api/x", "").map(|answer| (answer.status(), connection.is_resumed()))
    };
    assert_eq!(is_resumed().expect("an answer"), (200, false));
    assert_eq!(is_resumed().expect("an answer"), (200, true));
    // A reload that changes nothing of it leaves sessions as they are.
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(is_resumed().expect("an answer"), (200, true));
    bearerd.replace_file("ca.pem", &next.pem());
    let refused = bearerd.wait("the other authority", || is_resumed().err());
    assert_ne!(refused.kind(), std::io::ErrorKind::WouldBlock, "{refused}");
    let newcomer = TlsClient::new(bearerd.address("app"), &authority, Some(&next.named("app")));
    assert_eq!(newcomer.get("/api/x").expect("an answer").status(), 200);
}

#[test]
fn a_changed_certificate_is_shown_by_itself_and_a_broken_one_never() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let (first, second) = (authority.server(), authority.server());
    let bearerd = ready(with(SHOWS, &upstream, &authority, &first));
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    let mut open = client.connect().expect("a handshake");
    assert!(open.is_shown(&first));
    let shows = |identity: &Identity| client.connect().expect("a handshake").is_shown(identity);

    bearerd.replace_file("cert.pem", "no certificate");
    bearerd.log("that it is broken", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("cert.pem holds no certificate"))
    });
    assert!(shows(&first));
    let reload = bearerd.control("POST", "/v1/reload", b"");
    assert_eq!(reload.status(), 422, "a reload is all or nothing");
    assert!(reload.text().contains("cert.pem holds no certificate"), "{reload:?}");
    assert!(
        metric(&bearerd, "bearerd_certificate_renewals_total{listener=\"app\",outcome=\"rejected\"}") >= 1
    );

    replace(&bearerd, &second);
    bearerd.wait("the second certificate", || shows(&second).then_some(()));
    assert_eq!(metric(&bearerd, "bearerd_certificate_renewals_total{listener=\"app\",outcome=\"ok\"}"), 1);
    assert_eq!(open.get("/api/x", "").expect("an answer").status(), 200, "connections go on");
    assert!(
        metric(&bearerd, "bearerd_certificate_expires_timestamp_seconds{listener=\"app\"}") > 4_000_000_000
    );
}

#[test]
fn a_kubernetes_volume_of_certificates_is_followed_through_its_swaps() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let (first, later) = (authority.server(), [authority.server(), authority.server()]);
    let setup = Setup::new(&format!(
        "tls = {{ cert = \"{{folder}}/tls.crt\", key = {{ file = \"{{folder}}/tls.key\" }} }}\n{}",
        fixed(&canary::token(), &upstream)
    ));
    let publish = |folder: &Path, identity: &Identity| {
        let name = format!("..{}", Clock::system().uuid());
        std::fs::create_dir(folder.join(&name)).expect("a folder");
        std::fs::write(folder.join(&name).join("tls.crt"), &identity.cert).expect("a file");
        std::fs::write(folder.join(&name).join("tls.key"), &identity.key).expect("a file");
        symlink(&name, folder.join("..data_tmp")).expect("a link");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a swap");
    };
    publish(setup.folder(), &first);
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), setup.folder().join(file)).expect("a link");
    }
    let bearerd = ready(setup);
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    for next in &later {
        publish(bearerd.folder(), next);
        bearerd.wait("the next certificate", || {
            client.connect().expect("a handshake").is_shown(next).then_some(())
        });
    }
    assert_eq!(
        metric(&bearerd, "bearerd_certificate_renewals_total{listener=\"app\",outcome=\"rejected\"}"),
        0
    );
}

#[test]
fn certificates_change_and_configurations_reload_under_load_without_a_failed_request() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let setup = with(ASKS, &upstream, &authority, &authority.server()).server("workers = 2");
    let bearerd = ready(setup);
    let client = TlsClient::new(bearerd.address("app"), &authority, Some(&authority.named("app")));
    let is_over = Arc::new(AtomicBool::new(false));
    let apps: Vec<_> = (0..4)
        .map(|app| {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut answered = 0_usize;
                while !is_over.load(Ordering::Relaxed) {
                    let mut connection = client.connect().expect("a handshake");
                    // Some keep their connection for a while, some take a new one each time.
                    for _ in 0..=app * 10 {
                        assert_eq!(connection.get("/api/x", "").expect("an answer").status(), 200);
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    for round in 1..=8_u64 {
        let next = authority.server();
        replace(&bearerd, &next);
        bearerd.wait("the next certificate", || {
            client.connect().expect("a handshake").is_shown(&next).then_some(())
        });
        assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
        assert_eq!(
            metric(&bearerd, "bearerd_certificate_renewals_total{listener=\"app\",outcome=\"ok\"}"),
            round
        );
    }
    is_over.store(true, Ordering::Relaxed);
    let answered: usize = apps.into_iter().map(|app| app.join().expect("no request failed")).sum();
    assert_eq!(upstream.requests().len(), answered);
}

#[test]
fn origin_and_location_are_those_of_https() {
    let upstream = Upstream::answering(|request| {
        let host = request.field("host").unwrap_or_default();
        Reply::with_fields(302, &format!("Location: http://{host}/next?a=b\r\n"), "")
    });
    let authority = Authority::new();
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    let port = bearerd.address("app").port();
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    let get = |origin: &str| {
        let mut connection = client.connect().expect("a handshake");
        connection.get("/api/x", &format!("Origin: {origin}\r\n")).expect("an answer")
    };
    let own = get(&format!("https://127.0.0.1:{port}"));
    assert_eq!(own.status(), 302);
    assert_eq!(own.field("location"), Some(format!("https://127.0.0.1:{port}/api/next?a=b")));
    for other in [format!("http://127.0.0.1:{port}"), "https://127.0.0.1".into(), "null".into()] {
        assert_eq!(get(&other).status(), 403, "{other}");
    }
    let absolute = |scheme: &str| {
        let mut connection = client.connect().expect("a handshake");
        connection.get(&format!("{scheme}://127.0.0.1:{port}/api/x"), "").expect("an answer").status()
    };
    assert_eq!((absolute("https"), absolute("http")), (302, 400));
}

#[test]
fn each_listener_has_routes_of_its_own() {
    let (one, other, authority) = (Upstream::start(), Upstream::start(), Authority::new());
    let routes = format!(
        "listener = \"app\"\n[listeners.plain]\nbind = \"127.0.0.1:0\"\n\
         [routes.plain]\nlistener = \"plain\"\npath = \"/plain\"\nupstream = \"{}\"\ncredential = \"key\"\n",
        other.origin()
    );
    let server = authority.server();
    let setup = Setup::new(&format!("{SHOWS}\n{}{routes}", fixed(&canary::token(), &one)))
        .server("workers = 2")
        .file("cert.pem", &server.cert)
        .file("key.pem", &server.key);
    let bearerd = ready(setup);
    let by_tls = TlsClient::new(bearerd.address("app"), &authority, None);
    let plain = crate::support::Client::new(bearerd.address("plain"));
    assert_eq!(by_tls.get("/api/x").expect("an answer").status(), 200);
    assert_eq!(by_tls.get("/plain/x").expect("an answer").status(), 404);
    assert_eq!((plain.get("/plain/x").status(), plain.get("/api/x").status()), (200, 404));
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
}

#[test]
fn a_reload_brings_tls_to_a_listener_and_takes_it_away() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    let path = bearerd.folder().join("bearerd.toml");
    let by_tls = std::fs::read_to_string(path).expect("the configuration");
    let plain = by_tls.replace("tls = {", "# tls = {");
    let mut open = client.connect().expect("a handshake");
    bearerd.replace_file("bearerd.toml", &plain);
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(bearerd.app().get("/api/x").status(), 200);
    client.connect().err().expect("nobody shakes hands");
    assert_eq!(open.get("/api/x", "").expect("an answer").status(), 200, "connections go on");
    bearerd.replace_file("bearerd.toml", &by_tls);
    assert_eq!(bearerd.control("POST", "/v1/reload", b"").status(), 200);
    assert_eq!(client.get("/api/x").expect("an answer").status(), 200);
}

#[test]
fn a_large_request_passes_whole() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    let body = b"0123456789abcdef".repeat(128 * 1024);
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    let mut connection = client.connect().expect("a handshake");
    for _ in 0..2 {
        let answer = connection.request("POST", "/api/x", "", &body).expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert!(upstream.wait_for(2).iter().all(|request| request.body == body), "byte for byte");
}

#[test]
fn a_large_answer_passes_whole() {
    let body = "0123456789abcdef".repeat(64 * 1024);
    let answer = body.clone();
    let upstream = Upstream::answering(move |_| Reply::text(&answer));
    let authority = Authority::new();
    let bearerd = ready(with(SHOWS, &upstream, &authority, &authority.server()));
    let client = TlsClient::new(bearerd.address("app"), &authority, None);
    let mut connection = client.connect().expect("a handshake");
    for _ in 0..3 {
        assert!(connection.get("/api/x", "").expect("an answer").text() == body, "byte for byte");
    }
}

/// Reads to the end of a connection. Without the notice that it ends (RFC 8446, section 6.1) this fails:
/// what was read might have been cut off.
fn read_to_notice(connection: &mut TlsConnection) -> String {
    let mut bytes = Vec::new();
    connection.stream().read_to_end(&mut bytes).expect("the end is announced");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn the_end_of_a_connection_is_announced() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let lines = format!("idle_timeout = \"300ms\"\n{SHOWS}");
    let mut bearerd = ready(with(&lines, &upstream, &authority, &authority.server()));
    let address = bearerd.address("app");
    let client = TlsClient::new(address, &authority, None);
    let mut closing = client.connect().expect("a handshake");
    let head = format!("GET /api/x HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    closing.stream().write_all(head.as_bytes()).expect("sent");
    assert!(read_to_notice(&mut closing).starts_with("HTTP/1.1 200"));
    let mut idle = client.connect().expect("a handshake");
    assert_eq!(idle.get("/api/x", "").expect("an answer").status(), 200);
    assert_eq!(read_to_notice(&mut idle), "", "after `idle_timeout`");
    let mut resting = client.connect().expect("a handshake");
    assert_eq!(resting.get("/api/x", "").expect("an answer").status(), 200);
    bearerd.signal(Signal::TERM);
    assert_eq!(read_to_notice(&mut resting), "", "when it drains");
    assert!(bearerd.wait_for_exit().success());
}
